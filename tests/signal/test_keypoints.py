"""Keypoints: strips change nothing, the mirrored descriptor is that of the mirror image, the allowance is spread."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.signal import keypoints


def test_mirrored_descriptors_are_those_of_the_mirror_image(photo) -> None:  # type: ignore[no-untyped-def]
    gray = cv2.cvtColor(photo("astronaut"), cv2.COLOR_RGB2GRAY)
    here = keypoints.detect(gray)
    there = keypoints.detect(np.ascontiguousarray(gray[:, ::-1]))
    flipped = np.column_stack([gray.shape[1] - 1 - there.xy[:, 0], there.xy[:, 1]])
    gap = np.linalg.norm(here.xy[:, None] - flipped[None], axis=2)
    turn = np.cos(here.angle[:, None] - (np.pi - there.angle[None]))
    pair = (gap < 0.8) & (turn > 0.999) & (np.abs(np.log(here.size[:, None] / there.size[None])) < 0.02)
    rows, columns = np.nonzero(pair)
    assert len(rows) > 300
    mirrored = keypoints.mirrored(here.descriptors)
    own = np.linalg.norm(mirrored[rows] - there.descriptors[columns], axis=1)
    plain = np.linalg.norm(here.descriptors[rows] - there.descriptors[columns], axis=1)
    assert np.median(own) < 0.2 * np.median(plain)
    np.testing.assert_array_equal(keypoints.mirrored(mirrored), here.descriptors)


def test_strips_find_what_the_whole_picture_has(photo) -> None:  # type: ignore[no-untyped-def]
    gray = cv2.cvtColor(photo("astronaut"), cv2.COLOR_RGB2GRAY)
    whole, strips = keypoints.detect(gray), keypoints.detect(gray, strip=200)
    small = whole.take(np.flatnonzero(whole.size < 10))
    nearest = np.linalg.norm(small.xy[:, None] - strips.xy[None], axis=2).min(axis=1)
    assert (nearest < 0.5).mean() > 0.97
    assert len(strips) < 1.05 * len(whole)


def test_enlarging_keeps_positions_in_pixels_of_the_picture(photo) -> None:  # type: ignore[no-untyped-def]
    gray = cv2.cvtColor(photo("coffee"), cv2.COLOR_RGB2GRAY)
    plain, large = keypoints.detect(gray, 0.04), keypoints.detect(gray, 0.04, upsample=2)
    big = plain.take(np.flatnonzero(plain.size > 8))
    gap = big.xy[:, None] - large.xy[None]
    best = np.linalg.norm(gap, axis=2).argmin(axis=1)
    offset = gap[np.arange(len(big)), best]
    close = np.linalg.norm(offset, axis=1) < 1
    assert close.mean() > 0.6
    # OpenCV's SIFT places points a quarter of its own pixel too far right and down; enlarging halves that.
    assert np.abs(np.median(offset[close], axis=0)).max() < 0.2


def test_one_busy_corner_does_not_use_up_the_allowance(rng) -> None:  # type: ignore[no-untyped-def]
    xy = np.concatenate([rng.uniform(0, 20, (5000, 2)), rng.uniform(0, 640, (300, 2))]).astype(np.float32)
    response = np.concatenate([np.full(5000, 2.0), np.full(300, 1.0)]).astype(np.float32)
    kept = keypoints.spread_index(xy, response, (640, 640), 600)
    assert len(kept) == 600
    assert (kept >= 5000).sum() > 250
    assert (np.diff(xy[kept, 1]) >= 0).all()


def test_flat_pictures_have_none() -> None:
    assert len(keypoints.detect(np.full((80, 90), 128, np.uint8))) == 0
