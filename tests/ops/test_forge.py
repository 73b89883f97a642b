"""Forgeries carry exact masks and follow from their seed."""

from __future__ import annotations

import numpy as np
import pytest

from tamperscope.errors import InvalidValueError
from tamperscope.media.recompress import decode_jpeg
from tamperscope.ops.forge import shapes
from tamperscope.ops.forge.copy_move import CopyMove
from tamperscope.ops.forge.delivery import Delivery
from tamperscope.ops.forge.removal import Removal
from tamperscope.ops.forge.splice import Splice
from tamperscope.types import Sample


@pytest.fixture
def host(photo) -> Sample:  # type: ignore[no-untyped-def]
    return Sample(photo("coffee"), id="coffee")


@pytest.fixture
def donor(photo) -> Sample:  # type: ignore[no-untyped-def]
    return Sample(photo("chelsea"), id="chelsea")


def operations(donor: Sample) -> list[object]:
    return [Splice(donor), CopyMove(), Removal()]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("seed", range(4))
def test_changes_lie_inside_the_mask_and_fill_it(host: Sample, donor: Sample, which: int, seed: int) -> None:
    forged = operations(donor)[which](host, np.random.default_rng(seed))  # type: ignore[operator]
    changed = (forged.rgb != host.rgb).any(axis=2)
    near = np.zeros_like(changed)
    ys, xs = np.nonzero(forged.mask)
    near[max(0, ys.min() - 2) : ys.max() + 3, max(0, xs.min() - 2) : xs.max() + 3] = True
    assert not (changed & ~near).any(), "pixels changed far from the mask"
    assert changed[forged.mask].mean() > 0.6
    assert 0.003 < forged.mask.mean() < 0.5
    assert forged.label == 1


@pytest.mark.parametrize("which", range(3))
def test_one_seed_gives_one_forgery(host: Sample, donor: Sample, which: int) -> None:
    op = operations(donor)[which]
    first, second = (op(host, np.random.default_rng(11)) for _ in range(2))  # type: ignore[operator]
    np.testing.assert_array_equal(first.rgb, second.rgb)
    assert first.meta["ops"] == second.meta["ops"]
    other = op(host, np.random.default_rng(12))  # type: ignore[operator]
    assert (other.mask != first.mask).any()


def test_plain_copies_repeat_source_pixels_exactly(host: Sample) -> None:
    forged = CopyMove(plain=1.0)(host, np.random.default_rng(0))
    warp = np.array(forged.meta["ops"][-1]["warp"])
    dx, dy = warp[:, 2]
    assert (dx, dy) == (round(dx), round(dy))
    ys, xs = np.nonzero(forged.mask)
    inner = (ys > ys.min() + 5) & (ys < ys.max() - 5) & (xs > xs.min() + 5) & (xs < xs.max() - 5)
    source = host.rgb[(ys - int(dy))[inner], (xs - int(dx))[inner]]
    same = (forged.rgb[ys[inner], xs[inner]] == source).all(axis=1)
    assert same.mean() > 0.9


def test_given_object_masks_are_used(host: Sample, donor: Sample) -> None:
    mask = np.zeros(donor.size, bool)
    mask[100:180, 150:260] = True
    forged = Splice(donor, mask)(host, np.random.default_rng(1))
    ys, xs = np.nonzero(forged.mask)
    ratio = (xs.max() - xs.min() + 1) / (ys.max() - ys.min() + 1)
    assert ratio == pytest.approx(110 / 80, rel=0.1)
    assert forged.mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()


def test_blobs_have_about_the_wanted_area(rng: np.random.Generator) -> None:
    for share in (0.02, 0.1, 0.3):
        found = np.mean([shapes.blob((240, 320), share, rng).mean() for _ in range(40)])
        assert found == pytest.approx(share, rel=0.35)


def test_no_room_for_a_copy_is_an_error_not_a_wrong_mask(host: Sample) -> None:
    with pytest.raises(InvalidValueError, match="smaller share"):
        CopyMove(share=(0.45, 0.46), plain=1.0)(host, np.random.default_rng(0))


def test_delivery_is_lossless_or_the_wanted_quality(host: Sample) -> None:
    import cv2

    data = Delivery(None).encode(host.rgb)
    back = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(back, host.rgb)
    assert decode_jpeg(Delivery(75).encode(host.rgb)).shape == host.rgb.shape
