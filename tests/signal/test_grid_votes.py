"""The vote map and the grouping of votes against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from tamperscope.signal import grid_votes


def brute_counts(plane: np.ndarray) -> np.ndarray:
    rows, cols = plane.shape[0] - 7, plane.shape[1] - 7
    out = np.empty((rows, cols), int)
    for y in range(rows):
        for x in range(cols):
            table = np.abs(dctn(plane[y : y + 8, x : x + 8].astype(float), norm="ortho"))
            table[0, 0] = 1.0
            out[y, x] = (table < 0.5 - 1e-9).sum()
    return out


def brute_votes(plane: np.ndarray) -> np.ndarray:
    counts = brute_counts(plane)
    height, width = plane.shape
    votes = np.full((height, width), grid_votes.NO_VOTE, np.uint8)
    for y in range(7, height - 7):
        for x in range(7, width - 7):
            part = counts[y - 7 : y + 1, x - 7 : x + 1]
            best = np.argwhere(part == part.max())
            if len(best) != 1:
                continue
            top, left = y - 7 + best[0, 0], x - 7 + best[0, 1]
            window = plane[top : top + 8, left : left + 8]
            if (window == window[:1]).all() or (window == window[:, :1]).all():
                continue
            votes[y, x] = left % 8 + 8 * (top % 8)
    return votes


@pytest.mark.parametrize(("height", "width"), [(31, 40), (23, 53), (16, 15), (15, 70)])
def test_votes_equal_brute_force_on_odd_sizes(photo, height: int, width: int) -> None:  # type: ignore[no-untyped-def]
    from tamperscope.media.recompress import recompress

    rgb = recompress(photo("coffee"), 60)
    plane = grid_votes.luma8(np.ascontiguousarray(rgb[120 : 120 + height, 230 : 230 + width]))
    np.testing.assert_array_equal(grid_votes.zero_counts(plane), brute_counts(plane))
    np.testing.assert_array_equal(grid_votes.vote_map(plane), brute_votes(plane))


def test_flat_and_tiny_planes_have_no_votes() -> None:
    for plane in (np.full((40, 40), 7, np.uint8), np.zeros((14, 60), np.uint8), np.zeros((1, 1), np.uint8)):
        assert (grid_votes.vote_map(plane) == grid_votes.NO_VOTE).all()


def test_groups_equal_brute_force(rng: np.random.Generator) -> None:
    votes = rng.integers(0, 3, (40, 50)).astype(np.uint8)
    votes[rng.random(votes.shape) < 0.93] = grid_votes.NO_VOTE
    radius = 4
    points = np.argwhere(votes != grid_votes.NO_VOTE)
    parent = list(range(len(points)))

    def find(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, a in enumerate(points):
        for j in range(i):
            if votes[tuple(a)] == votes[tuple(points[j])] and np.abs(a - points[j]).max() <= radius:
                parent[find(i)] = find(j)
    expected = _sizes(parent, find)
    found = grid_votes.grow(votes, radius=radius)
    assert sorted(found.size.tolist()) == expected
    for number, vote, size, box in zip(found.number, found.vote, found.size, found.box, strict=True):
        ys, xs = np.nonzero(found.root[found.labels] == number)
        assert len(ys) == size
        assert (votes[ys, xs] == vote).all()
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == tuple(box)


def _sizes(parent, find) -> list[int]:  # type: ignore[no-untyped-def]
    sizes: dict[int, int] = {}
    for i in range(len(parent)):
        sizes[find(i)] = sizes.get(find(i), 0) + 1
    return sorted(sizes.values())
