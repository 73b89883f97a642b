"""Objects are found where they stand out, and cleaned where they are given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import objects
from tamperscope.types import Sample


def scene(
    seed: int, radius: float, size: tuple[int, int] = (360, 480), planted: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """A textured ground with a bright disc somewhere on it, if planted, and the disc's mask."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.normal(0, 60, (*size, 3)), (0, 0), 3) + np.array([70, 80, 60])
    centre = rng.uniform(radius + 10, np.subtract(size, radius + 10))
    y, x = np.indices(size)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    if planted:
        ground[mask] = np.array([235, 200, 90]) + rng.normal(0, 6, (int(mask.sum()), 3))
    return np.clip(ground, 0, 255).astype(np.uint8), mask


@pytest.mark.parametrize(("seed", "radius"), [(0, 40), (1, 70), (2, 100)])
def test_a_planted_disc_is_found(seed: int, radius: float) -> None:
    rgb, mask = scene(seed, radius)
    found = objects.find(Sample(rgb), np.random.default_rng(seed))
    assert (found & mask).sum() / (found | mask).sum() > 0.96
    ground, _ = scene(seed, radius, planted=False)
    again = objects.find(Sample(ground), np.random.default_rng(seed))
    assert (again & mask).sum() / (again | mask).sum() < 0.5, "without the disc it is not found"


def test_a_larger_picture_gives_the_same_object_at_its_own_size() -> None:
    rgb, mask = scene(3, 60)
    large = cv2.resize(rgb, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    found = objects.salient(large, np.random.default_rng(0))
    assert found is not None
    wanted = np.kron(mask, np.ones((3, 3), bool))
    assert (found & wanted).sum() / (found | wanted).sum() > 0.9


def test_one_seed_gives_one_object(photo) -> None:  # type: ignore[no-untyped-def]
    sample = Sample(photo("astronaut"))
    first = objects.find(sample, np.random.default_rng(4))
    cv2.setRNGSeed(99)
    np.testing.assert_array_equal(objects.find(sample, np.random.default_rng(4)), first)
    assert objects.plausible(first)


def test_where_nothing_stands_out_a_random_shape_is_taken(rng: np.random.Generator) -> None:
    flat = Sample(np.full((80, 100, 3), 120, np.uint8))
    assert objects.salient(flat.rgb, rng) is None
    mask, kind = objects.chosen(flat, None, True, (0.05, 0.05), rng)
    assert kind == "blob"
    assert 0.02 < mask.mean() < 0.09
    assert objects.noun("", kind) == "a region"
    assert objects.noun("", "found") == "an object"
    assert objects.noun("a person", "found") == "a person"


def test_given_masks_lose_specks_and_small_holes_only(rng: np.random.Generator) -> None:
    clean = np.zeros((100, 120), bool)
    clean[20:80, 30:90] = True
    clean[30:55, 40:65] = False  # A real opening, 17 % of the object.
    dirty = clean.copy()
    dirty[70, 70:72] = False
    dirty[5, 5] = dirty[95:97, 110] = True
    np.testing.assert_array_equal(objects.cleaned(dirty), clean)
    np.testing.assert_array_equal(objects.cleaned(clean), clean)
    sample = Sample(np.zeros((100, 120, 3), np.uint8))
    mask, kind = objects.chosen(sample, dirty, False, (0.1, 0.1), rng)
    assert kind == "given"
    np.testing.assert_array_equal(mask, clean)


def test_a_second_part_of_some_size_stays_and_a_notch_at_the_edge_is_no_hole() -> None:
    mask = np.zeros((60, 60), bool)
    mask[0:40, 10:30] = mask[10:30, 40:50] = True
    mask[0:3, 18:20] = False
    np.testing.assert_array_equal(objects.cleaned(mask), mask)


@pytest.mark.parametrize("wrong", [np.ones((10, 12), bool), np.ones((40, 40), np.uint8)])
def test_a_mask_of_another_size_or_type_is_an_error(wrong: np.ndarray, rng: np.random.Generator) -> None:
    with pytest.raises(InvalidValueError, match=r"object: expected bool \(40, 40\)"):
        objects.chosen(Sample(np.zeros((40, 40, 3), np.uint8)), wrong, False, (0.1, 0.1), rng)


def test_plausible_objects_are_compact_of_some_size_and_inside() -> None:
    square = np.zeros((100, 100), bool)
    square[30:60, 30:60] = True
    assert objects.plausible(square)
    speck, huge, bar, frame = (np.zeros((100, 100), bool) for _ in range(4))
    speck[:5, :5] = huge[5:95, 5:95] = bar[:, 40:60] = bar[40:60, :] = True
    frame[20:80, 20:80] = True
    frame[23:80, 23:80] = False
    assert not any(map(objects.plausible, (speck, huge, bar, frame)))
