"""`Fit`: bring a picture of any size to what a method takes, and bring its maps back exactly.

A `Fit` says how; `Fit.plan(size)` holds the geometry for one picture size: `cut` and `apply` go forward, `merge` and
`invert` go back, `valid` tells which pixels of the canvas come from the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.types import BoolArray, Box, FloatArray

How = Literal["resize", "area", "pad", "tile"]

PIECE, PIECES = 32, 4
"""Side of a mosaic's pieces in pixels, and how many there are along each side."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture is brought to canvases of one size.

    Attributes:
        how: `resize` warps it to one canvas (the aspect ratio is lost) linearly, `area` does so by the mean of the
            pixels that each pixel of a smaller canvas covers, `pad` puts it at the top left of one
            canvas, `tile` covers it with canvases that overlap and stay inside it.
        side: Of a canvas in pixels: of a square one, or (height, width).
        overlap: For `tile`: least number of pixels that neighbouring tiles share; their seams are blended over it.
        grid: For `tile`: tiles begin at multiples of it, such as 8, the side of a JPEG's blocks; the last ones may then
            reach beyond the picture, by less than it.
    """

    how: How
    side: int | tuple[int, int]
    overlap: int = 0
    grid: int = 1

    @property
    def warps(self) -> bool:
        """Whether the picture fills the canvas, whatever its shape."""
        return self.how in ("resize", "area")

    @property
    def canvas(self) -> tuple[int, int]:
        """(H, W) of a canvas."""
        return (self.side, self.side) if isinstance(self.side, int) else self.side

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise InvalidValueError(f"Fit.how: expected resize, area, pad or tile, found '{self.how}'")
        if self.grid < 1 or self.overlap < 0 or self.overlap + self.grid > min(self.canvas):
            raise InvalidValueError(
                "Fit: expected grid >= 1, overlap >= 0 and side >= overlap + grid, "
                f"found {self.grid}, {self.overlap}, {self.side}"
            )

    def plan(self, size: tuple[int, int]) -> Plan:
        """Return the geometry for pictures of `size` = (H, W).

        Raises:
            InvalidValueError: The size has no pixel, or `pad` is asked to hold a picture larger than its canvas.
        """
        height, width = size
        if height < 1 or width < 1:
            raise InvalidValueError(f"Fit.plan: expected a size of at least (1, 1), found {size}")
        down, across = self.canvas
        if self.how == "pad" and (height > down or width > across):
            raise InvalidValueError(f"Fit 'pad': {size} does not fit a canvas of {self.side}; use how='tile'")
        if self.how != "tile":
            return Plan(self, size, ((0, 0, width, height),))
        rows, cols = (_starts(n, side, self.overlap, self.grid) for n, side in zip(size, self.canvas, strict=True))
        boxes = tuple((x, y, min(x + across, width), min(y + down, height)) for y in rows for x in cols)
        return Plan(self, size, boxes)


def _starts(length: int, side: int, overlap: int, grid: int = 1) -> list[int]:
    """Spread the fewest tiles evenly over `length`, first and last flush with the edges as far as the grid allows."""
    if length <= side:
        return [0]
    reach = -(-(length - side) // grid)
    count = 1 + -(-reach // ((side - overlap) // grid))
    return [grid * round(i * reach / (count - 1)) for i in range(count)]


def mosaic(picture: NDArray[Any]) -> NDArray[Any]:
    """Return pieces of a picture (H, W, C), spread evenly, as one of `PIECES * PIECE` pixels a side.

    They have the picture's own resolution, begin at multiples of 8 and keep their order. Where it is small they
    overlap; a side below `PIECE` is mirrored until it is long enough.
    """
    wanted = [(0, max(0, PIECE - n)) for n in picture.shape[:2]]
    whole = np.pad(picture, [*wanted, (0, 0)], "symmetric")
    rows, columns = ([8 * int(i * ((n - PIECE) // 8) / (PIECES - 1)) for i in range(PIECES)] for n in whole.shape[:2])
    return np.concatenate([np.concatenate([whole[y : y + PIECE, x : x + PIECE] for x in columns], 1) for y in rows])


@dataclass(frozen=True, slots=True)
class Plan:
    """The geometry of one `Fit` for one picture size.

    Attributes:
        fit: What it was made from.
        size: (H, W) of the picture.
        boxes: (x0, y0, x1, y1) of each canvas in the picture.
    """

    fit: Fit
    size: tuple[int, int]
    boxes: tuple[Box, ...]

    def __len__(self) -> int:
        """Return the number of canvases."""
        return len(self.boxes)

    def cut(self, picture: NDArray[Any], index: int) -> NDArray[Any]:
        """Return canvas `index`, (h, w) or (h, w, C), of a (H, W) or (H, W, C) array, same dtype.

        Bool and integer label maps are resized by nearest neighbour, everything else linearly.
        """
        if picture.shape[:2] != self.size:
            raise InvalidValueError(f"Plan.cut: planned for {self.size}, found a picture of {picture.shape[:2]}")
        if self.fit.warps:
            return _resize(picture, self.fit.canvas, by_area=self.fit.how == "area")
        x0, y0, x1, y1 = self.boxes[index]
        canvas = np.zeros((*self.fit.canvas, *picture.shape[2:]), picture.dtype)
        canvas[: y1 - y0, : x1 - x0] = picture[y0:y1, x0:x1]
        return canvas

    def apply(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Return all canvases of a picture, stacked: (N, h, w) or (N, h, w, C)."""
        return np.stack([self.cut(picture, i) for i in range(len(self))])

    def valid(self, index: int) -> BoolArray:
        """Return (h, w) bool: which pixels of canvas `index` come from the picture."""
        area = np.zeros(self.fit.canvas, bool)
        if self.fit.warps:
            area[:] = True
        else:
            x0, y0, x1, y1 = self.boxes[index]
            area[: y1 - y0, : x1 - x0] = True
        return area

    def invert(self, maps: NDArray[Any]) -> FloatArray:
        """Return the (H, W) float32 map of a picture from the (N, h, w) maps of its canvases."""
        if maps.ndim != 3 or maps.shape[0] != len(self):
            raise InvalidValueError(f"Plan.invert: expected {len(self)} maps (N, h, w), found {maps.shape}")
        return self.merge(iter(maps))

    def merge(self, maps: Iterable[NDArray[Any]]) -> FloatArray:
        """Return the (H, W) float32 map of a picture from a stream of its canvases' maps, one in memory at a time.

        Several maps at once, (..., h, w), give as many: (..., H, W).
        """
        stream: Iterator[NDArray[Any]] = iter(maps)
        first = next(stream)
        outer = first.shape[:-2]
        if self.fit.warps:
            flat = first.astype(np.float32).reshape(-1, *first.shape[-2:])
            return np.asarray([_resize(one, self.size) for one in flat], np.float32).reshape(*outer, *self.size)
        total = np.zeros((*outer, *self.size), np.float32)
        rows, columns = self._shares(0), self._shares(1)
        for (x0, y0, x1, y1), tile in zip(self.boxes, chain([first], stream), strict=True):
            share = rows[y0, y1][:, None] * columns[x0, x1][None, :]
            total[..., y0:y1, x0:x1] += share * tile[..., : y1 - y0, : x1 - x0]
        return total

    def _shares(self, axis: int) -> dict[tuple[int, int], FloatArray]:
        """Return the share of each canvas along an axis, by its span; over a pixel they add up to 1.

        The canvases are a grid, so that shares along both axes multiply, and no sum of all windows is needed.
        """
        windows = {span: self._window(*span, axis) for span in ((b[1 - axis], b[3 - axis]) for b in self.boxes)}
        total = np.zeros(self.size[axis], np.float32)
        for (start, stop), window in windows.items():
            total[start:stop] += window
        return {(start, stop): window / total[start:stop] for (start, stop), window in windows.items()}

    def _window(self, start: int, stop: int, axis: int) -> FloatArray:
        """Ramp linearly over the overlap, but stay flat along the picture's own edges."""
        length = stop - start
        ramp = max(1, min(self.fit.overlap, length))
        rise = np.minimum((np.arange(length) + 0.5) / ramp, 1.0)
        left = rise if start > 0 else np.ones(length)
        right = rise[::-1] if stop < self.size[axis] else np.ones(length)
        return (left * right).astype(np.float32)


def _resize(picture: NDArray[Any], size: tuple[int, int], by_area: bool = False) -> NDArray[Any]:
    if picture.shape[:2] == size:
        return picture.copy()
    labels = picture.dtype.kind in "bi" or (picture.dtype.kind == "u" and picture.ndim == 2)
    source = picture.astype(np.uint8) if picture.dtype == np.bool_ else picture
    # By area, OpenCV enlarges in blocks.
    smaller = by_area and size[0] * size[1] < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(source, (size[1], size[0]), interpolation=how)).astype(picture.dtype)
