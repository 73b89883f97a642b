from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tamperscope import media, registry
from tamperscope.bench import complexity
from tamperscope.bench.complexity import Cost
from tamperscope.errors import InputError, InvalidValueError, UnknownNameError

PLANTED = '''"""Detectors whose cost is known."""

import math
import time

import numpy as np

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.types import Prediction

MIB = 2**20


class Light(Detector):
    family = "noise"
    min_side = 1
    guide = Guide("Nothing.", "Not at all.", "Always.")
    seconds_per_megapixel = 0.0
    mebibytes_per_megapixel = 0.0

    @property
    def name(self):
        return type(self).__name__.lower()

    def analyze(self, sample):
        megapixels = sample.rgb.size / 3e6
        held = np.ones(int(self.mebibytes_per_megapixel * megapixels * MIB), np.uint8)
        end = time.process_time() + self.seconds_per_megapixel * megapixels
        while time.process_time() < end:
            pass
        del held
        return Prediction(self.name, sample.size, 0.0)


class Slow(Light):
    seconds_per_megapixel = 2.0


class Hungry(Light):
    mebibytes_per_megapixel = 800.0

    def parameters(self):
        return 1234

    def macs(self, size):
        return 10 * size[0] * size[1]


class Broken(Light):
    def analyze(self, sample):
        raise ValueError("planted | failure")


class Silent(Light):
    def analyze(self, sample):
        raise NotApplicable("nothing to say")


class Talkative(Light):
    def analyze(self, sample):
        print("words on the standard output")
        return super().analyze(sample)
'''
NAMES = ("light", "slow", "hungry", "broken", "silent", "talkative")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cost]:
    site = tmp_path_factory.mktemp("site")
    (site / "planted_package.py").write_text(PLANTED)
    info = site / "planted_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-package\nVersion: 1.0\n")
    points = "".join(f"{name} = planted_package:{name.title()}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[tamperscope.detectors]\n{points}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        registry._plugins.cache_clear()
        costs = complexity.measure(NAMES, sizes=(0.1,), repeats=3)
    registry._plugins.cache_clear()
    return {cost.detector: cost for cost in costs}


@pytest.fixture(scope="module")
def classical() -> dict[tuple[str, int], Cost]:
    costs = complexity.measure(["ela", "zero"], sizes=(0.03, 0.5), repeats=2)
    assert [cost.detector for cost in costs] == ["ela", "zero", "ela", "zero"]
    return {(cost.detector, i // 2): cost for i, cost in enumerate(costs)}


@pytest.mark.parametrize("name", ["ela", "zero"])
def test_costs_are_positive_finite_and_grow_with_the_picture(classical: dict[tuple[str, int], Cost], name: str) -> None:
    small, large = classical[name, 0], classical[name, 1]
    for cost in (small, large):
        assert cost.status == "ok"
        assert all(0 < v < math.inf for v in (cost.cpu_best, cost.cpu_median, cost.wall, cost.peak))
        assert cost.cpu_best <= cost.cpu_median
        assert (cost.parameters, cost.macs) == (None, None)
    assert 0 < large.memory < math.inf
    area = [cost.size[0] * cost.size[1] for cost in (small, large)]
    assert area == pytest.approx([0.03e6, 0.5e6], rel=0.02)
    assert large.cpu_best * area[1] > 3 * small.cpu_best * area[0]
    assert large.memory * area[1] > small.memory * area[0]


def test_a_slow_detector_is_seen_as_slow(planted: dict[str, Cost]) -> None:
    slow, light = planted["slow"], planted["light"]
    assert slow.cpu_best == pytest.approx(2.0, rel=0.25)
    assert slow.cpu_median == pytest.approx(2.0, rel=0.25)
    assert slow.wall >= 0.9 * slow.cpu_best
    assert light.cpu_best < 0.2
    assert slow.memory < 100


def test_a_hungry_detector_is_seen_as_hungry(planted: dict[str, Cost]) -> None:
    hungry, light = planted["hungry"], planted["light"]
    assert hungry.memory == pytest.approx(800.0, rel=0.15)
    assert hungry.peak > light.peak + 60
    assert light.memory < 100


def test_parameters_and_macs_are_those_that_a_detector_states(planted: dict[str, Cost]) -> None:
    hungry = planted["hungry"]
    assert hungry.parameters == 1234
    assert hungry.macs == 10 * hungry.size[0] * hungry.size[1]
    assert planted["light"].parameters is None


def test_failures_and_abstentions_are_listed_and_cost_nothing_else(planted: dict[str, Cost]) -> None:
    broken, silent = planted["broken"], planted["silent"]
    assert broken.status == "failed"
    assert broken.cause == "ValueError: planted | failure"
    assert (silent.status, silent.cause) == ("not_applicable", "nothing to say")
    assert math.isnan(broken.cpu_best)
    assert math.isnan(silent.cpu_best)
    assert planted["talkative"].status == "ok"


def test_a_picture_of_ones_own_keeps_its_shape(tmp_path: Path) -> None:
    rgb = cv2.resize(np.random.default_rng(3).integers(0, 255, (20, 30, 3), np.uint8), (120, 300))
    cv2.imwrite(str(tmp_path / "tall.png"), rgb)
    (cost,) = complexity.measure(["ela"], sizes=(0.02,), repeats=1, picture=tmp_path / "tall.png")
    assert cost.size == (224, 89)  # 300 and 120 times sqrt(0.02 MP / 0.036 MP)
    assert cost.picture.startswith("tall.png")
    with pytest.raises(InputError):
        complexity.measure(["ela"], picture=tmp_path / "none.png")


def test_bad_arguments() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ela'"):
        complexity.measure(["elaa"])
    for sizes, repeats in (((0.0,), 1), ((-1.0,), 1), ((math.nan,), 1), ((0.1,), 0)):
        with pytest.raises(InvalidValueError, match="positive"):
            complexity.measure(["ela"], sizes, repeats)


def test_the_generated_picture_is_like_a_photo() -> None:
    rgb = complexity.generate(0.2, seed=1)
    assert rgb.dtype == np.uint8
    assert rgb.shape[0] * rgb.shape[1] == pytest.approx(0.2e6, rel=0.02)
    assert np.array_equal(rgb, complexity.generate(0.2, seed=1))
    assert not np.array_equal(rgb, complexity.generate(0.2, seed=2))
    assert np.mean((rgb == 0) | (rgb == 255)) < 0.02
    luma = rgb[..., 1].astype(float) - rgb[..., 1].mean()
    power = np.abs(np.fft.fft2(luma)) ** 2
    radius = np.hypot(np.fft.fftfreq(luma.shape[0])[:, None], np.fft.fftfreq(luma.shape[1])[None, :])
    edges = np.geomspace(0.01, 0.1, 8)
    bands = [power[(radius >= a) & (radius < b)].mean() for a, b in itertools.pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(bands), 1)[0]
    assert slope == pytest.approx(-2.0, abs=0.3)
    opened = media.open(complexity._twice_saved(rgb)).sample
    assert opened.jpeg is not None
    assert opened.size == rgb.shape[:2]


def test_tables_show_a_dash_where_there_is_no_figure(planted: dict[str, Cost]) -> None:
    costs = list(planted.values())
    lines = complexity.markdown(costs).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines[: 2 + len(costs)]}) == 1
    broken = next(line for line in lines if line.startswith("| broken"))
    assert broken.count("| – ") == 7
    assert "planted \\| failure" in broken
    hungry = next(line for line in lines if line.startswith("| hungry"))
    assert "| 1,234 |" in hungry
    assert complexity.GENERATED in lines[-1]
    assert len(lines[-1]) == len(complexity.markdown([replace(costs[0])]).splitlines()[-1])


def test_json_is_strict_and_complete(planted: dict[str, Cost]) -> None:
    rows = json.loads(complexity.to_json(list(planted.values())), parse_constant=pytest.fail)
    by_name = {row["detector"]: row for row in rows}
    assert by_name["broken"]["cpu_best"] is None
    assert by_name["slow"]["cpu_best"] == planted["slow"].cpu_best
    assert by_name["hungry"]["macs"] == planted["hungry"].macs
    assert set(by_name["light"]) == set(Cost.__dataclass_fields__)
