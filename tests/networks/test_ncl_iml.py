"""NCL-IML: three classes of patches, contrast against sums written out, and a contour that is between both classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import noise_worlds  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import ncl_iml  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.ncl_iml import (  # noqa: E402
    AUTHENTIC,
    CONTOUR,
    SIDES,
    TAMPERED,
    NclIml,
    contrasted,
    patches,
    torn,
)


def tiny(seed: int = 1, **settings: object) -> NclIml:
    torch.manual_seed(seed)
    return ncl_iml.build("tiny", **settings).eval()


def square(size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *size)
    mask[..., 13:50, 22:67] = 1
    return mask


def drawn(count: int = 4, size: tuple[int, int] = (64, 96)) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Outputs and a batch: one authentic picture, one that is forged all over, two in part; the last has padding."""
    generator = torch.Generator().manual_seed(3)
    cells = (count, 32, size[0] // 8, size[1] // 8)
    outputs = {"mask": 3 * torch.randn(count, 1, *size, generator=generator)}
    outputs |= {f"branch_{side}": torch.randn(cells, generator=generator) for side in SIDES}
    mask = square(size).repeat(count, 1, 1, 1)
    mask[0], mask[1] = 0, 1
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[-1, ..., 60:] = False
    return outputs, {"mask": mask, "valid": valid}


def part(values: dict[str, torch.Tensor], place: int) -> dict[str, torch.Tensor]:
    return {key: value[place : place + 1] for key, value in values.items()}


def written_out(features: np.ndarray, forged: np.ndarray, temperature: float) -> float:
    """InfoNCE of patches (N, D), of which each is on one of two sides, place by place."""
    unit = [x / math.sqrt(sum(v * v for v in x)) for x in features.astype(np.float64)]
    losses = []
    for i, anchor in enumerate(unit):
        others = [j for j in range(len(unit)) if j != i]
        total = sum(math.exp(float(anchor @ unit[j]) / temperature) for j in others)
        mates = [j for j in others if forged[j] == forged[i]]
        if mates:
            each = [-math.log(math.exp(float(anchor @ unit[j]) / temperature) / total) for j in mates]
            losses.append(sum(each) / len(each))
    return sum(losses) / len(losses)


def test_the_published_shape() -> None:
    pytest.importorskip("transformers")
    with torch.device("meta"):
        full = ncl_iml.build("full")
    # A checkpoint of 238 MB, and what is no parameter in it.
    stored = parameters(full) + sum(buffer.numel() for buffer in full.buffers())
    assert 4 * stored == pytest.approx(238e6, rel=0.01)
    assert full.multiple == 16
    assert full.body.encoder.strides == (4, 8, 16, 16)
    assert full.branches["tampered"][-1].out_channels == full.branches["authentic"][-1].out_channels == 32
    net = tiny()
    assert [layer[0].out_channels for layer in net.body.down] == [16, 32, 64, 128]
    assert parameters(net) <= 1_500_000
    found = net(torch.rand(1, 3, 64, 96))
    assert {key: tuple(x.shape[1:]) for key, x in found.items()} == {
        "mask": (1, 64, 96),
        "branch_tampered": (32, 8, 12),
        "branch_authentic": (32, 8, 12),
    }


def test_the_deep_one_answers_at_the_picture_s_size() -> None:
    pytest.importorskip("transformers")
    net = tiny(backbone="tiny", stem=("rgb",))
    with torch.no_grad():
        for size in ((64, 64), (96, 160)):
            found = net(torch.rand(1, 3, *size))
            assert found["mask"].shape == (1, 1, *size)
            assert found["branch_tampered"].shape == (1, 32, size[0] // 16, size[1] // 16)
            assert found["mask"].std() > 0


def test_patches_are_of_three_classes() -> None:
    mask = torch.zeros(1, 1, 16, 40)
    for column, pixels in enumerate((0, 6, 7, 57, 58)):
        cell = torch.zeros(64)
        cell[:pixels] = 1
        mask[0, 0, :8, 8 * column : 8 * column + 8] = cell.reshape(8, 8)
    mask[..., 8:, :] = 1
    # Of 64 pixels, 6 are less than a tenth, and 58 more than nine tenths.
    assert patches(mask, (2, 5))[0].tolist() == [[AUTHENTIC, AUTHENTIC, CONTOUR, CONTOUR, TAMPERED], [TAMPERED] * 5]
    assert patches(mask, (2, 5), None, (0.05, 0.95))[0, 0].tolist() == [0, 1, 1, 1, 1]
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[..., 2:8, 16:24] = False
    valid[..., 24:] = False
    # Seven of sixteen pixels; what is not valid counts neither way, and nothing valid is no class.
    assert patches(mask, (2, 5), valid)[0].tolist() == [[0, 0, 1, -1, -1], [2, 2, 2, -1, -1]]
    valid[..., 1:8, 16:24] = False
    assert patches(mask, (2, 5), valid)[0, 0, 2] == CONTOUR
    valid[..., 0, 23] = False
    assert patches(mask, (2, 5), valid)[0, 0, 2] == TAMPERED, "seven of seven"


@pytest.mark.parametrize("side", list(SIDES))
def test_the_contrast_against_sums_written_out(side: str) -> None:
    outputs, batch = drawn()
    classes = patches(batch["mask"], (8, 12), batch["valid"])
    assert {int(n) for n in classes[3].unique()} == {-1, 0, 1, 2}
    features = outputs[f"branch_{side}"]
    expected = [0.0, 0.0]
    for place in (2, 3):
        kinds = classes[place].flatten().numpy()
        rows = features[place].flatten(1).T.numpy()[kinds >= 0]
        kinds = kinds[kinds >= 0]
        forged = kinds != AUTHENTIC if side == "tampered" else kinds == TAMPERED
        expected.append(written_out(rows, forged, 0.1))
    found = contrasted(features, classes, SIDES[side], 0.1)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)
    warm = contrasted(features, classes, SIDES[side], 0.5)
    assert abs(float(found - warm)) > 0.1


def test_the_loss_against_sums_written_out() -> None:
    outputs, batch = drawn()
    found = tiny(contrast=0.3, pivot=0.7).loss(outputs, batch, 0.5)
    classes = patches(batch["mask"], (8, 12), batch["valid"])
    both = [contrasted(outputs[f"branch_{side}"], classes, first) for side, first in SIDES.items()]
    assert float(found["contrast"]) == pytest.approx(0.3 * float(sum(both)) / 2, rel=1e-5)
    one, other = (outputs[f"branch_{side}"].double().numpy() for side in SIDES)
    apart = []
    for place in range(4):
        each = []
        for row, column in (classes[place] == CONTOUR).nonzero().tolist():
            a, b = one[place, :, row, column], other[place, :, row, column]
            each.append(1 - a @ b / math.sqrt((a @ a) * (b @ b)))
        apart.append(np.mean(each) if each else 0.0)
    assert apart[0] == apart[1] == 0
    assert float(found["pivot"]) == pytest.approx(0.7 * np.mean(apart), rel=1e-5)
    per_pixel = F.binary_cross_entropy_with_logits(outputs["mask"], batch["mask"], reduction="none")
    means = [x[keep].mean() for x, keep in zip(per_pixel, batch["valid"], strict=True)]
    assert float(found["mask"]) == pytest.approx(float(torch.stack(means).mean()), rel=1e-5)


def test_each_branch_has_the_contour_on_another_side() -> None:
    """Where contour patches look like tampered ones, the first branch is content and the second is not."""
    classes = patches(square(), (8, 12))
    tampered, authentic = torch.eye(32)[:2]
    like = {
        AUTHENTIC: torch.stack([authentic, authentic, tampered]),
        TAMPERED: torch.stack([authentic, tampered, tampered]),
    }
    found = {
        (kind, side): float(contrasted(vectors[classes].movedim(-1, 1), classes, first))
        for kind, vectors in like.items()
        for side, first in SIDES.items()
    }
    assert found[TAMPERED, "tampered"] < found[AUTHENTIC, "tampered"] - 1
    assert found[AUTHENTIC, "authentic"] < found[TAMPERED, "authentic"] - 1


def test_both_branches_and_the_pivot_can_be_content_at_once() -> None:
    """Opposite directions of one axis for both classes, the contour at the end that both branches share."""
    classes = patches(square(), (8, 12))
    axis = torch.eye(32)[0]
    ends = {"tampered": torch.tensor([-1.0, 1, 1]), "authentic": torch.tensor([1.0, 1, -1])}
    branches = {side: (end[:, None] * axis)[classes].movedim(-1, 1) for side, end in ends.items()}
    assert float(torn(*branches.values(), classes)) == pytest.approx(0, abs=1e-6)
    for side, first in SIDES.items():
        x = branches[side]
        groups = classes >= first
        # Its least value: each is as near as can be to those of its own side, which are told apart from nothing.
        least = sum(float(n) * math.log(float(n) - 1) for n in (groups.sum(), (~groups).sum())) / groups.numel()
        assert float(contrasted(x, classes, first)) == pytest.approx(least, abs=1e-4)
    swapped = branches["authentic"] * torch.tensor([1.0, -1, 1])[classes][:, None]
    assert float(torn(branches["tampered"], swapped, classes)) == pytest.approx(2)


def test_what_a_picture_costs_does_not_depend_on_the_others() -> None:
    net = tiny()
    outputs, batch = drawn()
    whole = net.loss(outputs, batch, 0.5)
    alone = [net.loss(part(outputs, i), part(batch, i), 0.5) for i in range(4)]
    assert set(whole) == {"mask", "contrast", "pivot"}
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([terms[name] for terms in alone]).mean())
    assert float(alone[0]["contrast"]) == float(alone[1]["contrast"]) == 0, "there is nothing to contrast"
    assert float(alone[2]["contrast"]) > 0


def test_padding_is_of_no_class() -> None:
    net = tiny()
    outputs, batch = drawn()
    other = {key: value.clone() for key, value in outputs.items()}
    other["mask"][3, ..., 60:] = 9
    for side in SIDES:
        # Patches from column 60 on; one that is half padding counts.
        other[f"branch_{side}"][3, ..., 8:] = 5
    truth = batch | {"mask": torch.where(batch["valid"], batch["mask"], 1 - batch["mask"])}
    for name, value in net.loss(outputs, batch, 0.5).items():
        torch.testing.assert_close(net.loss(other, truth, 0.5)[name], value)


def test_no_more_patches_than_asked_for() -> None:
    outputs, batch = drawn()
    x, classes = outputs["branch_tampered"][2:3], patches(batch["mask"], (8, 12))[2:3]
    counts = [int((classes == kind).sum()) for kind in range(3)]
    assert min(counts) > 5
    found = contrasted(x, classes, CONTOUR, 0.1, 5)
    rows, kinds = x.flatten(2)[0].T.numpy(), classes.flatten().numpy()
    taken = [
        np.flatnonzero(kinds == kind)[np.linspace(0, n - 1, 5).round().astype(int)] for kind, n in enumerate(counts)
    ]
    place = np.concatenate(taken)
    assert len(set(place)) == 15
    assert float(found) == pytest.approx(written_out(rows[place], kinds[place] >= CONTOUR, 0.1), rel=1e-5)
    everything = contrasted(x, classes, CONTOUR, 0.1, max(counts))
    assert torch.equal(everything, contrasted(x, classes, CONTOUR, 0.1, 10_000))


def test_contrast_teaches_the_encoder_and_the_map_does_not_see_the_branches() -> None:
    net, batch = tiny(), {"mask": square()}
    outputs = net(torch.rand(1, 3, 64, 96))
    terms = net.loss(outputs, batch, 0.5)
    (terms["contrast"] + terms["pivot"]).backward()
    taught = {
        ".".join(name.split(".")[:2])
        for name, p in net.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 0
    }
    assert taught == {"stem.norms", "body.down", "branches.tampered", "branches.authentic"}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = net(image)["mask"]
        for p in net.branches.parameters():
            p.zero_()
        assert torch.equal(net(image)["mask"], before)


def test_one_side_alone_is_plain_info_nce() -> None:
    outputs, batch = drawn()
    classes = patches(batch["mask"], (8, 12), batch["valid"])
    for side, first in SIDES.items():
        net = tiny(sides=(side,), contrast=1.0)
        assert list(net.branches) == [side]
        found = net.loss(outputs, batch, 0.5)
        assert set(found) == {"mask", "contrast"}
        assert torch.equal(found["contrast"], contrasted(outputs[f"branch_{side}"], classes, first))


def test_wrong_asks() -> None:
    for settings in (
        {"width": 0},
        {"halvings": 0},
        {"projection": 0},
        {"most": 1},
        {"sides": ()},
        {"sides": ("tampered", "tampered")},
        {"limits": (0.9, 0.1)},
        {"limits": (0.0, 0.9)},
        {"limits": (0.1, 1.0)},
        {"temperature": 0.0},
        {"contrast": -0.1},
        {"pivot": -1.0},
    ):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            ncl_iml.build("tiny", **settings)
    with pytest.raises(UnknownNameError, match="side of the contour"):
        ncl_iml.build("tiny", sides=("neither",))
    with pytest.raises(UnknownNameError, match="map of a stem"):
        ncl_iml.build("tiny", stem=("noise",))


class Asked(torch.nn.Module):
    """A network that is told which pixels are valid, as those of `noise_worlds` are, and does not look."""

    def __init__(self, net: NclIml) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.net(image)

    def loss(self, *told: object) -> dict[str, torch.Tensor]:
        return self.net.loss(*told)


def world(rng: np.random.Generator, count: int = 8, factor: float = 3.0) -> noise_worlds.World:
    return noise_worlds.feathered(rng, count, 64, blur=1.0, factor=factor)


def taught(seed: int, **settings: object) -> NclIml:
    net = tiny(seed, width=8, **settings)
    noise_worlds.train(Asked(net), world, 100, seed=seed)
    return net.eval()


def distances(net: NclIml, shown: noise_worlds.World) -> tuple[float, float, float, float]:
    """Mean distances of tampered from contour, authentic from contour and tampered from authentic; how torn it is."""
    with torch.no_grad():
        outputs = net(shown.image)
    branches = [outputs[f"branch_{side}"] for side in net.branches]
    classes = patches(shown.mask, branches[0].shape[-2:])
    joined = torch.cat([F.normalize(x, dim=1) for x in branches], 1) / len(branches) ** 0.5
    found = []
    for x, kinds in zip(joined.flatten(2).transpose(1, 2), classes.flatten(1), strict=True):
        apart = torch.cdist(x, x)
        pairs = ((TAMPERED, CONTOUR), (AUTHENTIC, CONTOUR), (TAMPERED, AUTHENTIC))
        found.append(torch.stack([apart[kinds == a][:, kinds == b].mean() for a, b in pairs]))
    return *torch.stack(found).nanmean(0).tolist(), float(torn(branches[0], branches[-1], classes))


def mean_f1(net: NclIml, shown: noise_worlds.World) -> float:
    called = noise_worlds.answer(net, shown.image).numpy()[:, 0]
    inside = shown.mask.numpy()[:, 0] > 0
    return float(np.mean([noise_worlds.f1(c, t) for c, t in zip(called, inside, strict=True)]))


@pytest.mark.slow
def test_the_contour_is_between_both_classes_and_costs_no_f1() -> None:
    """Against InfoNCE that forces it into one of them."""
    truth, clear = world(np.random.default_rng(99), 48), world(np.random.default_rng(99), 48, factor=1.0)
    f1: dict[str, list[float]] = {"both": [], "forced": []}
    for seed in (1, 2):
        both, forced = taught(seed), taught(seed, sides=("tampered",))
        for name, net in (("both", both), ("forced", forced)):
            f1[name].append(mean_f1(net, truth))
        to_tampered, to_authentic, across, apart = distances(both, truth)
        assert max(to_tampered, to_authentic) < 0.8 * across
        assert apart < 0.1
        one, other, far, _ = distances(forced, truth)
        assert one < 0.35 * far
        assert other > 0.8 * far, "the contour went to one side"
        # Without the trace there are no two classes to be between.
        assert distances(both, clear)[2] < 0.3 * across
        assert mean_f1(both, clear) < 0.1
    assert min(f1["both"]) > 0.85, f1
    assert np.mean(f1["both"]) > np.mean(f1["forced"]) - 0.01, f1
    loose = taught(1, pivot=0.0)
    assert distances(loose, truth)[3] > 0.4, "nothing else holds both branches together"
