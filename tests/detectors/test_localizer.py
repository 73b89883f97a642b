"""The shipped network: what it weighs, what it is asked without, and whether it follows the traces of an edit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from forged_jpegs import Case, case, pictures
from sklearn.metrics import roc_auc_score

from tamperscope import registry
from tamperscope.detectors import localizer, network
from tamperscope.detectors.localizer import clipped
from tamperscope.errors import InputError
from tamperscope.inference.artifact import GRAPH, open_artifact
from tamperscope.types import Sample

FOLDER = Path(str(resources.files("tamperscope.weights"))) / "localizer"


def heat(sample: Sample) -> np.ndarray:
    found = registry.load("localizer").predict(sample).heatmap
    assert found is not None
    return found


@pytest.fixture(scope="module")
def cases(photo: Callable[[str], np.ndarray]) -> list[Case]:
    return [case(rgb, 70, 92, index=index) for index, rgb in enumerate(pictures(photo))]


def test_is_small_and_says_what_it_is() -> None:
    card = open_artifact(FOLDER).card
    assert card.parameters <= 8_000_000
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 16 << 20
    assert card.name == "localizer"
    assert "Apache-2.0" in card.licence
    assert card.calibration is not None
    assert card.measured
    assert "/work" not in card.model_dump_json()


def test_refuses_a_file_that_is_not_that_of_the_card(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "changed")
    data = bytearray((tmp_path / "changed" / GRAPH).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed" / GRAPH).write_bytes(bytes(data))
    with pytest.raises(InputError, match="sha256"):
        open_artifact(tmp_path / "changed")


def test_answers_without_torch() -> None:
    code = (
        "import sys, json, numpy as np\n"
        "from tamperscope import registry\n"
        "from tamperscope.types import Sample\n"
        "rgb = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)\n"
        "found = registry.load('localizer').predict(Sample(rgb=rgb))\n"
        "print(json.dumps([found.status, list(found.heatmap.shape), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == ["ok", [96, 120], False]


def test_follows_what_was_not_compressed_before(cases: list[Case]) -> None:
    """The content is the host's own everywhere: only how often each part was compressed tells them apart."""
    forged = [roc_auc_score(c.mask.ravel(), heat(c.forged).ravel()) for c in cases]
    twin = [roc_auc_score(c.mask.ravel(), heat(c.twin).ravel()) for c in cases]
    assert np.mean(forged) > 0.85
    assert np.mean(twin) < 0.65


def test_hot_area_goes_with_the_trace(cases: list[Case]) -> None:
    inside = [float(heat(c.forged)[c.mask].mean()) for c in cases]
    without = [float(heat(c.twin)[c.mask].mean()) for c in cases]
    assert np.mean(np.subtract(inside, without)) > 0.2


def test_says_how_sure_it_is_of_each_pixel(cases: list[Case]) -> None:
    found = registry.load("localizer").predict(cases[0].forged)
    assert found.confidence is not None
    assert found.confidence.shape == found.size
    assert 0 <= found.confidence.min() <= found.confidence.max() <= 1


def test_does_not_judge_what_is_clipped(cases: list[Case]) -> None:
    rgb = cases[0].forged.rgb.copy()
    rgb[40:140, 60:200] = 255
    rgb[150:240, 200:300] = 0
    found = heat(Sample(rgb=rgb))
    assert found[60:120, 80:180].max() == 0
    assert found[170:220, 220:280].max() == 0
    assert found.max() > 0
    assert not clipped(cases[0].forged.rgb).all()


def test_score_is_that_of_the_hottest_hundredth(cases: list[Case]) -> None:
    found = registry.load("localizer").predict(cases[1].forged)
    assert found.heatmap is not None
    hot = np.sort(found.heatmap.ravel())[::-1]
    assert found.score == pytest.approx(hot[: round(hot.size / 100)].mean(), abs=1e-6)


def test_what_is_clipped_is_found_in_bands_as_in_the_whole(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = cv2.GaussianBlur(rng.random((400, 150)).astype(np.float32), (0, 0), 9) - 0.5
    rgb = np.repeat((9000 * level + 128).clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    whole = clipped(rgb)
    assert 0.02 < whole.mean() < 0.6
    monkeypatch.setattr(localizer, "_BAND", 32)
    np.testing.assert_array_equal(clipped(rgb), whole)


def test_of_a_large_picture_it_does_not_say_how_sure_it_is(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LARGE", 1)
    found = registry.load("localizer").predict(cases[0].forged)
    assert found.confidence is None
    np.testing.assert_array_equal(found.heatmap, heat(cases[0].forged))


def test_what_is_clipped_all_over_is_not_judged() -> None:
    rgb = np.full((200, 240, 3), 255, np.uint8)
    rgb[:, 120:] = 0
    found = registry.load("localizer").predict(Sample(rgb))
    assert found.status == "not_applicable"
    assert "clipped" in found.cause
