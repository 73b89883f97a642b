"""Regions of a picture that repeat elsewhere in it: proposals from keypoints and shifts, verified pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from tamperscope.signal import affine, dense_match, keypoints, matching
from tamperscope.signal.affine import Affine
from tamperscope.signal.offsets import normalized_detail, self_shifts
from tamperscope.types import BoolArray, Box, FloatArray, UInt8Array

_WHOLE_TURNS = [
    np.array([[c, -s * f], [s, c * f]], dtype=np.float64)
    for f in (1.0, -1.0)
    for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))
]
_SURROUNDINGS = (0.4, 48)  # a region is searched for around its points: share of their extent, at least pixels
_CELL = 4  # pixels: resemblance under a shift is looked for in cells of so many


def _no_points() -> FloatArray:
    return np.zeros((0, 2), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A transform worth checking; `source` and `target` are its keypoint inliers (none for a shift)."""

    transform: Affine
    source: FloatArray = field(default_factory=_no_points)
    target: FloatArray = field(default_factory=_no_points)
    places: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Clone:
    """A region and its repetition.

    Attributes:
        transform: From `source` to `target`; its scale is at least 1.
        box: Of the source, (x0, y0, x1, y1).
        source: (y1 - y0, x1 - x0) bool.
        target_box, target: The image of the source, likewise.
        traits: What the verdict rests on.
    """

    transform: Affine
    box: Box
    source: BoolArray
    target_box: Box
    target: BoolArray
    traits: dict[str, float]


def propose_by_keypoints(
    gray: UInt8Array,
    contrast: float = 0.005,
    max_keypoints: int = 6000,
    ratio: float = 0.9,
    min_distance: float = 16.0,
    limit: int = 8,
    max_mirrored: int = 3000,
) -> tuple[list[Proposal], int]:
    """Return similarity transforms that many keypoint matches of `gray` with itself support, and how many keypoints."""
    points = keypoints.detect(gray, contrast, max_keypoints)
    if len(points) < 4:
        return [], len(points)
    found = [_matches(points, False, ratio, min_distance)]
    if max_mirrored:
        few = points.take(keypoints.spread_index(points.xy, points.response, gray.shape[:2], max_mirrored))
        found.append(_matches(few, True, ratio, min_distance))
    names = affine.Matches.__slots__
    joined = affine.Matches(*(np.concatenate([getattr(m, n) for m in found]) for n in names))
    groups = affine.clusters(joined, limit)
    return [Proposal(g.transform, g.source, g.target, g.places) for g in groups], len(points)


def _matches(points: keypoints.Keypoints, mirror: bool, ratio: float, min_distance: float) -> affine.Matches:
    queries = keypoints.mirrored(points.descriptors) if mirror else points.descriptors
    index, distance = matching.nearest(queries, points.descriptors, points.xy, 3, min_distance)
    row, rank = np.nonzero(matching.generalized_ratio(distance, ratio))
    other = index[row, rank]
    scale = points.size[other] / points.size[row]
    turn = points.angle[other] + points.angle[row] * (1 if mirror else -1)
    weight = (1.0 - distance[row, rank] / np.maximum(distance[row, rank + 1], 1e-3)).astype(np.float32)
    made = affine.Matches(points.xy[row], points.xy[other], scale, turn, np.full(len(row), mirror), weight)
    return made.take((scale > 0.3) & (scale < 3.3))


def propose_by_shifts(gray: FloatArray, limit: int = 12, window: int = 15, min_area: int = 100) -> list[Proposal]:
    """Return the plain shifts at which a compact part of `gray` resembles itself, each with points of that part."""
    detail = normalized_detail(gray)
    found = []
    for dx, dy, _ in self_shifts(detail, limit):
        points = _resembling(detail, dx, dy, window, min_area)
        if len(points):
            found.append(
                Proposal(np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]]), points, points + np.array([dx, dy], np.float32))
            )
    return found


def _resembling(detail: FloatArray, dx: int, dy: int, window: int, min_area: int) -> FloatArray:
    """Return some (x, y) of the largest part on which the detail agrees with that at (x + dx, y + dy); dy >= 0."""
    height, width = detail.shape
    x0, x1 = max(0, -dx), min(width, width - dx)
    product = detail[: height - dy, x0:x1] * detail[dy:, x0 + dx : x1 + dx]
    cells = cv2.resize(product, None, fx=1 / _CELL, fy=1 / _CELL, interpolation=cv2.INTER_AREA)
    alike = (cv2.boxFilter(cells, -1, (window // _CELL, window // _CELL)) > 0.4).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=8)
    if count < 2:
        return _no_points()
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[best, cv2.CC_STAT_AREA] * _CELL**2 < min_area:
        return _no_points()
    rows, columns = (
        np.minimum(v * _CELL + _CELL // 2, n - 1)
        for v, n in zip(np.nonzero(labels == best), product.shape, strict=True)
    )
    step = max(1, len(rows) // 64)
    return np.column_stack([columns[::step] + x0, rows[::step]]).astype(np.float32)


def verified(gray: FloatArray, proposals: Sequence[Proposal], budget: float = 2.0) -> Iterator[Clone]:
    """Yield the regions that hold under a proposal; of plain shifts, those that cost `budget` pictures together.

    A smooth sky resembles itself at many shifts and all over: each check would take the whole picture. Shifts come
    strongest first; one that asks for more than what is left is passed over.

    Args:
        gray: (H, W) float32 luma.
        proposals: Transforms to check.
        budget: Pictures whose area may be searched for shifts, with their surroundings.
    """
    left = budget * gray.size
    for proposal in proposals:
        if not proposal.places:
            x0, y0, x1, y1 = _around(proposal.source, gray.shape, *_SURROUNDINGS)
            if (x1 - x0) * (y1 - y0) > left:
                continue
            left -= (x1 - x0) * (y1 - y0)
        clone = verify(gray, proposal)
        if clone is not None:
            yield _halved(clone, gray.shape)


def verify(gray: FloatArray, proposal: Proposal, min_distance: float = 16.0, min_area: int = 150) -> Clone | None:
    """Return the region on which the picture agrees with itself under the proposal, or None.

    Args:
        gray: (H, W) float32 luma.
        proposal: Transform to check.
        min_distance: A pixel nearer to its own image than this says nothing.
        min_area: Smallest region in pixels.
    """
    proposal = _downwards(proposal)
    box = _around(proposal.source, gray.shape, *_SURROUNDINGS)
    transform = _best_transform(gray, proposal)
    agreement = dense_match.compare(gray, transform, box, min_distance)
    source = dense_match.region(agreement, proposal.source, min_area)
    if source is None:
        return None
    refined = _refine(gray, transform, box, source)
    if refined is not None:
        again = dense_match.compare(gray, refined, box, min_distance)
        better = dense_match.region(again, proposal.source, min_area)
        if better is not None and _quality(again, better) > _quality(agreement, source):
            transform, agreement, source = refined, again, better
    traits = _traits(agreement, source, proposal)
    return _clone(transform, agreement.box, source, gray.shape, traits)


def _downwards(proposal: Proposal) -> Proposal:
    """Return the proposal from the smaller to the larger copy: sampling the larger one loses nothing."""
    if abs(np.linalg.det(proposal.transform[:, :2])) >= 1.0:
        return proposal
    inverse = affine.invert(proposal.transform)
    return Proposal(inverse, proposal.target, proposal.source, proposal.places)


def _around(points: FloatArray, shape: tuple[int, ...], share: float, least: int) -> Box:
    """Return the box of the points, let out by a share of its longer side and at least `least`, inside the picture."""
    low, high = points.min(axis=0), points.max(axis=0)
    pad = max(float(least), share * float((high - low).max()))
    x0, y0 = np.maximum(np.floor(low - pad), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + pad) + 1, shape[1::-1]).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def _best_transform(gray: FloatArray, proposal: Proposal) -> Affine:
    """Return the similarity, or a variant of it, whichever agrees best at the inliers."""
    if not proposal.places:
        return proposal.transform
    box = _around(proposal.source, gray.shape, 0.0, dense_match.WINDOW + 2)
    options = [proposal.transform, *_variants(gray, proposal, box)]
    at = np.rint(proposal.source).astype(int) - np.array(box[:2])
    at = np.clip(at, 0, np.array([box[2] - box[0], box[3] - box[1]]) - 1)
    scores = [float(np.mean(dense_match.compare(gray, t, box, 0.0).correlation[at[:, 1], at[:, 0]])) for t in options]
    return options[int(np.argmax(scores))]


def _variants(gray: FloatArray, proposal: Proposal, box: Box) -> list[Affine]:
    """Return near transforms: whole pixels and quarter turns, the affine fit, and the best around the inliers."""
    found = []
    for whole in _WHOLE_TURNS:
        if np.abs(whole - proposal.transform[:, :2]).max() < 0.1:
            shifts = np.rint(proposal.target - proposal.source @ whole.T)
            values, counts = np.unique(shifts, axis=0, return_counts=True)
            found.append(np.column_stack([whole, values[np.argmax(counts)]]))
            found.append(np.column_stack([whole, np.rint(np.median(shifts, axis=0))]))
    if proposal.places >= 8:
        fitted = affine.fit_affine(proposal.source, proposal.target)
        if fitted is not None and 0.3 < abs(np.linalg.det(fitted[:, :2])) < 3.0:
            found.append(fitted)
    else:
        near = np.zeros((box[3] - box[1], box[2] - box[0]), dtype=np.uint8)
        at = np.rint(proposal.source).astype(int) - np.array(box[:2])
        near[at[:, 1], at[:, 0]] = 1
        aligned = _refine(gray, proposal.transform, box, cv2.dilate(near, dense_match.disk(10)) > 0)
        if aligned is not None:
            found.append(aligned)
    return found


def _refine(gray: FloatArray, transform: Affine, box: Box, source: BoolArray) -> Affine | None:
    """Return the transform after maximizing the correlation over the region (Evangelidis and Psarakis, PAMI 2008)."""
    whole = any(np.array_equal(transform[:, :2], w) for w in _WHOLE_TURNS) and np.all(transform[:, 2] % 1 == 0)
    if whole:
        return None
    x, y, w, h = cv2.boundingRect(source.astype(np.uint8))
    part = (box[0] + x, box[1] + y, box[0] + x + w, box[1] + y + h)
    target_box, mask = carry(transform, part, source[y : y + h, x : x + w], gray.shape)
    here = np.ascontiguousarray(gray[part[1] : part[3], part[0] : part[2]])
    there = np.ascontiguousarray(gray[target_box[1] : target_box[3], target_box[0] : target_box[2]])
    start = transform.copy()
    start[:, 2] = affine.apply(transform, np.array([part[:2]]))[0] - np.array(target_box[:2])
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 1e-4)
    inside = mask.astype(np.uint8)
    try:
        _, found = cv2.findTransformECC(here, there, start.astype(np.float32), cv2.MOTION_AFFINE, stop, inside, 3)
    except cv2.error:
        return None
    refined = found.astype(np.float64)
    refined[:, 2] += np.array(target_box[:2]) - refined[:, :2] @ np.array(part[:2])
    corners = np.array([part[:2], part[2:], (part[0], part[3]), (part[2], part[1])], dtype=np.float64)
    moved = np.abs(affine.apply(refined, corners) - affine.apply(transform, corners)).max()
    return refined if moved < 6.0 else None


def _quality(agreement: dense_match.Agreement, source: BoolArray) -> float:
    part = source & agreement.textured
    return float((2 * agreement.variance - agreement.residual)[part].sum())


def _clone(transform: Affine, box: Box, source: BoolArray, shape: tuple[int, ...], traits: dict[str, float]) -> Clone:
    x, y, w, h = cv2.boundingRect(source.astype(np.uint8))
    tight = source[y : y + h, x : x + w]
    placed = (box[0] + x, box[1] + y, box[0] + x + w, box[1] + y + h)
    target_box, target = carry(transform, placed, tight, shape)
    traits["overlap"] = _overlap(placed, tight, target_box, target) / max(1, int(tight.sum()))
    return Clone(transform, placed, tight, target_box, target, traits)


def _halved(clone: Clone, shape: tuple[int, ...]) -> Clone:
    """Return the clone with one end only where the transform is its own inverse (a half turn, a mirror).

    Such a transform carries each end onto the other, so both were grown as the source.
    """
    corners = np.array([[clone.box[0], clone.box[1]], [clone.box[2], clone.box[3]]], dtype=np.float64)
    back = affine.apply(clone.transform, affine.apply(clone.transform, corners))
    if np.abs(back - corners).max() > 4.0:
        return clone
    rows, cols = np.nonzero(clone.source)
    points = np.column_stack([cols, rows]) + np.array(clone.box[:2])
    ahead = (affine.apply(clone.transform, points) - points) @ np.array([1.0, 0.01]) > 0
    half = np.zeros_like(clone.source)
    half[rows[ahead], cols[ahead]] = True
    if not half.any() or half.all():
        return clone
    target_box, target = carry(clone.transform, clone.box, half, shape)
    return replace(clone, source=half, target_box=target_box, target=target, traits={**clone.traits, "overlap": 0.0})


def carry(transform: Affine, box: Box, mask: BoolArray, shape: tuple[int, ...]) -> tuple[Box, BoolArray]:
    """Return the image of a mask: its box inside a picture of `shape`, and the mask inside that box."""
    x0, y0, x1, y1 = box
    ends = affine.apply(transform, np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], dtype=np.float64))
    low = np.clip(np.floor(ends.min(axis=0)).astype(int), 0, np.array(shape[1::-1]) - 1)
    high = np.clip(np.ceil(ends.max(axis=0)).astype(int) + 1, low + 1, np.array(shape[1::-1]))
    to = transform.copy()
    to[:, 2] = affine.apply(transform, np.array([[x0, y0]]))[0] - low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    image = cv2.warpAffine(mask.astype(np.uint8), to, size, flags=cv2.INTER_NEAREST) > 0
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1])), image


def _overlap(a: Box, mask_a: BoolArray, b: Box, mask_b: BoolArray) -> int:
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if x0 >= x1 or y0 >= y1:
        return 0
    part_a = mask_a[y0 - a[1] : y1 - a[1], x0 - a[0] : x1 - a[0]]
    part_b = mask_b[y0 - b[1] : y1 - b[1], x0 - b[0] : x1 - b[0]]
    return int((part_a & part_b).sum())


def _traits(agreement: dense_match.Agreement, source: BoolArray, proposal: Proposal) -> dict[str, float]:
    """Return the numbers that tell a copied region from a natural repetition.

    `textured` counts pixels with texture, `gain_gap` is the median deviation of the brightness difference from a line
    over brightness, `tensor` the smaller eigenvalue of the structure tensor, `res_median` the median variance of
    what is left after subtraction, `correlation` the mean correlation, `places` the keypoint places in support.
    """
    textured = source & agreement.textured
    part = textured if textured.any() else source
    return {
        "textured": float(textured.sum()),
        "gain_gap": _gain_gap(agreement, part),
        "tensor": _tensor(agreement.here, part),
        "res_median": float(np.median(agreement.residual[part])),
        "correlation": float(agreement.correlation[part].mean()),
        "places": float(proposal.places),
    }


def _gain_gap(agreement: dense_match.Agreement, part: BoolArray) -> float:
    """Fit the brightness difference by gain and offset, robustly, and return the median residual in grey levels."""
    mean = cv2.boxFilter(agreement.here, -1, (9, 9))[part]
    shift = agreement.shift[part]
    table = np.column_stack([mean - mean.mean(), np.ones(mean.size)])
    line = np.array([0.0, np.median(shift)])
    for _ in range(3):
        residual = shift - table @ line
        weight = 1.0 / np.maximum(1.0, np.abs(residual) / (1.5 * np.median(np.abs(residual)) + 1e-3))
        line = np.linalg.lstsq(table * weight[:, None], shift * weight, rcond=None)[0]
    return float(np.median(np.abs(shift - table @ line)))


def _tensor(here: FloatArray, part: BoolArray) -> float:
    """Return the smaller eigenvalue of the mean structure tensor: 0 where all edges run one way."""
    gx, gy = (np.clip(cv2.Sobel(here, cv2.CV_32F, *order, ksize=3) / 8, -15, 15)[part] for order in ((1, 0), (0, 1)))
    mixed = np.mean(gx * gy)
    return float(np.linalg.eigvalsh(np.array([[np.mean(gx * gx), mixed], [mixed, np.mean(gy * gy)]]))[0])
