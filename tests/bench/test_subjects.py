"""The whole scan and its classical part, as subjects of a bench."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tamperscope
from tamperscope import media, registry
from tamperscope.bench import results, subjects
from tamperscope.bench.subjects import CLASSICAL, FUSED, Panel
from tamperscope.media.recompress import encode_jpeg
from tamperscope.scanning import Scanner
from tamperscope.types import Prediction


@pytest.fixture(scope="module")
def answers(photo: Callable[[str], np.ndarray]) -> dict[str, Prediction]:
    data = encode_jpeg(np.ascontiguousarray(photo("coffee")[:200, :260]), 85)
    names = [*registry.names(), CLASSICAL, FUSED]
    found = {p.detector: p for p in Panel(names).predict(media.open(data).sample)}
    assert list(found) == names
    return {"data": data, **found}  # type: ignore[dict-item]


@pytest.mark.parametrize(("name", "network"), [(FUSED, True), (CLASSICAL, False)])
def test_weighs_as_a_scan_does(answers: dict[str, Prediction], name: str, network: bool) -> None:
    report = Scanner(network=network, probe=False).scan(answers["data"])
    assert answers[name].score == pytest.approx(report.verdict.llr)
    heat = answers[name].heatmap
    assert heat is not None
    np.testing.assert_allclose(heat, report.map("fused"), atol=1 / 255)


def test_the_network_changes_the_whole_scan_alone() -> None:
    assert subjects.fingerprint(CLASSICAL) != subjects.fingerprint(FUSED)
    # A network for one kind of pictures has a card of its own; what judges a whole picture is shown alone.
    assert {CLASSICAL, FUSED, *registry.names()} - {
        "generated",
        "invented",
        "pages",
        "spectrum",
        "text",
    } <= subjects.calibrated()
    assert subjects.probability(CLASSICAL, 0.0) == subjects.probability(FUSED, 0.0) == 0.5


def test_a_network_that_the_shipped_card_lacks_is_weighed_by_its_own() -> None:
    folder = str(Path(tamperscope.__file__).parent / "weights" / "generated")
    for name in ("generated", folder):
        curve = subjects.own_curve(name)
        assert curve is not None
        assert subjects.probability(name, 0.9990) == curve.at(0.9990).probability > 0.9
        # Its card says that such a score is worth nothing.
        assert subjects.probability(name, 0.2) == 0.5
        assert "its own card" in results._threshold(name)
    assert subjects.own_curve("spectrum") is None
    assert np.isnan(subjects.probability("spectrum", 0.2))
