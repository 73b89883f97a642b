"""Trace-only forgeries: each trace is measured by a statistic of its own, in the region and nowhere else."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import convolve, uniform_filter

from tamperscope.errors import InvalidValueError
from tamperscope.ops import tones
from tamperscope.ops.forge.delivery import Delivery
from tamperscope.ops.forge.traces import (
    blur,
    cfa,
    grid,
    median,
    mixed,
    noise,
    nothing,
    quality,
    resampling,
    sharpening,
)
from tamperscope.ops.forge.traces.base import Trace
from tamperscope.types import Jpeg, Sample

PHOTOS = ("astronaut", "coffee", "chelsea")
TRACES: dict[str, type[Trace]] = {
    "noise": noise.Noise,
    "cfa": cfa.Cfa,
    "grid": grid.Grid,
    "quality": quality.Quality,
    "resampling": resampling.Resampling,
    "median": median.Median,
    "sharpening": sharpening.Sharpening,
    "blur": blur.Blur,
}
# A region that no block grid fits, and a window well inside and one well outside of it, both on the grid of 8.
REGION = np.zeros((300, 400), bool)
REGION[13:291, 30:201] = True
INSIDE, OUTSIDE = np.s_[24:280, 40:168], np.s_[24:280, 232:360]

Statistic = Callable[[np.ndarray, np.ndarray, dict[str, Any]], float]


@pytest.fixture(params=PHOTOS)
def host(request: pytest.FixtureRequest, photo: Callable[[str], np.ndarray]) -> Sample:
    return Sample(np.ascontiguousarray(photo(request.param)[:300, :400]), id=request.param)


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


# The statistics: near 1 where the trace is, near 0 where it is not.


def noise_level(rgb: np.ndarray) -> float:
    """Robust standard deviation of white noise: the MAD of a Laplacian that no ramp moves (Immerkær 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    answers = [convolve(rgb[..., i].astype(float), kernel)[1:-1, 1:-1] for i in range(3)]
    return float(np.mean([1.4826 * np.median(np.abs(a - np.median(a))) for a in answers]))


def added_noise(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any]) -> float:
    gained = noise_level(rgb) ** 2 - noise_level(host) ** 2
    return math.sqrt(max(0.0, gained)) / values["sigma"]


def transfer(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any], wanted: Callable[[Any], Any]) -> float:
    """The measured frequency response between 0.2 and 0.4 cycles a pixel, as a share of the wanted one (both in dB)."""
    height, width = host.shape[:2]
    taper = np.hanning(height)[:, None] * np.hanning(width)
    old, new = (np.fft.rfft2((luma(p) - luma(p).mean()) * taper) for p in (host, rgb))
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    band = (f > 0.2) & (f < 0.4)
    power = np.abs(old[band]) ** 2
    measured = (np.conj(old[band]) * new[band]).real.sum() / power.sum()
    return float(np.log(measured) / np.log((wanted(f[band]) * power).sum() / power.sum()))


def blurred(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any]) -> float:
    return transfer(rgb, host, values, lambda f: np.exp(-2 * (np.pi * values["sigma"] * f) ** 2))


def sharpened(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any]) -> float:
    lost = lambda f: 1 - np.exp(-2 * (np.pi * values["sigma"] * f) ** 2)  # noqa: E731
    return transfer(rgb, host, values, lambda f: 1 + values["amount"] * lost(f))


def streaks(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any]) -> float:
    """How many more neighbours are equal, against all that differ (Kirchner & Fridrich 2010)."""
    old, new = (np.mean(np.diff(p.astype(int), axis=1) == 0) for p in (host, rgb))
    return float((new - old) / (1 - old))


def lattice(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any]) -> float:
    """How far the luma's DCT coefficients gather at multiples of the quantization steps of `values["quality"]`."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", quality=values["quality"])
    with Image.open(buffer) as saved:
        steps = np.array(saved.quantization[0]).reshape(8, 8)
    height, width = rgb.shape[:2]
    blocks = (luma(rgb) - 128).reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2)
    found = dctn(blocks, axes=(2, 3), norm="ortho")
    parts = [found[:, :, u, v] / steps[u, v] for u, v in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))]
    phases = np.concatenate([p[np.abs(p) > 0.5] for p in parts])
    return float(np.cos(2 * np.pi * phases).mean())


def line(rgb: np.ndarray, frequency: float) -> float:
    """How far the second derivative's mean magnitude, column by column, swings with a frequency (Gallagher 2005)."""
    bent = np.log1p(np.abs(np.diff(luma(rgb), 2, axis=1))).mean(axis=0)
    size = len(bent)
    spectrum = np.abs(np.fft.rfft((bent - bent.mean()) * np.hanning(size), 8 * size))
    away = np.abs(np.fft.rfftfreq(8 * size) - frequency)
    return float(spectrum[away < 1 / size].max() / np.percentile(spectrum[away > 4 / size], 90))


def rhythm(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any]) -> float:
    """By how much the line of the resizing stands out more than in the host."""
    frequency = abs(values["factor"] - 1)
    return line(rgb, frequency) / line(host, frequency) - 1


def spot(rgb: np.ndarray, angle: float) -> float:
    """How far the second derivative's magnitude swings with the wave that turning by `angle` leaves, against others."""
    bent = np.log1p(np.abs(convolve(luma(rgb), np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]))))
    height, width = bent.shape
    bent = (bent - uniform_filter(bent, 9)) * np.hanning(height)[:, None] * np.hanning(width)
    spectrum = np.abs(np.fft.fft2(bent, (4 * height, 4 * width)))
    fy, fx = np.fft.fftfreq(4 * height)[:, None], np.fft.fftfreq(4 * width)
    wave = -math.sin(math.radians(angle)), math.cos(math.radians(angle)) - 1
    ring = np.abs(np.hypot(fx, fy) - math.hypot(*wave)) < 2 / width
    return float(spectrum[np.hypot(fx - wave[0], fy - wave[1]) < 1 / width].max() / np.median(spectrum[ring]))


def turned(rgb: np.ndarray, host: np.ndarray, values: dict[str, Any]) -> float:
    """By how much that wave stands out more than in the host."""
    return spot(rgb, values["angle"]) / spot(host, values["angle"]) - 1


# Trace, statistic, least where the trace is, most where it is not.
CASES: dict[str, tuple[Trace, Statistic, float, float]] = {
    "added noise": (noise.Noise(sigma=5.0, first="keep", region=REGION), added_noise, 0.8, 0.2),
    "blur": (blur.Blur(sigma=0.8, region=REGION), blurred, 0.9, 0.1),
    "sharpening": (sharpening.Sharpening(amount=0.8, sigma=1.0, region=REGION), sharpened, 0.8, 0.1),
    "median": (median.Median(region=REGION), streaks, 0.1, 0.02),
    "quality": (quality.Quality(quality=60, region=REGION), lattice, 0.6, 0.2),
    "scaling": (
        resampling.Resampling(turned=0.0, factor=1.2, interpolation="bilinear", region=REGION),
        rhythm,
        1.0,
        0.3,
    ),
    "turning": (resampling.Resampling(turned=1.0, angle=12.0, region=REGION), turned, 1.0, 0.3),
}


def before(name: str, host: Sample) -> Sample:
    """The host with the history to which the trace is foreign."""
    return grid.compressed(host, 92) if name == "quality" else host


@pytest.mark.parametrize("name", CASES)
def test_the_trace_is_where_the_mask_is_and_nowhere_else(host: Sample, name: str) -> None:
    trace, statistic, least, most = CASES[name]
    host = before(name, host)
    forged = trace(host, np.random.default_rng(3))
    values = forged.meta["ops"][-1]
    swapped = np.where(REGION[..., None], host.rgb, trace.passed(host, values))
    twin = nothing.Nothing()(host, np.random.default_rng(3))

    def found(rgb: np.ndarray, where: Any) -> float:
        return statistic(rgb[where], host.rgb[where], values)

    assert found(forged.rgb, INSIDE) > least
    assert abs(found(forged.rgb, OUTSIDE)) < most
    assert abs(found(twin.rgb, INSIDE)) < most, "without the trace, the statistic is at chance"
    assert found(swapped, OUTSIDE) > least, "with region and background swapped, the statistic swaps"
    assert abs(found(swapped, INSIDE)) < most


def test_denoising_first_takes_the_old_noise_away(host: Sample) -> None:
    noisy = tones.gaussian_noise(host, 6.0, seed=1)
    kept, smoothed = (
        noise.Noise(sigma=1.0, first=first, region=REGION)(noisy, np.random.default_rng(0)).rgb[INSIDE]
        for first in ("keep", "denoise")
    )
    assert noise_level(smoothed) < 0.8 * noise_level(noisy.rgb[INSIDE]) < 0.9 * noise_level(kept)


def test_noise_is_drawn_anew_for_every_seed(host: Sample) -> None:
    op = noise.Noise(sigma=4.0, first="keep", region=REGION)
    first, second = (op(host, np.random.default_rng(seed)).rgb[INSIDE].astype(float) for seed in (0, 1))
    inner = (host.rgb[INSIDE] > 15) & (host.rgb[INSIDE] < 240)  # where nothing is clipped
    errors = [(rgb - host.rgb[INSIDE])[inner] for rgb in (first, second)]
    assert abs(np.corrcoef(*errors)[0, 1]) < 0.02
    assert [np.std(error) for error in errors] == pytest.approx([4.0, 4.0], rel=0.02)


@pytest.mark.parametrize("angle", [-12.0, 5.0, 45.0])
def test_turning_there_and_back_loses_no_corner(host: Sample, angle: float) -> None:
    smooth = tones.gaussian_blur(host, 2.0)
    back = resampling.resampled(smooth, 1.0, angle).rgb
    for corner in (np.s_[:24, :24], np.s_[:24, -24:], np.s_[-24:, :24], np.s_[-24:, -24:]):
        assert psnr(back[corner], smooth.rgb[corner]) > 36


def pattern_of(rgb: np.ndarray) -> tuple[str, float]:
    """The Bayer pattern, read from where a colour is the mean of its neighbours, and how clearly (1 = not at all)."""
    diagonal = np.array([[1, 0, 1], [0, -4, 0], [1, 0, 1]]) / 4
    cross = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4

    def residuals(plane: np.ndarray, kernel: np.ndarray) -> list[float]:
        error = np.abs(convolve(plane.astype(float), kernel))
        return [float(error[i::2, j::2][2:-2, 2:-2].mean()) for i in (0, 1) for j in (0, 1)]

    red, blue, green = (residuals(rgb[..., i], k) for i, k in ((0, diagonal), (2, diagonal), (1, cross)))
    # Red is a mean of diagonal neighbours where blue was measured, and the other way round.
    letters = ["G"] * 4
    letters[int(np.argmin(blue))], letters[int(np.argmin(red))] = "R", "B"
    return "".join(letters), max(green[0] + green[3], green[1] + green[2]) / min(
        green[0] + green[3], green[1] + green[2]
    )


@pytest.mark.parametrize("foreign", ["GRBG", "GBRG", "BGGR"])
def test_the_region_has_its_own_bayer_pattern(host: Sample, foreign: str) -> None:
    camera = cfa.remosaicked(host, "RGGB")
    forged = cfa.Cfa(pattern=foreign, region=REGION)(camera, np.random.default_rng(0))
    swapped = np.where(REGION[..., None], camera.rgb, cfa.Cfa.passed(camera, {"pattern": foreign}))
    assert pattern_of(forged.rgb[INSIDE])[0] == pattern_of(swapped[OUTSIDE])[0] == foreign
    assert pattern_of(forged.rgb[OUTSIDE])[0] == pattern_of(swapped[INSIDE])[0] == "RGGB"
    assert pattern_of(forged.rgb[INSIDE])[1] > 3
    assert pattern_of(host.rgb[INSIDE])[1] < 1.15, "without a demosaicking no place is special"


def test_demosaicking_keeps_what_was_measured_and_averages_the_rest(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    out = cfa.remosaicked(Sample(rgb), "GRBG").rgb.astype(int)
    np.testing.assert_array_equal(out[::2, ::2, 1], rgb[::2, ::2, 1])
    np.testing.assert_array_equal(out[::2, 1::2, 0], rgb[::2, 1::2, 0])
    np.testing.assert_array_equal(out[1::2, ::2, 2], rgb[1::2, ::2, 2])
    whole = rgb.astype(float)
    green = (whole[3, 5, 1] + whole[5, 5, 1] + whole[4, 4, 1] + whole[4, 6, 1]) / 4  # at a red pixel
    blue = (whole[3, 4, 2] + whole[3, 6, 2] + whole[5, 4, 2] + whole[5, 6, 2]) / 4  # there too
    red = (whole[4, 3, 0] + whole[4, 5, 0]) / 2  # at a green one beside it
    np.testing.assert_allclose([out[4, 5, 1], out[4, 5, 2], out[4, 4, 0]], [green, blue, red], atol=0.5)


def edge_phases(rgb: np.ndarray) -> tuple[int, int]:
    """The row and the column modulo 8 at which blocks begin: where the third difference is largest."""
    phases = []
    for axis in (0, 1):
        lines = np.moveaxis(luma(rgb), axis, 0)
        jump = np.abs(lines[:-3] - 3 * lines[1:-2] + 3 * lines[2:-1] - lines[3:]).mean(axis=1)
        begins = (np.arange(len(jump)) + 2) % 8
        phases.append(int(np.argmax([jump[begins == phase].mean() for phase in range(8)])))
    return phases[0], phases[1]


@pytest.mark.parametrize("shift", [(3, 5), (0, 4), (7, 1), (1, 0)])
def test_the_region_has_its_own_block_grid(host: Sample, shift: tuple[int, int]) -> None:
    once = grid.compressed(host, 75)
    settings = {"quality": 60, "dy": shift[0], "dx": shift[1], "subsampling": "4:4:4"}
    foreign = grid.Grid.passed(once, settings)
    assert edge_phases(foreign[INSIDE]) == edge_phases(foreign[OUTSIDE]) == shift
    assert edge_phases(once.rgb[INSIDE]) == edge_phases(once.rgb[OUTSIDE]) == (0, 0)
    if 0 not in shift:
        op = grid.Grid(quality=60, dy=shift[0], dx=shift[1], region=REGION)
        forged = op(once, np.random.default_rng(0)).rgb
        assert (edge_phases(forged[INSIDE]), edge_phases(forged[OUTSIDE])) == (shift, (0, 0))


def test_content_stays_in_place_on_every_grid(host: Sample) -> None:
    for shift in ((0, 0), (3, 5), (7, 7)):
        assert psnr(grid.compressed(host, 95, *shift).rgb, host.rgb) > 36


# The contract.


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("seed", [0, 1])
def test_content_is_unchanged_to_the_eye_and_bit_equal_outside(host: Sample, name: str, seed: int) -> None:
    forged = TRACES[name]()(host, np.random.default_rng(seed))
    assert forged.mask is not None
    assert forged.label == 1
    assert 0.03 < forged.mask.mean() < 0.3
    np.testing.assert_array_equal(forged.rgb[~forged.mask], host.rgb[~forged.mask])
    assert 28 < psnr(forged.rgb[forged.mask], host.rgb[forged.mask]) < 55


@pytest.mark.parametrize("name", TRACES)
def test_one_seed_gives_one_forgery_and_its_record_replays_it(host: Sample, name: str) -> None:
    op = TRACES[name]()
    first, again, other = (op(host, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert (first.mask != other.mask).any()
    entry = json.loads(json.dumps(first.meta["ops"][-1]))
    assert entry == again.meta["ops"][-1]
    np.testing.assert_array_equal(type(op).replay(host, first.mask, entry), first.rgb)
    assert entry["op"] == f"trace_{name}"
    assert entry["trace"] == list(op.traces) != []
    assert entry["words"].keys() == {"noun", "attributes", "place", "relation"}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(TRACES)), seed=st.integers(0, 2**32 - 1))
def test_drawn_values_fit_and_differ_from_no_change(name: str, seed: int) -> None:
    values = TRACES[name]().draw(np.random.default_rng(seed))
    rgb = np.random.default_rng(1).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    passed = TRACES[name].passed(Sample(rgb), values)
    assert passed.shape == rgb.shape
    assert (passed != rgb).any()
    if name == "grid":
        assert (values["dy"], values["dx"]) != (0, 0)
    if name == "resampling":
        assert (values["factor"] == 1) != (values["angle"] == 0)


def test_the_given_region_is_taken_and_left_alone(host: Sample) -> None:
    region = REGION.copy()
    forged = median.Median(region=region)(host, np.random.default_rng(0))
    np.testing.assert_array_equal(forged.mask, REGION)
    forged.mask[:] = False
    np.testing.assert_array_equal(region, REGION)


@pytest.mark.parametrize(
    ("rows", "columns", "place"),
    [
        (slice(0, 20), slice(0, 30), "top left"),
        (slice(140, 160), slice(0, 30), "left"),
        (slice(140, 160), slice(190, 210), "middle"),
        (slice(280, 300), slice(190, 210), "bottom"),
        (slice(299, 300), slice(399, 400), "bottom right"),
    ],
)
def test_words_name_the_place(host: Sample, rows: slice, columns: slice, place: str) -> None:
    region = np.zeros(host.size, bool)
    region[rows, columns] = True
    entry = blur.Blur(region=region)(host, np.random.default_rng(0)).meta["ops"][-1]
    assert entry["words"]["place"] == place


def test_a_mixed_region_passes_all_pipelines_in_order(host: Sample) -> None:
    steps = (noise.Noise(), cfa.Cfa(), median.Median(), quality.Quality())
    forged = mixed.Mixed(steps=steps, region=REGION)(host, np.random.default_rng(5))
    entry = json.loads(json.dumps(forged.meta["ops"][-1]))
    assert entry["trace"] == ["foreign_noise", "cfa", "median", "jpeg_history"]
    assert [step["op"] for step in entry["steps"]] == ["trace_noise", "trace_cfa", "trace_median", "trace_quality"]
    everywhere, rgb = np.ones(host.size, bool), host.rgb
    for step, values in zip(steps, entry["steps"], strict=True):
        rgb = type(step).replay(Sample(rgb), everywhere, values)
    np.testing.assert_array_equal(forged.rgb, np.where(REGION[..., None], rgb, host.rgb))


def test_nothing_is_an_authentic_twin_that_is_delivered_alike(host: Sample) -> None:
    table = np.ones((8, 8), np.uint16)
    coded = Sample(
        host.rgb,
        id="a",
        jpeg=Jpeg((table,), (np.zeros((1, 1, 8, 8), np.int16),), ((1, 1),)),
        thumbnail=host.rgb[:8, :8],
        meta={"format": "JPEG"},
    )
    rng = np.random.default_rng(0)
    twin, forged = nothing.Nothing()(coded, rng), blur.Blur()(coded, np.random.default_rng(0))
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state, "nothing is drawn"
    assert (twin.label, forged.label) == (0, 1)
    assert not twin.mask.any()
    assert twin.jpeg is forged.jpeg is twin.thumbnail is forged.thumbnail is None
    assert twin.meta.keys() == forged.meta.keys()
    assert twin.meta["ops"][-1]["trace"] == []
    assert Delivery(95).encode(twin.rgb) == Delivery(95).encode(host.rgb)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid.Grid(dy=(0, 7), dx=0), "leave out 0"),
        (lambda: grid.Grid(dy=[0, 3], dx=(0, 2)), "leave out 0"),
        (lambda: quality.Quality(quality=101), "from 1 to 100, found 101"),
        (lambda: median.Median(kernel=4), "odd number"),
        (lambda: noise.Noise(sigma=(6.0, 3.0)), "low to high"),
        (lambda: cfa.Cfa(pattern="RGBG"), "one of RGGB"),
        (lambda: blur.Blur(share=(0.2, 0.1)), "share"),
        (lambda: resampling.Resampling(turned=1.5), "turned"),
        (lambda: mixed.Mixed(steps=()), "at least one"),
        (lambda: mixed.Mixed(steps=(blur.Blur(),), share=(0.0, 0.1)), "share"),
        (lambda: blur.Blur(region=np.zeros((4, 4), bool)), "region"),
        (lambda: blur.Blur(region=np.zeros((40, 40), bool)), "region"),
        (lambda: blur.Blur(region=np.ones((40, 40), np.uint8)), "region"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        make()(Sample(np.zeros((40, 40, 3), np.uint8)), np.random.default_rng(0))


def test_bad_records_are_refused(host: Sample) -> None:
    entry = blur.Blur(region=REGION)(host, np.random.default_rng(0)).meta["ops"][-1]
    with pytest.raises(InvalidValueError, match="trace_median, found one of 'trace_blur'"):
        median.Median.replay(host, REGION, entry)
    with pytest.raises(InvalidValueError, match="value of sigma"):
        blur.Blur.replay(host, REGION, {"op": "trace_blur", "kernel": 0})
    with pytest.raises(InvalidValueError, match="from 0 to 50"):
        blur.Blur.replay(host, REGION, {**entry, "sigma": -1.0})
