"""Artifacts: only what the card was written for is opened, and it answers the same for any way of cutting."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from grey_network import GAIN, card, graph, made
from tamperscope import registry, scan
from tamperscope.errors import InputError, UnknownNameError
from tamperscope.inference.artifact import Input, open_artifact, write_artifact
from tamperscope.types import Sample


@pytest.mark.parametrize("how", ["tile", "pad"])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (20, 31), (70, 45), (32, 32)])
def test_it_answers_pixel_by_pixel_whatever_the_canvas(
    tmp_path: Path, rng: np.random.Generator, how: Any, fixed: bool, size: tuple[int, int]
) -> None:
    rgb = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    found = made(tmp_path, input=Input(how=how, side=32, overlap=8, multiple=8, fixed=fixed)).predictor()(Sample(rgb))
    logits = (rgb.mean(2) / 255 - 0.5) * GAIN
    assert found.detector == "grey"
    assert found.heatmap is not None
    np.testing.assert_allclose(found.heatmap, special.expit(logits), atol=1e-5)
    assert found.score == pytest.approx(special.expit(logits).max(), abs=1e-5)


def test_the_threshold_lies_at_a_heat_of_one_half(tmp_path: Path, rng: np.random.Generator) -> None:
    sample = Sample(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    plain = made(tmp_path / "a").predictor()(sample)
    moved = made(tmp_path / "b", threshold=0.8).predictor()(sample)
    assert plain.heatmap is not None
    assert moved.heatmap is not None
    near = np.abs(plain.heatmap - 0.8) > 1e-4
    np.testing.assert_array_equal((moved.heatmap >= 0.5)[near], (plain.heatmap >= 0.8)[near])
    assert moved.score == plain.score


def test_the_batch_changes_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    artifact, sample = made(tmp_path, outputs=("mask",)), Sample(rng.integers(0, 256, (90, 70, 3), dtype=np.uint8))
    one, three = (artifact.predictor(batch)(sample).heatmap for batch in (1, 3))
    assert one is not None
    np.testing.assert_array_equal(one, three)


def test_it_goes_to_another_process(tmp_path: Path, rng: np.random.Generator) -> None:
    artifact, sample = made(tmp_path), Sample(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    artifact.predictor()(sample)
    again = pickle.loads(pickle.dumps(artifact))
    assert again.sha256 == artifact.sha256
    np.testing.assert_array_equal(again.predictor()(sample).heatmap, artifact.predictor()(sample).heatmap)


def test_what_was_changed_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    path = tmp_path / "network.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match=r"network\.onnx: expected sha256"):
        open_artifact(tmp_path)
    artifact = made(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match=r"weights\.safetensors: expected sha256"):
        open_artifact(tmp_path).weights()
    assert artifact.folder == tmp_path


def test_no_value_is_read_from_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads other files"):
        write_artifact(tmp_path, card(), graph(external=True), b"")


@pytest.mark.parametrize("spoil", ["file", "nothing", "no json", "other card", "extra field"])
def test_what_is_no_artifact_is_said_to_be_none(tmp_path: Path, spoil: str) -> None:
    folder = tmp_path / "it"
    if spoil == "file":
        folder.write_bytes(b"x")
    elif spoil != "nothing":
        made(folder)
        stated = json.loads((folder / "card.json").read_text())
        stated |= {"extra field": {"run": "code"}, "other card": {"name": "../up"}}.get(spoil, {})
        (folder / "card.json").write_text("{" if spoil == "no json" else json.dumps(stated))
    with pytest.raises(InputError, match=r"expected the (card|folder) of an exported network"):
        open_artifact(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../up"}, "name: String should match pattern '^[a-z][a-z0-9_-]{0,39}$', found '../up'"),
        ({"run": "code"}, "run: no field of that name is known"),
        (None, "Invalid JSON: EOF while parsing an object at line 1 column 1"),
    ],
)
def test_a_broken_card_is_told_in_one_line(tmp_path: Path, changes: dict[str, Any] | None, said: str) -> None:
    made(tmp_path)
    stated = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text("{" if changes is None else json.dumps(stated | changes))
    with pytest.raises(InputError) as told:
        open_artifact(tmp_path)
    expected = f"'{tmp_path}': card.json: expected the card of an exported network: "
    assert str(told.value) == f"{expected}{said}; export or fetch it again"


@pytest.mark.parametrize("spoil", [b"no graph", b""])
def test_a_graph_that_cannot_run_is_said_to_be_none(tmp_path: Path, spoil: bytes) -> None:
    artifact = write_artifact(tmp_path, card(), spoil, b"")
    with pytest.raises(InputError, match="expected a graph"):
        artifact.predictor()(Sample(np.zeros((8, 8, 3), np.uint8)))


def test_a_graph_gives_what_its_card_says(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path, card(outputs=("mask", "confidence")), graph(), b"")
    with pytest.raises(InputError, match="expected inputs and outputs"):
        artifact.predictor()(Sample(np.zeros((8, 8, 3), np.uint8)))


def test_the_registry_loads_a_folder_as_a_detector(tmp_path: Path, rng: np.random.Generator) -> None:
    artifact = made(tmp_path / "one")
    sample = Sample(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    found = registry.load(str(tmp_path / "one")).predict(sample)
    assert (found.detector, found.status) == ("grey", "ok")
    np.testing.assert_array_equal(found.heatmap, artifact.predictor()(sample).heatmap)
    with pytest.raises(UnknownNameError):
        registry.load(str(tmp_path))


def test_a_scan_shows_how_sure_a_network_is(tmp_path: Path) -> None:
    stated = card(outputs=("mask", "score", "confidence"))
    write_artifact(tmp_path / "sure", stated, graph(stated.outputs), b"weights")
    rgb = np.full((64, 96, 3), 120, np.uint8)
    rgb[16:48, 16:48] = 200
    found = registry.load(str(tmp_path / "sure")).predict(Sample(rgb))
    np.testing.assert_allclose(found.confidence, 1 - found.heatmap, atol=1e-6)
    assert found.regions[0].values["confidence"] == pytest.approx(1 - found.regions[0].score, abs=1e-3)
    report = scan(rgb, detectors=["ela"], models=[tmp_path / "sure"])
    np.testing.assert_allclose(report.maps["grey_confidence"], 255 - report.maps["grey"].astype(int), atol=1)
    page = report.save_html(tmp_path / "page.html")
    assert "How sure grey is of each place" in page.read_text()
    assert report.verdict == scan(rgb, detectors=["ela"], models=[tmp_path / "sure"]).verdict
    plain = registry.load(str(made(tmp_path / "plain").folder)).predict(Sample(rgb))
    assert plain.confidence is None
    assert "confidence" not in plain.regions[0].values
