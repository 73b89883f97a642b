"""Metrics of videos against plain loops, and against values worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tamperscope.errors import InvalidValueError
from tamperscope.metrics import image, temporal
from tamperscope.metrics.temporal import Interval


def test_a_video_is_told_by_its_full_id_and_may_be_forged_in_part() -> None:
    videos = ["real/000", "fake/000", "real/000", "fake/000", "fake/000"]
    scores, labels = [0.1, 0.2, 0.3, 0.9, 0.4], [0, 0, 0, 1, 0]
    expected = {"mean": [0.5, 0.2], "max": [0.9, 0.3], "top": [0.65, 0.3]}
    for how, values in expected.items():
        found, forged, names = temporal.video_scores(scores, labels, videos, how, 0.5)  # type: ignore[arg-type]
        assert names == ["fake/000", "real/000"]
        assert forged.tolist() == [True, False]
        assert found.tolist() == pytest.approx(values)
    whole, same = image.by_video(scores, [1] * 5, videos)[0], temporal.video_scores(scores, [1] * 5, videos)[0]
    assert same.tolist() == pytest.approx(whole.tolist())
    for wrong in ({"how": "median"}, {"share": 0.0}, {"videos": ["a"]}):
        with pytest.raises(InvalidValueError, match="expected"):
            temporal.video_scores(**({"scores": scores, "labels": labels, "videos": videos} | wrong))


def test_intervals_are_the_runs_above_the_threshold() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.random(int(rng.integers(1, 20)))
        covered = np.zeros(len(scores), bool)
        for one in temporal.intervals(scores, "v", 0.4):
            start, stop = int(one.start), int(one.stop)
            assert not covered[start:stop].any()
            covered[start:stop] = True
            assert one.score == scores[start:stop].max()
            assert start == 0 or not scores[start - 1] > 0.4
            assert stop == len(scores) or not scores[stop] > 0.4
        np.testing.assert_array_equal(covered, scores > 0.4)
    assert [(i.start, i.stop) for i in temporal.intervals(np.array([True, True, False, True]))] == [(0, 2), (3, 4)]
    with pytest.raises(InvalidValueError, match="start < stop"):
        Interval("v", 2, 2)


def drawn(rng: np.random.Generator, count: int) -> list[Interval]:
    found = []
    for _ in range(count):
        start = int(rng.integers(0, 20))
        score = round(float(rng.random()), 1)
        found.append(Interval(str(rng.integers(2)), start, start + int(rng.integers(1, 10)), score))
    return found


def frames(one: Interval) -> set[tuple[str, int]]:
    return {(one.video, n) for n in range(int(one.start), int(one.stop))}


def slow_hits(found: list[Interval], truth: list[Interval], threshold: float) -> list[bool]:
    """The matching of ActivityNet's toolkit, on sets of frames."""
    locked: set[int] = set()
    hits = []
    for one in [found[i] for i in np.argsort([-f.score for f in found], kind="stable")]:
        overlaps = [len(frames(one) & frames(t)) / len(frames(one) | frames(t)) for t in truth]
        hit = False
        for number in np.argsort([-o for o in overlaps], kind="stable"):
            if overlaps[number] < threshold:
                break
            if number not in locked:
                locked.add(int(number))
                hit = True
                break
        hits.append(hit)
    return hits


def test_precision_and_recall_of_intervals_against_loops() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        found, truth = drawn(rng, int(rng.integers(0, 9))), drawn(rng, int(rng.integers(1, 5)))
        for one, true in itertools.product(found, truth):
            overlap = len(frames(one) & frames(true)) / len(frames(one) | frames(true))
            assert temporal.temporal_iou(one, true) == pytest.approx(overlap)
        for threshold in temporal.THRESHOLDS:
            hits = slow_hits(found, truth, threshold)
            precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
            area = sum(max(precision[n:]) for n, hit in enumerate(hits) if hit) / len(truth)
            assert temporal.average_precision(found, truth, threshold) == pytest.approx(area)
        best = [f for v in "01" for f in sorted((f for f in found if f.video == v), key=lambda f: -f.score)[:2]]
        recall = np.mean([sum(slow_hits(best, truth, t)) / len(truth) for t in (0.5, 0.7)])
        assert temporal.average_recall(found, truth, 2, (0.5, 0.7)) == pytest.approx(recall)
    assert math.isnan(temporal.average_precision([], []))
    assert math.isnan(temporal.average_recall([], []))
    assert temporal.average_precision([], truth) == 0


def test_the_precision_of_intervals_by_hand() -> None:
    truth = [Interval("a", 0, 10), Interval("a", 20, 30), Interval("b", 0, 10)]
    found = [
        Interval("a", 0, 8, 0.9),  # 0.8
        Interval("a", 1, 10, 0.8),  # its interval is taken
        Interval("b", 0, 10, 0.7),
        Interval("b", 20, 30, 0.6),  # another video
    ]
    assert temporal.average_precision(found, truth, 0.5) == pytest.approx((1 + 2 / 3) / 3)
    assert temporal.average_precision(found, truth, 0.75) == pytest.approx((1 + 2 / 3) / 3)
    assert temporal.average_precision(found, truth, 0.95) == pytest.approx((1 / 3) / 3)


def test_steadiness_against_loops() -> None:
    rng = np.random.default_rng(2)
    maps, valid = rng.random((4, 5, 6)), rng.random((4, 5, 6)) < 0.8
    flow = rng.uniform(-2, 2, (3, 5, 6, 2))
    for motion in (None, flow):
        values = []
        for t in range(1, 4):
            both = either = 0
            for y, x in itertools.product(range(5), range(6)):
                step = (0, 0) if motion is None else motion[t - 1, y, x]
                row, column = y + round(float(step[1])), x + round(float(step[0]))
                if not (0 <= row < 5 and 0 <= column < 6 and valid[t, y, x] and valid[t - 1, row, column]):
                    continue
                before, after = maps[t - 1, row, column] > 0.5, maps[t, y, x] > 0.5
                both, either = both + (before and after), either + (before or after)
            values.append(both / either)
        assert temporal.consistency(maps, motion, valid=valid) == pytest.approx(np.mean(values))
    truth = rng.random((4, 5, 6)) < 0.5
    gaps = [
        abs(maps[t, y, x] - maps[t - 1, y, x])
        for t, y, x in itertools.product(range(1, 4), range(5), range(6))
        if truth[t, y, x] == truth[t - 1, y, x] and valid[t, y, x] and valid[t - 1, y, x]
    ]
    assert temporal.flicker(maps, truth, valid) == pytest.approx(np.mean(gaps))


def test_a_mask_that_moves_is_steady_only_along_its_motion() -> None:
    maps = np.zeros((5, 16, 24))
    for t in range(5):
        maps[t, 4:10, 2 + 4 * t : 6 + 4 * t] = 1
    flow = np.broadcast_to([-4.0, 0.0], (4, 16, 24, 2))
    assert temporal.consistency(maps) == 0
    assert temporal.consistency(maps, flow) == 1
    assert temporal.flicker(maps, maps > 0) == 0
    assert math.isnan(temporal.consistency(np.zeros((3, 4, 4))))
    with pytest.raises(InvalidValueError, match="two frames"):
        temporal.consistency(maps[:1])
    with pytest.raises(InvalidValueError, match="flow"):
        temporal.consistency(maps, flow[..., :1])
    with pytest.raises(InvalidValueError, match="truth"):
        temporal.flicker(maps, maps[:3] > 0)
