"""Running a protocol: exact rows, nothing lost, nothing done twice, whatever the workers; killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from bench_data import install_plugin, make_set

from tamperscope.bench import results, run, subjects
from tamperscope.bench.cache import Cache, key_of
from tamperscope.bench.protocol import Protocol, TestSet
from tamperscope.bench.subjects import SavedMaps
from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.inference.artifact import Card, Input, write_artifact
from tamperscope.metrics.confusion import counts
from tamperscope.metrics.ranking import auc


def _protocol(manifest: Path, **fields: object) -> Protocol:
    test = TestSet(name="small", manifest=manifest.name)
    given = {"title": "t", "detectors": ("ela",), "rounds": 20, **fields}
    return Protocol.model_validate({"tests": (test,), **given})


def test_the_numbers_are_those_of_the_maps(tmp_path: Path) -> None:
    manifest = make_set(tmp_path)
    protocol = _protocol(manifest)
    found = run.run(protocol, tmp_path, Cache(tmp_path / "c.sqlite"))
    rows = found[0].rows[("untouched", "centre_blob")]
    assert [r.key for r in rows] == [f"p{i}.jpg" for i in range(8)]
    from tamperscope.bench.baselines import centre_blob

    mask = cv2.imread(str(tmp_path / "p3_mask.png"), cv2.IMREAD_GRAYSCALE) > 127
    heat = centre_blob(mask.shape)
    assert rows[3].values["imdl"]["pixel_f1"] == pytest.approx(counts(heat, mask).f1)
    assert rows[3].values["imdl"]["pixel_auc"] == pytest.approx(auc(heat, mask))
    assert "pixel_f1" in rows[0].values["imdl"]
    assert rows[0].values["imdl"]["pixel_f1"] is None
    assert {s for _, s in found[0].rows} == {"ela", "random", "centre_blob", "table_lookup"}


def test_no_network_takes_the_name_of_a_detector(tmp_path: Path) -> None:
    asked = Input(how="tile", side=32, overlap=8, multiple=8, fixed=False)
    stated = {"title": "t", "licence": "CC0", "network": {}, "parameters": 0, "input": asked, "outputs": ("mask",)}
    for name in ("zero", "localizer"):
        write_artifact(tmp_path / f"my_{name}", Card(name=name, **stated), b"graph", b"weights")  # type: ignore[arg-type]
    manifest, cache = make_set(tmp_path / "set", 0), Cache(tmp_path / "c.sqlite")
    with pytest.raises(InvalidValueError, match=r"my_zero': 'zero' is the name of another detector"):
        run.run(_protocol(manifest, detectors=(str(tmp_path / "my_zero"),)), manifest.parent, cache)
    # A next version of a shipped one is weighed by its own card.
    next_one = str(tmp_path / "my_localizer")
    (found,) = run.run(_protocol(manifest, detectors=(next_one,)), manifest.parent, cache)
    assert ("untouched", next_one) in found.rows


def test_the_table_lookup_sees_that_the_labels_follow_the_quality(tmp_path: Path) -> None:
    manifest = make_set(tmp_path, 24)
    protocol = _protocol(manifest, attacks=("jpeg:quality=75",))
    built = results.build(protocol, run.run(protocol, tmp_path, Cache(tmp_path / "c.sqlite")), "cmd")
    leak = {n.attack: n.value for n in built.numbers if n.subject == "table_lookup" and n.metric == "image_auc"}
    assert leak["untouched"] == 1.0
    assert leak["jpeg:quality=75"] <= 0.6  # one table for all: nothing to look up


def test_neither_workers_nor_a_second_run_change_anything(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "a", corrupt=True)
    protocol = _protocol(manifest, attacks=("gaussian_noise:sigma=5",), detectors=("ela", "fused"))
    one = run.run(protocol, manifest.parent, Cache(tmp_path / "one.sqlite"))
    two = run.run(protocol, manifest.parent, Cache(tmp_path / "two.sqlite"), workers=2)
    again = run.run(protocol, manifest.parent, Cache(tmp_path / "two.sqlite"))
    built = [results.build(protocol, m, "cmd").model_dump_json() for m in (one, two, again)]
    assert built[0] == built[1] == built[2]


def test_a_corrupt_picture_is_counted_and_the_rest_scored(tmp_path: Path) -> None:
    manifest = make_set(tmp_path, corrupt=True)
    protocol = _protocol(manifest)
    built = results.build(protocol, run.run(protocol, tmp_path, Cache(tmp_path / "c.sqlite")), "cmd")
    assert list(built.tests[0].failed) == ["broken.jpg"]
    assert built.tests[0].pictures == 9
    assert (built.tests[0].forged, built.tests[0].pristine) == (4, 4)
    number = built.number(subject="ela", metric="pixel_f1")
    assert number is not None
    assert (number.n, number.undefined) == (4, 4)


def test_only_what_changed_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, cache = make_set(tmp_path), Cache(tmp_path / "c.sqlite")
    done: list[str] = []
    real = run.measure
    monkeypatch.setattr(run, "measure", lambda job: done.append(job.entry.image) or real(job))
    protocol = _protocol(manifest)
    run.run(protocol, tmp_path, cache)
    assert len(done) == 8
    run.run(protocol, tmp_path, cache)
    assert len(done) == 8
    cv2.imwrite(str(tmp_path / "p2.jpg"), np.full((64, 80, 3), 99, np.uint8))
    run.run(protocol, tmp_path, cache)
    assert done[8:] == ["p2.jpg"]
    cv2.imwrite(str(tmp_path / "p3_mask.png"), np.full((64, 80), 255, np.uint8))
    run.run(protocol, tmp_path, cache)
    assert done[9:] == ["p3.jpg"]
    run.run(_protocol(manifest, suites=("trufor",)), tmp_path, cache)
    assert len(done) == 18


def test_saved_maps_of_another_tool(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "set")
    maps = tmp_path / "their_tool"
    maps.mkdir()
    for i in range(7):  # the last one is missing
        mask = cv2.imread(str(manifest.parent / f"p{i}_mask.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(maps / f"p{i}.png"), cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))
    protocol = _protocol(manifest, detectors=())
    folder = SavedMaps(maps)
    built = results.build(protocol, run.run(protocol, manifest.parent, Cache(tmp_path / "c"), folder=folder), "cmd")
    f1 = built.number(subject="their_tool", metric="pixel_f1")
    assert f1 is not None
    assert f1.n == 4
    assert f1.value == pytest.approx(0.75, abs=0.01)  # three perfect maps and one that is missing
    subject = next(s for s in built.subjects if s.name == "their_tool")
    assert subject.answered == {"small": 7}
    (maps / "scores.csv").write_text("image,score\np1.jpg,0.25\n")
    assert SavedMaps(maps).scores == {"p1.jpg": 0.25}
    (maps / "scores.csv").write_text("picture,score\np1.jpg,0.25\n")
    with pytest.raises(InputError, match="columns"):
        SavedMaps(maps)
    assert folder.path("../set/p1.jpg") is None
    with pytest.raises(InputError, match="folder of maps"):
        SavedMaps(tmp_path / "nowhere")


def test_a_missing_set_is_said_and_the_others_are_run(tmp_path: Path) -> None:
    manifest = make_set(tmp_path)
    tests = (TestSet(name="absent", set="columbia"), TestSet(name="small", manifest=manifest.name, limit=3))
    protocol = Protocol(title="t", tests=tests, detectors=("ela",), rounds=20)
    found = run.run(protocol, tmp_path, Cache(tmp_path / "c.sqlite"))
    assert "data prepare" in found[0].missing
    own = run.run(protocol.model_copy(update={"made_by": "python mine.py"}), tmp_path, Cache(tmp_path / "c.sqlite"))
    assert "prepare it with `python mine.py`" in own[0].missing
    assert [r.key for r in found[1].rows[("untouched", "ela")]] == ["p0.jpg", "p4.jpg", "p7.jpg"]


def test_unknown_names_are_answered(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fused'"):
        subjects.resolve(["fuse"])
    with pytest.raises(UnknownNameError):
        run.points(_protocol(make_set(tmp_path), attacks=("jpegg:quality=1",)))


def test_the_cache_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_text("this is no database, but long enough to be looked at" * 20)
    with pytest.raises(InputError, match="another folder"):
        Cache(tmp_path / "c.sqlite")
    assert key_of("ab", "c") != key_of("a", "bc")


def _bench(manifest: Path, out: Path, site: Path, *more: str) -> subprocess.Popen[str]:
    words = ["evaluate", str(manifest), "-d", "bright", "-d", "ela", "-a", "quick", "--out", str(out), *more]
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "tamperscope", *words]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_run_of_a_foreign_detector_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    manifest, site = make_set(tmp_path / "set", 12), install_plugin(tmp_path / "site")
    straight = _bench(manifest, tmp_path / "straight", site)
    text, _ = straight.communicate(timeout=120)
    assert straight.returncode == 0, text
    assert "bright" in text
    killed = _bench(manifest, tmp_path / "killed", site)
    cache = tmp_path / "killed" / "cache.sqlite"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _stored(cache) < 10:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=30)
    before = _stored(cache)
    assert before >= 10
    assert not (tmp_path / "killed" / "results.json").exists()
    resumed = _bench(manifest, tmp_path / "killed", site)
    text, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, text
    first, second = (json.loads((tmp_path / d / "results.json").read_text()) for d in ("straight", "killed"))
    first.pop("command"), second.pop("command")
    assert first == second
    bright = [n for n in first["numbers"] if n["subject"] == "bright" and n["metric"] == "pixel_auc"]
    assert max(n["value"] for n in bright) == pytest.approx(1.0, abs=0.01)
    for name in ("index.html", "table.md", "table.csv", "table.tex"):
        assert "bright" in (tmp_path / "killed" / name).read_text()


def test_a_foreign_detector_takes_part_in_a_scan(tmp_path: Path) -> None:
    manifest, site = make_set(tmp_path / "set", 2), install_plugin(tmp_path / "site")
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    picture = str(manifest.parent / "p1.jpg")
    words = [sys.executable, "-m", "tamperscope", "scan", picture, "--detectors", "bright,ela", "--json", "-"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 2, 3), done.stderr
    report = json.loads(done.stdout)
    assert [p["detector"] for p in report["predictions"] if p["status"] == "ok"] == ["bright", "ela"]
    assert "bright" in {row["what"] for row in report["verdict"]["not_checked"]}  # shown, not weighed


def _stored(cache: Path) -> int:
    import sqlite3

    try:
        with sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM rows").fetchone()[0])
    except sqlite3.Error:
        return 0
