"""The service on a PostgreSQL database and on a store that speaks S3, both started for these tests."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serve.conftest import ALICE, BOB, KEYS, QUICK, bearer, picture
from tamperscope.errors import InputError
from tamperscope.serve.app import create
from tamperscope.serve.dispatch import UPLOAD
from tamperscope.serve.settings import Settings
from tamperscope.serve.store import Job, opened

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Address of an empty database."""
    pytest.importorskip("psycopg")
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root, and another user does not see into the folders of these tests.
    user = "postgres" if os.geteuid() == 0 else None
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        if user:
            shutil.chown(place, user)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place} -c fsync=off"
        run = {"check": True, "user": user, "stdout": subprocess.DEVNULL, "cwd": "/"}
        begin = [PROGRAMS[-1] / "initdb", "-D", place / "data", "-U", "tests", "-A", "trust", "-E", "UTF8"]
        control = [PROGRAMS[-1] / "pg_ctl", "-D", place / "data", "-w", "-l", place / "log"]
        subprocess.run(begin, **run)  # type: ignore[call-overload]
        subprocess.run([*control, "-o", options, "start"], **run)  # type: ignore[call-overload]
        try:
            yield f"postgresql+psycopg://tests@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **run)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Address of an empty place in a store of objects."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    told = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "x"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (told | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
            patch.setenv(name, value)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("pictures")
        yield "s3://pictures/service"
    server.kill()
    server.wait()


@pytest.fixture(params=["postgres", "bucket", "both"])
def stores(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of a service that does not keep everything in one folder."""
    monkeypatch.chdir(tmp_path)  # what must stay on this machine is kept there
    both = request.param == "both"
    database = request.getfixturevalue("postgres") if both or request.param == "postgres" else None
    data = request.getfixturevalue("bucket") if both or request.param == "bucket" else str(tmp_path / "data")
    return {"data": data, "database": database or f"sqlite:///{tmp_path / 'jobs.sqlite'}"}


def service(stores: dict[str, str]) -> TestClient:
    return TestClient(create(Settings(**stores, workers=1, per_minute=6000, hosts=("testserver",), keys=KEYS)))


def ended(client: TestClient, job: str) -> dict[str, object]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        told: dict[str, object] = client.get(f"/v1/jobs/{job}", headers=bearer(ALICE)).json()
        if told["state"] in ("done", "failed"):
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def test_a_job_is_made_fetched_kept_from_others_and_forgotten(stores: dict[str, str]) -> None:
    later = bearer(ALICE) | {"Prefer": "respond-async", "Idempotency-Key": "one"}
    with service(stores) as client:
        answer = client.post("/v1/scan", content=picture(1), params=QUICK | {"name": "ä \x00 b.jpg"}, headers=later)
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        assert ended(client, job)["state"] == "done"
        again = client.post("/v1/scan", content=picture(1), params=QUICK | {"name": "ä \x00 b.jpg"}, headers=later)
        assert again.json().get("id", job) == job
    with service(stores) as client:
        shown = client.get(f"/v1/jobs/{job}/report.html", headers=bearer(ALICE))
        assert shown.text.startswith("<!doctype html>")
        assert client.get(f"/v1/jobs/{job}/maps/ela.png", headers=bearer(ALICE)).content.startswith(b"\x89PNG")
        assert client.get(f"/v1/jobs/{job}", headers=bearer(BOB)).status_code == 404
        assert client.delete(f"/v1/jobs/{job}", headers=bearer(ALICE)).status_code == 204
        assert client.get(f"/v1/jobs/{job}", headers=bearer(ALICE)).status_code == 404
        _, files = opened(Settings(**stores))
        assert not list(files.names(job))


def test_what_was_accepted_outlives_the_service(stores: dict[str, str], tmp_path: Path) -> None:
    jobs, files = opened(Settings(**stores))
    upload = tmp_path / "upload"
    upload.write_bytes(picture(2))
    job = Job(
        id=uuid.uuid4().hex, owner="alice", state="running", name="a.jpg", bytes=1, sha256="", attempts=1,
        options={"detectors": ["ela"]}, created=time.time(),
    )  # fmt: skip
    files.put(job.id, UPLOAD, upload)
    name = job.id
    jobs.add(job)
    jobs.close()
    with service(stores) as client:
        told = ended(client, name)
        assert told["state"] == "done", told


def test_cases_are_kept_there_too(stores: dict[str, str]) -> None:
    with service(stores) as client:
        client.post("/sign-in", data={"key": ALICE})
        files = [("file", ("a.jpg", picture(3, 128)))]
        place = client.post("/cases", files=files, headers={"Accept": "application/json"}).json()["page"]
        end = time.monotonic() + 60
        while "hx-trigger" in (rows := client.get(f"{place}/rows").text) and time.monotonic() < end:
            time.sleep(0.1)
        picture_page = re.findall(r'href="(/pictures/[0-9a-f]{32})"', rows)[0]
        client.post(f"{picture_page}/marks", data={"kind": "warning", "text": "look \N{SNOWMAN}"})
        assert "look \N{SNOWMAN}" in client.get(picture_page).text
        assert client.get(f"{picture_page}/preview.jpg").content.startswith(b"\xff\xd8")


def test_a_database_that_is_not_there_is_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    address = f"postgresql+psycopg://tests@127.0.0.1:{free_port()}/none"
    with pytest.raises(InputError, match="database that can be opened"):
        opened(Settings(data=str(tmp_path), database=address))
