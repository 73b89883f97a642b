"""The page in a real browser: dropped, watched, read, noted, exported, by two people at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.conftest import ALICE, BOB, picture
from serve.test_survival import Service, service
from tamperscope.report import pack
from tamperscope.serve.settings import hashed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None or os.name != "posix", reason="no Chromium here")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    keys = f"[{{name: alice, sha256: {hashed(ALICE)}}}, {{name: bob, sha256: {hashed(BOB)}}}]"
    with service(tmp_path_factory.mktemp("browser") / "data", workers=1, keys=keys) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as player:
        found = player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def visitor(browser: Any, running: Service, key: str, **options: Any) -> tuple[Any, list[str]]:
    """Return the page of one who has signed in, and what its console complains of."""
    page = browser.new_context(base_url=str(running.client.base_url), **options).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/")
    page.locator("#key").fill(key)
    page.locator("#key").press("Enter")
    page.wait_for_url("**/")
    return page, complaints


def chosen(*pictures: tuple[str, bytes]) -> list[dict[str, Any]]:
    return [{"name": name, "mimeType": "image/jpeg", "buffer": data} for name, data in pictures]


def test_a_case_from_the_first_drop_to_the_signed_pack(browser: Any, running: Service, tmp_path: Path) -> None:
    page, complaints = visitor(browser, running, ALICE)
    files = chosen(("a.jpg", picture(50, 256)), (HOSTILE, picture(51, 256)), ("b.jpg", b"\xff\xd8\xff" + bytes(99)))
    page.locator("input[type=file]").set_input_files(files)
    page.wait_for_url("**/cases/*")
    page.get_by_text("3 of 3 scanned").wait_for(timeout=60_000)
    assert page.locator("tbody tr").count() == 3
    assert page.locator("tbody tr").last.inner_text().startswith("\tb.jpg")
    page.get_by_role("link", name="a.jpg").click()
    report = page.frame_locator("iframe.report")
    report.locator("#blend").wait_for()
    before = report.locator("#heat").evaluate("e => getComputedStyle(e).opacity")
    report.locator("#blend").fill("10")
    assert report.locator("#heat").evaluate("e => getComputedStyle(e).opacity") != before
    report.get_by_role("button", name="Magnifier").click()
    lens, large = report.locator("#lens"), report.locator("#large")
    assert large.evaluate("e => e.style.width") == "1024px", "four times the picture's 256 pixels"
    at = large.evaluate("e => e.style.left")
    page.keyboard.press("ArrowRight")
    assert large.evaluate("e => e.style.left") != at
    report.locator("#stage").dispatch_event("pointermove", {"clientX": 0, "clientY": 0})
    assert lens.evaluate("e => parseFloat(e.style.left)") < 0
    page.get_by_label("Warning").check()
    page.get_by_label("What did you see?").fill("a seam")
    page.get_by_role("button", name="Add note").click()
    page.get_by_text("a seam").wait_for()
    page.locator("h1").click()
    page.keyboard.press("c")
    page.wait_for_url("**/cases/*")
    assert page.locator("tbody .mark.warning").count() == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Export evidence pack").click()
    download.value.save_as(tmp_path / "case.zip")
    found = pack.verify(tmp_path / "case.zip", page.locator("code").inner_text())
    assert found.good
    assert {p["name"] for p in found.pictures} == {"a.jpg", HOSTILE, "b.jpg"}
    page.get_by_role("button", name="Delete case").click()
    page.get_by_text("No cases yet.").wait_for()
    assert complaints == []


def test_pictures_are_pasted_and_dropped(browser: Any, running: Service) -> None:
    page, complaints = visitor(browser, running, ALICE)
    send = """([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], kind + ".jpg", {type: "image/jpeg"}));
        const event = kind === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
        document.body.dispatchEvent(event);
    }"""
    page.evaluate(send, ["paste", list(picture(60))])
    page.wait_for_url("**/cases/*")
    page.evaluate(send, ["drop", list(picture(61))])
    page.get_by_text("2 of 2 scanned").wait_for(timeout=60_000)
    assert page.locator("tbody").inner_text().count("paste.jpg") == 1
    assert complaints == []


def test_two_people_at_once_see_their_own(browser: Any, running: Service) -> None:
    alice, _ = visitor(browser, running, ALICE)
    bob, _ = visitor(browser, running, BOB)
    for page, name in ((alice, "alice"), (bob, "bob")):
        page.locator("input[type=file]").set_input_files(chosen((f"{name}.jpg", picture(70))))
    for page in (alice, bob):
        page.get_by_text("1 of 1 scanned").wait_for(timeout=60_000)
    assert bob.get_by_text("bob.jpg").count() == 2
    assert bob.request.get(alice.url).status == 404
    bob.goto("/")
    assert "alice" not in bob.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_pages_fit_phones_and_desktops(browser: Any, running: Service, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    page, complaints = visitor(browser, running, BOB, viewport=size, color_scheme=scheme, locale="de-DE")
    assert page.get_by_text("Wurde dieses Bild verändert?").count() == 1
    page.locator("input[type=file]").set_input_files(chosen((f"{'long name ' * 12}.jpg", picture(80))))
    page.get_by_text("1 von 1 geprüft").wait_for(timeout=60_000)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    page.locator("tbody a").click()
    page.frame_locator("iframe.report").locator("h1").wait_for()
    assert page.evaluate(wide) <= 0
    assert complaints == []


def test_the_keyboard_reaches_everything(browser: Any, running: Service) -> None:
    page, _ = visitor(browser, running, ALICE)
    page.goto("/")
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.name"))
    assert reached[0] == "Skip to the content"
    assert "file" in reached
