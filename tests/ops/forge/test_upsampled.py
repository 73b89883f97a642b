"""Up-sampled regions bear the trace of their up-sampler: its filters, its cells and its checkerboard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate
from scipy.signal import convolve2d

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.ops.forge import upsampling
from tamperscope.ops.forge.upsampled import Upsampled, remade
from tamperscope.types import Jpeg, Sample

KINDS = ("nearest", "bilinear", "transposed", "pixel_shuffle")
UNEVEN = ("transposed", "pixel_shuffle")
# A region and a window well inside and one well outside of it; odd borders fit no grid, even windows keep cells whole.
REGION = np.zeros((300, 400), bool)
REGION[13:291, 31:201] = True
INSIDE, OUTSIDE = np.s_[24:280, 40:168], np.s_[24:280, 232:360]


@pytest.fixture(params=["astronaut", "coffee", "chelsea"])
def host(request: pytest.FixtureRequest, photo: Callable[[str], np.ndarray]) -> Sample:
    return Sample(np.ascontiguousarray(photo(request.param)[:300, :400]), id=request.param)


def forge(host: Sample, seed: int = 0, **values: Any) -> tuple[Sample, dict[str, Any]]:
    forged = Upsampled(**{"region": REGION, **values})(host, np.random.default_rng(seed))
    return forged, forged.meta["ops"][-1]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def cells(rgb: np.ndarray) -> float:
    """Energy of the steps inside of 2 x 2 cells over that of the steps between cells: near 1 for any other picture."""
    ratios = []
    for axis in (0, 1):
        steps = np.moveaxis(np.diff(rgb.astype(float), axis=axis), axis, 0) ** 2
        ratios.append(steps[::2].mean() / steps[1::2].mean())
    return float(np.mean(ratios))


def fine(rgb: np.ndarray) -> float:
    """The share of the energy that lies above 0.3 cycles a pixel; interpolation leaves little of it."""
    y = rgb.astype(float).mean(2)
    height, width = y.shape
    energy = np.abs(np.fft.fft2((y - y.mean()) * np.hanning(height)[:, None] * np.hanning(width))) ** 2
    return float(energy[np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) > 0.3].sum() / energy.sum())


def board(rgb: np.ndarray) -> float:
    """The largest of the lines at half the sampling rate (across, down, both), against high frequencies around."""
    y = rgb.astype(float).mean(2)
    height, width = y.shape
    taper = np.hanning(height)[:, None] * np.hanning(width)
    spectrum = np.abs(np.fft.fft2((y - y.mean()) * taper))
    away = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    lines = spectrum[height // 2, 0], spectrum[0, width // 2], spectrum[height // 2, width // 2]
    return float(max(lines) / np.median(spectrum[(away > 0.35) & (away < 0.45)]))


def traced(kind: str, rgb: np.ndarray, host: Sample) -> tuple[bool, bool]:
    """Whether the up-sampler's own trace is inside of the region and outside of it."""
    inside, outside = (
        {"nearest": cells(rgb[at]) < 0.1, "bilinear": fine(rgb[at]) < 0.1 * fine(host.rgb[at])}.get(
            kind, board(rgb[at]) > 30
        )
        for at in (INSIDE, OUTSIDE)
    )
    return inside, outside


# The mechanism.


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_trace_is_where_the_mask_is_and_nowhere_else(host: Sample, kind: str, factor: int) -> None:
    forged, entry = forge(host, 3, kind=kind, factor=factor)
    everywhere = remade(host, kind, factor, entry["ripple"], entry["refine"], entry["seed"]).rgb  # type: ignore[arg-type]
    swapped = np.where(REGION[..., None], host.rgb, everywhere)
    assert traced(kind, forged.rgb, host) == (True, False)
    assert traced(kind, swapped, host) == (False, True)
    assert traced(kind, host.rgb, host) == (False, False)
    np.testing.assert_array_equal(forged.rgb[REGION], everywhere[REGION])
    np.testing.assert_array_equal(forged.rgb[~REGION], host.rgb[~REGION])


@pytest.mark.parametrize("kind", KINDS)
def test_whole_has_the_trace_everywhere_and_keeps_the_mask(host: Sample, kind: str) -> None:
    forged, entry = forge(host, 3, kind=kind, whole=True)
    assert traced(kind, forged.rgb, host) == (True, True)
    assert (forged.rgb != host.rgb).any(axis=2)[~REGION].mean() > 0.7
    np.testing.assert_array_equal(forged.mask, REGION)
    assert entry["reencoded"] is True
    assert "rest of the picture" in entry["words"]["relation"]
    assert forge(host, 3, kind=kind)[1]["reencoded"] is False


def test_the_control_leaves_the_picture_as_it_is(host: Sample) -> None:
    forged, entry = forge(host, 3, kind="none")
    np.testing.assert_array_equal(forged.rgb, host.rgb)
    assert (entry["op"], entry["trace"], forged.label) == ("nothing", [], 0)
    for where in (INSIDE, OUTSIDE):
        assert 0.9 < cells(forged.rgb[where]) < 1.1
        assert board(forged.rgb[where]) < 6


def test_only_uneven_weights_leave_a_checkerboard_and_a_notch_removes_it(host: Sample) -> None:
    even, uneven = (remade(host, kind, 2, 0.02, 0.0, 5).rgb[INSIDE] for kind in ("bilinear", "transposed"))  # type: ignore[arg-type]
    assert board(even) < 4
    assert board(uneven) > 25 * max(board(even), board(host.rgb[INSIDE]))
    y = uneven.astype(float)
    # The four pixels of all cells get one mean.
    means = np.stack([y[i::2, j::2].mean((0, 1)) for i in (0, 1) for j in (0, 1)])
    for k, (i, j) in enumerate(np.ndindex(2, 2)):
        y[i::2, j::2] *= means.mean(0) / means[k]
    assert board(y) < 0.1 * board(uneven)


def test_without_ripple_an_uneven_up_sampler_is_the_bilinear_one(host: Sample) -> None:
    plain = remade(host, "bilinear").rgb
    for kind in UNEVEN:
        np.testing.assert_array_equal(remade(host, kind, ripple=0.0, seed=9).rgb, plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("ripple", [0.01, 0.03])
@pytest.mark.parametrize("kind", UNEVEN)
def test_the_ripple_of_a_flat_picture_is_the_recorded_one(kind: str, ripple: float) -> None:
    flat = np.full((64, 64, 3), 180, np.float32)
    out = upsampling.doubled(flat[::2, ::2], upsampling.filters(kind, ripple, 4))  # type: ignore[arg-type]
    assert out.mean() == pytest.approx(180, rel=1e-4)
    assert out.std() == pytest.approx(180 * ripple, rel=1e-3)
    assert out[::2, ::2].std() < 1e-3, "it repeats every two pixels"


def test_refining_above_0_sharpens_and_below_0_smooths(host: Sample) -> None:
    less, none, more = (fine(remade(host, "bilinear", refine=refine).rgb) for refine in (-0.3, 0.0, 0.3))
    assert less < 0.8 * none < 0.8 * 0.8 * more


# The filters, against other ways to compute them.


@pytest.mark.parametrize("kind", KINDS)
def test_doubling_is_a_transposed_convolution_of_stride_2(kind: str, rng: np.random.Generator) -> None:
    small = rng.uniform(0, 255, (11, 14, 1)).astype(np.float32)
    kernels = upsampling.filters(kind, 0.05, 7)  # type: ignore[arg-type]
    spread = np.zeros((22, 28))
    spread[::2, ::2] = small[..., 0]
    # A small pixel reaches the cells before, at and after its own: its kernel has the taps of all cells in turn.
    kernel = np.zeros((6, 6))
    for i, j, a, b in np.ndindex(2, 2, 3, 3):
        kernel[2 * (2 - a) + i, 2 * (2 - b) + j] = kernels[i, j, a, b]
    if kind == "transposed":
        assert (np.pad(kernel[1:-1, 1:-1], 1) == kernel).all(), "it has 4 x 4 taps"
    wanted = convolve2d(spread, kernel)[2:-3, 2:-3]
    np.testing.assert_allclose(
        upsampling.doubled(small, kernels)[2:-2, 2:-2, 0], wanted[2:-2, 2:-2], rtol=1e-4, atol=1e-3
    )


def test_the_known_up_samplers_are_those_of_other_libraries(rng: np.random.Generator) -> None:
    small = rng.uniform(0, 255, (9, 13, 3)).astype(np.float32)
    nearest, bilinear = (upsampling.doubled(small, upsampling.filters(k)) for k in ("nearest", "bilinear"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(nearest, small.repeat(2, 0).repeat(2, 1))
    np.testing.assert_allclose(bilinear, cv2.resize(small, (26, 18), interpolation=cv2.INTER_LINEAR), atol=1e-3)
    large = rng.uniform(0, 255, (18, 26, 3)).astype(np.float32)
    np.testing.assert_allclose(
        upsampling.halved(large), cv2.resize(large, (13, 9), interpolation=cv2.INTER_AREA), atol=1e-3
    )
    shuffled = upsampling.filters("pixel_shuffle", 0.05, 2)
    done = upsampling.doubled(small, shuffled)
    for i, j in np.ndindex(2, 2):
        own = correlate(small[..., 1], shuffled[i, j], mode="nearest")
        np.testing.assert_allclose(done[i::2, j::2, 1], own, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_factor_is_that_of_the_reduction(rng: np.random.Generator, factor: int) -> None:
    rgb = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    small = cv2.resize(rgb.astype(np.float32), (48 // factor, 32 // factor), interpolation=cv2.INTER_AREA)
    out = remade(Sample(rgb), "nearest", factor).rgb
    np.testing.assert_allclose(out, small.repeat(factor, 0).repeat(factor, 1), atol=0.51)


@given(
    kind=st.sampled_from(KINDS),
    size=st.tuples(st.integers(1, 37), st.integers(1, 37)),
    factor=st.sampled_from([2, 4, 8]),
    level=st.integers(0, 255),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_size_is_kept_and_an_even_up_sampler_keeps_flat_parts(
    kind: str, size: tuple[int, int], factor: int, level: int
) -> None:
    flat = Sample(np.full((*size, 3), level, np.uint8))
    out = remade(flat, kind, factor, ripple=0.0, refine=0.3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(out.rgb, flat.rgb)


def test_content_keeps_its_place(host: Sample) -> None:
    smooth = Sample(cv2.GaussianBlur(host.rgb, (0, 0), 4))
    for factor in (2, 4, 8):
        out = remade(smooth, "bilinear", factor).rgb
        moved = [psnr(np.roll(out, shift, axis), smooth.rgb) for axis in (0, 1) for shift in (-1, 1)]
        assert psnr(out, smooth.rgb) > max(moved) + 1


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_content_is_nearly_unchanged(host: Sample, kind: str, factor: int) -> None:
    for refine in (-0.3, 0.0):
        whole, _ = forge(host, 1, kind=kind, factor=factor, refine=refine, ripple=0.03, whole=True)
        assert psnr(whole.rgb, host.rgb) > 24
    assert psnr(whole.rgb, host.rgb) < 36


# The contract.


@pytest.mark.parametrize("whole", [False, True])
def test_one_seed_gives_one_forgery_and_its_record_replays_it(host: Sample, whole: bool) -> None:
    drawn = {"region": None, "whole": whole}
    (first, entry), (again, same), (other, _) = (forge(host, seed, **drawn) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert (first.mask != other.mask).any()
    assert json.loads(json.dumps(entry)) == entry == same
    np.testing.assert_array_equal(Upsampled.replay(host, first.mask, entry), first.rgb)  # type: ignore[arg-type]
    assert entry["op"] == "upsampled"
    assert entry["trace"] == ["upsampling"]
    assert entry["words"].keys() == {"noun", "attributes", "place", "relation"}
    assert first.label == 1


def test_what_is_known_of_the_region_is_recorded_and_coefficients_are_dropped(host: Sample) -> None:
    tables = Jpeg((np.ones((8, 8), np.uint16),), (np.zeros((38, 50, 8, 8), np.int16),), ((1, 1),))
    forged, entry = forge(Sample(host.rgb, jpeg=tables), 0, noun="a cat", attributes=("red",))
    assert entry["words"] == {
        "noun": "a cat",
        "attributes": ["red"],
        "place": "left",
        "relation": "remade by an up-sampler",
    }
    assert forged.jpeg is None


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_drawn_values_are_those_that_may_be_and_always_change_something(seed: int) -> None:
    values = Upsampled().draw(np.random.default_rng(seed))
    assert values["kind"] in KINDS
    assert values["factor"] in (2, 4)
    assert (values["ripple"] > 0) == (values["kind"] in UNEVEN)  # type: ignore[operator]
    rgb = np.random.default_rng(1).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    assert (Upsampled.passed(Sample(rgb), values) != rgb).any()


def test_draws_reach_every_kind_and_factor() -> None:
    draws = [Upsampled().draw(np.random.default_rng(seed)) for seed in range(60)]
    assert {(d["kind"], d["factor"]) for d in draws} == {(k, f) for k in KINDS for f in (2, 4)}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"factor": 3}, "factor: expected one of"),
        ({"factor": (2, 4)}, "factor: expected one of"),
        ({"factor": [2, 16]}, "factor: expected a whole number from 2 to 8"),
        ({"kind": "cubic"}, "kind: expected one of none, nearest"),
        ({"ripple": (0.1, 0.5)}, "ripple: expected a number from 0 to 0.2"),
        ({"refine": -2.0}, "refine: expected a number"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        Upsampled(**values)


def test_bad_input_is_refused(host: Sample) -> None:
    with pytest.raises(InvalidValueError, match="region: expected bool"):
        forge(host, region=np.zeros((300, 400), bool))
    with pytest.raises(InvalidValueError, match="factor: expected one of"):
        remade(host, factor=6)
    with pytest.raises(UnknownNameError, match="up-sampler 'bilinea'"):
        upsampling.filters("bilinea")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="record of upsampled"):
        Upsampled.replay(host, REGION, {"op": "trace_blur"})


def test_whole_may_be_drawn(host: Sample) -> None:
    drawn = [
        Upsampled(whole=[True, False])(host, np.random.default_rng(seed)).meta["ops"][-1]["reencoded"]
        for seed in range(20)
    ]
    assert set(drawn) == {True, False}
    with pytest.raises(InvalidValueError, match="list of both"):
        Upsampled(whole=[])
    with pytest.raises(InvalidValueError, match="list of both"):
        Upsampled(whole="yes")  # type: ignore[arg-type]
