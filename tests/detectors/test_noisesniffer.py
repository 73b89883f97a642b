"""Noisesniffer: false alarms under its own null model, planted areas, the NFA against direct evaluation."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy.stats import binom

from tamperscope.detectors import noisesniffer as module
from tamperscope.detectors.base import NotApplicable
from tamperscope.types import Sample

SIZE = 1100
AREA = (slice(300, 700), slice(400, 800))


def with_noise(base: np.ndarray, sigma: float | np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(base.shape, dtype=np.float32)
    return np.clip(base + sigma * noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def scene(photo) -> np.ndarray:
    """A photograph brought to 1.2 megapixels and rid of its own noise; contrast lowered off the clipping levels."""
    large = cv2.resize(photo("astronaut"), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return 20 + 0.82 * cv2.GaussianBlur(large, (0, 0), 2.0).astype(np.float32)


def noise_in_area(scene: np.ndarray, inside: float, outside: float, seed: int = 1) -> np.ndarray:
    sigma = np.full((SIZE, SIZE, 1), outside, np.float32)
    sigma[AREA] = inside
    return with_noise(scene, sigma, seed)


def test_area_of_lower_noise_is_found(scene: np.ndarray) -> None:
    answer = module.Noisesniffer().predict(Sample(noise_in_area(scene, 2.0, 4.0)))
    assert answer.score > 3
    assert answer.heatmap is not None
    over = answer.heatmap > 0.5
    truth = np.zeros_like(over)
    truth[AREA] = True
    assert over[truth].mean() > 0.8
    assert over[~truth].mean() < 0.02
    best = answer.regions[0]
    assert best.score == answer.score
    assert truth[best.box[1] : best.box[3], best.box[0] : best.box[2]].mean() > 0.9


@pytest.mark.parametrize("inside", [4.0, 8.0])
def test_area_of_equal_or_higher_noise_is_not_found(scene: np.ndarray, inside: float) -> None:
    answer = module.Noisesniffer().predict(Sample(noise_in_area(scene, inside, 4.0)))
    assert answer.status == "ok"
    assert answer.score == 0.0
    assert answer.heatmap is not None
    assert answer.heatmap.max() < 0.5
    assert not answer.regions


def test_no_alarm_where_noise_depends_on_brightness_only(encode) -> None:
    """The null model: 20 pictures of noise whose strength follows brightness, and 20 of them through JPEG."""
    alarms = []
    ramp = np.linspace(40, 210, 1050, dtype=np.float32)[None, :, None] + np.zeros((1000, 1, 3), np.float32)
    for seed in range(40):
        base = ramp if seed % 2 else ramp[:, ::-1] * 0.5 + 20
        rgb = with_noise(base, np.sqrt(3 + (0.02 + 0.02 * (seed % 5)) * base), seed)
        if seed >= 20:
            data = np.frombuffer(encode(rgb, "JPEG", quality=(82, 87, 92, 95)[seed % 4]), np.uint8)
            rgb = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        answer = module.Noisesniffer().predict(Sample(rgb))
        alarms.append(answer.score)
    # NFA < 1 promises less than one false alarm a picture; the count of shapes is generous, so none is expected.
    assert np.nansum(np.array(alarms) > 0) == 0
    assert np.isfinite(alarms).sum() >= 36, "too many abstained to say anything"


def counts(share: np.ndarray, blocks: int, rng: np.random.Generator) -> module.CellCounts:
    total = np.full(share.shape, blocks)
    return module.CellCounts(total, rng.binomial(total, share), 1.0)


def planted(where: np.ndarray, level: float, rng: np.random.Generator) -> module.Background:
    share = np.full((10, 12), 0.5)
    share.flat[where] = level
    return module.model_background(counts(share, 27 * 40, rng))


def test_connected_cells_make_an_area_scattered_ones_do_not(rng: np.random.Generator) -> None:
    block = np.array([12 * y + x for y in (3, 4, 5) for x in (4, 5, 6, 7)])
    areas, evidence = module.find_areas(planted(block, 0.7, rng), 0.0)
    assert len(areas) == 1
    found = {12 * y + x for y, x in areas[0].cells}
    assert set(block.tolist()) <= found
    assert len(found) <= len(block) + 2
    assert evidence.max() == -areas[0].log10_nfa > 0
    scattered = np.array([12 * y + x for y in (0, 3, 6, 9) for x in (1, 5, 9)])
    assert module.find_areas(planted(scattered, 0.7, rng), 0.0)[0] == []
    assert module.find_areas(planted(block, 0.3, rng), 0.0)[0] == []


def test_nfa_equals_direct_evaluation(rng: np.random.Generator) -> None:
    block = np.array([12 * y + x for y in (3, 4) for x in (4, 5, 6)])
    area = module.find_areas(planted(block, 0.8, rng), 0.0)[0][0]
    trials, red, size = math.floor(area.trials), math.floor(area.red), len(area.cells)
    tests = 0.5 * 9 * 120**2 * 0.316915 / size * 4.062570**size
    assert area.log10_nfa == pytest.approx(math.log10(tests) + math.log10(binom.sf(red - 1, trials, 0.5)), abs=1e-6)


def polyominoes(cells: int) -> int:
    """Number of connected shapes of so many cells, counted by growing them all."""
    shapes = {frozenset({(0, 0)})}
    for _ in range(cells - 1):
        grown = set()
        for shape in shapes:
            for y, x in shape:
                for near in {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} - shape:
                    larger = shape | {near}
                    top, left = min(p[0] for p in larger), min(p[1] for p in larger)
                    grown.add(frozenset((p - top, q - left) for p, q in larger))
        shapes = grown
    return len(shapes)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
def test_number_of_tests_covers_all_connected_shapes(size: int) -> None:
    shapes = 10 ** module.log10_tests(1, size) / (0.5 * 9)
    assert polyominoes(size) <= shapes <= 1.35 * polyominoes(size)


def test_spread_of_the_pictures_own_cells_limits_the_trials(rng: np.random.Generator) -> None:
    calm = module.model_background(counts(np.full((10, 12), 0.5), 27 * 40, rng))
    uneven = module.model_background(counts(np.clip(rng.normal(0.5, 0.1, (10, 12)), 0, 1), 27 * 40, rng))
    assert calm.trials[0, 0] == pytest.approx(40)
    assert 15 < uneven.trials[0, 0] < 36
    share = np.clip(rng.normal(0.5, 0.1, (10, 12)), 0, 1)
    share[3:6, 4:8] = 1.0
    assert module.model_background(counts(share, 27 * 40, rng)).spread < 0.15, "the area must not hide itself"


def test_too_few_usable_cells_abstain(rng: np.random.Generator) -> None:
    few = np.zeros((10, 12), dtype=np.int64)
    few[:2] = 1000
    with pytest.raises(NotApplicable, match="needs 30"):
        module.model_background(module.CellCounts(few, few // 2, 1.0))


def odd_pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "one pixel": np.zeros((1, 1, 3), np.uint8),
        "line": np.zeros((1, 4000, 3), np.uint8),
        "tiny": rng.integers(0, 255, (7, 5, 3), dtype=np.uint8),
        "small": rng.integers(0, 255, (700, 700, 3), dtype=np.uint8),
        "constant": np.full((1100, 1000, 3), 128, np.uint8),
        "white": np.full((1100, 1000, 3), 255, np.uint8),
        "full range noise": rng.integers(0, 256, (1100, 1000, 3), dtype=np.uint8),
        "two levels": rng.integers(0, 2, (1100, 1000, 1), dtype=np.uint8).repeat(3, axis=2) + np.uint8(100),
        "flat beside noise": np.concatenate(
            [np.full((1100, 500, 3), 90, np.uint8), rng.integers(80, 100, (1100, 600, 3), dtype=np.uint8)], axis=1
        ),
        "narrow": rng.integers(100, 120, (310, 3500, 3), dtype=np.uint8),
    }


@pytest.mark.parametrize("name", list(odd_pictures()))
@pytest.mark.filterwarnings("error")
def test_odd_pictures_get_an_answer(name: str) -> None:
    first, second = (module.Noisesniffer().predict(Sample(odd_pictures()[name])) for _ in range(2))
    assert first.status == second.status
    if first.status == "ok":
        assert first.score == second.score >= 0
        assert first.heatmap is not None
        assert np.isfinite(first.heatmap).all()
    else:
        assert first.cause
