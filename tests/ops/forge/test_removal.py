"""Each way to fill leaves its own trace, inside its mask and nowhere else."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.ops.forge.removal import FILLS, Removal, diffused
from tamperscope.types import Sample


@pytest.fixture
def host(photo) -> Sample:  # type: ignore[no-untyped-def]
    return Sample(photo("coffee")[:280, :380], id="coffee")


@pytest.fixture
def thing(host: Sample) -> np.ndarray:
    mask = np.zeros(host.size, bool)
    mask[170:230, 40:100] = True
    return mask


def energy(rgb: np.ndarray, mask: np.ndarray) -> float:
    """High-frequency energy: the mean square of the Laplacian of the luma well inside the mask."""
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = cv2.erode(mask.astype(np.uint8), np.ones((9, 9))).astype(bool)
    return float((cv2.Laplacian(luma, cv2.CV_32F)[inside] ** 2).mean())


@pytest.mark.parametrize("fill", FILLS)
def test_only_the_mask_changes_and_the_record_says_how(host: Sample, thing: np.ndarray, fill: str) -> None:
    forged = Removal(fill=fill, mask=thing, noun="a cup")(host, np.random.default_rng(3))  # type: ignore[arg-type]
    assert forged.mask is not None
    np.testing.assert_array_equal(forged.rgb[~forged.mask], host.rgb[~forged.mask])
    assert (forged.rgb != host.rgb).any(axis=2)[forged.mask].mean() > 0.8
    entry = forged.meta["ops"][-1]
    assert (entry["op"], entry["method"]) == ("removal", fill)
    assert entry["trace"] == (["duplication"] if fill == "exemplar" else ["blur", "statistics"])
    assert entry["words"]["noun"] == "a cup"
    assert "left" in entry["words"]["place"]
    assert entry["object"] == "given"
    assert json.loads(json.dumps(forged.meta["ops"])) == forged.meta["ops"]
    assert forged.label == 1


def test_the_mask_is_the_object_grown_by_the_recorded_margin(host: Sample, thing: np.ndarray) -> None:
    for seed in range(6):
        forged = Removal(fill="telea", mask=thing, margin=(0, 4))(host, np.random.default_rng(seed))
        margin = forged.meta["ops"][-1]["margin"]
        outside = cv2.distanceTransform((~thing).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        assert forged.mask is not None
        assert forged.mask[thing].all()
        assert outside[forged.mask].max() == pytest.approx(margin, abs=0.5)


def test_fills_are_drawn_and_all_of_them_occur(host: Sample) -> None:
    small = Sample(host.rgb[:64, :64])
    seen = {Removal()(small, np.random.default_rng(seed)).meta["ops"][-1]["method"] for seed in range(24)}
    assert seen == set(FILLS)


def test_diffusing_fills_lose_the_high_frequencies_and_copies_keep_them(photo) -> None:  # type: ignore[no-untyped-def]
    host = Sample(photo("coffee"))
    wood = np.zeros(host.size, bool)
    wood[320:380, 60:120] = True
    left = {}
    for fill in FILLS:
        forged = Removal(fill=fill, mask=wood)(host, np.random.default_rng(0))
        left[fill] = energy(forged.rgb, wood) / energy(host.rgb, wood)
    assert left.pop("exemplar") > 0.4
    assert max(left.values()) < 0.04
    assert left["lowpass"] == min(left.values())


def test_diffusion_is_the_gaussian_mean_of_the_known_pixels() -> None:
    """Reference: the weighted sum written out for single pixels."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (60, 70, 3)).astype(np.uint8)
    mask = np.zeros((60, 70), bool)
    mask[24:36, 28:42] = True
    sigma = 5.0
    out = diffused(rgb, mask, sigma)
    rows, columns = np.indices(mask.shape)
    for y, x in ((30, 35), (24, 28), (33, 40)):
        weight = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2)) * ~mask
        expected = (rgb * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
        np.testing.assert_allclose(out[y, x], expected, atol=2)


def test_a_wide_diffusion_agrees_with_the_same_at_full_resolution() -> None:
    rgb = np.zeros((200, 200, 3), np.uint8)
    rgb[:, 100:] = 200
    mask = np.zeros((200, 200), bool)
    mask[50:150, 50:150] = True
    out = diffused(rgb, mask, 40.0).astype(float)
    known = (~mask).astype(np.float64)
    blurred = [cv2.GaussianBlur(p, (0, 0), 40, borderType=cv2.BORDER_REPLICATE) for p in (rgb[..., 0] * known, known)]
    assert np.abs(out[..., 0] - blurred[0] / blurred[1])[mask].max() < 6


def test_far_from_all_known_pixels_their_mean_stands_in() -> None:
    rgb = np.full((400, 400, 3), 90, np.uint8)
    mask = np.ones((400, 400), bool)
    mask[:4] = False
    assert np.abs(diffused(rgb, mask, 3.0).astype(int) - 90).max() <= 1


def test_bad_input_is_told(host: Sample) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UnknownNameError, match="did you mean 'exemplar'"):
        Removal(fill="exemplars")  # type: ignore[arg-type]
    for mask in (np.ones((3, 3), bool), np.ones(host.size, np.uint8)):
        with pytest.raises(InvalidValueError, match="expected bool"):
            Removal(mask=mask)(host, rng)
    for wrong in ({"share": (0.1, 0.01)}, {"share": (0.0, 0.1)}, {"margin": (-1, 2)}):
        with pytest.raises(InvalidValueError, match="inside"):
            Removal(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="leaves a part"):
        Removal(mask=np.ones(host.size, bool))(host, rng)
