"""Names, options and plug-ins."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import tamperscope
from tamperscope import registry
from tamperscope.detectors.base import Detector
from tamperscope.errors import InvalidValueError, UnknownNameError

PLUGIN = '''
"""Finds nothing, from another package."""
import numpy as np
from tamperscope.detectors.base import Detector, Guide
from tamperscope.types import Prediction

class BlurGap(Detector):
    family = "noise"
    guide = Guide("It looks at nothing at all.", "Read nothing from it, ever.", "It always lies, by design.")

    def analyze(self, sample):
        return Prediction(self.name, sample.size, 0.25, np.zeros(sample.size, np.float32))
'''


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'zero'"):
        tamperscope.load("zeroo")


def test_unknown_option_offers_the_nearest_and_none_is_swallowed() -> None:
    for name in registry.names():
        with pytest.raises(UnknownNameError, match="unknown option"):
            tamperscope.load(name, no_such_option=1)


def test_file_names_are_registry_names() -> None:
    for name in registry.names():
        loaded = tamperscope.load(name)
        assert isinstance(loaded, Detector)
        assert loaded.name == name


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blur_gap.py").write_text(PLUGIN)
    info = tmp_path / "blur_gap-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blur-gap\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tamperscope.detectors]\nblur_gap = blur_gap:BlurGap\nbad = os:sep\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    registry._plugins.cache_clear()
    yield
    registry._plugins.cache_clear()


@pytest.mark.usefixtures("plugin")
def test_a_detector_of_another_package_is_found_loaded_and_scanned_with(photo) -> None:  # type: ignore[no-untyped-def]
    assert "blur_gap" in registry.names()
    assert any(e.name == "blur_gap" and "blur-gap" in e.summary for e in registry.entries())
    report = tamperscope.scan(photo("chelsea"), detectors=["blur_gap"])
    row = next(p for p in report.predictions if p.detector == "blur_gap")
    assert row.score == 0.25
    assert row.calibrated is None
    assert not row.counts


@pytest.mark.usefixtures("plugin")
def test_an_entry_point_that_is_no_detector_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="Detector subclass"):
        tamperscope.load("bad")


def test_a_folder_here_never_stands_in_for_a_detector(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for name in ("zero", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert registry.is_network("other")
    assert registry.is_network("./zero")
    assert not registry.is_network("zero")
    assert registry.load("zero").name == "zero"
