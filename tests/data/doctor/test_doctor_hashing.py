from __future__ import annotations

import numpy as np
import pytest
from doctor_sets import encoded, view
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tamperscope import media
from tamperscope.data.doctor import hashing

PHOTOS = ("astronaut", "coffee", "chelsea")


def _bits(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def _hash(rgb: np.ndarray) -> int:
    return hashing.dct_hash(hashing.thumbnail(rgb))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 8.0), st.floats(-200.0, 200.0))
def test_neither_contrast_nor_brightness_changes_the_hash(seed: int, gain: float, offset: float) -> None:
    grey = np.random.default_rng(seed).uniform(0, 255, (32, 32))
    assert _bits(hashing.dct_hash(grey), hashing.dct_hash(gain * grey + offset)) <= 2  # rounding at the median only


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_negative_has_every_bit_turned(seed: int) -> None:
    grey = np.random.default_rng(seed).uniform(0, 255, (32, 32))
    assert _bits(hashing.dct_hash(grey), hashing.dct_hash(255.0 - grey)) >= 62


def test_half_of_the_bits_are_set() -> None:
    assert all(hashing.dct_hash(hashing.thumbnail(view(seed))).bit_count() == 32 for seed in range(20))


def test_hash_matches_a_direct_cosine_transform() -> None:
    from scipy.fft import dctn

    grey = np.random.default_rng(3).uniform(0, 255, (32, 32))
    full = dctn(grey, norm="ortho")
    places = sorted((r + c, r, c) for r in range(32) for c in range(32))[1:65]
    values = [full[r, c] for _, r, c in places]
    expected = int("".join("1" if v > np.median(values) else "0" for v in values), 2)
    assert hashing.dct_hash(grey) == expected


@pytest.mark.parametrize("name", PHOTOS)
def test_resized_and_recompressed_copies_stay_near(photo, name: str) -> None:
    rgb = photo(name)
    small = np.asarray(Image.fromarray(rgb).resize((rgb.shape[1] // 2, rgb.shape[0] // 2), Image.Resampling.LANCZOS))
    poor = media.open(encoded(small, "JPEG", quality=40)).sample.rgb
    assert _bits(_hash(rgb), _hash(poor)) <= hashing.RADIUS
    rows = [hashing.thumbnail(x).reshape(1, -1) for x in (rgb, poor)]
    assert hashing.correlation(*rows)[0] > 0.99


def test_different_photographs_are_far(photo) -> None:
    hashes = [_hash(photo(name)) for name in PHOTOS]
    assert min(_bits(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 2 * hashing.RADIUS


def test_flat_pictures_are_told() -> None:
    assert hashing.is_flat(np.full((32, 32), 7, np.uint8))
    assert not hashing.is_flat(hashing.thumbnail(view(0)))


def _near_set(hashes: np.ndarray) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for i, j in hashing.near(hashes) for a, b in zip(i, j, strict=True)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_index_finds_exactly_the_near_pairs(seed: int, count: int) -> None:
    """A tree of small mutations has pairs at every distance, of bits in one band or spread."""
    rng = np.random.default_rng(seed)
    hashes = [int(rng.integers(0, 2**63))]
    for _ in range(count):
        flips = rng.choice(64, int(rng.integers(0, 9)), replace=False)
        hashes.append(hashes[int(rng.integers(len(hashes)))] ^ sum(1 << int(b) for b in flips))
    found = _near_set(np.array(hashes, np.uint64))
    expected = {(i, j) for j in range(len(hashes)) for i in range(j) if _bits(hashes[i], hashes[j]) <= hashing.RADIUS}
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_batches_do_not_change_what_is_found(monkeypatch) -> None:
    hashes = np.random.default_rng(1).integers(0, 2**63, 300, dtype=np.uint64) & np.uint64(0xFFFF000000000007)
    whole = _near_set(hashes)
    monkeypatch.setattr(hashing, "_BATCH", 7)
    assert sorted(_near_set(hashes)) == sorted(whole)
    assert whole


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_hashes_have_no_pairs(count: int) -> None:
    assert _near_set(np.zeros(count, np.uint64)) == []


def test_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 5, 1024), dtype=np.uint8)
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    assert np.allclose(hashing.correlation(a, b), expected, atol=1e-5)
    assert np.isnan(hashing.correlation(np.zeros((1, 1024), np.uint8), a[:1])[0])
