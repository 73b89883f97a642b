"""ObjectFormer: frequencies by place and not by strength, prototypes of each layer alone, and patches unlike others."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import noise_worlds  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.networks import object_former  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.object_former import LEVELS, Layer, ObjectFormer, incoherence  # noqa: E402
from tamperscope.nn.bands import filled  # noqa: E402
from tamperscope.nn.filters import dct_matrix  # noqa: E402


def tiny(seed: int = 1, **settings: object) -> ObjectFormer:
    torch.manual_seed(seed)
    return object_former.build("tiny", **settings).eval()


def a_layer(seed: int = 2, prototypes: int = 5, boundaries: bool = True) -> Layer:
    """A layer whose attention is anything but even, and whose incoherence weighs."""
    torch.manual_seed(seed)
    layer = Layer(16, 2, prototypes, boundaries).eval()
    for name, value in layer.named_parameters():
        if "in_proj" in name or name in ("prototypes", "direction"):
            torch.nn.init.normal_(value, std=0.5)
    return layer


def drawn(*size: int, seed: int = 3) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def attended(attention: torch.nn.MultiheadAttention, queries: Tensor, keys: Tensor) -> Tensor:
    """Attention written out, of one picture: (N, C) of (N, C) and (M, C)."""
    parts = [
        F.linear(x, w, b)
        for x, w, b in zip(
            (queries, keys, keys), attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True
        )
    ]
    found = []
    for q, k, v in zip(*(p.chunk(attention.num_heads, 1) for p in parts), strict=True):
        found.append((q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v)
    return attention.out_proj(torch.cat(found, 1))


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = object_former.build("full")
    assert [tuple(p.places.shape) for p in (full.colours, full.frequencies)] == [(14, 14, 768)] * 2
    assert [tuple(p.project.weight.shape) for p in (full.colours, full.frequencies)] == [(768, 3, 16, 16)] * 2
    assert [tuple(layer.prototypes.shape) for layer in full.layers] == [(392, 768)] * 8
    assert len({id(layer.prototypes) for layer in full.layers}) == 8, "every layer has its own"
    assert parameters(full) == pytest.approx(82.2e6, rel=0.01)
    small = object_former.build("tiny")
    assert [tuple(layer.prototypes.shape) for layer in small.layers] == [(8, 64)] * 3
    assert parameters(small) <= 1_500_000


def test_high_frequencies_are_told_by_their_place_in_an_invertible_dct() -> None:
    """The rebuilt code keeps what is strong: coefficients of a picture in [0, 1] above .5."""
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    for side in (64, 96):
        matrix = dct_matrix(side)
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(side), atol=1e-5, rtol=0)
    net, seen = tiny(), []
    net.frequencies.register_forward_pre_hook(lambda _, told: seen.append(told[1]))
    with torch.no_grad():
        net(image)
    expected, strong = [], []
    for plane in image[0].double().numpy():
        spectrum = cv2.dct(plane)
        kept = np.where(np.abs(spectrum) > 0.5, spectrum, 0)
        spectrum[: math.ceil(6.4), : math.ceil(9.6)] = 0
        expected.append(cv2.idct(spectrum))
        strong.append(cv2.idct(kept))
    found = seen[0][0].numpy() * LEVELS / 255
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-5)
    assert np.abs(found - np.stack(strong)).max() > 0.1


def test_a_weak_pattern_is_seen_in_proportion_and_a_strong_shade_not_at_all() -> None:
    net = tiny()
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    pattern = torch.where((rows + columns) % 2 > 0, 1.0, -1.0).expand(1, 3, 64, 64)
    shade = (torch.pi / 64 * (columns + 0.5) * 3).cos().expand(1, 3, 64, 64)
    flat = torch.full((1, 3, 64, 64), 0.5)
    with torch.no_grad():
        colours, high = (net.tokens(flat)[:, kind] for kind in (0, 1))

        def change(added: Tensor) -> Tensor:
            return net.tokens(flat + added)[:, 1] - high

        weak = change(0.002 * pattern)
        assert weak.abs().max() > 0.02
        torch.testing.assert_close(change(0.02 * pattern), 10 * weak, atol=1e-3, rtol=1e-3)
        assert change(0.4 * shade).abs().max() < 1e-3
        assert (net.tokens(flat + 0.4 * shade)[:, 0] - colours).abs().max() > 0.1
        # Neither is changed by the other: no amplitude decides what is kept.
        torch.testing.assert_close(change(0.4 * shade + 0.002 * pattern), weak, atol=1e-3, rtol=1e-3)


def test_the_order_of_patches_is_nothing_to_prototypes_and_carried_through_by_patches() -> None:
    layer, x = a_layer(), drawn(2, 12, 16)
    seen = torch.rand(2, 12, generator=torch.Generator().manual_seed(5)) < 0.7
    order = torch.randperm(12, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        objects = layer.objects(x, seen)
        torch.testing.assert_close(layer.objects(x[:, order], seen[:, order]), objects)
        assert not torch.allclose(layer.objects(x, seen[:, order]), objects, atol=1e-3)
        answers = layer.answered(x, objects)
        torch.testing.assert_close(layer.answered(x[:, order], objects), answers[:, order])
        # Prototypes have no order either, and none is the same as another.
        turned = objects[:, torch.tensor([3, 0, 4, 1, 2])]
        torch.testing.assert_close(layer.answered(x, turned), answers)
        assert objects.std(1).min() > 0.01
        # The whole layer: of planes, until neighbours are looked at.
        for boundaries in (False, True):
            layer = a_layer(boundaries=boundaries)
            planes = x.view(2, 1, 3, 4, 16)
            mixed = x[:, order].view(2, 1, 3, 4, 16)
            same = torch.allclose(layer(mixed).flatten(1, 3), layer(planes).flatten(1, 3)[:, order], atol=1e-5)
            assert same is not boundaries


def test_prototypes_of_one_layer_are_nothing_to_the_next() -> None:
    """Written out, layer by layer; handing the prototypes on would be another network."""
    net = tiny(boundaries=False)
    for layer in net.layers:
        torch.nn.init.normal_(layer.prototypes)
    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(7))

    def by_hand(handed_on: bool) -> Tensor:
        x, objects = net.tokens(image)[0].flatten(0, 2), torch.zeros(8, 64)
        for layer in net.layers:
            first = layer.prototypes + (objects if handed_on else 0)
            objects = first + attended(layer.encode, layer.learned(first), layer.given(x))
            x = x + attended(layer.decode, layer.asking(x), layer.asked(objects))
            x = x + layer.mlp(layer.heard(x))
        planes = net.norm(x).view(2, 5, 6, 64).permute(0, 3, 1, 2).flatten(0, 1)[None]
        return F.interpolate(net.head(planes), (40, 48), mode="bilinear")

    with torch.no_grad():
        found = net(image)["mask"]
        torch.testing.assert_close(found, by_hand(False), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found, by_hand(True), atol=1e-2)


def test_word_reaches_other_patches_by_prototypes_alone() -> None:
    net = tiny(boundaries=False)
    tokens = drawn(1, 2, 6, 6, 64)
    other = tokens.clone()
    other[0, :, 5, 5] = drawn(2, 64, seed=11)

    def far(x: Tensor) -> Tensor:
        for layer in net.layers:
            x = layer(x)
        return x[:, :, :3, :3]

    with torch.no_grad():
        assert (far(tokens) - far(other)).abs().max() > 1e-4
        for layer in net.layers:
            layer.objects = lambda x, seen, layer=layer: layer.prototypes.expand(len(x), -1, -1)
        assert torch.equal(far(tokens), far(other))


@pytest.mark.parametrize("padded", [False, True])
def test_incoherence_is_that_of_neighbours_written_out(padded: bool) -> None:
    x = drawn(2, 5, 4, 6)
    seen = torch.ones(2, 5, 4, dtype=torch.bool)
    if padded:
        seen[1, 3:], seen[0, 2, 2] = False, False
    found = incoherence(x, seen if padded else None)
    for picture, row, column in np.ndindex(2, 5, 4):
        cosines = [
            float(F.cosine_similarity(x[picture, row, column], x[picture, i, j], 0))
            for i in range(max(row - 1, 0), min(row + 2, 5))
            for j in range(max(column - 1, 0), min(column + 2, 4))
            if (i, j) != (row, column) and seen[picture, i, j]
        ]
        expected = 1 - np.mean(cosines) if seen[picture, row, column] else 0.0
        assert float(found[picture, row, column]) == pytest.approx(expected, abs=1e-5)
    lengths = 0.1 + 5 * torch.rand(2, 5, 4, 1, generator=torch.Generator().manual_seed(8))
    torch.testing.assert_close(incoherence(lengths * x), incoherence(x), atol=1e-5, rtol=1e-5)
    assert incoherence(lengths * x[:, :1, :1]).abs().max() < 1e-5, "all are alike"
    assert incoherence(x[:, :1, :1]).abs().max() == 0, "nobody is near"


def planted(edge: int | None, swapped: bool = False) -> Tensor:
    """A smooth picture (1, 3, 64, 96) with one fine pattern left of a column and another right of it, of one mean."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    patterns = [torch.where((rows + columns) % 2 > 0, 1.0, -1.0), torch.where(rows % 2 > 0, 1.0, -1.0)]
    if swapped:
        patterns.reverse()
    mixed = patterns[0] if edge is None else torch.where(columns < edge, *patterns)
    shade = 0.75 + 0.1 * (torch.pi * columns / 96).cos()
    return (shade + 3 / 255 * mixed).expand(1, 3, 64, 96)


def test_incoherence_peaks_where_features_change_and_colours_do_not() -> None:
    net = tiny()
    for patches in (net.colours, net.frequencies):
        torch.nn.init.zeros_(patches.places)  # what a place is told is no feature of the picture
        torch.nn.init.zeros_(patches.project.bias)
    rows = {}
    for name, edge, swapped in (("at 5", 40, False), ("at 8", 64, False), ("swapped", 40, True), ("none", None, False)):
        image = planted(edge, swapped)
        cells = F.avg_pool2d(image, 8)
        assert (cells - F.avg_pool2d(planted(None), 8)).abs().max() < 1e-5, "no colour tells"
        with torch.no_grad():
            rows[name] = [incoherence(net.tokens(image)[:, kind])[0].mean(0) for kind in (0, 1)]
    for name, edge in (("at 5", 5), ("at 8", 8), ("swapped", 5)):
        colours, high = rows[name]
        beside = torch.zeros(12, dtype=torch.bool)
        beside[edge - 1 : edge + 1] = True
        assert high[beside].min() > 0.2
        assert high[~beside].max() < 0.02
        assert colours.max() < 0.02
    assert rows["none"][1].max() < 0.02


def test_incoherence_is_added_along_the_learned_direction() -> None:
    layer, x = a_layer(), drawn(2, 2, 3, 4, 16)
    plain = a_layer(boundaries=False)
    assert not plain.load_state_dict(layer.state_dict(), strict=False).missing_keys
    seen = torch.ones(2, 3, 4, dtype=torch.bool)
    seen[1, :, 3] = False
    with torch.no_grad():
        before, after = plain(x, seen), layer(x, seen)
        for kind in (0, 1):  # each kind of tokens for itself
            expected = incoherence(before[:, kind], seen)[..., None] * layer.direction
            torch.testing.assert_close(after[:, kind] - before[:, kind], expected, atol=1e-5, rtol=1e-4)


def test_padding_is_not_seen() -> None:
    net, image = tiny(), torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(9))
    valid = torch.zeros(2, 1, 64, 80, dtype=torch.bool)
    valid[0, :, :44, :56], valid[1] = True, True
    with torch.no_grad():
        found = net(image, valid)
        other = net(torch.where(valid, image, 1 - image), valid)
        assert all(torch.equal(found[name], other[name]) for name in found)
        assert not torch.allclose(net(image)["score"], found["score"], atol=1e-5)
        # Tokens of the padding answer nobody, whatever they are.
        seen, x = F.max_pool2d(valid.float(), 8)[:, 0] > 0, drawn(2, 2, 8, 10, 64)
        changed = torch.where(seen[:, None, ..., None], x, drawn(2, 2, 8, 10, 64, seed=10))
        for layer in net.layers:
            shown = seen[:, None].expand(-1, 2, -1, -1)
            torch.testing.assert_close(layer(x, seen)[shown], layer(changed, seen)[shown])
            assert not torch.allclose(layer(x)[shown], layer(changed)[shown], atol=1e-4)
        nothing = net(image, valid & False)
        assert all(torch.isfinite(value).all() for value in nothing.values())
    flat = filled(torch.full((1, 3, 16, 16), 0.3), valid[:1, :, 40:56, 40:56])
    torch.testing.assert_close(flat, torch.full((1, 3, 16, 16), 0.3))


def test_the_score_is_of_the_mean_token_of_the_picture_itself() -> None:
    net, heard, tokens = tiny(), [], []
    net.score.register_forward_pre_hook(lambda _, told: heard.append(told[0]))
    net.norm.register_forward_hook(lambda _, told, found: tokens.append(found))
    valid = torch.zeros(2, 1, 64, 80, dtype=torch.bool)
    valid[0, :, :44, :56], valid[1] = True, True
    with torch.no_grad():
        score = net(torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(9)), valid)["score"]
        means = torch.stack([tokens[0][0, :, :6, :7].mean((1, 2)), tokens[0][1].mean((1, 2))]).flatten(1)
    torch.testing.assert_close(heard[0], means)
    assert score.shape == (2,)
    assert score.std() > 0


def outputs_and_truth() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One authentic picture, one forged all over, two in part; the last has padding."""
    mask = torch.zeros(4, 1, 32, 48)
    mask[1], mask[2:, :, 5:20, 9:30] = 1, 1
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[-1, ..., 20:] = False
    outputs = {"mask": 3 * drawn(4, 1, 32, 48), "score": 2 * drawn(4)}
    return outputs, {"mask": mask, "valid": valid, "label": torch.tensor([0, 1, 1, 1])}


def test_the_loss_against_sums_written_out() -> None:
    outputs, batch = outputs_and_truth()

    def cost(logits: Tensor, truth: Tensor) -> np.ndarray:
        p = 1 / (1 + np.exp(-logits.double().numpy()))
        g = truth.numpy()
        return -(g * np.log(p) + (1 - g) * np.log(1 - p))

    pixels = cost(outputs["mask"], batch["mask"])
    each = [c[keep].mean() for c, keep in zip(pixels, batch["valid"].numpy(), strict=True)]
    found = tiny(weight=0.5).loss(outputs, batch, 0.5)
    assert float(found["mask"]) == pytest.approx(np.mean(each), rel=1e-5)
    assert float(found["score"]) == pytest.approx(0.5 * cost(outputs["score"], batch["label"]).mean(), rel=1e-5)
    assert tiny().weight == 1


@pytest.mark.parametrize("labels", [(0, 1, 1, 1), (0, -1, 1, -1), (-1, -1, -1, -1)])
def test_what_a_picture_costs_does_not_depend_on_the_others(labels: tuple[int, ...]) -> None:
    net = tiny()
    outputs, batch = outputs_and_truth()
    batch["label"] = torch.tensor(labels)
    whole = net.loss(outputs, batch, 0.5)
    alone = [net.loss(*({k: v[i : i + 1] for k, v in d.items()} for d in (outputs, batch)), 0.5) for i in range(4)]
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([terms[name] for terms in alone]).mean())
    if max(labels) < 0:
        assert float(whole["score"]) == 0
        del batch["label"]
        assert net.loss(outputs, batch, 0.5) == whole


def test_wrong_asks() -> None:
    wrong = {"patch": 0, "depth": 0, "prototypes": 0, "table": 0, "width": 66, "heads": 0, "weight": -1.0, "share": 1.5}
    for name, value in wrong.items():
        with pytest.raises(InvalidValueError, match=name):
            object_former.build("tiny", **{name: value})


@pytest.mark.slow
def test_relative_noise_is_found_by_the_prototypes_of_the_picture_itself() -> None:
    truth = noise_worlds.relative(np.random.default_rng(9), 192, 96, 32)
    net = tiny(0, boundaries=False)
    noise_worlds.train(net, lambda rng: noise_worlds.relative(rng, 8, 96, 32), 320)
    found = {"own": noise_worlds.undecidable(noise_worlds.answer(net, truth.image), truth, 32)}
    own = [layer.objects for layer in net.layers]

    def another(place: int, x: Tensor, seen: Tensor | None = None) -> Tensor:
        return own[place](x, seen).roll(1, 0)

    def untouched(place: int, x: Tensor, seen: Tensor | None = None) -> Tensor:
        return net.layers[place].prototypes.expand(len(x), -1, -1)

    for instead in (another, untouched):
        for place, layer in enumerate(net.layers):
            layer.objects = lambda x, seen, place=place, instead=instead: instead(place, x, seen)
        logits = noise_worlds.answer(net, truth.image)
        found[instead.__name__] = noise_worlds.undecidable(logits, truth, 32)
    f1 = {name: noise_worlds.f1(*cells) for name, cells in found.items()}
    auc = {name: noise_worlds.auc(*cells) for name, cells in found.items()}
    assert f1["own"] > 0.85, f1
    assert auc["own"] > 0.95, auc
    for name in ("another", "untouched"):
        assert f1[name] < 0.72, f1  # all marked: 0.667
        assert auc[name] < 0.68, auc


@pytest.mark.slow
def test_outlines_of_what_only_high_frequencies_show_are_incoherent() -> None:
    def draw(rng: np.random.Generator, count: int = 8) -> noise_worlds.World:
        return noise_worlds.feathered(rng, count, 96, blur=1.0)

    truth, rng = draw(np.random.default_rng(9), 60), np.random.default_rng(10)
    none = np.zeros((96, 96))
    twins = [noise_worlds.noisy(rng, noise_worlds.content(rng, 96), none, float(s)) for s in truth.strength]
    clear = noise_worlds.world(twins, [none > 0] * 60, truth.strength.tolist())
    net = tiny(0)
    noise_worlds.train(net, draw, 150)

    def apart(image: Tensor, kind: int) -> float:
        """AUC of the last layer's map: patches that the outline cuts, against those not beside one."""
        with torch.no_grad():
            x = net.tokens(image)
            for layer in net.layers:
                x = layer(x)
        values = incoherence(x[:, kind])
        share = F.avg_pool2d(truth.mask, 8)[:, 0]
        cut = (share > 0.2) & (share < 0.8)
        away = F.max_pool2d(cut[:, None].float(), 3, 1, 1)[:, 0] == 0
        chosen = torch.cat([values[cut], values[away]])[:, None].numpy()
        return noise_worlds.auc(chosen, np.arange(len(chosen)) < int(cut.sum()))

    forged = truth.mask.numpy() > 0
    assert noise_worlds.f1(noise_worlds.answer(net, truth.image).numpy(), forged) > 0.85
    auc = {"forged": apart(truth.image, 1), "clear": apart(clear.image, 1), "colours": apart(truth.image, 0)}
    assert auc["forged"] > 0.9, auc
    assert 0.4 < auc["clear"] < 0.6, auc
    assert auc["colours"] < 0.7, auc
    net.high.share = 1.0
    blind = noise_worlds.answer(net, truth.image).numpy()
    assert noise_worlds.f1(blind, forged) < 0.4, "colours alone show nothing"
