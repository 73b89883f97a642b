"""Maps come back as they were added, packed or not, whole or in bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tamperscope.errors import InvalidValueError
from tamperscope.report import maps
from tamperscope.report.maps import Maps, quantized


@pytest.fixture(params=[False, True], ids=["small", "large"])
def packed(request, monkeypatch) -> bool:  # type: ignore[no-untyped-def]
    if request.param:
        monkeypatch.setattr(maps, "LARGE", 1)
        monkeypatch.setattr(maps, "ROWS", 7)
    return bool(request.param)


def test_maps_come_back_in_their_order(packed: bool) -> None:
    rng = np.random.default_rng(0)
    added = {name: rng.integers(0, 256, (30, 21), dtype=np.uint8) for name in ("zero", "blk", "ela")}
    found = Maps((30, 21), added)
    assert list(found) == ["zero", "blk", "ela"]
    assert len(found) == 3
    assert "dq" not in found
    for name, heat in added.items():
        np.testing.assert_array_equal(found[name], heat)
    with pytest.raises(KeyError):
        found["dq"]


def test_bands_are_the_whole(packed: bool) -> None:
    rng = np.random.default_rng(1)
    found = Maps((30, 21), {name: rng.random((30, 21)).astype(np.float32) for name in ("a", "b")})
    seen = {name: np.zeros((30, 21), np.uint8) for name in found}
    bands = list(found.bands())
    assert len(bands) == (5 if packed else 1)
    for rows, band in bands:
        for name, part in band.items():
            seen[name][rows] = part
    for name, heat in found.items():
        np.testing.assert_array_equal(seen[name], heat)


def test_packing_takes_less_where_maps_are_smooth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "LARGE", 1)
    found = Maps((512, 512), {"a": np.linspace(0, 1, 512, dtype=np.float32)[:, None].repeat(512, 1)})
    assert sum(len(band) for band in found._bands["a"]) < 512 * 512 / 20


def test_another_size_is_told(packed: bool) -> None:
    with pytest.raises(InvalidValueError, match=r"map 'a': expected \(3, 4\)"):
        Maps((3, 4), {"a": np.zeros((4, 3), np.float32)})


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(width=32)),
    st.integers(1, 4),
)
def test_a_byte_tells_the_same_side_of_the_middle(heat: np.ndarray, rows: int) -> None:
    whole = quantized("a", heat, heat.shape)
    known = np.nan_to_num(heat, nan=0.0)
    np.testing.assert_array_equal(whole > 127, known > 0.5)
    assert np.abs(whole / 255.0 - np.clip(known, 0, 1)).max() <= 1 / 255
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "ROWS", rows)
        np.testing.assert_array_equal(quantized("a", heat, heat.shape), whole)
