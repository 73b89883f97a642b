"""Scans over HTTP: answers, jobs, errors as problem details, and nothing kept that need not be."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from media.test_documents import document, jpeg
from serve.conftest import ALICE, BOB, QUICK, bearer, picture
from tamperscope.report.schema import ROW, Report
from tamperscope.scanning import Scanner
from tamperscope.serve.app import create
from tamperscope.serve.settings import Settings
from tamperscope.serve.store import Jobs
from tamperscope.serve.webhooks import Webhooks


def done(client: TestClient, job: str, **headers: str) -> dict:  # type: ignore[type-arg]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        told = client.get(f"/v1/jobs/{job}", headers=headers).json()
        if told["state"] in ("done", "failed"):
            return told  # type: ignore[no-any-return]
        time.sleep(0.05)
    raise AssertionError(f"job {job} has no end: {told}")


def test_a_form_and_a_raw_body_give_the_report_of_the_command_line(client: TestClient, tmp_path: Path) -> None:
    data = picture()
    form = client.post("/v1/scan", files={"file": ("a.jpg", data)}, params=QUICK)
    raw = client.post("/v1/scan", content=data, params=QUICK | {"name": "a.jpg"})
    assert form.status_code == raw.status_code == 200, form.text
    own = Scanner(["ela"]).scan(data, name="a.jpg")
    for answer in (form, raw):
        row = ROW.validate_json(answer.content)
        assert isinstance(row, Report)
        assert row.verdict == own.verdict
        assert row.intake.name == "a.jpg"
        assert row.intake.sha256 == own.intake.sha256


def test_a_page_of_a_document(client: TestClient) -> None:
    pytest.importorskip("pypdfium2")
    data = document([jpeg(0)], [jpeg(1)])
    assert "?page=1" in client.post("/v1/scan", content=data, params=QUICK).json()["detail"]
    assert "expected 1 to 2, found 9" in client.post("/v1/scan", content=data, params=QUICK | {"page": 9}).text
    answer = client.post("/v1/scan", content=data, params=QUICK | {"page": 2})
    assert answer.json()["facts"]["pdf"]["page"] == 2
    inside = client.post("/v1/scan", content=data, params=QUICK | {"page": 2, "image": 1, "name": "a.pdf"}).json()
    assert inside["intake"]["sha256"] == hashlib.sha256(jpeg(1)).hexdigest()
    assert inside["intake"]["name"] == "a.pdf"
    assert "has 1 pictures" in client.post("/v1/scan", content=data, params=QUICK | {"page": 2, "image": 9}).text
    assert client.post("/v1/scan", content=data, params=QUICK | {"page": -1}).status_code == 422


def test_accept_html_gives_the_page(client: TestClient) -> None:
    answer = client.post("/v1/scan", content=picture(), params=QUICK, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.text.startswith("<!doctype html>")


def test_what_is_answered_at_once_is_not_kept(client: TestClient, settings: Settings) -> None:
    client.post("/v1/scan", content=picture(3), params=QUICK)
    assert not [p for p in (Path(settings.data) / "jobs").rglob("*") if p.is_file()]
    assert not client.app.state.dispatcher.jobs.unfinished()  # type: ignore[attr-defined]


def test_a_job_gives_report_page_and_maps_until_it_is_deleted(client: TestClient, settings: Settings) -> None:
    answer = client.post("/v1/scan", content=picture(1), params=QUICK, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    place = answer.headers["location"]
    told = done(client, answer.json()["id"])
    assert told["state"] == "done"
    assert ROW.validate_python(told["report"]).status == "ok"
    assert client.get(f"{place}/report.html").text.startswith("<!doctype html>")
    assert "ela.png" in client.get(f"{place}/maps").json()
    assert client.get(f"{place}/maps/ela.png").content.startswith(b"\x89PNG")
    assert client.get(f"{place}/maps/zero.png").status_code == 404
    assert not (Path(settings.data) / "jobs" / told["id"] / "upload").exists(), "the picture itself goes first"
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404
    assert client.delete(place).status_code == 404
    assert not (Path(settings.data) / "jobs" / told["id"]).exists()


@pytest.mark.parametrize(
    ("content", "params", "status", "says"),
    [
        (b"this is no picture", QUICK, 422, "it is text"),
        (b"", QUICK, 400, "found nothing"),
        (picture()[:300], QUICK, 422, "detail"),
        (picture(), {"detectors": "elaa"}, 422, "unknown detector 'elaa'"),
        (picture(), {"quick": "perhaps"}, 422, "quick"),
    ],
)
def test_errors_are_problem_details(
    client: TestClient, content: bytes, params: dict[str, str], status: int, says: str
) -> None:
    answer = client.post("/v1/scan", content=content, params=params)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert says in answer.text
    assert client.app.state.dispatcher.jobs.expired(time.time() + 1e9) == []  # type: ignore[attr-defined]


def test_forms_without_one_file_are_refused(client: TestClient) -> None:
    assert client.post("/v1/scan", data={"file": "text"}, files={"other": b"x"}).status_code == 400
    two = [("file", ("a.jpg", picture())), ("file", ("b.jpg", picture()))]
    assert client.post("/v1/scan", files=two).status_code == 400


def test_names_lead_nowhere_and_are_told_as_they_are(client: TestClient, settings: Settings) -> None:
    name = "../../../etc/passwd\u202egpj.<script>.jpg"
    answer = client.post("/v1/scan", content=picture(), params=QUICK | {"name": name})
    assert answer.json()["intake"]["name"] == name
    page = client.post("/v1/scan", content=picture(), params=QUICK | {"name": name}, headers={"Accept": "text/html"})
    assert "<script>.jpg" not in page.text
    assert not (Path(settings.data).parent / "etc").exists()


@pytest.mark.parametrize("path", ["/v1/jobs/../x", "/v1/jobs/" + "0" * 31, "/v1/jobs/" + "g" * 32, "/v1/nothing"])
def test_jobs_that_cannot_be_are_not_found(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_repeated_request_with_its_key_is_the_same_job(client: TestClient) -> None:
    again = {"Idempotency-Key": "one", "Prefer": "respond-async"}
    first = client.post("/v1/scan", content=picture(5), params=QUICK, headers=again).json()
    second = client.post("/v1/scan", content=picture(5), params=QUICK, headers=again).json()
    assert first["id"] == second["id"]
    other = client.post("/v1/scan", content=picture(6), params=QUICK, headers=again)
    assert other.status_code == 422
    assert "another picture" in other.text
    waited = client.post("/v1/scan", content=picture(5), params=QUICK, headers={"Idempotency-Key": "two"})
    assert waited.status_code == 200
    assert waited.content == client.post(
        "/v1/scan", content=picture(5), params=QUICK, headers={"Idempotency-Key": "two"}
    ).content  # fmt: skip


def test_keys_are_needed_and_jobs_have_owners(closed: TestClient) -> None:
    for headers in ({}, bearer("nobody's key"), {"X-API-Key": ""}, {"Authorization": "Basic x"}):
        answer = closed.post("/v1/scan", content=picture(), params=QUICK, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert closed.get("/metrics").status_code == 401
    assert closed.get("/healthz").status_code == 200
    job = closed.post("/v1/scan", content=picture(), params=QUICK, headers=bearer(ALICE) | {"Prefer": "respond-async"})
    place = job.headers["location"]
    assert done(closed, job.json()["id"], **bearer(ALICE))["state"] == "done"
    for path in (place, f"{place}/report.html", f"{place}/maps", f"{place}/maps/ela.png"):
        assert closed.get(path, headers=bearer(BOB)).status_code == 404
        assert closed.get(path, headers={"X-API-Key": ALICE}).status_code == 200
    assert closed.delete(place, headers=bearer(BOB)).status_code == 404


def test_a_job_whose_end_cannot_be_stored_fails_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(create(Settings(data=str(tmp_path), workers=1, hosts=("testserver",)))) as client:
        dispatcher = client.app.state.dispatcher  # type: ignore[attr-defined]
        change = Jobs.change

        def away(self: Jobs, job: str, **fields: Any) -> bool:
            if "ended" in fields:
                raise OSError("the database is away")
            return change(self, job, **fields)

        monkeypatch.setattr(Jobs, "change", away)
        answer = client.post("/v1/scan", content=picture(40), params=QUICK, headers={"Prefer": "respond-async"})
        ended = dispatcher.ended(answer.json()["id"])
        if ended is not None:
            ended.result(60)
        assert client.get(answer.headers["location"]).json()["state"] == "running"
        monkeypatch.undo()
        dispatcher.sweep()
        told = client.get(answer.headers["location"]).json()
        assert (told["state"], told["problem"]["error"]) == ("failed", "StoreError")
        assert not dispatcher._lost


def test_detectors_and_the_description_are_served(client: TestClient) -> None:
    assert {"name", "summary", "source"} == set(client.get("/v1/detectors").json()[0])
    document = client.get("/v1/openapi.json").json()
    assert set(document["paths"]) >= {"/v1/scan", "/v1/jobs/{job}", "/v1/detectors"}
    assert client.get("/readyz").status_code == 200
    text = client.get("/metrics").text
    assert 'tamperscope_scans_total{outcome="done"}' in text
    assert 'route="/v1/scan",status="200"' in text
    assert json.dumps(document)


class Stub:
    """Stands for what the service would fetch and send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, object]]] = []

    def get(self, url: str, target: Path, max_bytes: int) -> str:
        target.write_bytes(picture(8))
        return url

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self.sent.append((url, json.loads(body)))
        return 204

    def close(self) -> None:
        pass


def test_addresses_are_off_unless_the_settings_say_otherwise(client: TestClient) -> None:
    for query in ({"url": "https://example.org/a.jpg"}, {"callback": "https://example.org/"}):
        answer = client.post("/v1/scan", params=QUICK | query, content=picture())
        assert answer.status_code == 422
        assert "off in the settings" in answer.json()["detail"]


def test_a_picture_by_address_and_a_message_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub()
    monkeypatch.setattr("tamperscope.serve.app.Fetcher", lambda seconds: stub)
    monkeypatch.setattr("tamperscope.serve.app.Webhooks", lambda secret: Webhooks(secret, stub))  # type: ignore[arg-type]
    given = Settings(data=str(tmp_path), workers=1, urls=True, webhook_secret="s", hosts=("testserver",))
    with TestClient(create(given)) as client:
        query = QUICK | {"url": "https://example.org/photos/a.jpg", "callback": "https://example.org/hook"}
        answer = client.post("/v1/scan", params=query)
        assert answer.status_code == 200, answer.text
        assert answer.json()["intake"]["name"] == "https://example.org/photos/a.jpg"
        end = time.monotonic() + 10
        while not stub.sent and time.monotonic() < end:
            time.sleep(0.02)
        ((url, message),) = stub.sent
        assert url == "https://example.org/hook"
        assert message["state"] == "done"
        assert "report" not in message
        for bad in ("http://example.org/a.jpg", "https://user:pw@example.org/", "file:///etc/passwd"):
            assert client.post("/v1/scan", params=QUICK | {"url": bad}).status_code == 422
            assert client.post("/v1/scan", params=QUICK | {"callback": bad}).status_code == 422
