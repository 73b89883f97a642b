"""Networks of faces: each face asked, the greatest score, maps where the faces are, and nothing without a face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tamperscope.inference import faces
from tamperscope.inference.predictor import Predictor, View
from tamperscope.signal import alignment
from tamperscope.signal.faces import Face
from tamperscope.types import Sample

SIZE = (200, 420)
PLACES = ((100, 80), (300, 90))


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Sample:
    """A picture with a dark face, a bright one, and one that is too small."""
    points = [alignment.MEAN * 24 + place for place in PLACES] + [alignment.MEAN * 10 + (380, 20)]
    found = [Face((x.min(), y.min(), x.max(), y.max()), p) for p in points for x, y in [p.T]]
    monkeypatch.setattr(faces.faces, "find", lambda sample: found)
    rgb = np.full((*SIZE, 3), 40, np.uint8)
    rgb[:, 200:] = 220
    return Sample(rgb)


def told(arrays: Any) -> dict[str, Any]:
    """A network that takes what is bright for forged."""
    level = 10 * (arrays["image"].mean(1, keepdims=True) - 0.5)
    return {"mask": level.astype(np.float32), "score": level.mean((1, 2, 3))}


def test_the_forged_face_decides_and_is_shown_where_it_is(pair: Sample) -> None:
    shapes = []

    def forward(arrays: Any) -> dict[str, Any]:
        shapes.append(arrays["image"].shape)
        return told(arrays)

    answer = Predictor(forward, view=View("face", 64))(pair)
    assert shapes == [(1, 3, 64, 64)] * 2
    assert answer.status == "ok"
    assert answer.heatmap is not None
    assert answer.heatmap.shape == SIZE
    dark, bright = ((answer.heatmap[y, x]) for x, y in PLACES)
    assert dark < 0.1
    assert bright > 0.9
    assert answer.heatmap[:, 200:220].max() == 0, "nobody's face"
    assert answer.score == pytest.approx(max(answer.evidence["faces"]), abs=1e-4)
    assert sorted(answer.evidence["faces"])[0] < 0.1


def test_a_judge_of_whole_faces_shows_no_map(pair: Sample) -> None:
    answer = Predictor(lambda arrays: {"score": told(arrays)["score"]}, view=View("face", 64))(pair)
    assert answer.heatmap is None
    assert answer.score > 0.9


def test_a_picture_without_a_face_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces.faces, "find", lambda sample: [])
    answer = Predictor(told, view=View("face", 64))(Sample(np.zeros((90, 90, 3), np.uint8)))
    assert answer.status == "not_applicable"
    assert "no face" in answer.cause


def test_the_mask_takes_the_way_of_the_picture(pair: Sample) -> None:
    mask = np.zeros(SIZE, bool)
    mask[80:130, 280:320] = True
    _, crop, warp = faces.crops(Sample(pair.rgb, mask), 64)[1]
    assert crop.mask is not None
    back = alignment.back(crop.mask.astype(np.float32), warp, SIZE) > 0.5
    assert (back & mask).sum() > 0.95 * (back | mask).sum()
