"""The exemplar fill copies what fits, and only from outside the hole."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import patchmatch


def disc(size: tuple[int, int], centre: tuple[int, int], radius: int) -> np.ndarray:
    rows, columns = np.indices(size)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def periodic(side: int, period: tuple[int, int], seed: int = 0) -> np.ndarray:
    tile = np.random.default_rng(seed).integers(0, 256, (*period, 3)).astype(np.uint8)
    soft = cv2.GaussianBlur(np.tile(tile, (3, 3, 1)), (0, 0), 1.2)[period[0] : 2 * period[0], period[1] : 2 * period[1]]
    strong = cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX)
    return np.tile(strong, (side // period[0] + 1, side // period[1] + 1, 1))[:side, :side].copy()


def psnr(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    error = (first[mask].astype(float) - second[mask]) ** 2
    return 10 * float(np.log10(255**2 / max(error.mean(), 1e-9)))


@pytest.mark.parametrize("period", [(8, 8), (13, 21), (40, 40)])
def test_a_periodic_texture_comes_back(period: tuple[int, int]) -> None:
    truth = periodic(256, period)
    hole = disc((256, 256), (130, 120), 46)  # 10 % of the picture
    torn = truth.copy()
    torn[hole] = 0
    filled, _ = patchmatch.fill(torn, hole, np.random.default_rng(1))
    np.testing.assert_array_equal(filled[~hole], truth[~hole])
    assert psnr(filled, truth, hole) > 30
    # An inpainting by diffusion cannot do that: the figure is one of this method, not of the texture.
    assert psnr(cv2.inpaint(torn, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA), truth, hole) < 20


def test_a_hole_of_a_tenth_is_filled_fast(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")[100:356, 150:406]
    hole = disc((256, 256), (130, 120), 46)
    patchmatch.fill(rgb[:64, :64], hole[96:160, 96:160] & disc((64, 64), (32, 32), 9), np.random.default_rng(0))
    start = time.process_time()
    patchmatch.fill(rgb, hole, np.random.default_rng(0))
    assert time.process_time() - start < 2.0


def test_filled_patches_are_found_elsewhere_and_diffused_ones_are_not(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")[:200, :300]
    hole = disc((200, 300), (100, 60), 28)
    filled, source = patchmatch.fill(rgb, hole, np.random.default_rng(2))
    telea = cv2.inpaint(rgb, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    side, known = 5, ~hole
    whole = cv2.erode(known.astype(np.uint8), np.ones((side, side)), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    reference = whole[2:-2, 2:-2].astype(bool)

    def share_found(picture: np.ndarray) -> float:
        spots = np.argwhere(cv2.erode(hole.astype(np.uint8), np.ones((side, side))) > 0)[::23]
        far = [
            cv2.matchTemplate(rgb, picture[y - 2 : y + 3, x - 2 : x + 3], cv2.TM_SQDIFF)[reference].min()
            for y, x in spots
        ]
        return float(np.mean(np.array(far) < 0.5 * side * side))

    assert share_found(filled) > 0.5
    assert share_found(telea) < 0.1
    np.testing.assert_array_equal(filled, rgb[source[..., 0], source[..., 1]])


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(24, 70),
    width=st.integers(24, 70),
    patch=st.sampled_from([3, 5, 7]),
    seed=st.integers(0, 2**32 - 1),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_every_pixel_is_a_copy_from_outside_the_hole(
    height: int, width: int, patch: int, seed: int, place: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    hole = disc((height, width), (int(place[0] * height), int(place[1] * width)), 6)  # may touch the border
    filled, source = patchmatch.fill(rgb, hole, np.random.default_rng(seed), patch)
    assert not hole[source[..., 0], source[..., 1]].any()
    np.testing.assert_array_equal(filled, rgb[source[..., 0], source[..., 1]])
    np.testing.assert_array_equal(filled[~hole], rgb[~hole])
    again, _ = patchmatch.fill(np.where(hole[..., None], 7, rgb).astype(np.uint8), hole, rng, patch)
    assert again.shape == rgb.shape


def test_a_seed_gives_one_fill_and_the_torn_pixels_do_not_matter(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("chelsea")[:120, :160]
    hole = disc((120, 160), (60, 80), 18)
    torn = rgb.copy()
    torn[hole] = [255, 0, 255]
    first, second, other = (
        patchmatch.fill(p, hole, np.random.default_rng(s))[0] for p, s in ((rgb, 5), (torn, 5), (rgb, 6))
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_the_fill_is_nearer_than_a_random_one(photo) -> None:  # type: ignore[no-untyped-def]
    """Intervention: the same copies at shuffled places no longer fit the edge of the hole."""
    rgb = photo("coffee")
    hole = disc(rgb.shape[:2], (250, 60), 40)
    filled, _ = patchmatch.fill(rgb, hole, np.random.default_rng(0))
    shuffled = filled.copy()
    shuffled[hole] = np.random.default_rng(0).permutation(filled[hole])
    inner = np.argwhere(hole & ~cv2.erode(hole.astype(np.uint8), np.ones((3, 3))).astype(bool))

    def step(picture: np.ndarray) -> float:
        outer = inner + np.sign(inner - [250, 60]) * (np.abs(inner - [250, 60]) > 20)
        return float(np.abs(picture[tuple(inner.T)].astype(float) - picture[tuple(outer.T)]).mean())

    assert step(filled) < 0.5 * step(shuffled)


def test_bad_input_is_told() -> None:
    rgb, rng = np.zeros((32, 32, 3), np.uint8), np.random.default_rng(0)
    hole = disc((32, 32), (16, 16), 5)
    for patch in (1, 4, -3):
        with pytest.raises(InvalidValueError, match="odd number"):
            patchmatch.fill(rgb, hole, rng, patch)
    with pytest.raises(InvalidValueError, match="smaller hole"):
        patchmatch.fill(rgb, np.ones((32, 32), bool), rng)
