"""Blended pixels satisfy the equation of their method, and nothing beyond the mask changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.ops.forge import blending, shapes


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.indices(size)
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)


def smooth(seed: int, size: tuple[int, int], low: float = 60, high: float = 190) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (*size, 3))
    noise = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.rint(low + (high - low) * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


def laplacian(values: np.ndarray) -> np.ndarray:
    v = values.astype(float)
    return 4 * v[1:-1, 1:-1] - v[:-2, 1:-1] - v[2:, 1:-1] - v[1:-1, :-2] - v[1:-1, 2:]


BLENDS = ["hard", "feathered", "multiband", "poisson"]


@pytest.mark.parametrize("blend", BLENDS)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 0.5))
@settings(max_examples=8, deadline=None)
def test_nothing_beyond_two_pixels_of_the_mask_changes(blend: str, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    host, patch = (rng.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(2))
    mask = shapes.blob((40, 56), share, rng)
    look = blending.Look(blend, 1.5 if blend == "feathered" else 0.0)  # type: ignore[arg-type]
    out = look.lay(host, patch, mask)
    near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
    np.testing.assert_array_equal(out[~near], host[~near])
    if blend != "feathered":
        np.testing.assert_array_equal(out[~mask], host[~mask])
    assert (out[mask] != host[mask]).any()


def test_hard_and_swapped_take_each_side_bit_for_bit() -> None:
    host, patch, mask = smooth(0, (40, 40)), smooth(1, (40, 40)), disc((40, 40), (20, 20), 9)
    one, other = blending.hard(host, patch, mask), blending.hard(patch, host, mask)
    np.testing.assert_array_equal(one[mask], patch[mask])
    np.testing.assert_array_equal(other[mask], host[mask])
    np.testing.assert_array_equal(blending.hard(other, one, mask), patch)


def test_feather_mixes_by_the_blurred_mask() -> None:
    host, patch = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 200, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[:, 20:] = True
    row = blending.feathered(host, patch, mask, 1.5)[20, :, 0].astype(float) / 200
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2)
    wanted = np.convolve(np.pad(mask[20].astype(float), 6, mode="edge"), kernel / kernel.sum(), "valid")
    np.testing.assert_allclose(row[19:30], wanted[19:30], atol=0.01)
    assert (row[:19] == 0).all()


@given(st.integers(9, 70), st.integers(9, 70), st.integers(0, 4), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_pyramid_collapses_into_what_it_was_made_of(height: int, width: int, levels: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    bands = blending.pyramid(values, levels)
    assert len(bands) == levels + 1
    np.testing.assert_allclose(blending.collapse(bands), values, atol=1e-3)


def test_pyramid_bands_part_the_frequencies() -> None:
    x = np.arange(128)
    fine, coarse = (np.tile(np.cos(2 * np.pi * x / period), (128, 1)).astype(np.float32) for period in (2.5, 40))
    energy = [[float((band**2).mean()) for band in blending.pyramid(v, 3)] for v in (fine, coarse)]
    assert np.argmax(energy[0]) == 0
    assert np.argmax(energy[1]) == 3


def test_multiband_is_the_patch_deep_inside_and_blends_coarse_bands_over_a_wider_edge() -> None:
    size = (128, 128)
    mask = np.zeros(size, bool)
    mask[:, 40:] = True
    flat = np.full((*size, 3), 60, np.uint8), np.full((*size, 3), 180, np.uint8)
    row = blending.multiband(*flat, mask)[64, :, 0].astype(int)
    assert (row[:40] == 60).all()
    assert (row[100:] == 180).all()
    assert np.diff(row).max() < 60, "no step as large as half of the hard one"
    assert ((row > 70) & (row < 170)).sum() > 8, "the coarse edge is wide"
    checks = (np.indices(size).sum(0) % 2 * 80).astype(np.uint8)[..., None].repeat(3, 2)
    grey = np.full((*size, 3), 40, np.uint8)
    mixed = blending.multiband(grey, checks, mask)[64].astype(float)[:, 0]
    contrast = np.abs(np.diff(mixed)) / 80
    assert ((contrast > 0.15) & (contrast < 0.85)).sum() <= 6, "the fine edge is narrow"


def test_multiband_equals_its_own_definition_band_by_band() -> None:
    host, patch, mask = smooth(2, (64, 64)), smooth(3, (64, 64)), disc((64, 64), (32, 32), 24)
    out = blending.multiband(host, patch, mask, levels=2)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    g0 = (depth > 2).astype(np.float32)
    g1 = cv2.pyrDown(g0)
    g2 = cv2.pyrDown(g1)

    def bands(v: np.ndarray) -> list[np.ndarray]:
        a = v.astype(np.float32)
        b = cv2.pyrDown(a)
        c = cv2.pyrDown(b)
        return [a - cv2.pyrUp(b), b - cv2.pyrUp(c), c]

    mixed = [
        g[..., None] * p + (1 - g[..., None]) * h
        for g, p, h in zip((g0, g1, g2), bands(patch), bands(host), strict=True)
    ]
    wanted = mixed[0] + cv2.pyrUp(mixed[1] + cv2.pyrUp(mixed[2]))
    np.testing.assert_allclose(out[mask], wanted[mask], atol=0.51)


@pytest.mark.parametrize("direct", [True, False])
def test_poisson_keeps_the_donors_laplacian_and_the_hosts_border(direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not direct:
        monkeypatch.setattr(blending, "_DIRECT", 50)
    host, patch, mask = smooth(4, (120, 140), 90, 150), smooth(5, (120, 140), 70, 130), disc((120, 140), (60, 70), 45)
    out = blending.poisson(host, patch, mask)
    inside = mask[1:-1, 1:-1]
    # Rounding to whole grey levels moves a Laplacian by at most 4.
    assert np.abs(laplacian(out) - laplacian(patch))[inside].max() <= 4.01
    assert (
        np.abs(laplacian(out) - laplacian(host))[inside].mean()
        > np.abs(laplacian(out) - laplacian(patch))[inside].mean() * 1.3
    )
    edge = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3))).astype(bool)
    hard = np.abs(blending.hard(host, patch, mask)[edge].astype(float) - host[edge]).mean()
    assert np.abs(out[edge].astype(float) - host[edge]).mean() < 0.3 * hard


def test_poisson_of_a_patch_that_differs_by_a_constant_is_the_host() -> None:
    host, mask = smooth(6, (50, 60), 60, 150), disc((50, 60), (25, 30), 15)
    np.testing.assert_array_equal(blending.poisson(host, host + 40, mask), host)


def test_harmonic_recovers_a_harmonic_function_by_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.indices((90, 100)).astype(float)
    truth = np.stack([x * x - y * y, x * y, 3 * x + y], 2) / 50
    mask = disc((90, 100), (40, 50), 33)
    spoilt = np.where(mask[..., None], 1e3, truth)
    np.testing.assert_allclose(blending.harmonic(spoilt, mask), truth, atol=1e-8)
    monkeypatch.setattr(blending, "_DIRECT", 100)
    np.testing.assert_allclose(blending.harmonic(spoilt, mask), truth, atol=0.5)


def test_harmonic_at_the_edge_and_without_any_border() -> None:
    values = np.full((20, 20, 3), 7.0)
    mask = np.zeros((20, 20), bool)
    mask[:10] = True
    np.testing.assert_allclose(blending.harmonic(np.where(mask[..., None], 0, values), mask), values)
    assert not blending.harmonic(values, np.ones((20, 20), bool)).any()
    np.testing.assert_array_equal(blending.harmonic(values, np.zeros((20, 20), bool)), values)


def lab_stats(rgb: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[mask]
    return lab.mean(0), lab.std(0)


def test_reinhard_reaches_means_and_spreads() -> None:
    patch, host = smooth(7, (60, 60), 90, 150), smooth(8, (80, 80), 70, 150)
    own, around = disc((60, 60), (30, 30), 20), disc((80, 80), (40, 40), 30)
    full = lab_stats(blending.reinhard(patch, own, host, around), own)
    wanted = lab_stats(host, around)
    np.testing.assert_allclose(full[0], wanted[0], atol=0.3)
    np.testing.assert_allclose(full[1], wanted[1], atol=0.3)
    half = lab_stats(blending.reinhard(patch, own, host, around, 0.5), own)
    np.testing.assert_allclose(half[0], (lab_stats(patch, own)[0] + wanted[0]) / 2, atol=0.3)
    np.testing.assert_allclose(blending.reinhard(patch, own, host, around, 0.0), patch, atol=1)


def test_gain_takes_each_channels_mean_to_the_place() -> None:
    patch = np.full((20, 20, 3), (60, 80, 100), np.uint8)
    host = np.full((30, 30, 3), (90, 60, 100), np.uint8)
    own, around = np.ones((20, 20), bool), np.ones((30, 30), bool)
    factors = blending.gain(patch, own, host, around)
    assert factors == pytest.approx((1.5, 0.75, 1.0))
    np.testing.assert_array_equal(blending.exposed(patch, factors)[0, 0], (90, 60, 100))
    assert blending.gain(patch, own, host, around, 0.5)[0] == pytest.approx(1.5**0.5)
    assert blending.gain(patch // 10, own, host, around)[0] == 2.0


def test_a_matched_look_brings_the_paste_closer_to_its_ring() -> None:
    host, patch, mask = smooth(9, (90, 90), 20, 100), smooth(10, (90, 90), 150, 250), disc((90, 90), (45, 45), 20)
    ring = blending.ring(mask)
    assert not (ring & mask).any()
    gaps = {
        match: np.abs(
            blending.Look("hard", 0.0, match, 1.0).lay(host, patch, mask)[mask].mean(0) - host[ring].mean(0)
        ).max()
        for match in ("none", "gain", "reinhard")
    }
    assert gaps["gain"] < 0.6 * gaps["none"]
    assert gaps["reinhard"] < 0.1 * gaps["none"]


def test_what_is_drawn_is_one_of_what_may_be_and_wrong_names_are_told(rng: np.random.Generator) -> None:
    looks = [blending.draw(("hard", "feathered"), (0.7,), rng, ("none", "gain")) for _ in range(40)]
    assert {look.blend for look in looks} == {"hard", "feathered"}
    assert all(look.feather == (0.7 if look.blend == "feathered" else 0) for look in looks)
    assert all((look.strength > 0) == (look.match == "gain") for look in looks)
    with pytest.raises(UnknownNameError, match="poisson"):
        blending.draw(("poissn",), (0.0,), rng)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="reinhard"):
        blending.draw(("hard",), (0.0,), rng, ("reinhart",))  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="at least one"):
        blending.draw((), (0.0,), rng)
