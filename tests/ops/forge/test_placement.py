"""Placers put pieces inside of the host, and where they say; the learned one is drawn from the network's own map."""

from __future__ import annotations

import builtins
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import placement, shapes
from tamperscope.ops.forge.placement import Anywhere, Learned, Placer, Resembling
from tamperscope.ops.forge.splice import Splice
from tamperscope.types import BoolArray, Sample


def picture(height: int, width: int, seed: int = 0) -> Sample:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(rgb, id=f"{height}x{width}")


def donor_with(height: int, width: int) -> tuple[Sample, BoolArray, BoolArray]:
    """A picture, the mask of an object in it, and the same mask cut to its box."""
    mask = np.zeros((height + 9, width + 7), bool)
    mask[5 : 5 + height, 4 : 4 + width] = True
    return picture(height + 9, width + 7, 1), mask, mask[shapes.box(mask)]


def placers(donor: Sample, mask: BoolArray) -> list[Placer]:
    return [Anywhere(), Resembling(donor, mask), Learned(donor, mask)]


@given(
    host=st.tuples(st.integers(16, 500), st.integers(16, 500)),
    piece=st.tuples(st.integers(3, 300), st.integers(3, 300)),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_every_placer_keeps_the_piece_inside_of_any_host(
    host: tuple[int, int], piece: tuple[int, int], seed: int
) -> None:
    pytest.importorskip("torch")
    sample, (donor, mask, cut) = picture(*host), donor_with(*piece)
    for place in placers(donor, mask):
        top, left, scale = place(sample, cut, np.random.default_rng(seed))
        assert (top, left, scale) == place(sample, cut, np.random.default_rng(seed))
        assert scale > 0
        for at, n, side in zip((top, left), cut.shape, host, strict=True):
            assert isinstance(at, int)
            assert 0 <= at <= side - int(n * scale)


def test_a_drawn_share_is_reached_and_a_third_keeps_its_own_pixels() -> None:
    host, (y, x) = picture(280, 400), np.indices((101, 141))
    piece = ((y - 50) / 50) ** 2 + ((x - 70) / 70) ** 2 <= 1
    place = Anywhere((0.05, 0.1), own=0.33)
    drawn = [place(host, piece, np.random.default_rng(seed)) for seed in range(300)]
    own = np.mean([scale == 1.0 for *_, scale in drawn])
    assert 0.24 < own < 0.43
    shares = [piece.sum() * s**2 / np.prod(host.size) for *_, s in drawn if s != 1]
    assert 0.05 <= min(shares) < 0.055
    assert 0.09 < max(shares) <= 0.1001
    assert all(0 <= t <= host.size[0] - piece.shape[0] * s + 1 for t, _, s in drawn)


def test_a_ground_object_is_put_on_the_ground_of_a_host_that_looks_like_the_donor() -> None:
    rng = np.random.default_rng(5)

    def land(size: tuple[int, int], horizon: float, left_grass: bool) -> np.ndarray:
        rgb = np.full((*size, 3), (150.0, 190.0, 240.0))
        ground = np.arange(size[0]) > horizon * size[0]
        rgb[ground] = (90, 120, 50)
        rgb[ground] += rng.normal(0, 18, (int(ground.sum()), size[1], 1))
        if left_grass:
            rgb[ground, size[1] // 2 :] = (200, 190, 185)
        return np.clip(rgb, 0, 255).astype(np.uint8)

    donor = Sample(land((300, 400), 0.4, False), id="d")
    mask = np.zeros(donor.size, bool)
    mask[170:230, 180:230] = True
    host = Sample(land((240, 360), 0.4, True), id="h")
    place = Resembling(donor, mask)
    piece = mask[shapes.box(mask)]
    for seed in range(12):
        top, left, scale = place(host, piece, np.random.default_rng(seed))
        assert top + piece.shape[0] * scale > 0.5 * 240, "it stands on the ground"
        assert left + piece.shape[1] * scale / 2 < 0.5 * 360, "on grass, not on stone"
        share = piece.sum() * scale**2 / (240 * 360)
        assert 0.7 * 0.9 < share / (piece.sum() / mask.size) < 1.4 * 1.1
        assert abs((top + piece.shape[0] * scale) / 240 - 230 / 300) < 0.3


# The learned placer, against a map that is known.


def maps(monkeypatch: pytest.MonkeyPatch, heat: np.ndarray) -> None:
    known = SimpleNamespace(
        SIZES=np.geomspace(0.07, 0.8, 8), shipped=lambda: None, heatmap=lambda *args: np.log(np.maximum(heat, 1e-30))
    )
    monkeypatch.setattr(placement, "_topnet", lambda: known)


def test_a_piece_lands_in_the_cell_that_the_map_points_at(monkeypatch: pytest.MonkeyPatch) -> None:
    host, (donor, mask, cut) = picture(320, 640), donor_with(40, 40)
    for layer, row, column in ((1, 4, 25), (3, 20, 9), (4, 16, 16)):
        heat = np.zeros((8, 32, 32))
        heat[layer, row, column] = 1
        maps(monkeypatch, heat)
        for seed in range(5):
            top, left, scale = Learned(donor, mask, (1e-4, 1.0))(host, cut, np.random.default_rng(seed))
            side = 40 * scale
            assert side / np.sqrt(320 * 640) == pytest.approx(np.geomspace(0.07, 0.8, 8)[layer])
            assert (top + side / 2) / 10 == pytest.approx(row + 0.5, abs=0.66)
            assert (left + side / 2) / 20 == pytest.approx(column + 0.5, abs=0.58)


def test_cells_are_drawn_as_often_as_they_are_likely_and_unlikely_ones_never(monkeypatch: pytest.MonkeyPatch) -> None:
    host, (donor, mask, cut) = picture(320, 320), donor_with(30, 30)
    heat = np.full((8, 32, 32), 0.1 / 8192)
    heat[2, 8, 8], heat[2, 24, 24] = 0.6, 0.3
    maps(monkeypatch, heat)
    drawn = Counter(
        Learned(donor, mask, mass=0.85)(host, cut, np.random.default_rng(seed))[0] < 160 for seed in range(400)
    )
    assert drawn[True] / 400 == pytest.approx(2 / 3, abs=0.08)
    rows = {Learned(donor, mask, mass=0.5)(host, cut, np.random.default_rng(seed))[0] < 160 for seed in range(40)}
    assert rows == {True}


def test_a_cell_where_the_piece_would_leave_the_host_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    host, (donor, mask, cut) = picture(320, 320), donor_with(30, 30)
    heat = np.full((8, 32, 32), 1e-9)
    heat[6, 0, 0], heat[6, 16, 10] = 0.9, 0.01
    maps(monkeypatch, heat)
    top, left, scale = Learned(donor, mask, (1e-4, 1.0))(host, cut, np.random.default_rng(0))
    assert (top + 15 * scale) / 10 == pytest.approx(16.5, abs=0.7)
    assert (left + 15 * scale) / 10 == pytest.approx(10.5, abs=0.7)


def test_the_area_is_kept_in_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    host, (donor, mask, cut) = picture(300, 300), donor_with(30, 30)
    for layer, wanted in ((0, 0.02), (7, 0.2)):
        heat = np.zeros((8, 32, 32))
        heat[layer, 16, 16] = 1
        maps(monkeypatch, heat)
        scale = Learned(donor, mask, (0.02, 0.2))(host, cut, np.random.default_rng(0))[2]
        assert cut.sum() * scale**2 / 300**2 == pytest.approx(wanted)


# Without torch.


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def _import(name: str, *args: object, **values: object) -> object:
        if name.partition(".")[0] in ("torch", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return plain(name, *args, **values)  # type: ignore[arg-type]

    for name in [m for m in sys.modules if m.startswith("tamperscope.networks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", _import)


def spliced(place: str) -> Sample:
    donor, mask, _ = donor_with(40, 30)
    return Splice(donor, mask, place=place)(picture(160, 200), np.random.default_rng(4))  # type: ignore[arg-type]


def test_without_torch_resemblance_stands_in_and_the_record_says_so(without_torch: None) -> None:
    learned, resembling = spliced("learned"), spliced("resembling")
    assert learned.meta["ops"][-1]["placed"] == "resembling"
    np.testing.assert_array_equal(learned.rgb, resembling.rgb)
    donor, mask, cut = donor_with(40, 30)
    with pytest.raises(InvalidValueError, match="tamperscope\\[train\\]"):
        Learned(donor, mask)(picture(99, 99), cut, np.random.default_rng(0))


def test_with_torch_the_network_places_and_the_record_says_so() -> None:
    pytest.importorskip("torch")
    forged, again = spliced("learned"), spliced("learned")
    np.testing.assert_array_equal(forged.rgb, again.rgb)
    assert forged.meta["ops"][-1]["placed"] == "learned"
    assert spliced("resembling").meta["ops"][-1]["placed"] == "resembling"
    assert spliced("anywhere").meta["ops"][-1]["placed"] == "anywhere"


def test_an_error_inside_of_the_network_is_not_taken_for_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    def _broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'tamperscope.typo'", name="tamperscope.typo")

    monkeypatch.setattr(placement, "import_module", _broken)
    with pytest.raises(ModuleNotFoundError):
        spliced("learned")


def test_settings_out_of_range_are_told() -> None:
    donor, mask, _ = donor_with(9, 9)
    with pytest.raises(InvalidValueError, match=r"learned\.share"):
        Learned(donor, mask, (0.5, 0.1))
    with pytest.raises(InvalidValueError, match=r"learned\.mass"):
        Learned(donor, mask, mass=0.0)
