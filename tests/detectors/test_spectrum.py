"""`spectrum` sees the lines of an up-sampler, and neither JPEG's blocks nor a sensor's mosaic for such."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope import load, media
from tamperscope.detectors.spectrum import SIDE, spectra, stand_out, tail_of
from tamperscope.media.recompress import encode_jpeg, recompress
from tamperscope.ops.forge.upsampling import filters, upsampled
from tamperscope.types import Sample

NAMES = ("astronaut", "coffee", "chelsea")


def even(photo, name: str) -> np.ndarray:  # type: ignore[no-untyped-def]
    rgb = photo(name)
    height, width = (n // 8 * 8 for n in rgb.shape[:2])
    return np.ascontiguousarray(rgb[:height, :width])


def generated(rgb: np.ndarray, factor: int = 4) -> np.ndarray:
    return upsampled(rgb, filters("transposed", 0.1, seed=1), factor)


def score(rgb: np.ndarray) -> float:
    return load("spectrum").predict(Sample(np.ascontiguousarray(rgb))).score


@pytest.mark.parametrize("name", NAMES)
def test_lines_are_those_of_the_up_sampler(photo, name: str) -> None:  # type: ignore[no-untyped-def]
    rgb = even(photo, name)
    made = generated(rgb)
    assert score(rgb) < 3
    assert score(made) > 10
    assert score(made[1:, 3:]) > 10, "wherever the picture begins"
    other = cv2.resize(made, None, fx=1.2, fy=1.2, interpolation=cv2.INTER_AREA)
    assert score(other) < 4, "resizing moves them"


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_blocks_of_jpeg_are_no_lines_of_an_up_sampler(photo, quality: int) -> None:  # type: ignore[no-untyped-def]
    for name in NAMES:
        rgb = even(photo, name)
        assert score(recompress(rgb, quality)) < 4
        sample = media.open(encode_jpeg(rgb, quality)).sample
        assert load("spectrum").predict(sample).score < 4


def test_a_mosaic_of_colours_is_none(photo) -> None:  # type: ignore[no-untyped-def]
    """Green lies on every second place of a sensor, which real photographs keep as a line."""
    rgb = even(photo, "coffee")
    plane = np.empty(rgb.shape[:2], np.uint8)
    for (y, x), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        plane[y::2, x::2] = rgb[y::2, x::2, channel]
    assert score(cv2.cvtColor(plane, cv2.COLOR_BAYER_RG2RGB)) < 4


def test_a_planted_wave_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    noise = 128 + 8 * rng.standard_normal((512, 512))
    columns = np.arange(512)
    for wave, place in (
        (np.cos(np.pi * columns / 2)[None], (0, SIDE // 4)),
        (np.cos(np.pi * columns)[:, None], (SIDE // 2, 0)),
    ):
        rgb = np.repeat((noise + 1.5 * wave).clip(0, 255).astype(np.uint8)[..., None], 3, 2)
        z = stand_out(spectra(Sample(rgb))[0])
        assert max(z, key=lambda k: z[k]) == place
        found = load("spectrum").predict(Sample(rgb))
        assert found.evidence["frequency"] == [k / SIDE for k in place]
        assert found.score > 6
        assert found.heatmap is None
    # A wave of three eighths, as blocks have it, speaks against what it has in common with them.
    blocks = np.repeat((noise + 1.5 * np.cos(np.pi * columns / 4)[None]).clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    assert score(blocks) < 4


def test_the_spectrum_is_that_of_numpy_and_has_each_frequency_once() -> None:
    rng = np.random.default_rng(1)
    rgb = np.repeat(rng.integers(60, 200, (SIDE, SIDE, 1), dtype=np.uint8), 3, 2)
    whole = spectra(Sample(rgb))[1]
    grey = rgb[..., 0].astype(np.float64)
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    expected = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    np.testing.assert_allclose(whole, expected, rtol=1e-2, atol=expected.mean() * 1e-4)
    places = list(stand_out(whole))
    # Of sixteen quarters all but zero, and the one of sensors; symmetric ones once.
    assert len(places) == 8
    assert len({tuple(k % SIDE for k in place) for place in places}) == 8
    assert all(
        ((-d) % SIDE, (-a) % SIDE) not in {(p % SIDE, q % SIDE) for p, q in places} - {(d % SIDE, a % SIDE)}
        for d, a in places
    )


def test_false_alarms_of_noise_are_as_rare_as_they_say() -> None:
    rng = np.random.default_rng(2)
    scores = [score(rng.integers(0, 256, (384, 384, 3), dtype=np.uint8)) for _ in range(30)]
    assert np.mean(np.array(scores) > 2) < 0.1
    assert max(scores) < 4


def test_tails_tell_how_a_picture_was_enlarged(photo) -> None:  # type: ignore[no-untyped-def]
    for name in NAMES:
        rgb = even(photo, name)
        tails = {
            "real": tail_of(spectra(Sample(rgb))[1]),
            "enlarged": tail_of(spectra(Sample(upsampled(rgb, filters("bilinear"), 2)))[1]),
            "shuffled": tail_of(spectra(Sample(upsampled(rgb, filters("pixel_shuffle", 0.1, 1), 2)))[1]),
        }
        assert tails["enlarged"] < tails["real"] - 1.5, tails
        assert tails["shuffled"] > tails["real"] + 0.5, tails


def test_flat_and_small_pictures_have_none() -> None:
    for size in ((300, 300), (100, 400)):
        assert load("spectrum").predict(Sample(np.full((*size, 3), 90, np.uint8))).status == "not_applicable"
