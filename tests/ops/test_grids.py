"""Named grids: the numbers that were published, in both meanings, and attacks that all run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tamperscope.errors import UnknownNameError
from tamperscope.media.quantization import nearest_quality
from tamperscope.ops import attack, grids
from tamperscope.types import Sample

BENCO = {
    "benco_blur": [0, 3, 7, 11, 15, 19, 23],
    "benco_noise": [3, 7, 11, 15, 19, 23],
    "benco_noise_literal": [3, 7, 11, 15, 19, 23],
    "benco_jpeg": [50, 60, 70, 80, 90, 100],
    "benco_jpeg_literal": [50, 60, 70, 80, 90, 100],
}


def grey(side: int = 256) -> Sample:
    return Sample(np.full((side, side, 3), 128, np.uint8), id="grey")


@pytest.mark.parametrize("name", BENCO)
def test_published_strengths(name: str) -> None:
    assert [point.strength for point in grids.load(name)] == BENCO[name]


def test_labels_are_unique_over_all_grids() -> None:
    labels = [point.label for name in grids.names() for point in grids.load(name)]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("name", grids.names())
def test_every_point_runs(name: str) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for point in grids.load(name):
        done = attack.parse(point.op)(Sample(rgb), np.random.default_rng(0))
        assert bool(done.meta.get("ops")) == bool(point.op), point.label


def test_kernel_0_is_no_attack() -> None:
    first = grids.load("benco_blur")[0]
    assert (first.op, first.label) == ("", "benco_blur 0")
    sample = grey()
    assert attack.parse(first.op)(sample, np.random.default_rng(0)) is sample


@pytest.mark.parametrize(("name", "meaning"), [("benco_noise", float), ("benco_noise_literal", math.sqrt)])
def test_noise_number_is_a_deviation_or_a_variance(name: str, meaning: type[float]) -> None:
    for point in grids.load(name):
        noisy = attack.parse(point.op)(grey(), np.random.default_rng(3)).rgb.astype(float)
        # Rounding to whole levels adds 1/12; 196608 draws leave a relative error of 0.16 %, four of them allowed.
        expected = math.sqrt(meaning(point.strength) ** 2 + 1 / 12)
        assert noisy.std() == pytest.approx(expected, rel=0.0065), point.label


def test_noise_23_meant_literally_is_weak() -> None:
    noisy = attack.parse(grids.load("benco_noise_literal")[-1].op)(grey(), np.random.default_rng(0))
    assert noisy.meta["ops"][0]["sigma"] == pytest.approx(4.80, abs=0.005)


def qualities(op: str) -> set[int]:
    drawn = (attack.parse(op)(grey(16), np.random.default_rng(seed)) for seed in range(24))
    return {nearest_quality(sample.jpeg.qtables).quality for sample in drawn if sample.jpeg}


def test_jpeg_50_is_50_or_draws_49_and_50() -> None:
    assert qualities(grids.load("benco_jpeg")[0].op) == {50}
    assert qualities(grids.load("benco_jpeg_literal")[0].op) == {49, 50}


def test_quick_has_four_families() -> None:
    points = grids.load("quick")
    assert [attack.parse(p.op).steps[0].name for p in points] == ["jpeg", "resize", "gaussian_blur", "gaussian_noise"]
    assert len({p.family for p in points}) == 4


def test_ours_holds_every_attack() -> None:
    used = {step.name for point in grids.load("ours") for step in attack.parse(point.op).steps}
    assert used == set(attack.names())


def test_unknown_grid_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'benco_jpeg'"):
        grids.load("benco_jpg")
