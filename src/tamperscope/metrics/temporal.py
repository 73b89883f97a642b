"""Metrics of videos: scores of a whole one, intervals in time, and how steady maps are from frame to frame.

Frames are `metrics.image` of their scores, and `metrics.pixel` of their maps; what is here needs to know which frames
belong together, and in which order. A video is told by its full id, never by the name of a folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError
from tamperscope.metrics.arrays import as_scores, as_truth
from tamperscope.types import BoolArray

How = Literal["mean", "max", "top"]
THRESHOLDS = (0.5, 0.75, 0.95)
"""Temporal IoU at which AP is stated for forged intervals (LAV-DF: Cai et al., DICTA 2022, arXiv 2204.06228)."""


def video_scores(
    scores: Any, labels: Any, videos: Sequence[str], how: How = "mean", share: float = 0.1
) -> tuple[NDArray[np.float64], BoolArray, list[str]]:
    """Return a score of each video, whether a frame of it is forged, and its id; sorted by id.

    Unlike in `image.by_video`, for sets whose videos are forged as a whole, frames of a video may differ in label.

    Args:
        scores: (N,) of frames, higher = more suspicious.
        labels: (N,) true where the frame is forged; a part of a video may be.
        videos: Full id of the video of each frame.
        how: `mean` as DeepfakeBench has it (Yan et al., NeurIPS 2023), which dilutes short edits; `max`; or `top`, the
            mean of the highest `share` of the frames, at least one.
        share: In (0, 1].

    Raises:
        InvalidValueError: Lengths differ, a score is nan, or a setting is out of range.
    """
    s, t = as_scores(scores).astype(np.float64), as_truth(labels)
    if not (s.shape == t.shape == (len(videos),)):
        raise InvalidValueError(
            f"expected one score, label and video a frame, found {s.shape}, {t.shape}, {len(videos)}"
        )
    if how not in ("mean", "max", "top") or not 0 < share <= 1:
        raise InvalidValueError(f"expected mean, max or top, and a share in (0, 1], found '{how}', {share}")
    names, member = np.unique(np.asarray(videos, dtype=str), return_inverse=True)
    found = []
    for number in range(len(names)):
        own = np.sort(s[member == number])[::-1]
        kept = {"mean": own.size, "max": 1, "top": max(1, math.ceil(share * own.size))}[how]
        found.append(own[:kept].mean())
    forged = np.bincount(member, t, len(names)) > 0
    return np.array(found, np.float64), forged, [str(name) for name in names]


@dataclass(frozen=True, slots=True)
class Interval:
    """Frames of a video that follow one another.

    Attributes:
        video: Full id.
        start: Number of the first frame, or its time.
        stop: Of what comes after the last one.
        score: How suspicious; higher = more.
    """

    video: str
    start: float
    stop: float
    score: float = 1.0

    def __post_init__(self) -> None:
        if not self.start < self.stop or math.isnan(self.score):
            raise InvalidValueError(f"interval: expected start < stop and a score, found {self}")


def intervals(scores: Any, video: str = "", threshold: float = 0.5) -> list[Interval]:
    """Return the runs of frames whose score is greater than a threshold; each has the score of its highest frame.

    Args:
        scores: (T,) of the frames, in order; bool marks are scores of 0 and 1.
        video: Their video.
        threshold: Strict.
    """
    s = as_scores(scores)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], s > threshold, [False]]).astype(int)))
    return [Interval(video, int(a), int(b), float(s[a:b].max())) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def temporal_iou(one: Interval, other: Interval) -> float:
    """Return the intersection over union of two intervals in time; 0 in different videos."""
    shared = min(one.stop, other.stop) - max(one.start, other.start)
    if one.video != other.video or shared <= 0:
        return 0.0
    return shared / (one.stop - one.start + other.stop - other.start - shared)


def average_precision(found: Iterable[Interval], truth: Sequence[Interval], threshold: float = 0.5) -> float:
    """Return AP at a temporal IoU: the area under the precision envelope; nan without true intervals.

    As ActivityNet's toolkit (Caba Heilbron et al., CVPR 2015), which LAV-DF took over: proposals of all videos come by
    falling score (ties in their order); each takes the true interval of its video that it overlaps most among those
    that are free, if by at least the threshold; precision is made to fall with recall before it is summed.

    Args:
        found: Proposals.
        truth: Forged intervals.
        threshold: Least temporal IoU.
    """
    if not truth:
        return math.nan
    hits = np.array([hit for _, hit in _matched(found, truth, threshold)], bool)
    if not hits.any():
        return 0.0
    tp = np.cumsum(hits)
    precision = tp / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / len(truth))


def average_recall(
    found: Iterable[Interval],
    truth: Sequence[Interval],
    number: int = 10,
    thresholds: Sequence[float] = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist()),
) -> float:
    """Return AR@number: the mean over temporal IoUs of the share of true intervals that are found; nan without any.

    Of each video only the `number` best proposals count (LAV-DF: AR@100, 50, 20 and 10 over 0.5 to 0.95).
    """
    if not truth:
        return math.nan
    best: dict[str, list[Interval]] = {}
    for one in sorted(found, key=lambda i: -i.score):
        best.setdefault(one.video, []).append(one)
    kept = [one for own in best.values() for one in own[:number]]
    recalls = [sum(hit for _, hit in _matched(kept, truth, t)) / len(truth) for t in thresholds]
    return math.fsum(recalls) / len(recalls)


def _matched(found: Iterable[Interval], truth: Sequence[Interval], threshold: float) -> list[tuple[Interval, bool]]:
    """Return the proposals by falling score, each with whether it took a true interval."""
    free = dict(enumerate(truth))
    told = []
    for one in sorted(found, key=lambda i: -i.score):
        overlaps = {number: temporal_iou(one, true) for number, true in free.items()}
        best = max(overlaps, key=lambda number: overlaps[number], default=None)
        hit = best is not None and overlaps[best] >= threshold
        if hit and best is not None:
            del free[best]
        told.append((one, hit))
    return told


def consistency(maps: Any, flow: Any = None, threshold: float = 0.5, valid: Any = None) -> float:
    """Return the mean IoU of neighbouring frames' masks, the first one warped to the second; nan where all are empty.

    The temporal consistency of Liu et al. (ECCV 2020, "Efficient semantic video segmentation with per-frame
    inference"), for the one class of forged pixels. Pairs of frames in which nothing is called forged are left out.
    Without flow, an object that moves lowers it, so compare with that of the truth.

    Args:
        maps: (T, H, W), at least two frames, in order.
        flow: (T - 1, H, W, 2): for each pixel of the later frame, by how many columns and rows its place in the earlier
            one lies further; the nearest pixel is taken, and what comes from outside does not count. None = no motion.
        threshold: Strict.
        valid: (T, H, W), true where a pixel counts; None = everywhere.

    Raises:
        InvalidValueError: Shapes do not fit.
    """
    called, known = _frames(maps, valid)
    called = called > threshold
    values = []
    for t in range(1, len(called)):
        before, seen = called[t - 1], known[t - 1]
        if flow is not None:
            before, seen = _warped(before, seen, as_scores(flow)[t - 1])
        counted = seen & known[t]
        union = np.count_nonzero((before | called[t]) & counted)
        if union:
            values.append(np.count_nonzero(before & called[t] & counted) / union)
    return math.fsum(values) / len(values) if values else math.nan


def flicker(maps: Any, truth: Any, valid: Any = None) -> float:
    """Return the mean absolute change of maps from frame to frame where the truth does not change; nan if nowhere.

    The residual of the temporal difference, as video matting measures it against the truth's own (dtSSD: Erofeev et
    al., BMVC 2015), here of pixels whose truth is the same in both frames.

    Args:
        maps: (T, H, W) in [0, 1], at least two frames, in order.
        truth: (T, H, W) true where forged.
        valid: As of `consistency`.

    Raises:
        InvalidValueError: Shapes do not fit.
    """
    heat, known = _frames(maps, valid)
    marked = as_truth(truth)
    if marked.shape != heat.shape:
        raise InvalidValueError(f"expected truth of shape {heat.shape}, found {marked.shape}")
    same = (marked[1:] == marked[:-1]) & known[1:] & known[:-1]
    return float(np.abs(np.diff(heat.astype(np.float64), axis=0))[same].mean()) if same.any() else math.nan


def _frames(maps: Any, valid: Any) -> tuple[NDArray[Any], BoolArray]:
    found = as_scores(maps)
    known = np.ones(found.shape, np.bool_) if valid is None else as_truth(valid)
    if found.ndim != 3 or len(found) < 2 or known.shape != found.shape:
        raise InvalidValueError(f"expected maps (T, H, W) of two frames or more, found {found.shape}, {known.shape}")
    return found, known


def _warped(mask: BoolArray, seen: BoolArray, flow: NDArray[Any]) -> tuple[BoolArray, BoolArray]:
    """Return a mask and what is known of it as the later frame sees them."""
    height, width = mask.shape
    if flow.shape != (height, width, 2):
        raise InvalidValueError(f"expected a flow of shape {(height, width, 2)}, found {flow.shape}")
    x = np.rint(np.arange(width) + flow[..., 0]).astype(int)
    y = np.rint(np.arange(height)[:, None] + flow[..., 1]).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    at = y.clip(0, height - 1), x.clip(0, width - 1)
    return mask[at], seen[at] & inside
