"""The verbs of the bench: what they write, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_data import make_set
from typer.testing import CliRunner

from tamperscope.cli import app

RUN = CliRunner()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    manifest = make_set(folder / "set")
    done = RUN.invoke(
        app, ["evaluate", str(manifest), "-d", "ela", "-s", "imdl", "-s", "trufor", "--out", str(folder / "out")]
    )
    assert done.exit_code == 0, done.output
    assert "imdl pixel_f1: ela" in done.output
    assert "trufor pixel_best_f1: centre_blob" in done.output
    return folder


def test_evaluate_writes_every_form(evaluated: Path) -> None:
    out = evaluated / "out"
    document = json.loads((out / "results.json").read_text())
    assert {n["suite"] for n in document["numbers"]} == {"imdl", "trufor"}
    for name in ("table.md", "table.csv", "table.tex", "index.html"):
        assert "centre_blob" in (out / name).read_text().replace("\\_", "_")
    assert "data:image/png" in (out / "index.html").read_text()


def test_a_page_to_publish_holds_no_picture(evaluated: Path) -> None:
    done = RUN.invoke(app, ["bench", "page", str(evaluated / "out/results.json"), "--out", str(evaluated / "public")])
    assert done.exit_code == 0, done.output
    assert "data:image/png" not in (evaluated / "public/index.html").read_text()
    first, second = (evaluated / d / "results.json" for d in ("out", "public"))
    assert first.read_text() == second.read_text()


def test_compare_and_leaderboard(evaluated: Path) -> None:
    results = str(evaluated / "out/results.json")
    done = RUN.invoke(app, ["bench", "compare", results, results])
    assert done.exit_code == 0, done.output
    page = evaluated / "board.html"
    done = RUN.invoke(app, ["bench", "leaderboard", results, results, "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert "ela" in page.read_text()


def test_the_summary_ends_with_the_means_over_sets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_set(tmp_path / name)
    protocol = tmp_path / "mine.yaml"
    tests = ", ".join(f"{{name: {name}}}" for name in ("a", "b"))
    protocol.write_text(f"title: mine\ntests: [{tests}]\ndetectors: [ela]\nsuites: [aigc]\nrounds: 20\n")
    done = RUN.invoke(app, ["bench", str(protocol), "--data", str(tmp_path), "--out", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    head, _, means = done.output.partition("mean over sets")
    document = json.loads((tmp_path / "o/results.json").read_text())
    found = {(n["test"], n["subject"]): n["value"] for n in document["numbers"] if n["metric"] == "image_auc"}
    mean = found["mean over sets", "ela"]
    assert mean == pytest.approx((found["a", "ela"] + found["b", "ela"]) / 2)
    assert head.count("aigc image_auc: ela") == 2
    assert f"aigc image_auc: ela            {mean:.3f} n=2" in means


def test_list_names_protocols_and_suites() -> None:
    done = RUN.invoke(app, ["bench", "list"])
    assert done.exit_code == 0, done.output
    for name in ("dev", "mvss", "genimage", "ff_cross", "imdl", "benco", "grounding"):
        assert name in done.output


def test_a_first_word_that_is_no_verb_is_a_protocol(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "set")
    protocol = tmp_path / "mine.yaml"
    protocol.write_text(
        f"title: mine\ntests: [{{name: s, manifest: set/{manifest.name}}}]\ndetectors: [ela]\nrounds: 20\n"
    )
    words = ["bench", str(protocol), "--data", str(tmp_path), "--out", str(tmp_path / "o"), "--set", "tests.0.limit=4"]
    done = RUN.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "s: 4 pictures" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "nowhere.jsonl"], "no file"),
        (["bench", "mvs"], "did you mean 'mvss'"),
        (["bench", "mvss", "--data", "nowhere"], "data prepare"),
        (["bench", "domains", "--data", "nowhere"], "scripts/domains.py"),
        (["bench", "dev", "--set", "rounds"], "FIELD=VALUE"),
        (["bench", "compare", "a.json", "b.json"], "results.json"),
        (["bench", "page", "a.json", "--out", "o"], "results.json"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUN.invoke(app, words)
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_unknown_suite_and_detector(tmp_path: Path) -> None:
    manifest = str(make_set(tmp_path))
    for words, said in ((["-s", "benko"], "benco"), (["-d", "copymove"], "copy_move")):
        done = RUN.invoke(app, ["evaluate", manifest, *words, "--out", str(tmp_path / "o")])
        assert done.exit_code == 1
        assert f"did you mean '{said}'" in done.output
