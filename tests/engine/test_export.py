"""Export: the graph says what the network says, for every system; artifacts are calibrated, and scans use them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import make_set, recipe
from typer.testing import CliRunner

from tamperscope import scan
from tamperscope.cli import app
from tamperscope.data.manifest import Entry, write
from tamperscope.engine import export, predict
from tamperscope.engine.export import OUTPUTS, Wish, graph_of
from tamperscope.engine.recipe import Data
from tamperscope.engine.train import train
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.geometry import PIECE, PIECES
from tamperscope.inference import faces
from tamperscope.inference.artifact import Artifact, Card, Input, open_artifact, write_artifact
from tamperscope.networks import catalog
from tamperscope.networks.base import Network
from tamperscope.signal import alignment
from tamperscope.signal.faces import Face
from tamperscope.types import Prediction, Sample
from tamperscope.verdict.card import Curve

COUNT = 44


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("judges"), COUNT, "val", seed=1, smallest=40)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, judges: Path) -> Path:
    out = tmp_path_factory.mktemp("run")
    stated = {"name": "unet", "settings": {"width": 8}}
    learnt = make_set(tmp_path_factory.mktemp("learnt"), 24)
    train(recipe(learnt, network=stated, steps=40, validate_on=[{"manifest": str(judges)}]), out)
    return out


@pytest.fixture(scope="module")
def artifact(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export.export(run, tmp_path_factory.mktemp("artifact"), Wish("CC0, made by a test", "tested"))


def restless(name: str) -> Network:
    """A system none of whose parts are still 0 or 1, as after a training."""
    torch.manual_seed(0)
    network = catalog.build(name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for key, value in network.named_buffers():
            if "running" in key:
                value.add_(0.1 * torch.rand_like(value))
    return network.eval()


OFTEN = ("braid", "diffseg", "iml_vit", "npr", "tsom", "unet")
"""Of each kind one that is quick; to write the graphs of all takes minutes."""


def ways() -> Iterator[Any]:
    """Every system with canvases of one size, and those that can with any."""
    for name in catalog.names():
        free = catalog.build(name).any_size
        seldom = [] if name in OFTEN else [pytest.mark.slow]
        yield pytest.param(name, True, marks=[pytest.mark.slow] if free else seldom)
        if free:
            yield pytest.param(name, False, marks=seldom)


@pytest.mark.parametrize(("name", "fixed"), list(ways()))
def test_every_system_says_the_same_as_a_graph(
    name: str, fixed: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    network = restless(name)
    # Where one graph serves any size, its pictures differ in the sides of their canvases.
    side = max(1 if fixed else 2, -(-96 // network.multiple)) * network.multiple
    needs = tuple(network.needs if network.exported is None else network.exported)
    asked = Input(
        how="tile", side=side, overlap=16, multiple=network.multiple, fixed=fixed, needs=needs, grid=network.grid
    )
    known = {"valid": torch.ones(1, 1, side, side, dtype=torch.bool), "qtables": torch.ones(1, 2, 8, 8)}
    known["mosaic"] = torch.rand(1, 3, PIECES * PIECE, PIECES * PIECE)
    told = {key: known[key] for key in needs}
    with torch.inference_mode():
        names = tuple(n for n in OUTPUTS if n in network(torch.rand(1, 3, side, side), **told))
    stated = Card(name=name, title=name, licence="none", network={}, parameters=0, input=asked, outputs=names)
    made = write_artifact(tmp_path, stated, graph_of(network, asked, names), b"")
    assert b"tamperscope/" not in made.graph
    pictures = [Sample(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in ((40, 70), (120, 150))]
    assert len({asked.view().plan(picture.size).fit.canvas for picture in pictures}) == (1 if fixed else 2)
    found = export.parity(network, made, enumerate(pictures))
    assert max(found["logits"].values()) < 1e-3
    assert found["pixels_that_change_sides"] <= 1e-4 * found["pixels"]


def test_a_graph_that_differs_is_refused(artifact: Artifact, run: Path) -> None:
    other = predict.restored(run / "best.pt")[0]
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)
    with pytest.raises(InputError, match="expected logits within"):
        export.parity(other.eval(), artifact, [])


def test_the_card_tells_what_was_measured(artifact: Artifact, judges: Path) -> None:
    card = artifact.card
    assert card.name == "tested"
    assert card.licence == "CC0, made by a test"
    assert 0 < card.threshold < 1
    assert card.parity["pixels"] > 0
    assert card.training["recipe"]["network"]["name"] == "unet"
    assert card.training["recipe"]["validate_on"][0]["manifest"] == f"{judges.parent.name}/{judges.name}"
    assert str(judges.parent) not in (artifact.folder / "card.json").read_text()
    measured = card.measured["chose step, threshold and calibration"]
    assert measured["pictures"] == COUNT
    assert "not_asked" not in measured
    assert measured["pixel_auc"] > 0.9
    curve = card.calibration
    assert curve is not None
    assert not curve["counts"]
    assert f"{COUNT // 2} forged" in curve["population"]


def test_an_artifact_answers_as_the_run_did_and_trains_on(artifact: Artifact, run: Path, judges: Path) -> None:
    sample = Sample(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    wanted = predict.load(run / "best.pt", side=32, overlap=8)
    again = predict.load(artifact.folder, side=32, overlap=8)
    np.testing.assert_array_equal(again(sample).heatmap, wanted(sample).heatmap)
    plain = artifact.predictor()
    plain.threshold = 0.5
    np.testing.assert_allclose(plain(sample).heatmap, wanted(sample).heatmap, atol=1e-5)


def test_the_threshold_is_the_best_one(artifact: Artifact, judges: Path) -> None:
    """Against a search over the same steps with all else written anew."""
    from tamperscope import media
    from tamperscope.data import masks

    predictor = artifact.predictor()
    predictor.threshold = 0.5
    rows = []
    for number in range(1, COUNT, 2):
        heat = predictor(media.open(judges.parent / f"val{number}.png").sample).heatmap
        truth = masks.read(judges.parent / f"val{number}_mask.png")
        assert heat is not None
        steps = np.linspace(0.05, 0.95, 19)
        rows.append([2 * (truth & (heat >= t)).sum() / (truth.sum() + (heat >= t).sum()) for t in steps])
    assert artifact.card.threshold == pytest.approx(np.linspace(0.05, 0.95, 19)[np.mean(rows, 0).argmax()])


def test_a_scan_uses_it_at_once(artifact: Artifact, judges: Path) -> None:
    report = scan(judges.parent / "val1.png", quick=True, models=[artifact.folder])
    row = next(p for p in report.predictions if p.detector == "tested")
    assert row.family == "network"
    assert row.status == "ok"
    assert row.calibrated is not None
    assert "pristine" in row.calibrated.population
    assert "forged pictures of judges" in row.calibrated.population
    assert not row.counts
    assert report.reproduce.options["models"] == {"tested": artifact.sha256}
    assert "--model" in report.reproduce.command


def test_what_counts_moves_the_verdict_and_the_report_says_so(artifact: Artifact, tmp_path: Path, judges: Path) -> None:
    assert artifact.card.calibration is not None
    curve = artifact.card.calibration | {"counts": True}
    card = artifact.card.model_copy(update={"calibration": curve})
    write_artifact(tmp_path, card, artifact.graph, artifact.weights())
    found = {}
    for number in (1, 2):
        report = scan(judges.parent / f"val{number}.png", quick=True, models=[tmp_path])
        found[number] = report.verdict.llr
        assert any("measured without tested" in row.why for row in report.verdict.not_checked)
    assert found[1] is not None
    assert found[2] is not None
    assert found[1] > found[2]


def test_no_network_takes_the_name_of_a_detector(artifact: Artifact, tmp_path: Path, judges: Path) -> None:
    card = artifact.card.model_copy(update={"name": "ela"})
    write_artifact(tmp_path, card, artifact.graph, artifact.weights())
    with pytest.raises(InvalidValueError, match="name of another detector"):
        scan(judges.parent / "val1.png", quick=True, models=[tmp_path])


def test_held_out_pictures_calibrate_nothing(run: Path, tmp_path: Path) -> None:
    held = make_set(tmp_path / "held", 4, "dev")
    with pytest.raises(InputError, match="no entries of the splits"):
        export.export(run, tmp_path / "out", Wish("CC0", calibrate_on=(str(held),)))


def test_a_broken_record_of_a_training_is_told_in_one_line(run: Path, tmp_path: Path) -> None:
    stated = json.loads((run / "run.json").read_text())
    stated["recipe"]["network"]["size"] = "huge"
    (tmp_path / "run.json").write_text(json.dumps(stated))
    with pytest.raises(InputError) as told:
        export.export(tmp_path, tmp_path / "out", Wish("CC0"))
    assert str(told.value) == (
        f"'{tmp_path}': expected the folder of a training: network.size: Input should be 'tiny' or 'full', found "
        "'huge'; name one that `tamperscope train` wrote"
    )


def test_a_network_that_is_not_told_is_none_to_train_on(artifact: Artifact, tmp_path: Path) -> None:
    card = artifact.card.model_copy(update={"network": {"size": "tiny"}})
    write_artifact(tmp_path, card, artifact.graph, artifact.weights())
    with pytest.raises(InputError) as told:
        predict.restored(tmp_path)
    assert str(told.value) == (
        f"'{tmp_path}': expected a file of a trained network: name: Field required; name one that `tamperscope train` "
        "or `export` wrote"
    )


def test_few_pictures_give_no_calibration(run: Path, tmp_path: Path) -> None:
    few = make_set(tmp_path / "few", 6, "val")
    made = export.export(run, tmp_path / "out", Wish("CC0", calibrate_on=(str(few),), measure_on=(str(few),)))
    assert made.card.calibration is None
    assert made.card.measured["decided nothing"]["pictures"] == 6
    found = made.card.measured["decided nothing"]
    low, high = found["intervals"]["pixel_f1"]
    assert 0 <= low <= found["pixel_f1"] <= high <= 1
    assert "image_auc" not in found["intervals"], "too few pictures"


def test_forged_pictures_are_counted_where_there_is_no_map(judges: Path) -> None:
    class Judge:
        edits, threshold = (), 0.5

        def __call__(self, sample: Sample) -> Prediction:
            return Prediction("x", sample.size, 0.5)

    artifact: Any = SimpleNamespace(card=SimpleNamespace(outputs=("score",)), predictor=Judge)
    found = export._measured(artifact, 0.5, (Data(manifest=str(judges)),), Wish("CC0"), 0)
    (measured,) = found.values()
    assert (measured["pictures"], measured["forged"]) == (COUNT, COUNT // 2)


def test_who_judges_whole_pictures_counts_from_its_threshold_on_and_for_so_much(tmp_path: Path) -> None:
    """Brightness is the score: 0 to .49 of pristine ones, and half of the forged ones lie among these."""
    entries = []
    for number in range(100):
        level = round(2.55 * (number // 2 if number % 4 < 3 else 50 + number // 2))
        Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(tmp_path / f"{number}.png")
        entries.append(Entry(image=f"{number}.png", label=number % 2, split="val", group=str(number)))
    write(tmp_path / "m.jsonl", entries)

    class Judge:
        def __call__(self, sample: Sample) -> Prediction:
            return Prediction("x", sample.size, float(sample.rgb.mean() / 255))

    artifact: Any = SimpleNamespace(card=SimpleNamespace(outputs=("score",), name="x"), predictor=Judge)
    for alarms, most in ((0.02, 4.0), (0.2, math.inf)):
        wish = Wish("CC0", alarms=alarms, most=most)
        found = export._calibrated(artifact, (Data(manifest=str(tmp_path / "m.jsonl")),), 0, wish)
        curve, threshold = Curve.model_validate(found["calibration"]), found["threshold"]
        assert threshold == pytest.approx(0.49 * (1 - alarms), abs=0.015)
        assert curve.at(threshold - 0.01).llr == 0
        assert 0 < curve.at(0.95).llr <= math.log(most) + 1e-3
        assert (curve.at(0.95).llr > math.log(4) + 1e-3) == (most > 4)


def test_who_is_asked_of_faces_does_not_depart_by_whole_pictures() -> None:
    for name in ("xception", "efficientnet", "fakelocator"):
        about = catalog.about(name)
        assert "hole pictures" in " ".join(about.whole)
        assert not set(about.whole) & set(about.departures)


def test_pictures_without_a_face_are_told_of(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(sample: Sample) -> list[Face]:
        numbers = [int(n) for n in re.findall(r"\d+", sample.id)]
        points = alignment.MEAN * 24 + 12
        return [Face((12, 12, 36, 36), points)] if numbers[0] >= 3 else []

    monkeypatch.setattr(faces.faces, "find", found)
    some = make_set(tmp_path / "some", COUNT, "val")
    none = make_set(tmp_path / "none", 3, "val")
    asked = Wish("CC0", side=32, calibrate_on=(str(some),), measure_on=(str(none),), faces=True)
    about = replace(catalog.about("unet"), whole=("Whole pictures are judged, not crops of faces.",))
    monkeypatch.setattr(catalog, "about", lambda name: about)
    card = export.export(run, tmp_path / "out", asked).card
    assert card.departures == about.departures, "it is asked of faces"
    measured = card.measured["chose step, threshold and calibration"]
    assert (measured["pictures"], measured["not_asked"]) == (COUNT - 3, 3)
    assert card.calibration is not None
    assert "3 more were not asked" in card.calibration["population"]
    decided = card.measured["decided nothing"]
    assert (decided["pictures"], decided["not_asked"], decided["intervals"]) == (0, 3, {})


def test_the_command_line_exports(run: Path, tmp_path: Path) -> None:
    few = make_set(tmp_path / "few", 4, "val")
    asked = ["export", str(run), "--licence", "CC0", "--out", str(tmp_path / "out"), "--calibrate-on", str(few)]
    asked += ["--note", "fails on screens"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert open_artifact(tmp_path / "out").card.name == "unet"
    assert "4 pictures, 2 forged, 0 not asked" in done.output
    assert "  pixel_f1: 0." in done.output
    assert "{" not in done.output
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["licence"], card["notes"]) == ("CC0", ["fails on screens"])
    none = CliRunner().invoke(app, ["export", str(tmp_path), "--licence", "CC0"])
    assert none.exit_code == 1
    assert "expected the folder of a training" in none.output


def test_a_bench_measures_it_beside_all_else(artifact: Artifact, judges: Path, tmp_path: Path) -> None:
    asked = ["evaluate", str(judges), "-d", str(artifact.folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "results.json").read_text()
    assert str(artifact.folder) in text
    wanted = artifact.card.measured["chose step, threshold and calibration"]["pixel_f1"]
    numbers = [float(n) for n in re.findall(r"0\.\d+", text)]
    assert min(abs(n - wanted) for n in numbers) < 2e-4
