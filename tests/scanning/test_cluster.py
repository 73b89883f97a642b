"""A run on a cluster of Ray: the rows of a local run, whatever happens to its machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tamperscope import cli
from tamperscope.errors import InputError
from tamperscope.report.schema import ErrorReport, Row
from tamperscope.scanning import cluster, ledger
from tamperscope.scanning.cluster import ClusterRun
from tamperscope.scanning.ledger import Recent
from tamperscope.scanning.many import Content, failure
from tamperscope.scanning.places import Place

FAST = ["--detectors", "ela"]

CLUSTER = """
import json, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from tamperscope.scanning import Command

folder, out, lose = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False)
left = 3 - (lose == "yes")
def loser():
    waiting = Path(out)
    while not waiting.exists() or waiting.read_bytes().count(b"\\n") < 3:
        time.sleep(0.02)
    print("rows at the loss:", waiting.read_bytes().count(b"\\n"), flush=True)
    cluster.remove_node(nodes[0], allow_graceful=False)
thread = threading.Thread(target=loser, daemon=True)
if lose == "yes":
    thread.start()
code = Command([folder], detectors=["ela"], out=Path(out), workers=2, engine="ray").run()
# That a node is gone is known a moment later.
end = time.monotonic() + 60
while (alive := sum(n["Alive"] for n in ray.nodes())) != left and time.monotonic() < end:
    time.sleep(0.2)
print("nodes alive:", alive, "code:", code, flush=True)
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty files: pictures, exact copies, what is no picture, and what cannot be read."""
    (tmp_path / "in").mkdir()
    for i in range(38):
        noise = np.random.default_rng(i % 30).integers(0, 256, (160, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "in" / f"{i:02}.png")
    (tmp_path / "in" / "bad.jpg").write_text("no picture")
    (tmp_path / "in" / "copy of bad.jpg").write_text("no picture")
    return tmp_path / "in"


def rows(path: Path) -> list[dict[str, object]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for row in found:
        row.pop("created", None)
        for prediction in row.get("predictions", []):
            prediction.pop("seconds")
    return found


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a cluster of Ray")
@pytest.mark.parametrize("lose", ["no", "yes"])
def test_a_cluster_gives_the_rows_of_one_machine_even_when_a_node_is_lost(
    folder: Path, tmp_path: Path, lose: str
) -> None:
    pytest.importorskip("ray")
    one, many = tmp_path / "one.jsonl", tmp_path / "many.jsonl"
    CliRunner().invoke(cli.app, ["scan", str(folder), *FAST, "--out", str(one)])
    script = tmp_path / "main.py"
    script.write_text(CLUSTER)
    words = [sys.executable, str(script), str(folder), str(many), lose]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-3000:])
    assert f"nodes alive: {3 if lose == 'no' else 2}" in done.stdout, done.stdout[-500:]
    if lose == "yes":
        assert int(done.stdout.partition("rows at the loss: ")[2].split()[0]) < 40, "nothing was left to lose"
    assert rows(many) == rows(one)


@pytest.mark.slow
def test_a_cluster_goes_on_where_a_run_stopped(folder: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    one, out = tmp_path / "one.jsonl", tmp_path / "out.jsonl"
    CliRunner().invoke(cli.app, ["scan", str(folder), *FAST, "--out", str(one)])
    lines = one.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:17]))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        done = CliRunner().invoke(cli.app, ["scan", str(folder), *FAST, "--out", str(out), "--engine", "ray"])
        assert "17 files were in" in done.output
        assert rows(out) == rows(one)
    finally:
        ray.shutdown()


class Stored:
    """An output that knows a row only when it was added."""

    def __init__(self) -> None:
        self.rows: dict[Content, Row] = {}

    def holds(self, name: str, sha256: str | None) -> bool:
        return False

    def recall(self, content: Content) -> Row | None:
        return self.rows.get(content)


def joined(memory: Stored | Recent, distinct: int, copies: bool) -> tuple[list[Row], int]:
    """Return the rows of files each of which may have a copy long after it, and how many were kept at most."""
    run = ClusterRun({}, memory, 1)
    places = [Place(f"{i:05}.png") for i in range(distinct * (1 + copies))]
    sums = [(f"{i % distinct:064x}", "") for i in range(len(places))]
    firsts = [place.name for place in places[:distinct]]
    scanned: Iterator[Row] = (
        failure(name, InputError("no"), sha) for name, (sha, _) in zip(firsts, sums, strict=False)
    )
    rows, most = list[Row](), 0
    for row in run._joined(places, sums, scanned, set(firsts), lambda: None):
        assert isinstance(row, ErrorReport)
        if isinstance(memory, Recent):
            memory.add(row)
        else:
            memory.rows[row.sha256 or "", ".png"] = row
        rows.append(row)
        most = max(most, len(run._latest))
    assert not run._latest, "no copy is to come"
    return rows, most


def test_rows_that_the_output_knows_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "REPEATED", 10)
    rows, most = joined(Stored(), 50, copies=True)
    assert most <= 11
    assert [row.name for row in rows if isinstance(row, ErrorReport)] == [f"{i:05}.png" for i in range(100)]
    assert joined(Stored(), 50, copies=False)[1] == 0


def test_rows_that_only_memory_has_are_kept_for_their_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "REPEATED", 10)
    monkeypatch.setattr(ledger, "RECENT", 10)
    assert len(joined(Recent(), 50, copies=True)[0]) == 100


def test_engines_that_are_none_are_told(folder: Path) -> None:
    done = CliRunner().invoke(cli.app, ["scan", str(folder), *FAST, "--engine", "rey"])
    assert done.exit_code == 1
    assert "did you mean 'ray'" in done.output
