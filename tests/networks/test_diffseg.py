"""DiffSeg tells which editor made each pixel: by its trace, and the last one where several did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import diffseg  # noqa: E402
from tamperscope.ops.forge import shapes, upsampling  # noqa: E402

SIDE = 64
# What the last steps of a decoder do; class 0 is no editor.
EDITORS = (("nearest", 0.0, 0), ("bilinear", 0.0, 0), ("transposed", 0.08, 3))
CLASSES = len(EDITORS) + 1


def picture(rng: np.random.Generator) -> np.ndarray:
    """Soft shapes and the noise of a camera."""
    coarse = torch.from_numpy(rng.normal(128, 35, (1, 3, 8, 8)))
    pixels = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[0].permute(1, 2, 0).numpy()
    return np.clip(np.rint(pixels + rng.normal(0, 5, pixels.shape)), 0, 255).astype(np.uint8)


def edited(rgb: np.ndarray, editor: int) -> np.ndarray:
    """The whole picture through an editor's decoder: the content stays, the trace comes."""
    kind, ripple, seed = EDITORS[editor - 1]
    return upsampling.upsampled(rgb, upsampling.filters(kind, ripple, seed), 2)


def region(rng: np.random.Generator) -> np.ndarray:
    mask = shapes.blob((SIDE, SIDE), shapes.area((0.1, 0.3), rng), rng)
    return np.roll(mask, rng.integers(SIDE, size=2), (0, 1))


def scene(rng: np.random.Generator, editors: Sequence[int]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """A picture that editors changed one after another: pixels, the last editor of each, the region of each turn."""
    rgb, classes, turns = picture(rng), np.zeros((SIDE, SIDE), np.int64), []
    for editor in editors:
        mask = region(rng)
        # What an editor sees is the whole picture; what it returns is pasted back.
        rgb = np.where(mask[..., None], edited(rgb, editor), rgb)
        classes[mask] = editor
        turns.append(mask)
    return rgb, classes, turns


def tensor(rgb: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2).float() / 255


def answered(net: diffseg.DiffSeg, rgb: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        return {key: value.numpy() for key, value in net(tensor(rgb)).items()}


def trained(known: Sequence[int], steps: int, seed: int = 0) -> diffseg.DiffSeg:
    """A small segmenter that has seen some of the editors, in none to three turns."""
    torch.manual_seed(seed)
    net = diffseg.DiffSeg(diffseg.Unet(CLASSES, (16, 24, 40)), CLASSES - 1, multiple=4)
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        rgb, classes, _ = zip(*(scene(rng, rng.choice(known, rng.integers(4))) for _ in range(10)), strict=True)
        optimizer.zero_grad()
        batch = {"classes": torch.from_numpy(np.stack(classes))}
        sum(net.loss(net(tensor(rgb)), batch, step / steps).values()).backward()
        optimizer.step()
        plan.step()
    return net.eval()


@pytest.fixture(scope="module")
def taught() -> diffseg.DiffSeg:
    return trained((1, 2, 3), 140)


@pytest.mark.slow
def test_it_names_the_editor_and_the_last_one_where_two_worked(taught: diffseg.DiffSeg) -> None:
    rng = np.random.default_rng(10**6)
    rgb, classes, _ = zip(*(scene(rng, [editor]) for editor in (1, 2, 3) * 8), strict=True)
    found, classes = answered(taught, rgb)["classes"].argmax(1), np.stack(classes)
    inside = np.stack([_eroded(c > 0, 3) for c in classes])
    assert (found == classes)[inside].mean() > 0.75, "chance is a quarter"
    pairs = [(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b] * 6
    rgb, _, turns = zip(*(scene(rng, pair) for pair in pairs), strict=True)
    found = answered(taught, rgb)["classes"].argmax(1)
    both = np.stack([_eroded(a & b, 2) for a, b in turns])
    first, last = (np.array([pair[place] for pair in pairs])[:, None, None] for place in (0, 1))
    assert both.sum() > 500
    assert (found == last)[both].mean() > 0.6
    assert (found == last)[both].mean() > (found == first)[both].mean() + 0.3


@pytest.mark.slow
def test_it_follows_the_trace_and_not_the_content(taught: diffseg.DiffSeg) -> None:
    rng = np.random.default_rng(10**6 + 1)
    hosts, donors, masks = ([make(rng) for _ in range(24)] for make in (picture, picture, region))
    deep = np.stack([_eroded(mask, 3) for mask in masks])
    kinds = {
        "trace": [np.where(m[..., None], edited(h, 3), h) for h, m in zip(hosts, masks, strict=True)],
        "content": [np.where(m[..., None], d, h) for h, d, m in zip(hosts, donors, masks, strict=True)],
        "both": [np.where(m[..., None], edited(d, 3), h) for h, d, m in zip(hosts, donors, masks, strict=True)],
    }
    share = {key: (answered(taught, rgb)["mask"][:, 0] > 0)[deep].mean() for key, rgb in kinds.items()}
    assert share["trace"] > 0.8
    assert share["both"] > 0.8
    assert share["content"] < 0.1
    whole = [edited(host, 1 + place % 3) for place, host in enumerate(hosts)]
    scores = answered(taught, hosts + whole)["score"]
    assert ranking.auc(scores, np.repeat([0, 1], 24) == 1) > 0.95, "a global edit is an edit"


@pytest.mark.slow
def test_an_editor_that_it_never_met_is_found_and_taken_for_its_nearest_relative() -> None:
    """Bilinear and nearest lack detail and have no checkerboard. That one is unknown does not show in the classes."""
    net = trained((1, 3), 140, seed=1)
    rng = np.random.default_rng(10**6 + 2)
    rgb, classes, _ = zip(*(scene(rng, [2]) for _ in range(24)), strict=True)
    edit = np.stack(classes) > 0
    deep = np.stack([_eroded(mask, 3) for mask in edit])
    found = answered(net, rgb)
    assert ranking.auc(found["mask"][:, 0].ravel(), edit.ravel()) > 0.7
    named = found["classes"][:, 1:].argmax(1)[deep] + 1
    assert (named == 1).mean() > 0.7


def _eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        inner = mask.copy()
        for axis in (0, 1):
            inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
        mask = inner
    return mask


class Given(torch.nn.Module):
    """A segmenter that answers what it was given."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1, -1, -1)


def test_mask_and_score_follow_from_the_classes() -> None:
    logits = torch.randn(1, 4, 20, 20, generator=torch.Generator().manual_seed(1)) * 3
    found = diffseg.DiffSeg(Given(logits), 3, 4)(torch.rand(1, 3, 20, 20))
    edited_share = 1 - logits.softmax(1)[:, :1]
    torch.testing.assert_close(found["mask"].sigmoid(), edited_share, atol=1e-6, rtol=1e-5)
    top = edited_share.flatten().sort(descending=True).values[:2]
    assert found["score"].sigmoid().item() == pytest.approx(top.mean().item(), abs=1e-5)
    assert diffseg.DiffSeg(Given(logits), 3, 4)(torch.rand(1, 3, 80, 80))["classes"].shape == (1, 4, 80, 80)


def test_classes_weigh_by_the_root_of_how_rare_they_are() -> None:
    weights = diffseg.class_weights((0.9, 0.04, 0.01, 0.05, 0.0))
    assert weights[0] == 0.3
    assert weights[2] / weights[1] == pytest.approx(2)
    assert np.mean(weights[1:4]) == pytest.approx(1)
    assert weights[4] == 1
    assert diffseg.class_weights((0.9, 0.04, 0.01, 0.05)) == pytest.approx(
        diffseg.class_weights((1, 400, 100, 500))[:4]
    )
    assert diffseg.class_weights((1.0, 0.0)) == (0.3, 1.0)


def test_the_loss_is_the_weighted_cross_entropy_of_the_pixels_that_are_there() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 3, 6, 6, generator=generator)
    truth = torch.randint(3, (2, 6, 6), generator=generator)
    valid = torch.rand(2, 1, 6, 6, generator=generator) < 0.7
    net = diffseg.DiffSeg(Given(logits[:1]), 2, 4)
    outputs = {"classes": logits}
    found = net.loss(outputs, {"classes": truth, "valid": valid}, 0.0)["classes"].item()
    known = valid[:, 0].numpy()
    flat = logits.permute(0, 2, 3, 1).numpy()[known].astype(np.float64)
    labels = truth.numpy()[known]
    counts = np.bincount(labels, minlength=3)
    weight = 1 / np.sqrt(counts)
    weight /= weight[1:].mean()
    weight[0] = 0.3
    log = flat - np.log(np.exp(flat).sum(1, keepdims=True))
    expected = -(weight[labels] * log[np.arange(len(labels)), labels]).sum() / weight[labels].sum()
    assert found == pytest.approx(expected, rel=1e-5)
    given = diffseg.DiffSeg(Given(logits[:1]), 2, 4, frequencies=(0.5, 0.4, 0.1))
    assert given.loss(outputs, {"classes": truth, "valid": valid}, 0.0)["classes"].item() != pytest.approx(expected)


def test_the_residuals_of_the_tiny_network_are_heard() -> None:
    torch.manual_seed(0)
    net = diffseg.build(editors=3).eval()
    image = tensor([picture(np.random.default_rng(1))])
    before = net(image)["classes"]
    net.segmenter.srm.kernels.zero_()
    assert (net(image)["classes"] - before).abs().max() > 1e-3


def test_what_does_not_fit_is_refused() -> None:
    for settings in ({"editors": 0}, {"editors": 2, "frequencies": (0.5, 0.5)}, {"background": -1.0}):
        with pytest.raises(InvalidValueError, match="at least 1"):
            diffseg.build(**settings)
    with pytest.raises(InvalidValueError, match="use size full"):
        diffseg.build(weights="folder")
    net = diffseg.build(editors=2)
    outputs = {"classes": torch.zeros(1, 3, 8, 8)}
    with pytest.raises(InvalidValueError, match="found none"):
        net.loss(outputs, {"mask": torch.zeros(1, 1, 8, 8)}, 0.0)
    with pytest.raises(InvalidValueError, match="from 0 to 2, found 0 to 3"):
        net.loss(outputs, {"classes": torch.arange(64).reshape(1, 8, 8) % 4}, 0.0)
