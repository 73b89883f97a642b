"""Splices take the mask's pixels from the donor, put them where the placer says, and record the way they went."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.media.recompress import encode_jpeg
from tamperscope.ops import codecs
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.splice import Splice
from tamperscope.types import Sample


@pytest.fixture
def host(photo) -> Sample:  # type: ignore[no-untyped-def]
    return Sample(photo("coffee")[:280, :400], id="coffee")


@pytest.fixture
def donor(photo) -> Sample:  # type: ignore[no-untyped-def]
    return Sample(photo("chelsea")[:260, :300], id="chelsea")


def oval(size: tuple[int, int]) -> np.ndarray:
    y, x = np.indices(size)
    return np.asarray(((y - 120) / 50) ** 2 + ((x - 150) / 70) ** 2 <= 1)


def here(top: int, left: int, scale: float = 1.0):  # type: ignore[no-untyped-def]
    return lambda host, piece, rng: (top, left, scale)


def test_unscaled_pixels_are_the_donors_and_swapping_swaps_them(host: Sample, donor: Sample) -> None:
    for one, other in ((host, donor), (donor, host)):
        mask = oval(one.size)
        forged = Splice(one, mask, place=here(40, 60), blends=("hard",))(other, np.random.default_rng(0))
        (top, left), (rows, columns) = (40, 60), shapes.box(mask)
        inside = np.nonzero(forged.mask)
        source = inside[0] - top + rows.start, inside[1] - left + columns.start
        np.testing.assert_array_equal(forged.rgb[inside], one.rgb[source])
        np.testing.assert_array_equal(forged.rgb[~forged.mask], other.rgb[~forged.mask])
        assert forged.mask.sum() == mask.sum()


@given(
    scale=st.floats(0.4, 1.8),
    turn=st.floats(-90, 90),
    flip=st.booleans(),
    top=st.integers(0, 90),
    left=st.integers(0, 90),
)
@settings(max_examples=20, deadline=None)
def test_the_recorded_warp_leads_from_donor_to_host(scale: float, turn: float, flip: bool, top: int, left: int) -> None:
    y, x = np.indices((120, 130))
    # The donor's colours are its coordinates.
    donor = Sample(np.stack([2 * y, x + 50, np.zeros_like(x)], 2).astype(np.uint8), id="d")
    mask = (np.abs(y - 60) < 22) & (np.abs(x - 66) < 30)
    op = Splice(donor, mask, place=here(top, left, scale), turn=(turn, turn), flip=float(flip), blends=("hard",))
    forged = op(Sample(np.full((260, 260, 3), 7, np.uint8)), np.random.default_rng(1))
    entry = forged.meta["ops"][-1]
    assert forged.mask is not None
    inside = cv2.erode(forged.mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
    values = forged.rgb[inside].astype(float)
    source = np.stack([values[:, 1] - 50, values[:, 0] / 2, np.ones(len(values))])
    arrived = (np.array(entry["warp"]) @ source)[::-1].T
    error = arrived - np.argwhere(inside)
    assert np.abs(error).max() < 1.2 * max(1, scale)
    assert np.abs(error.mean(0)).max() < 0.12
    determinant = np.linalg.det(np.array(entry["warp"])[:, :2])
    assert determinant == pytest.approx((-1 if flip else 1) * scale**2, rel=0.06)
    assert (abs(forged.mask.sum() / (scale**2 * mask.sum()) - 1)) < 0.15
    corner = [s.start for s in shapes.box(forged.mask)]
    assert corner == [top, left]


def test_all_that_happened_is_recorded_ready_for_json(host: Sample, donor: Sample) -> None:
    op = Splice(
        donor, oval(donor.size), place="resembling", turn=(5, 20), flip=1.0, blends=("poisson",), matches=("reinhard",),
        noun="a cat", attributes=["brown"],
    )  # fmt: skip
    forged = op(host, np.random.default_rng(3))
    entry = forged.meta["ops"][-1]
    assert json.loads(json.dumps(entry)) == entry
    assert entry["op"] == "splice"
    assert entry["donor"] == "chelsea"
    assert entry["placed"] == "resembling"
    assert entry["flip"] is True
    assert 5 <= entry["turn"] <= 20
    assert entry["blend"] == "poisson"
    assert entry["match"] == "reinhard"
    assert 0.4 <= entry["strength"] <= 0.9
    assert entry["object"] == "given"
    assert entry["trace"] == ["foreign_noise", "resampling"]
    words = entry["words"]
    assert (words["noun"], words["attributes"]) == ("a cat", ["brown"])
    assert words["place"] == shapes.place(forged.mask)  # type: ignore[arg-type]
    assert "another picture" in words["relation"]


@pytest.mark.parametrize("compressed", ["", "host", "donor", "both"])
@pytest.mark.parametrize("shift", [(0, 0), (8, 16), (3, 5), (7, 0)])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_the_foreign_grid_is_stated_where_the_blocks_do_not_fall_in_line(
    host: Sample, donor: Sample, compressed: str, shift: tuple[int, int], flip: float
) -> None:
    mask = np.zeros(donor.size, bool)
    mask[64:160, 64:192] = True
    if compressed in ("host", "both"):
        host = codecs.jpeg(host, 80)
    if compressed in ("donor", "both"):
        donor = codecs.jpeg(donor, 80)
    place = here(64 + shift[0], 64 + shift[1])
    entry = Splice(donor, mask, place=place, flip=flip)(host, np.random.default_rng(0)).meta["ops"][-1]
    assert ("jpeg_history" in entry["trace"]) == bool(compressed)
    aligned = shift[0] % 8 == shift[1] % 8 == 0
    expected = compressed == "donor" or (compressed == "both" and not aligned)
    assert ("foreign_grid" in entry["trace"]) == expected
    scaled = Splice(donor, mask, place=here(64, 64, 0.9))(host, np.random.default_rng(0)).meta["ops"][-1]
    assert "foreign_grid" not in scaled["trace"]
    assert "resampling" in scaled["trace"]
    assert "resampling" not in entry["trace"]


def test_poisson_splices_keep_the_donors_gradients_where_they_land(host: Sample, donor: Sample) -> None:
    mask = oval(donor.size)
    plain, blended = (
        Splice(donor, mask, place=here(60, 80), blends=(blend,))(host, np.random.default_rng(0))
        for blend in ("hard", "poisson")
    )
    inner = cv2.erode(plain.mask.astype(np.uint8), np.ones((9, 9))).astype(bool)  # type: ignore[union-attr]
    edges = [np.diff(s.rgb.astype(float), axis=1)[inner[:, 1:]] for s in (plain, blended)]
    assert np.corrcoef(edges[0].ravel(), edges[1].ravel())[0, 1] > 0.95
    np.testing.assert_array_equal(plain.mask, blended.mask)


def test_a_found_object_is_cut_out_when_asked(host: Sample) -> None:
    rgb = np.random.default_rng(0).integers(90, 110, (200, 240, 3), dtype=np.uint8)
    y, x = np.indices((200, 240))
    disc = (y - 90) ** 2 + (x - 130) ** 2 < 40**2
    rgb[disc] = (250, 220, 30)
    forged = Splice(Sample(rgb), seek=True, place=here(50, 50), blends=("hard",))(host, np.random.default_rng(0))
    assert forged.meta["ops"][-1]["object"] == "found"
    assert forged.mask is not None
    assert forged.mask.sum() == pytest.approx(disc.sum(), rel=0.05)
    assert (forged.rgb[forged.mask] == (250, 220, 30)).all(1).mean() > 0.97


def test_bad_settings_are_told(host: Sample, donor: Sample) -> None:
    with pytest.raises(InvalidValueError, match=r"splice\.share"):
        Splice(donor, share=(0.5, 0.1))
    with pytest.raises(InvalidValueError, match=r"splice\.strength"):
        Splice(donor, strength=(0.1, 1.5))
    with pytest.raises(InvalidValueError, match="anywhere, resembling, learned or a function"):
        Splice(donor, place="nowhere")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="expected a place inside"):
        Splice(donor, oval(donor.size), place=here(9999, 0))(host, np.random.default_rng(0))
    with pytest.raises(InvalidValueError, match="object: expected bool"):
        Splice(donor, np.ones((3, 3), bool))(host, np.random.default_rng(0))


def test_a_jpeg_of_the_forgery_still_opens(host: Sample, donor: Sample) -> None:
    forged = Splice(donor)(host, np.random.default_rng(8))
    assert forged.jpeg is None
    assert encode_jpeg(forged.rgb, 90, "4:2:0")[:2] == b"\xff\xd8"
