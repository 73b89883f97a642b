"""Finds areas whose JPEG grid is shifted or missing, with a bound on false alarms (ZERO).

JPEG rounds many DCT coefficients of its 8 x 8 blocks to zero. Every pixel votes for the grid whose block around it
has most zeros; a grid is *meaningful* when so many votes would be expected less than once by chance in the whole
picture (number of false alarms, NFA < 1). Three questions: which grid has the picture; which areas vote for another
one; which areas take the grid of a re-save at high quality although they had none before.

Facts of the tests, with X x Y pixels: log10 of the number of tests is 2 log10 64 + 2 log10 X + 2 log10 Y; the main
grid has n = XY / 64 trials and k = votes / 64 successes with p = 1 / 64; an area has n = box / 64 and k = pixels / 64.
Areas are pixels of one vote linked by steps of at most 9 (Chebyshev), filled by a 19 x 19 closing.

Departures from the published method; all but the last two keep its bound on real pictures:

* The area's grid must beat the main grid inside the area (x 1.25), the grids half a block away (x 3) and its own
  share outside (x 10). Else cropped-and-resaved, halved and enlarged JPEGs raise false alarms.
* An area without the grid must show no more votes for the main grid than chance allows (P >= 0.01), although equally
  active pixels outside show ten times as many; and few of its pixels (10 %) may be clipped. A re-save strengthens
  weak grids too, and noise or clipping removes a grid without any forgery.
* Where the area without the grid is larger than the one with it, the latter is the one reported.
* The file's own grid (0, 0) is never foreign in a JPEG file, nor in a picture without a meaningful main grid.
* The search for missing grids is left out in JPEG files whose own table is coarse (median luma step > 2, below
  quality 98): their last compression put a grid everywhere.
* The re-save is made at quality 97 (published: 99), which finds four times as many areas without the grid.
* A coefficient of exactly 0.5 counts as "not zero" (published: left to rounding).

Limits: blind to a shifted grid once the whole picture was saved again at quality 95 or below, and to parts pasted on
the same grid (1 in 64). Content with a period of 8 pixels, such as ordered dithering, can vote like a grid.

Sources: Nikoukhah, Anger, Ehret, Colom, Morel, Grompone von Gioi, "JPEG grid detection based on the number of DCT
zeros and its application to automatic and localized forgery detection", CVPR Workshops 2019; "ZERO: a local JPEG
grid origin detector based on the number of DCT zeros and its applications in image forensics", IPOL 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal.nfa import log10_binomial_tail, log10_nfa
from tamperscope.types import BoolArray, Box, Finding, Jpeg, Prediction, Region, Sample, UInt8Array

if TYPE_CHECKING:
    from tamperscope.signal.grid_votes import Groups

_GRIDS = 64
_NO_VOTE = 255
_RADIUS = 9
_CLOSING = np.ones((2 * _RADIUS + 1, 2 * _RADIUS + 1), np.uint8)
_OVER_MAIN, _OVER_HALF_BLOCK, _OVER_OUTSIDE = 1.25, 3.0, 10.0
_HALF_BLOCK = (4, 32, 36)  # vote XOR these: the grid 4 px away in x, in y, in both
_ABSENT = -2.0  # log10 of the probability above which the main grid counts as absent
_COARSE_STEP = 2
_MAX_CLIPPED = 0.1  # clipped values lose the grid without any forgery


@dataclass(frozen=True, slots=True)
class _Area:
    """Pixels of one vote that pass the a-contrario test."""

    vote: int
    log10_nfa: float
    box: Box
    mask: BoolArray
    counts: NDArray[np.int64]  # votes of the original picture inside the mask, by grid; 64 and above: none

    @property
    def size(self) -> int:
        return int(self.counts.sum())

    def cut(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the values of a map of the picture inside the area."""
        x0, y0, x1, y1 = self.box
        return plane[y0:y1, x0:x1][self.mask]


class Zero(Detector):
    """Detector of foreign and missing JPEG grids."""

    family = "jpeg_grid"
    guide = Guide(
        looks_at="The 8 x 8 pixel grid that JPEG compression leaves in a picture.",
        how_to_read="A marked area has another grid than the rest, or none: it was put in from another picture "
        "or changed after the last JPEG save that made the grid.",
        when_it_lies="It misses parts that were saved once more at quality 95 or below, and parts that happen to "
        "lie on the same grid; mirrored borders and screens with 8-pixel patterns can be marked.",
    )

    def __init__(self, missing_grid: bool = True, missing_quality: int = 97, max_regions: int = 20) -> None:
        self.missing_grid = missing_grid
        self.missing_quality = missing_quality
        self.max_regions = max_regions

    def analyze(self, sample: Sample) -> Prediction:
        """Return the areas with a foreign or a missing grid; score = -log10 NFA of the most meaningful one.

        Raises:
            NotApplicable: Neither the picture nor any part of it shows a JPEG grid.
        """
        luma, votes = _luma_and_votes(sample.rgb)
        log10_tests = 2 * math.log10(_GRIDS) + 2 * math.log10(votes.shape[0]) + 2 * math.log10(votes.shape[1])
        main, main_nfa = _main_grid(votes, log10_tests)
        foreign = self._foreign(votes, main, sample.jpeg is not None, log10_tests)
        odd = [("foreign", area) for area in foreign]
        if main is not None and self._may_lack_grid(sample.jpeg, sample.size):
            odd += self._unlike(sample.rgb, luma, votes, main, log10_tests)
        if main is None and not odd:
            raise NotApplicable(
                f"no JPEG grid is visible (log10 NFA of the best one {main_nfa:.1f}): the picture was never a JPEG, "
                "was resized, or was compressed too lightly"
            )
        return _prediction(self.name, sample, main, main_nfa, log10_tests, odd)

    def _foreign(self, votes: UInt8Array, main: int | None, is_jpeg: bool, log10_tests: float) -> list[_Area]:
        if is_jpeg and main:
            seen = np.where(votes == 0, np.uint8(_NO_VOTE), votes)
        else:
            seen = votes
        areas = _areas(seen, votes, main or 0, log10_tests, self.max_regions)
        total = np.bincount(votes.ravel(), minlength=_NO_VOTE + 1)
        return [a for a in areas if _dominates(a, main) and _is_local(a, areas, total)]

    def _unlike(
        self, rgb: UInt8Array, luma: UInt8Array, votes: UInt8Array, main: int, log10_tests: float
    ) -> list[tuple[str, _Area]]:
        """Return the areas without the main grid or, where they are the larger part, those with it."""
        missing = self._missing(rgb, luma, votes, main, log10_tests)
        with_grid = votes == main
        if sum(a.size for a in missing) <= with_grid.sum():
            return [("missing", a) for a in missing]
        seen = np.where(with_grid, votes, np.uint8(_NO_VOTE))
        return [("confined", a) for a in _areas(seen, votes, _NO_VOTE, log10_tests, self.max_regions)]

    def _missing(
        self, rgb: UInt8Array, luma: UInt8Array, votes: UInt8Array, main: int, log10_tests: float
    ) -> list[_Area]:
        from tamperscope.media.recompress import recompress

        again = _luma_and_votes(recompress(rgb, self.missing_quality))[1]
        again[(votes == main) | (votes == 0) | (again != 0)] = _NO_VOTE
        areas = _areas(again, votes, _NO_VOTE, log10_tests, self.max_regions)
        lacking = [a for a in areas if not _above_chance(a.size, int(a.counts[main]))]
        if not lacking:
            return []
        activity, outside, hits = _activity(luma), ~_union(areas, votes.shape), votes == main
        clipped = ((rgb == 0) | (rgb == 255)).any(axis=2)
        return [
            a
            for a in lacking
            if a.cut(clipped).mean() <= _MAX_CLIPPED
            and _expected_share(hits, activity, outside, a.cut(activity)) >= _OVER_OUTSIDE / _GRIDS
        ]

    def _may_lack_grid(self, jpeg: Jpeg | None, size: tuple[int, int]) -> bool:
        from tamperscope.media.recompress import MAX_SIDE

        coarse = jpeg is not None and float(np.median(jpeg.qtables[0])) > _COARSE_STEP
        return self.missing_grid and not coarse and max(size) <= MAX_SIDE


def _luma_and_votes(rgb: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    from tamperscope.signal import grid_votes

    luma = np.asarray(grid_votes.luma8(np.ascontiguousarray(rgb)))
    return luma, np.asarray(grid_votes.vote_map(luma))


def _main_grid(votes: UInt8Array, log10_tests: float) -> tuple[int | None, float]:
    """Return the grid with most votes, or None when it is not meaningful, and its log10 NFA."""
    counts = np.bincount(votes.ravel(), minlength=_GRIDS)[:_GRIDS]
    best = int(counts.argmax())
    value = log10_nfa(log10_tests, votes.size // _GRIDS, int(counts[best]) // _GRIDS, 1 / _GRIDS)
    return (best if value < 0 else None), value


def _areas(seen: UInt8Array, votes: UInt8Array, skip: int, log10_tests: float, limit: int) -> list[_Area]:
    """Return the `limit` most meaningful areas of equal votes in `seen`, the best first."""
    from tamperscope.signal.grid_votes import grow

    # A smaller area cannot be meaningful even where every pixel of its box votes for it.
    min_size = math.ceil(_GRIDS * log10_tests / math.log10(_GRIDS))
    groups = grow(seen, skip, _RADIUS, min_size)
    spans = (groups.box[:, 2] - groups.box[:, 0]).astype(np.int64) * (groups.box[:, 3] - groups.box[:, 1])
    values = [
        log10_nfa(log10_tests, int(span) // _GRIDS, int(size) // _GRIDS, 1 / _GRIDS)
        for span, size in zip(spans, groups.size, strict=True)
    ]
    order = sorted((value, i) for i, value in enumerate(values) if value < 0)
    return [_area(groups, i, value, votes) for value, i in order[:limit]]


def _area(groups: Groups, index: int, value: float, votes: UInt8Array) -> _Area:
    x0, y0, x1, y1 = (int(v) for v in groups.box[index])
    inside = groups.root[groups.labels[y0:y1, x0:x1]] == groups.number[index]
    room = np.pad(inside.astype(np.uint8), _RADIUS)
    closed = cv2.morphologyEx(room, cv2.MORPH_CLOSE, _CLOSING)[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS] > 0
    counts = np.bincount(votes[y0:y1, x0:x1][closed], minlength=_NO_VOTE + 1)
    return _Area(int(groups.vote[index]), value, (x0, y0, x1, y1), closed, counts)


def _dominates(area: _Area, main: int | None) -> bool:
    """Tell whether the area's grid clearly beats the main grid and those half a block away inside the area."""
    own = area.counts[area.vote]
    half = max(int(area.counts[area.vote ^ step]) for step in _HALF_BLOCK)
    rival = 0 if main is None else int(area.counts[main])
    return bool(own >= _OVER_MAIN * rival and own >= _OVER_HALF_BLOCK * half)


def _share_outside(vote: int, areas: list[_Area], total: NDArray[np.int64]) -> float:
    """Return the share of the votes for one grid among the pixels outside all `areas`."""
    votes = int(total[vote]) - sum(int(a.counts[vote]) for a in areas)
    return max(votes, 0) / max(int(total.sum()) - sum(a.size for a in areas), 1)


def _is_local(area: _Area, areas: list[_Area], total: NDArray[np.int64]) -> bool:
    """Tell whether the area's grid is far more frequent inside it than outside all areas of that grid."""
    outside = _share_outside(area.vote, [a for a in areas if a.vote == area.vote], total)
    return bool(area.counts[area.vote] / area.size >= _OVER_OUTSIDE * outside)


def _above_chance(pixels: int, votes: int) -> bool:
    """Tell whether so many votes of the pixels for one grid are too many for chance (P < 0.01)."""
    return log10_binomial_tail(pixels // _GRIDS, votes // _GRIDS, 1 / _GRIDS) < _ABSENT


def _union(areas: list[_Area], size: tuple[int, ...]) -> BoolArray:
    inside = np.zeros(size, np.bool_)
    for area in areas:
        x0, y0, x1, y1 = area.box
        inside[y0:y1, x0:x1] |= area.mask
    return inside


def _activity(luma: UInt8Array) -> UInt8Array:
    """Return the local standard deviation (8 x 8 window) in steps of half an octave, (H, W) uint8."""
    variance = cv2.sqrBoxFilter(luma, cv2.CV_32F, (8, 8))
    mean = cv2.boxFilter(luma, cv2.CV_32F, (8, 8))
    variance -= np.square(mean, out=mean)
    np.maximum(variance, 0, out=variance)
    return np.asarray(np.log2(np.add(variance, 1, out=variance), out=variance), dtype=np.uint8)


def _expected_share(hits: BoolArray, activity: UInt8Array, where: BoolArray, target: UInt8Array) -> float:
    """Return the share of hits that pixels with the activities `target` would have, judged by those in `where`."""
    seen = np.bincount(activity[where], minlength=256)
    hit = np.bincount(activity[where & hits], minlength=256)
    share = np.where(seen >= _GRIDS, hit / np.maximum(seen, 1), 0.0)
    return float(share[target].mean())


def _origin(vote: int) -> tuple[int, int]:
    """Return the grid's origin (x, y) in pixels, each 0 to 7."""
    return vote % 8, vote // 8


def _prediction(
    name: str,
    sample: Sample,
    main: int | None,
    main_nfa: float,
    log10_tests: float,
    odd: list[tuple[str, _Area]],
) -> Prediction:
    heatmap = np.zeros(sample.size, np.float32)
    regions = [_region(area, name, kind, heatmap) for kind, area in odd]
    regions.sort(key=lambda r: -r.score)
    evidence = {
        "main_grid": None if main is None else list(_origin(main)),
        "main_grid_log10_nfa": float(main_nfa),
        "log10_tests": float(log10_tests),
        "regions": [{"box": list(r.box), **r.values} for r in regions],
    }
    reasons = [*_grid_reasons(name, sample, main, main_nfa), *(_area_reason(name, r) for r in regions)]
    score = max((r.score for r in regions), default=0.0)
    return Prediction(name, sample.size, score, heatmap, regions, reasons, evidence=evidence)


def _region(area: _Area, name: str, kind: str, heatmap: NDArray[np.float32]) -> Region:
    """Return the area as a region and paint 1 / (1 + NFA) into the map: 0.5 at NFA = 1."""
    x0, y0, x1, y1 = area.box
    part = heatmap[y0:y1, x0:x1]
    part[area.mask] = np.maximum(part[area.mask], np.float32(1 / (1 + 10**area.log10_nfa)))
    values: dict[str, Any] = {"kind": kind, "log10_nfa": float(area.log10_nfa)}
    if kind != "missing":
        values["grid"] = list(_origin(area.vote))
    return Region(area.box, area.mask, -area.log10_nfa, name, values=values)


def _area_reason(name: str, region: Region) -> Finding:
    values = {"box": list(region.box), **region.values}
    chance = f"such an area is expected 10^{region.values['log10_nfa']:.1f} times by chance in a picture"
    kind, (x, y) = region.values["kind"], region.values.get("grid", (0, 0))
    told = {
        "foreign": f"An area has its own JPEG grid, which starts at ({x}, {y})",
        "missing": "An area lacks the JPEG grid of the rest of the picture",
        "confined": f"Only an area has a JPEG grid, which starts at ({x}, {y}); the rest has none",
    }
    return Finding(f"zero.{kind}_grid", f"{told[kind]}; {chance}.", "warning", values, name)


def _grid_reasons(name: str, sample: Sample, main: int | None, main_nfa: float) -> list[Finding]:
    """Say what the main grid tells of the picture's past: a crop or an earlier JPEG, neither a forgery."""
    if main is None:
        return []
    x, y = _origin(main)
    values = {"grid": [x, y], "log10_nfa": float(main_nfa)}
    if main != 0:
        text = f"The picture's JPEG grid starts at ({x}, {y}), not (0, 0): it was cropped or moved after a JPEG save."
        return [Finding("zero.shifted_main_grid", text, "notice", values, name)]
    if sample.jpeg is None:
        text = "The picture carries a JPEG grid: these pixels were a JPEG before."
        return [Finding("zero.former_jpeg", text, "notice", values, name)]
    return []
