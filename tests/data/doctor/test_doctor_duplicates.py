from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import idctn

from tamperscope.data.doctor import duplicates, hashing
from tamperscope.data.doctor.checks import copies
from tamperscope.data.doctor.records import Record
from tamperscope.data.manifest import Entry


def _record(name: str, thumb: np.ndarray, **fields: object) -> Record:
    entry = Entry.model_validate({"image": name, "label": 0, "split": "train", **fields})
    return Record(entry, sha256=f"sha of {name}", thumb=thumb, hash=hashing.dct_hash(thumb))


def _spectrum(magnitudes: np.ndarray, seed: int = 0) -> np.ndarray:
    """(32, 32) uint8 with given magnitudes at the 64 lowest frequencies, half of them negative."""
    coefficients = np.zeros((32, 32))
    places = sorted((r + c, r, c) for r in range(32) for c in range(32))[:65]
    signs = np.random.default_rng(seed).permutation(np.repeat([-1.0, 1.0], 32))
    for (_, r, c), value in zip(places[1:], magnitudes * signs, strict=True):
        coefficients[r, c] = value
    grey = idctn(coefficients, norm="ortho")
    return np.rint(128 + 100 * grey / np.abs(grey).max()).astype(np.uint8)


def test_one_hash_is_not_enough_the_thumbnails_must_agree() -> None:
    low, high = np.linspace(30, 3, 64), np.linspace(3, 30, 64)
    first, second = _record("a", _spectrum(low)), _record("b", _spectrum(high))
    assert (first.hash ^ second.hash).bit_count() <= hashing.RADIUS
    assert duplicates.near([first, second]) == ({}, False)
    twin = _record("c", np.clip(_spectrum(low).astype(int) + 3, 0, 255).astype(np.uint8))
    found, cut = duplicates.near([first, second, twin])
    assert not cut
    assert [(a, b) for a, b, _ in found["within"].kept] == [(0, 2)]


def test_the_search_stops_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    thumb = _spectrum(np.linspace(30, 3, 64))
    records = [_record(f"{k}", thumb) for k in range(12)]
    assert duplicates.near(records)[0]["within"].count == 66
    monkeypatch.setattr(duplicates, "_BATCH", 10)
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 15)
    found, cut = duplicates.near(records)
    assert cut
    assert 15 < found["within"].count < 66
    (problem,) = copies(records)
    assert problem.text.startswith("at least")


def test_copies_of_copies_are_compared_once() -> None:
    """Ten files of the same bytes near an eleventh make one near pair and nine exact copies."""
    thumb = _spectrum(np.linspace(30, 3, 64))
    twin = np.clip(thumb.astype(int) + 3, 0, 255).astype(np.uint8)
    same = [
        Record(Entry(image=f"{k}", label=0), sha256="same", thumb=thumb, hash=hashing.dct_hash(thumb))
        for k in range(10)
    ]
    records = [*same, _record("twin", twin, split="")]
    assert duplicates.exact(records)["within"].count == 9
    assert [(a, b) for a, b, _ in duplicates.near(records)[0]["within"].kept] == [(0, 10)]


def test_unreadable_pictures_are_no_copies_of_each_other() -> None:
    records = [Record(Entry(image=f"{k}", label=k % 2), fault="missing") for k in range(4)]
    assert duplicates.exact(records) == {}
    assert duplicates.near(records) == ({}, False)


def test_kept_pairs_are_bounded_and_the_count_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "KEPT_EXAMPLES", 3)
    thumb = _spectrum(np.linspace(30, 3, 64))
    records = [_record(f"{k}", thumb, label=k % 2) for k in range(8)]
    found, _ = duplicates.near(records)
    assert {kind: (pairs.count, len(pairs.kept)) for kind, pairs in found.items()} == {
        "labels": (16, 3),
        "within": (12, 3),
    }
