"""What stands before every route."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serve.conftest import QUICK, picture
from tamperscope.serve.app import create
from tamperscope.serve.settings import Settings


@pytest.fixture
def small(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(data=str(tmp_path), workers=1, body_bytes=20_000, queue=1, hosts=("testserver",))
    with TestClient(create(settings)) as found:
        yield found


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000):
        yield bytes(1000)


@pytest.mark.parametrize("form", [False, True])
def test_bodies_over_the_limit_are_refused_with_and_without_a_length(small: TestClient, form: bool) -> None:
    if form:
        answer = small.post("/v1/scan", files={"file": ("a.jpg", bytes(30_000))})
    else:
        answer = small.post("/v1/scan", content=bytes(30_000))
    assert answer.status_code == 413
    streamed = small.post("/v1/scan", content=chunks(30_000))
    assert streamed.status_code == 413, streamed.text
    assert "20,000 bytes" in streamed.json()["detail"]
    assert small.post("/v1/scan", content=picture(), params=QUICK).status_code == 200, "and the place is free again"


@pytest.mark.parametrize("length", ["-1", "x", "1e3"])
def test_lengths_that_are_no_numbers_are_refused(small: TestClient, length: str) -> None:
    assert small.post("/v1/scan", content=chunks(1000), headers={"Content-Length": length}).status_code == 413


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_pages_of_other_sites_change_nothing(small: TestClient, headers: dict[str, str]) -> None:
    assert small.post("/v1/scan", content=picture(), params=QUICK, headers=headers).status_code == 403
    assert small.get("/v1/detectors", headers=headers).status_code == 200
    own = small.post("/v1/scan", content=picture(), params=QUICK, headers={"Origin": "http://testserver"})
    assert own.status_code == 200


def test_other_host_names_are_refused(small: TestClient) -> None:
    assert small.get("/v1/detectors", headers={"Host": "rebound.example"}).status_code == 400


def test_a_full_service_says_when_to_come_back(small: TestClient) -> None:
    dispatcher = small.app.state.dispatcher  # type: ignore[attr-defined]
    dispatcher._taken += 1
    answer = small.post("/v1/scan", content=picture(), params=QUICK)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert small.get("/readyz").status_code == 503
    dispatcher._taken -= 1
    assert small.get("/readyz").status_code == 200


def test_a_line_of_log_says_what_was_asked_and_nothing_of_the_picture(
    small: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tamperscope.serve"):
        small.post("/v1/scan", content=picture(), params=QUICK | {"name": "secret name.jpg"})
        small.get("/v1/jobs/" + "0" * 32)
    first, second = (json.loads(record.message) for record in caplog.records if record.message.startswith("{"))
    assert first["route"] == "/v1/scan"
    assert first["status"] == 200
    assert first["bytes"] == len(picture())
    assert second == second | {"route": "/v1/jobs/{job}", "status": 404}
    assert "secret" not in caplog.text
    assert "0" * 32 not in caplog.text


def test_answers_cannot_be_taken_for_something_else(small: TestClient) -> None:
    headers = small.get("/v1/detectors").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert "server" not in headers
