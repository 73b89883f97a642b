"""The page: cases, notes, exports, languages, and who may see them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from media.test_documents import document, jpeg
from serve.conftest import ALICE, BOB, picture
from tamperscope.report import pack
from tamperscope.serve import documents, web, words
from tamperscope.serve.dispatch import Dispatcher, Slot
from tamperscope.serve.store import Job


def begun(client: TestClient, *pictures: tuple[str, bytes]) -> str:
    files = [("file", (name, data)) for name, data in pictures]
    answer = client.post("/cases", files=files, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["page"])


def finished(client: TestClient, case: str) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        text = client.get(f"{case}/rows").text
        if "hx-trigger" not in text:
            return text
        time.sleep(0.1)
    raise AssertionError(text)


def test_of_a_document_every_page_and_picture_is_scanned(client: TestClient) -> None:
    pytest.importorskip("pypdfium2")
    data = document([jpeg(0)], [jpeg(1)])
    rows = finished(client, begun(client, ("two.pdf", data), ("broken.pdf", data[: len(data) // 3])))
    links = {name: place for place, name in re.findall(r'href="(/pictures/[0-9a-f]{32})">([^<]+)', rows)}
    parts = {f"two.pdf#page={page}{image}" for page in (1, 2) for image in ("", ",image=1")}
    assert parts <= set(links)
    assert "broken.pdf" in rows
    told = json.loads(client.get(f"{links['two.pdf#page=2,image=1']}/report.json").content)
    assert told["intake"]["sha256"] == hashlib.sha256(jpeg(1)).hexdigest()
    assert client.get(f"{links['two.pdf#page=1']}/preview.jpg").status_code == 200


def test_a_document_of_too_many_parts_is_refused_and_said_so(client: TestClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("pypdfium2")
    monkeypatch.setattr(documents, "PARTS", 3)
    answer = client.post("/cases", files={"file": ("two.pdf", document([jpeg(0)], [jpeg(1)]))})
    assert answer.status_code == 422
    assert "at most 3 pages and pictures, found 4" in answer.json()["detail"]


def test_pictures_are_dropped_watched_read_noted_and_exported(client: TestClient, tmp_path: Path) -> None:
    hidden = picture(21, 128) + b"PK\x03\x04 hidden archive"
    case = begun(client, ("a.jpg", picture(20, 128)), ("b <b>bold.jpg", hidden), ("bad.jpg", b"no picture"))
    rows = finished(client, case)
    assert rows.count("<tr>") == 4
    assert "b &lt;b&gt;bold.jpg" in rows
    assert rows.index("bad.jpg") > rows.index("a.jpg"), "what failed comes last"
    assert "it is text" in rows
    links = re.findall(r'href="(/pictures/[0-9a-f]{32})">([^<]+)', rows)
    place = next(link for link, name in links if name.startswith("b &lt;"))
    shown = client.get(place)
    assert shown.headers["content-security-policy"].startswith("default-src 'none'")
    assert re.search(r"[0-9a-f]{8}  50 4b 03 04 20 68", shown.text)
    assert "PK.. hidden arch" in shown.text
    assert f'src="{place}/report.html"' in shown.text
    assert "sandbox" in client.get(f"{place}/report.html").headers["content-security-policy"]
    assert client.get(f"{place}/preview.jpg").content.startswith(b"\xff\xd8")
    assert json.loads(client.get(f"{place}/report.json").content)["status"] == "ok"
    paper = client.get(f"{place}/report.pdf")
    assert (paper.status_code, paper.content[:4]) in ((200, b"%PDF"), (501, b'{"ty'))
    client.post(f"{place}/marks", data={"kind": "warning", "text": "look <here>"})
    client.post(f"{place}/marks", data={"kind": "ok", "text": ""})
    assert client.post(f"{place}/marks", data={"kind": "other"}).status_code == 422
    text = client.get(place).text
    assert "look &lt;here&gt;" in text
    number = re.findall(r"/marks/(\d+)/delete", text)[1]
    client.post(f"{place}/marks/{number}/delete")
    answer = client.post(f"{case}/export")
    assert answer.headers["content-type"] == "application/zip"
    (tmp_path / "case.zip").write_bytes(answer.content)
    mark = re.search(r"<code>([0-9a-f]{64})</code>", client.get(case).text)
    assert mark
    found = pack.verify(tmp_path / "case.zip", mark[1])
    assert found.good
    assert [len(p["notes"]) for p in found.pictures] == [0, 1, 0]
    assert found.pictures[1]["notes"][0]["text"] == "look <here>"
    assert found.pictures[2]["problem"]["error"] == "UnsupportedFormatError"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {"pictures/0001/report.html", "pictures/0002/trailing-0.bin"} <= set(archive.namelist())
    assert client.post(f"{place}/delete", follow_redirects=False).headers["location"] == case
    assert client.get(place).status_code == 404
    client.post(f"{case}/title", data={"title": "Case <7>"})
    assert "Case &lt;7&gt;" in client.get("/").text
    client.post(f"{case}/delete")
    assert client.get(case).status_code == 404


def test_a_case_outlives_the_sweep(client: TestClient) -> None:
    case = begun(client, ("a.jpg", picture(30)))
    finished(client, case)
    dispatcher = client.app.state.dispatcher  # type: ignore[attr-defined]
    assert dispatcher.jobs.expired(time.time() + 1e9) == [] or "a.jpg" in client.get(case).text


def test_pictures_are_added_by_forms_without_scripts(client: TestClient) -> None:
    answer = client.post("/cases", files=[("file", ("a.jpg", picture(31)))], follow_redirects=False)
    assert answer.status_code == 303
    case = answer.headers["location"]
    client.post(f"{case}/pictures", files=[("file", ("b.jpg", picture(32))), ("file", ("c.jpg", picture(33)))])
    assert finished(client, case).count("<tr>") == 4


def test_a_document_that_finds_no_room_is_partly_taken_and_said_so(client: TestClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("pypdfium2")
    dispatcher = client.app.state.dispatcher  # type: ignore[attr-defined]
    data, accept = document([jpeg(0)], [jpeg(1)]), Dispatcher.accept

    def full(self: Dispatcher, slot: Slot, upload: Path, name: str, options: Any) -> Job:
        job = accept(self, slot, upload, name, options)
        if name.endswith("page=1,image=1"):
            self._taken += 1000
        return job

    monkeypatch.setattr(web, "WAIT", 0.0)
    monkeypatch.setattr(Dispatcher, "accept", full)
    answer = client.post("/cases", files={"file": ("two.pdf", data)}, headers={"Accept": "application/json"})
    dispatcher._taken -= 1000
    assert answer.status_code == 200
    assert "'two.pdf': 2 of 4 pages and pictures were taken: expected at most 64 jobs" in answer.json()["problems"][0]
    answer = client.post("/cases", files={"file": ("two.pdf", data)}, follow_redirects=False)
    dispatcher._taken -= 1000
    assert finished(client, answer.headers["location"].partition("?")[0]).count("<tr>") == 3
    shown = client.get(answer.headers["location"]).text
    assert re.search(r'<p role="alert">Files of which not all was taken.*: 1\.', shown)


def test_nothing_is_read_of_one_for_whom_there_is_no_place(client: TestClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    dispatcher = client.app.state.dispatcher  # type: ignore[attr-defined]
    monkeypatch.setattr(web, "save", lambda *args: pytest.fail("it was read"))
    dispatcher._taken += 1000
    answer = client.post("/cases", files=[("file", ("a.jpg", picture(35)))])
    dispatcher._taken -= 1000
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_a_file_that_is_refused_leaves_its_place_to_the_next(client: TestClient, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("pypdfium2")
    monkeypatch.setattr(documents, "PARTS", 3)
    files = [("file", ("two.pdf", document([jpeg(0)], [jpeg(1)]))), ("file", ("a.jpg", picture(36)))]
    answer = client.post("/cases", files=files, headers={"Accept": "application/json"})
    assert "at most 3 pages and pictures" in answer.json()["problems"][0]
    assert "a.jpg" in finished(client, answer.json()["page"])


def test_a_case_of_nothing_is_not_begun(client: TestClient) -> None:
    before = client.get("/").text
    assert client.post("/cases", data={"title": "empty"}).status_code == 400
    dispatcher = client.app.state.dispatcher  # type: ignore[attr-defined]
    dispatcher._taken += 1000
    answer = client.post("/cases", files=[("file", ("a.jpg", picture(34)))], headers={"Accept": "application/json"})
    dispatcher._taken -= 1000
    assert answer.status_code == 503
    assert client.get("/").text == before


def test_who_has_not_signed_in_sees_nothing(closed: TestClient) -> None:
    for path in ("/", "/cases/" + "0" * 32, "/pictures/" + "0" * 32, "/pictures/" + "0" * 32 + "/report.html"):
        answer = closed.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert closed.post("/cases", files=[("file", ("a.jpg", picture()))], follow_redirects=False).status_code == 303
    assert closed.get("/sign-in").status_code == 200
    assert closed.post("/sign-in", data={"key": "wrong"}).status_code == 401
    assert closed.post("/sign-in", data={"key": ""}).status_code == 401
    answer = closed.post("/sign-in", data={"key": ALICE}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    case = begun(closed, ("a.jpg", picture()))
    place = re.findall(r"/pictures/[0-9a-f]{32}", finished(closed, case))[0]
    token = closed.cookies["tamperscope"]
    closed.cookies.clear()
    closed.cookies.set("tamperscope", token)
    assert closed.get("/", follow_redirects=False).status_code == 200
    closed.cookies.clear()
    closed.cookies.set("tamperscope", token.replace("alice", "bob"))
    assert closed.get("/", follow_redirects=False).status_code == 303, "a changed cookie is none"
    closed.cookies.clear()
    closed.post("/sign-in", data={"key": BOB})
    for path in (case, f"{case}/rows", place, f"{place}/report.html", f"{place}/report.json"):
        assert closed.get(path).status_code == 404, "of somebody else"
    assert closed.post(f"{case}/delete").status_code == 404
    assert "a.jpg" not in closed.get("/").text


@pytest.mark.parametrize(
    ("asked", "accepted", "found"),
    [
        ("", "", "en"), ("", "de-AT,de;q=0.9", "de"), ("", "fr,de;q=0.8,en;q=0.9", "en"), ("de", "en", "de"),
        ("xx", "de", "de"), ("", "*;q=x,;;,", "en"), ("", "de;q=0", "en"), ("../en", "", "en"),
    ],
)  # fmt: skip
def test_languages_are_chosen(asked: str, accepted: str, found: str) -> None:
    assert words.choose(asked, accepted) == found


def test_every_language_says_everything() -> None:
    folder = Path(words.__file__).parent
    whole = json.loads((folder / "en.json").read_text(encoding="utf-8"))
    for path in folder.glob("*.json"):
        texts = json.loads(path.read_text(encoding="utf-8"))
        assert set(texts) == set(whole), path.name
        for key, text in texts.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", whole[key])), key


def test_pages_speak_the_language_of_who_looks(client: TestClient) -> None:
    assert "Wurde dieses Bild verändert?" in client.get("/", headers={"Accept-Language": "de"}).text
    answer = client.get("/?lang=de")
    assert '<html lang="de">' in answer.text
    assert '<html lang="de">' in client.get("/").text, "the choice is remembered"
    client.cookies.clear()


def test_no_page_needs_anything_from_elsewhere(client: TestClient) -> None:
    text = client.get("/").text
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        assert client.get(path).status_code == 200
    assert client.get("/static/../app.py").status_code == 404


def test_hexdump() -> None:
    assert web.hexdump(b"PK\x03\x04" + bytes(range(13)), 0x20) == [
        "00000020  50 4b 03 04 00 01 02 03 04 05 06 07 08 09 0a 0b  PK..............",
        "00000030  0c                                               .",
    ]
