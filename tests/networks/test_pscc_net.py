"""PSCC-Net: a coarser map gates the next finer one by its probability, far places speak, both classes weigh alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import noise_worlds  # noqa: E402

from tamperscope.engine import recipe  # noqa: E402
from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import pscc_net  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.pscc_net import Correlation, Head, PsccNet  # noqa: E402
from tamperscope.nn.heads import resized  # noqa: E402

SMALL = {"modules": (1, 1, 1), "blocks": 1, "first": 1, "base": 8}
COARSE_TO_FINE = ("map_32", "map_16", "map_8", "mask")


def small(seed: int = 1, **settings: object) -> PsccNet:
    torch.manual_seed(seed)
    return pscc_net.build("tiny", **{**SMALL, **settings}).eval()


def pictures(seed: int = 2, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 96, 64, generator=torch.Generator().manual_seed(seed))


def answer(
    net: PsccNet, image: torch.Tensor, place: int | None = None, told: Callable[..., object] | None = None
) -> dict[str, torch.Tensor]:
    """What a network says; the head of a place, finest 0, may answer something else."""
    handle = None if place is None else net.heads[place].register_forward_hook(told)
    with torch.no_grad():
        outputs = net(image)
    if handle is not None:
        handle.remove()
    return outputs


def always(logit: float) -> Callable[..., torch.Tensor]:
    return lambda _module, _given, found: torch.full_like(found, logit)


def test_sizes_maps_and_reductions() -> None:
    with torch.device("meta"):
        full = pscc_net.build("full")
    assert full.backbone.channels == (18, 36, 72, 144)
    assert parameters(full.backbone) == pytest.approx(3.9e6, rel=0.015)  # of HRNet-W18-small-v2
    assert [head.correlation.reduction for head in full.heads] == [4, 2, 2, 1]
    tiny = pscc_net.build("tiny")
    assert tiny.backbone.channels == (8, 16, 32, 64)
    assert parameters(tiny) <= 1_500_000
    outputs = answer(small(), pictures())
    assert {name: tuple(x.shape[2:]) for name, x in outputs.items()} == {
        "mask": (96, 64), "map_8": (12, 8), "map_16": (6, 4), "map_32": (3, 2), "score": ()
    }  # fmt: skip


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_coarse_map_of_nothing_blanks_the_finer_ones(place: int) -> None:
    net = small()
    seen, blank = ([answer(net, pictures(seed), *how) for seed in (2, 3)] for how in ((), (place, always(-1e4))))
    for name in COARSE_TO_FINE[4 - place :]:
        assert float((seen[0][name] - seen[1][name]).abs().max()) > 1e-4, "the picture decides"
        if name == COARSE_TO_FINE[4 - place]:
            assert torch.equal(blank[0][name], blank[1][name]), "nothing of the picture is left"
    # Other pictures of a batch keep their answers, and what is coarser does too.
    for name in COARSE_TO_FINE[: 3 - place]:
        assert torch.equal(seen[0][name], blank[0][name])

    def first(_module: object, _given: object, found: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(found[:1], -1e4), found[1:]])

    half = answer(net, pictures(2), place, first)
    assert not torch.equal(half["mask"][:1], seen[0]["mask"][:1])
    assert torch.allclose(half["mask"][1:], seen[0]["mask"][1:], atol=1e-6)


def test_only_the_place_that_is_blanked_is_blank() -> None:
    net = small()

    def upper(_module: object, _given: object, found: torch.Tensor) -> torch.Tensor:
        found = torch.full_like(found, 1e4)
        found[..., : found.shape[2] // 2, :] = -1e4
        return found

    one, other = (answer(net, pictures(seed), 1, upper)["mask"] for seed in (2, 3))
    same = torch.isclose(one, other, atol=1e-6).all(dim=(0, 1, 3))
    # The gate reaches half a cell of 8 further, two convolutions at a stride of 4 another 8 pixels, enlarging 4.
    assert same[:32].all()
    assert not same[60:].any()


def test_the_gate_is_the_probability_and_not_the_logit() -> None:
    """A port multiplies features by logits: those of a map that is sure would be turned and blown up."""
    net = small()
    given: dict[int, torch.Tensor] = {}
    found: dict[int, torch.Tensor] = {}
    features: list[torch.Tensor] = []

    def note(place: int) -> Callable[..., None]:
        def hook(_module: object, told: tuple[torch.Tensor, ...], answered: torch.Tensor) -> None:
            given[place], found[place] = told[0], answered

        return hook

    for place, head in enumerate(net.heads):
        torch.nn.init.normal_(head.read[-1].weight)  # maps that are far from one value
        head.register_forward_hook(note(place))
    net.backbone.register_forward_hook(lambda _module, _given, maps: features.extend(maps))
    answer(net, pictures())
    assert torch.equal(given[3], features[3]), "no map is before the coarsest"
    for place in (0, 1, 2):
        size = features[place].shape[2:]
        gate = resized(1 / (1 + (-found[place + 1]).exp()), size)
        assert torch.allclose(given[place], features[place] * gate, atol=1e-6)
        assert not torch.allclose(given[place], features[place] * resized(found[place + 1], size), atol=1e-3)
    x = torch.rand(1, 4, 8, 8)
    for logit, share in ((-1e4, 0.0), (0.0, 0.5), (math.log(3), 0.75), (1e4, 1.0)):
        assert torch.allclose(pscc_net.gated(x, torch.full((1, 1, 4, 4), logit)), share * x)


def test_gates_carry_the_gradient_of_finer_maps() -> None:
    net = small()
    outputs = net(pictures())
    pulled = torch.autograd.grad(outputs["mask"].sum(), net.heads[3].read[-1].weight)[0]
    assert float(pulled.abs().max()) > 0


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_correlation_begins_as_nothing_and_then_carries_far(reduction: int) -> None:
    torch.manual_seed(0)
    layer = Correlation(6, reduction)
    x = torch.randn(1, 6, 16, 8)
    y = x.clone()
    y[..., 12:, 4:] += 5 * torch.randn(1, 6, 4, 4)
    far = (..., slice(0, 8), slice(0, 4))
    with torch.no_grad():
        assert torch.equal(layer(x), x)
        for gamma in (layer.gamma_space, layer.gamma_channel):
            gamma.fill_(0.7)
            assert float((layer(x) - x).abs().max()) > 1e-3
            assert float((layer(x)[far] - layer(y)[far]).abs().max()) > 1e-4
            seen = torch.ones(1, 1, 16 // reduction, 8 // reduction, dtype=torch.bool)
            seen[..., 12 // reduction :, 4 // reduction :] = False
            assert torch.allclose(layer(x, seen)[far], layer(y, seen)[far], atol=1e-6), "padding is not asked"
            gamma.fill_(0)


def test_what_is_correlated() -> None:
    """By hand: soft-max over places and over channels, and z = x + gamma_s W_s y_s + gamma_c W_c y_c."""
    torch.manual_seed(0)
    layer = Correlation(4)
    torch.nn.init.constant_(layer.gamma_space, 0.5)
    torch.nn.init.constant_(layer.gamma_channel, -2.0)
    x = torch.randn(1, 4, 2, 3)
    flat = x.flatten(2)[0]
    with torch.no_grad():
        q, k = (part.weight[:, :, 0, 0] @ flat for part in (layer.query, layer.key))
        v = layer.value.weight[:, :, 0, 0] @ flat + layer.value.bias[:, None]
        y_space = v @ (q.T @ k / 2**0.5).softmax(1).T
        y_channel = (q @ k.T / 6).softmax(1) @ v
        w_space, w_channel = (
            part.weight[:, :, 0, 0] @ y + part.bias[:, None]
            for part, y in ((layer.space, y_space), (layer.channel, y_channel))
        )
        expected = flat + 0.5 * w_space - 2.0 * w_channel
        assert torch.allclose(layer(x).flatten(2)[0], expected, atol=1e-6)
        nothing = torch.zeros(1, 1, 2, 3, dtype=torch.bool)
        assert torch.isfinite(layer(x, nothing)).all()


def test_a_reduction_moves_nothing() -> None:
    """What a place says of itself stays in its place: with one place alone, attention gives its own values back."""
    torch.manual_seed(0)
    layer = Correlation(4, 4)
    torch.nn.init.ones_(layer.gamma_space)
    x = torch.randn(1, 4, 4, 4)
    with torch.no_grad():
        assert torch.allclose(layer(x), x + layer.space(layer.value(x)), atol=1e-6)


def test_attention_grows_with_reduced_places_only() -> None:
    def places(reduction: int) -> int:
        head = Head(4, reduction)
        counts: list[int] = []
        kept = pscc_net.over_places

        def counting(query: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            counts.append(query.shape[2])
            return kept(query, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pscc_net, "over_places", counting)
            head(torch.rand(1, 4, 32, 32))
        return counts[0]

    assert [places(r) for r in (1, 2, 4)] == [1024, 256, 64]


def test_padding_is_left_out_of_the_score() -> None:
    torch.manual_seed(0)
    detection = pscc_net.Detection((4, 6, 8, 10)).eval()
    maps = [torch.rand(2, c, 16 >> i, 16 >> i) for i, c in enumerate((4, 6, 8, 10))]
    others = [*maps[:3], maps[3].clone()]
    others[3][..., 1] += 5
    seen = torch.tensor([True, False]).expand(2, 1, 2, 2)
    with torch.no_grad():
        assert torch.allclose(detection(maps, seen), detection(others, seen))
        assert not torch.allclose(detection(maps), detection(others))
        assert not torch.allclose(detection(maps), detection([maps[0] + 1, *maps[1:]])), "every scale is heard"


def test_both_classes_weigh_alike() -> None:
    truth = torch.zeros(2, 1, 2, 5)
    truth[0, 0, 0, :2] = 1  # 2 of 8, as the last column is padding
    valid = torch.ones_like(truth, dtype=torch.bool)
    valid[..., 4] = False
    logits = torch.randn(2, 1, 2, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    each = [[math.log1p(math.exp(-x if t else x)) for x, t in zip(a, b, strict=True)]
            for a, b in zip(logits[:, 0, :, :4].flatten(1).tolist(), truth[:, 0, :, :4].flatten(1).tolist(),
                            strict=True)]  # fmt: skip
    forged = [0, 1]
    balanced = sum(0.5 / 0.25 * e if i in forged else 0.5 / 0.75 * e for i, e in enumerate(each[0])) / 8
    plain = sum(each[1]) / 8  # nothing is forged: every pixel weighs 1
    loss = pscc_net.balanced_bce(logits, truth, valid)
    assert loss.item() == pytest.approx((balanced + plain) / 2, rel=1e-5)
    pull = torch.autograd.grad(loss, logits)[0]
    assert not pull[~valid].any()
    # Balanced by pictures and not over the batch: one alone has the same loss.
    assert pscc_net.balanced_bce(logits[:1], truth[:1], valid[:1]).item() == pytest.approx(balanced, rel=1e-5)
    none = torch.zeros_like(valid)
    assert pscc_net.balanced_bce(logits, truth, none).item() == 0
    even = torch.zeros_like(logits).requires_grad_()
    sides = torch.autograd.grad(pscc_net.balanced_bce(even[:1], truth[:1], valid[:1]), even)[0][0]
    assert sides[truth[0] > 0].sum().item() == pytest.approx(-sides[truth[0] == 0].sum().item())


def test_the_loss_is_the_sum_of_four_scales_and_the_score() -> None:
    net = small(score=0.5)
    image = pictures()
    truth = torch.zeros(2, 1, 96, 64)
    truth[0, :, 20:50, 10:40] = 1
    given = {"mask": truth, "valid": torch.ones_like(truth, dtype=torch.bool), "label": torch.tensor([1, -1])}
    outputs = answer(net, image)
    terms = net.loss(outputs, given, 0.0)
    assert set(terms) == {*COARSE_TO_FINE, "score"}
    for name in COARSE_TO_FINE:
        large = resized(outputs[name], (96, 64))
        assert terms[name].item() == pytest.approx(pscc_net.balanced_bce(large, truth).item())
    known = math.log1p(math.exp(-outputs["score"][0].item()))
    assert terms["score"].item() == pytest.approx(0.5 * known, rel=1e-5), "an unknown label teaches nothing"
    assert set(small(score=None).loss(answer(small(score=None), image), {"mask": truth}, 0)) == set(COARSE_TO_FINE)


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"width": 1}, {"modules": (1, 2)}, {"modules": (1, 0, 1)}, {"blocks": 0}, {"first": 0}, {"base": 0},
                  {"score": -1.0}):  # fmt: skip
        with pytest.raises(InvalidValueError, match=next(iter(wrong))):
            pscc_net.build("tiny", **wrong)
    with pytest.raises(UnknownNameError, match="noiseprint"):
        pscc_net.build("tiny", stem=("noiseprint",))


def test_its_recipe_has_the_published_windows() -> None:
    loaded = recipe.load("pscc_net", ["train_on=[{manifest: m.jsonl}]"])
    assert (loaded.network.name, loaded.data.side, loaded.batch) == ("pscc_net", 256, 10)
    assert loaded.optimizer.weight_decay == 0


@pytest.mark.slow
def test_finer_maps_are_better_and_need_the_coarser_ones() -> None:
    net = small(0, score=None)
    noise_worlds.train(net, lambda rng: noise_worlds.feathered(rng, 4, 64, blur=1.0), 200, 5e-3)
    truth = noise_worlds.feathered(np.random.default_rng(9), 60, 64, blur=1.0)
    forged = truth.mask.numpy() > 0
    told = answer(net, truth.image)
    f1 = {name: noise_worlds.f1(resized(told[name], (64, 64)).numpy(), forged) for name in COARSE_TO_FINE}
    print({name: round(value, 3) for name, value in f1.items()})
    rising = list(f1.values())
    assert rising[-1] > 0.75
    assert rising[-1] > rising[0] + 0.1
    assert all(finer > coarser - 0.02 for coarser, finer in pairwise(rising))
    # A picture of which the coarser map says that nothing is forged is answered by nothing.
    blank = answer(net, truth.image, 1, always(-1e4))["mask"]
    assert not (blank > 0).any()
