"""The manipulation trace: its sixteen maps and its length, what it sees, its weights, and that operations cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError  # noqa: E402
from tamperscope.media.recompress import recompress  # noqa: E402
from tamperscope.nn import filters  # noqa: E402
from tamperscope.nn.traces import GAIN, WIDTHS, Operations, Traces  # noqa: E402


def small(widths: Sequence[int] = (8, 8, 12)) -> Traces:
    torch.manual_seed(0)
    return Traces(widths).eval()


def picture(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))


def test_the_published_shapes() -> None:
    with torch.device("meta"):
        full = Traces()
    kernels = [m.weight.shape for m in full.layers if isinstance(m, torch.nn.Conv2d)]
    assert len(kernels) == 12
    assert kernels[0][1] == 4 + 3 + 9
    assert kernels[-1][0] == full.channels == 256
    assert {k[2:] for k in kernels} == {(3, 3)}
    assert WIDTHS["tiny"] == (32,) * 6
    assert full.reach == 14


def test_the_first_layer_is_four_plain_three_bayar_and_nine_srm_maps() -> None:
    net, image = small(), picture(24, 32)
    maps = net.first(image)
    assert maps.shape == (2, 16, 24, 32)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(maps[:, 7:][inner], GAIN * filters.Srm("rgb9", None)(image)[inner])
    torch.testing.assert_close(maps[:, 4:7][inner], GAIN * net.bayar(image)[inner])
    torch.testing.assert_close(maps[:, :4][inner], net.plain(2 * image - 1)[inner])
    flat = net.first(torch.full((1, 3, 20, 20), 0.7))
    assert flat[:, 4:].abs().max() < 1e-4, "what is flat has no residual, at the edge neither"
    assert flat[:, :4].abs().min() > 0


@pytest.mark.parametrize("size", [(32, 32), (19, 33), (7, 5)], ids=str)
def test_traces_have_length_one_at_any_size(size: tuple[int, int]) -> None:
    found = small()(picture(*size))
    assert found.shape == (2, 12, *size)
    torch.testing.assert_close(found.square().sum(1), torch.ones(2, *size), atol=1e-3, rtol=0)


def test_a_picture_of_nothing_has_finite_gradients() -> None:
    net = small()
    image = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    net(image).sum().backward()
    assert torch.isfinite(image.grad).all()


def test_a_trace_sees_as_far_as_it_says() -> None:
    net, image = small(), picture(41, 41)
    other = image.clone()
    other[..., 20, 20] = 1 - other[..., 20, 20]
    changed = ((net(image) - net(other)).abs() > 1e-6)[0].any(0).nonzero()
    assert net.reach == 5
    assert changed.min(0).values.tolist() == [15, 15]
    assert changed.max(0).values.tolist() == [25, 25]


def test_what_the_padding_holds_is_not_seen_and_its_border_is_no_trace() -> None:
    net, image = small(), picture(32, 32)
    valid = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    valid[1, ..., 20:] = False
    other = torch.where(valid, image, torch.rand_like(image))
    assert torch.equal(net(image, valid), net(other, valid))
    assert not torch.equal(net(image)[1], net(other)[1])
    assert torch.equal(net(image, valid)[:1], net(image)[:1])
    grey = net.first(torch.full_like(image, 0.6), valid)
    assert grey[:, 4:].abs().max() < 1e-4


def test_half_a_grey_level_survives_bfloat16() -> None:
    net = small()
    image = 0.75 + 0.4 / 255 * (picture(24, 24) > 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        maps = net.first(image)
        found = net(image)
    assert maps[:, 4:].std() > 1e-3
    assert found.dtype == torch.float32


def test_weights_of_a_file(tmp_path: Path) -> None:
    net, path = small(), tmp_path / "traces.safetensors"
    save_file(net.state_dict(), path)
    torch.manual_seed(5)
    again = Traces((8, 8, 12), weights=path).eval()
    assert torch.equal(again(picture(16, 16)), net(picture(16, 16)))
    with pytest.raises(InvalidValueError, match=r"layers\.4"):
        Traces((8, 8, 16), weights=path)
    with pytest.raises(InputError, match="none"):
        Traces((8,), weights=tmp_path / "none")
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="safetensors"):
        Traces((8,), weights=path)


def test_wrong_asks() -> None:
    for widths in ((), (8, 0)):
        with pytest.raises(InvalidValueError, match="widths"):
            Traces(widths)
    with pytest.raises(InvalidValueError, match="operations"):
        Operations(small(), 1)


def test_a_patch_is_what_its_inner_pixels_are() -> None:
    net, image = Operations(small(), 4), picture(24, 24)
    inner = net.traces(image)[..., 5:-5, 5:-5].mean((2, 3))
    torch.testing.assert_close(net.features(image), inner)
    valid = torch.ones(2, 1, 24, 24, dtype=torch.bool)
    valid[..., 20:] = False
    torch.testing.assert_close(net.features(image, valid), net.traces(image, valid)[..., 5:-5, 5:15].mean((2, 3)))
    assert net(image).shape == (2, 4)


def test_operations_that_are_not_known_do_not_count() -> None:
    net, logits = Operations(small(), 3), torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
    known = F.cross_entropy(logits[:2], torch.tensor([2, 0]))
    torch.testing.assert_close(net.loss(logits, torch.tensor([2, 0, -1])), known)
    assert net.loss(logits, torch.tensor([-1, -1, -1])) == 0


# Operations: four kinds of five strengths; of each kind two strengths are only asked about.

KINDS = {
    "blur": (0.6, 0.8, 1.0, 1.3, 1.7),
    "noise": (2.0, 3.0, 4.5, 7.0, 10.0),
    "jpeg": (90, 80, 70, 60, 50),
    "median": (3, 5, 7, 9, 11),
}
TAUGHT, ASKED = ([(kind, s) for kind in KINDS for s in KINDS[kind][first::2]] for first in (0, 1))
SIDE, MARGIN = 32, 8


def operate(rng: np.random.Generator, pixels: np.ndarray, kind: str, strength: float) -> np.ndarray:
    if kind == "blur":
        return cv2.GaussianBlur(pixels, (0, 0), strength)
    if kind == "noise":
        return np.clip(np.round(pixels + strength * rng.standard_normal(pixels.shape)), 0, 255).astype(np.uint8)
    if kind == "jpeg":
        return recompress(pixels, int(strength))
    return cv2.medianBlur(pixels, int(strength))


def scene(seed: int, side: int = 96) -> np.ndarray:
    """A picture with detail of all sizes and a camera's noise."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for octave, count in enumerate((3, 6, 12, 24, 48)):
        grey, colour = rng.standard_normal((count, count, 1)), rng.standard_normal((count, count, 3))
        total += 0.75**octave * cv2.resize(grey + 0.3 * colour, (side, side), interpolation=cv2.INTER_CUBIC)
    noisy = 128 + rng.uniform(15, 40) * total + 1.2 * rng.standard_normal(total.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def patches(
    rng: np.random.Generator, scenes: list[np.ndarray], operations: Sequence[tuple[str, float]]
) -> torch.Tensor:
    made = []
    for kind, strength in operations:
        whole = scenes[rng.integers(len(scenes))]
        side = SIDE + 2 * MARGIN
        top, left = rng.integers(0, len(whole) - side, 2)
        pixels = np.ascontiguousarray(np.rot90(whole[top : top + side, left : left + side], rng.integers(4)))
        made.append(operate(rng, pixels, kind, strength)[MARGIN:-MARGIN, MARGIN:-MARGIN])
    return torch.from_numpy(np.stack(made).transpose(0, 3, 1, 2) / 255).float()


def nearest(net: Operations, scenes: list[np.ndarray]) -> float:
    """How often most of five nearest patches of taught strengths are of the kind of a patch of another strength."""
    rng, names, each = np.random.default_rng(99), list(KINDS), 10
    known, asked = ([o for o in operations for _ in range(each)] for operations in (TAUGHT, ASKED))
    with torch.no_grad():
        gallery, found = (F.normalize(net.features(patches(rng, scenes, o)), dim=1) for o in (known, asked))
    kinds, truth = (np.array([names.index(kind) for kind, _ in o]) for o in (known, asked))
    near = kinds[(found @ gallery.T).topk(5, 1).indices.numpy()]
    return float(np.mean([np.bincount(n, minlength=4).argmax() for n in near] == truth))


@pytest.mark.slow
def test_operations_cluster_at_strengths_that_were_never_taught() -> None:
    torch.manual_seed(0)
    rng, steps = np.random.default_rng(0), 200
    scenes, others = ([scene(seed) for seed in range(first, first + 40)] for first in (0, 40))
    net = Operations(Traces((16,) * 5), len(TAUGHT))
    untaught = nearest(net, others)
    optimizer = torch.optim.AdamW(net.parameters(), 8e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        chosen = rng.integers(0, len(TAUGHT), 16)
        loss = net.loss(net(patches(rng, scenes, [TAUGHT[i] for i in chosen])), torch.from_numpy(chosen))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    taught = nearest(net, others)
    assert taught >= 0.7
    assert untaught < 0.65, "chance is .25; what random convolutions tell is less"
    assert taught > untaught + 0.2
