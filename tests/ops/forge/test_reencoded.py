"""Re-encoded regions bear the lines of the decoder's up-sampling; the two ways to give them back are told apart."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.ops.forge.reencoded import WEIGHTS, Reencoded, reencoded
from tamperscope.types import Jpeg, Sample

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

REGION = np.zeros((296, 400), bool)
REGION[13:291, 31:201] = True
WINDOW = np.s_[20:276, 40:360]


@pytest.fixture
def host(photo: Callable[[str], np.ndarray]) -> Sample:
    return Sample(np.ascontiguousarray(photo("coffee")[:296, :400]), id="coffee")


@pytest.fixture
def small(photo: Callable[[str], np.ndarray]) -> Sample:
    return Sample(np.ascontiguousarray(photo("coffee")[100:203, 100:223]), id="coffee")


def forge(host: Sample, seed: int = 0, **values: Any) -> tuple[Sample, dict[str, Any]]:
    given = {"region": REGION, **values}
    forged = Reencoded(**given)(host, np.random.default_rng(seed))
    return forged, forged.meta["ops"][-1]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def lines(pictures: list[np.ndarray]) -> float:
    """The largest line at half the sampling rate, across or down, in the spectrum of the strength of fine detail,
    against the frequencies around, mean of all pictures: what is up-sampled has less of it in some rows and columns."""
    found = []
    for rgb in pictures:
        y = rgb.astype(float).mean(2)
        fine = np.minimum(np.abs(y - cv2.GaussianBlur(y, (0, 0), 0.6)), 3)[WINDOW]
        height, width = fine.shape
        spectrum = np.abs(np.fft.fft2((fine - fine.mean()) * np.hanning(height)[:, None] * np.hanning(width)))
        away = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) > 0.2
        at = [spectrum[i * height // 4, j * width // 4] for i in range(3) for j in range(3) if 2 in (i, j)]
        found.append(np.array(at) / np.median(spectrum[away]))
    return float(np.mean(found, axis=0).max())


def blurred(rgb: np.ndarray, wanted: float) -> np.ndarray:
    """A picture blurred until its PSNR is the wanted one."""
    low, high = 0.05, 8.0
    for _ in range(20):
        middle = (low + high) / 2
        out = np.asarray(cv2.GaussianBlur(rgb, (0, 0), middle))
        low, high = (middle, high) if psnr(out, rgb) > wanted else (low, middle)
    return out


# The mechanism.


def test_up_sampling_leaves_lines_that_no_blur_of_equal_error_has(photo: Callable[[str], np.ndarray]) -> None:
    hosts = [np.ascontiguousarray(photo(name)[:296, :400]) for name in ("astronaut", "coffee", "chelsea")]
    whole = [forge(Sample(rgb), whole=True)[0].rgb for rgb in hosts]
    blurs = [blurred(rgb, psnr(new, rgb)) for rgb, new in zip(hosts, whole, strict=True)]
    for new, blur, rgb in zip(whole, blurs, hosts, strict=True):
        assert psnr(blur, rgb) == pytest.approx(psnr(new, rgb), abs=0.3)
    assert lines(whole) > 2 * max(lines(hosts), lines(blurs)), (lines(whole), lines(hosts), lines(blurs))


def test_pasted_back_is_bit_equal_outside(host: Sample) -> None:
    forged, entry = forge(host, latent_noise=0.1)
    np.testing.assert_array_equal(forged.rgb[~REGION], host.rgb[~REGION])
    assert (forged.rgb != host.rgb).any(axis=2)[REGION].mean() > 0.7
    assert entry["reencoded"] is False


def test_whole_changes_everything_and_keeps_the_mask(host: Sample) -> None:
    forged, entry = forge(host, whole=True)
    np.testing.assert_array_equal(forged.rgb, reencoded(host).rgb)
    assert (forged.rgb != host.rgb).any(axis=2)[~REGION].mean() > 0.7
    np.testing.assert_array_equal(forged.mask, REGION)
    assert entry["reencoded"] is True
    assert "rest of the picture" in entry["words"]["relation"]


def test_near_the_region_is_enough_to_encode(host: Sample) -> None:
    part = np.zeros_like(REGION)
    part[200:243, 301:333] = True
    forged, _ = forge(host, region=part)
    whole = reencoded(host).rgb
    assert np.abs(forged.rgb[part].astype(int) - whole[part]).max() <= 1, "the cells are those of the whole picture"


def test_a_feather_softens_the_border_alone(host: Sample) -> None:
    hard, soft = (forge(host, blends=[b], feathers=[1.5])[0] for b in ("hard", "feathered"))
    assert soft.meta["ops"][-1]["trace"] == ["upsampling", "edge_halo"]
    depth = cv2.distanceTransform(REGION.astype(np.uint8), cv2.DIST_L2, 5)
    away = cv2.distanceTransform((~REGION).astype(np.uint8), cv2.DIST_L2, 5)
    np.testing.assert_array_equal(soft.rgb[depth > 7], hard.rgb[depth > 7])
    np.testing.assert_array_equal(soft.rgb[away > 2], host.rgb[away > 2])
    assert (soft.rgb != hard.rgb).any()


def test_noise_draws_content_anew(host: Sample) -> None:
    found = [psnr(reencoded(host, latent_noise=noise, seed=5).rgb, host.rgb) for noise in (0.0, 0.1, 0.4)]
    assert found[0] > found[1] > found[2] + 1


# The contract.


@pytest.mark.parametrize("whole", [False, True])
def test_one_seed_gives_one_forgery_and_its_record_replays_it(small: Sample, whole: bool) -> None:
    drawn = {"region": None, "whole": whole, "latent_noise": (0.05, 0.2), "blends": ["hard", "feathered"]}
    (first, entry), (again, same), (other, _) = (forge(small, seed, **drawn) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert first.mask is not None
    assert other.mask is not None
    assert (first.mask != other.mask).any()
    assert json.loads(json.dumps(entry)) == entry == same
    np.testing.assert_array_equal(Reencoded.replay(small, first.mask, entry), first.rgb)
    moved = Reencoded.replay(small, first.mask, entry | {"seed": entry["seed"] ^ 1})
    assert (moved != first.rgb).any()
    assert entry["op"] == "reencoded"
    assert first.label == 1


def test_threads_change_nothing(small: Sample) -> None:
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(forge(small, 4, region=None, latent_noise=0.1, whole=True)[0].rgb)
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_both_ways_to_give_back_are_drawn_from_a_list(small: Sample) -> None:
    found = [forge(small, seed, region=None, whole=[True, False])[1]["reencoded"] for seed in range(12)]
    assert set(found) == {True, False}


def test_what_is_known_of_the_region_is_recorded_and_coefficients_are_dropped(host: Sample) -> None:
    tables = Jpeg((np.ones((8, 8), np.uint16),), (np.zeros((37, 50, 8, 8), np.int16),), ((1, 1),))
    forged, entry = forge(Sample(host.rgb, jpeg=tables), 0, noun="a cat", attributes=("red",))
    assert entry["words"] == {"noun": "a cat", "attributes": ["red"], "place": "left", "relation": "encoded anew"}
    assert forged.jpeg is None


@given(size=st.tuples(st.integers(1, 19), st.integers(1, 19)), whole=st.booleans())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_size_is_kept(size: tuple[int, int], whole: bool) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    region = np.zeros(size, bool)
    region[-1, -1] = True
    forged, _ = forge(Sample(rgb), region=region, whole=whole)
    assert forged.rgb.shape == rgb.shape
    assert whole or (forged.rgb[~region] == rgb[~region]).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "large"}, "model: expected one of tiny, taef2"),
        ({"latent_noise": (0.0, 2.0)}, "latent_noise: expected a number from 0 to 1"),
        ({"whole": "yes"}, "whole: expected true, false or a list"),
        ({"whole": []}, "whole: expected true, false or a list"),
        ({"feathers": [-1.0]}, "feathers: expected widths"),
        ({"blends": []}, "at least one blend"),
        ({"region": np.zeros((296, 400), bool)}, "region: expected bool"),
    ],
)
def test_settings_that_do_not_fit_are_refused(host: Sample, values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        forge(host, **values)


def test_records_of_others_are_refused(small: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    forged, entry = forge(small, region=None)
    assert forged.mask is not None
    with pytest.raises(InvalidValueError, match="record of reencoded"):
        Reencoded.replay(small, forged.mask, {"op": "trace_blur"})
    with pytest.raises(InvalidValueError, match="expected weights of sha256 0000"):
        Reencoded.replay(small, forged.mask, entry | {"weights": "0000"})
    with pytest.raises(UnknownNameError, match="blend 'softly'"):
        Reencoded(blends=["softly"])  # type: ignore[list-item]
    monkeypatch.delenv(WEIGHTS, raising=False)
    with pytest.raises(InputError, match=f"a folder of weights as `weights` or in {WEIGHTS}"):
        forge(small, region=None, model="taef2")


def test_without_torch_the_error_says_what_to_install(small: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    import tamperscope.nn

    monkeypatch.delattr(tamperscope.nn, "autoencoders", raising=False)
    monkeypatch.setitem(sys.modules, "tamperscope.nn.autoencoders", None)
    with pytest.raises(InputError, match=r"pip install \"tamperscope\[train\]\""):
        reencoded(small)


@pytest.mark.skipif(WEIGHTS not in os.environ, reason=f"{WEIGHTS} names no folder")
def test_taef2_comes_from_the_environment_or_a_folder(small: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.environ[WEIGHTS]
    first, entry = forge(small, region=None, model="taef2")
    monkeypatch.delenv(WEIGHTS)
    again, same = forge(small, region=None, model="taef2", weights=folder)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert entry == same
    assert folder not in json.dumps(entry)
    assert first.mask is not None
    assert psnr(first.rgb[first.mask], small.rgb[first.mask]) > 25
