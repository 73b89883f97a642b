"""What a sample's `meta` tells of places follows when pixels move: words, lines of text, faces, the truth's boxes.

Text follows only where it still reads from the left, for lines are parted by what they say. A word, line or face that
was cut is no longer what was told of, and is left out. A field without any left is gone, so that detectors find words
and faces themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Way = Callable[[Points], Points]
"""Takes points (N, 2), (x, y) from the corner of the first pixel, to their new places; upright boxes stay upright."""

_STORED = ("polygons", "text_boxes")
"""Fields that tell of the pixels as they are stored, and that nobody moves."""
_MIRRORED = [1, 0, 2, 4, 3]  # a face's right and left are the person's own


@dataclass(frozen=True, slots=True)
class _Motion:
    """Where pixels went: the way, and the (H, W) of the picture before and after it."""

    way: Way
    before: tuple[int, int]
    after: tuple[int, int]

    def axes(self) -> Points:
        """Return where one pixel to the right, and one down, lead now."""
        ends = self.way(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        return np.asarray(ends[1:] - ends[0], np.float64)

    def whole(self, box: Points) -> bool:
        """Return whether all of a box that could be seen before can be seen still."""
        seen = self.way(box.clip(0, self.before[::-1]))
        return bool((seen >= 0).all() and (seen <= self.after[::-1]).all())

    def moved(self, box: Points) -> Points:
        """Return the first and the last corner of a box after the way."""
        return np.sort(self.way(box), axis=0)


def followed(
    meta: Mapping[str, Any], way: Way | None, before: tuple[int, int], after: tuple[int, int]
) -> dict[str, Any]:
    """Return a sample's `meta` after its pixels moved; entries that tell of no place stay as they are.

    Args:
        meta: What was told of the picture; boxes are (x0, y0, x1, y1), alone or as the `box` of an entry.
        way: Of the pixels; None where boxes do not stay upright, and cannot follow.
        before: (H, W) of the picture.
        after: The same after the way.
    """
    motion = None if way is None else _Motion(way, before, after)
    kept = {name: value for name, value in meta.items() if name not in _STORED}
    for name in _FOLLOW.keys() & kept.keys():
        if not isinstance(kept[name], (list, tuple)):
            continue
        entries = [_entry(entry, motion, _FOLLOW[name]) for entry in kept[name]]
        left = [entry for entry in entries if entry is not None]
        if left or not entries:
            kept[name] = left
        else:
            del kept[name]
    return kept


def _entry(entry: Any, motion: _Motion | None, follow: _Follow) -> Any:
    told = entry if isinstance(entry, Mapping) else {"box": entry}
    box = _numbers(told.get("box"), (4,))
    if box is None:
        return entry
    changed = None if motion is None else follow(motion, box.reshape(2, 2), told)
    if changed is None:
        return None
    return {**entry, **changed} if entry is told else changed["box"]


def _numbers(values: Any, shape: tuple[int, ...]) -> Points | None:
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if numbers.shape == shape and np.isfinite(numbers).all() else None


# How each kind of entry follows: what of it changes, or None where it is lost.

_Follow = Callable[[_Motion, Points, Mapping[str, Any]], dict[str, Any] | None]


def _text(motion: _Motion, box: Points, told: Mapping[str, Any]) -> dict[str, Any] | None:
    upright = (np.diag(motion.axes()) > 0).all()
    return _pixels(motion.moved(box)) if upright and motion.whole(box) else None


def _face(motion: _Motion, box: Points, told: Mapping[str, Any]) -> dict[str, Any] | None:
    # Centres of pixels have whole coordinates here.
    if not motion.whole(box + 0.5):
        return None
    changed = {"box": (motion.moved(box + 0.5) - 0.5).ravel().tolist()}
    points = _numbers(told.get("points"), (5, 2))
    if points is not None:
        points = motion.way(points + 0.5) - 0.5
        changed["points"] = (points[_MIRRORED] if np.linalg.det(motion.axes()) < 0 else points).tolist()
    return changed


def _truth(motion: _Motion, box: Points, told: Mapping[str, Any]) -> dict[str, Any] | None:
    return _pixels(motion.moved(box).clip(0, motion.after[::-1]))


def _pixels(box: Points) -> dict[str, Any] | None:
    whole = np.rint(box).astype(int)
    return {"box": whole.ravel().tolist()} if (whole[0] < whole[1]).all() else None


_FOLLOW: Mapping[str, _Follow] = {"words": _text, "lines": _text, "faces": _face, "boxes": _truth}
