"""A service in a process of its own, whose workers and which itself are killed while it works."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.conftest import QUICK, picture
from tamperscope.report.schema import ROW

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


class Service:
    """`tamperscope serve` on a free port."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.log = data.with_suffix(f".{time.monotonic_ns()}.log")
        given = {"port": 0, "workers": 2, "data": data, "per_minute": 60000, "at_once": 1000, "queue": 1000} | settings
        environment = {f"TAMPERSCOPE_SERVE_{name.upper()}": str(value) for name, value in given.items()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tamperscope", "serve"], env=os.environ | environment, stderr=log
            )
        self.client = httpx.Client(base_url=self._address(), timeout=60)

    def _address(self) -> str:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if found := re.search(r"running on (http://[\d.:]+)", self.log.read_text()):
                return found[1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def begin(self, seed: int, side: int = 64) -> str:
        answer = self.client.post(
            "/v1/scan", content=picture(seed, side), params=QUICK, headers={"Prefer": "respond-async"}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def end_of(self, job: str) -> dict[str, Any]:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            told: dict[str, Any] = self.client.get(f"/v1/jobs/{job}").json()
            if told.get("state") in ("done", "failed"):
                return told
            time.sleep(0.05)
        raise AssertionError(f"{told}\n{self.log.read_text()}")

    def workers(self) -> list[int]:
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "spawn_main"], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(60)


@contextlib.contextmanager
def service(data: Path, **settings: Any) -> Iterator[Service]:
    found = Service(data, **settings)
    try:
        yield found
    finally:
        found.stop(signal.SIGKILL)


def test_a_killed_service_ends_every_accepted_job_after_its_return(tmp_path: Path) -> None:
    with service(tmp_path / "data") as first:
        jobs = [first.begin(seed) for seed in range(30)]
        first.end_of(jobs[3])
        first.stop(signal.SIGKILL)
    with service(tmp_path / "data") as second:
        ends = [second.end_of(job) for job in jobs]
        assert [end["state"] for end in ends] == ["done"] * 30
        assert len({ROW.validate_python(end["report"]).intake.sha256 for end in ends}) == 30  # type: ignore[union-attr]
        assert not list((tmp_path / "data" / "jobs").glob("*/upload"))


def test_killed_workers_cost_no_job(tmp_path: Path) -> None:
    with service(tmp_path / "data") as running, ThreadPoolExecutor(4) as pool:
        jobs = [running.begin(seed) for seed in range(4)]
        running.end_of(jobs[0])
        answers = [pool.submit(running.begin, seed) for seed in range(4, 40)]
        for _ in range(4):
            for pid in running.workers()[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.3)
        jobs += [answer.result() for answer in answers]
        ends = [running.end_of(job) for job in jobs]
        lost = [end["problem"] for end in ends if end["state"] != "done"]
        assert len(lost) <= 2, "four kills reach at most two jobs twice"
        assert {problem["error"] for problem in lost} <= {"WorkerLostError"}
        assert running.client.get("/healthz").status_code == 200


def test_a_service_that_is_asked_to_end_finishes_what_runs(tmp_path: Path) -> None:
    with service(tmp_path / "data") as first:
        jobs = [first.begin(seed) for seed in range(10)]
        first.stop(signal.SIGTERM)
    with service(tmp_path / "data", workers=1) as second:
        assert {second.client.get(f"/v1/jobs/{job}").json()["state"] for job in jobs} == {"done"}


def test_what_does_not_end_in_time_is_begun_again(tmp_path: Path) -> None:
    with service(tmp_path / "data", grace_seconds=0) as first:
        jobs = [first.begin(seed) for seed in range(10)]
        first.stop(signal.SIGTERM)
    with service(tmp_path / "data") as second:
        assert {second.end_of(job)["state"] for job in jobs} == {"done"}


def test_a_job_that_never_ends_is_given_up(tmp_path: Path) -> None:
    for _ in range(3):
        with service(tmp_path / "data", workers=1) as running:
            if not (tmp_path / "data" / "jobs").exists():
                job = running.begin(0, side=1024)
            running.stop(signal.SIGKILL)
    with service(tmp_path / "data") as last:
        told = last.end_of(job)
        assert told["state"] in ("failed", "done")
        assert told["state"] == "done" or "3 times" in told["problem"]["detail"]


def test_hostile_files_change_nothing_for_the_others(tmp_path: Path) -> None:
    hostile = [b"", b"\xff\xd8\xff" + bytes(5000), b"\x89PNG\r\n\x1a\n" + b"\xff" * 400, picture(9)[:700], b"<svg/>"]
    with service(tmp_path / "data") as running, ThreadPoolExecutor(6) as pool:

        def ask(data: bytes) -> int:
            return running.client.post("/v1/scan", content=data, params=QUICK).status_code

        good = [pool.submit(ask, picture(seed)) for seed in range(20)]
        bad = [pool.submit(ask, data) for data in hostile * 4]
        assert {answer.result() for answer in good} == {200}
        assert {answer.result() for answer in bad} <= {200, 400, 422}
