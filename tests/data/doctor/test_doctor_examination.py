from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from doctor_sets import HEIGHT, WIDTH, SetBuilder, block, encoded, view
from PIL import Image

from tamperscope.data.doctor import Findings, examine
from tamperscope.data.doctor.schema import Problem, printable
from tamperscope.errors import InputError, InvalidValueError

Build = Callable[[SetBuilder], None]
HEALTHY = 4


@pytest.fixture
def built(tmp_path: Path) -> Callable[[Build], Findings]:
    def _built(build: Build) -> Findings:
        builder = SetBuilder(tmp_path)
        build(builder)
        return examine(builder.write())

    return _built


def _problems(findings: Findings) -> dict[str, Problem]:
    assert len({p.code for p in findings.problems}) == len(findings.problems)
    return {p.code: p for p in findings.problems}


def _healthy(builder: SetBuilder, count: int = HEALTHY) -> None:
    for k in range(count):
        mask = np.roll(block(), k, axis=1) if k % 2 else None
        builder.add(f"ok{k}.png", encoded(view(1000 + k)), k % 2, mask)


def test_a_healthy_set_has_no_problem(built) -> None:
    findings = built(_healthy)
    assert findings.problems == []
    assert (findings.pictures, findings.opened, findings.worst) == (HEALTHY, HEALTHY, "info")
    assert "No problem was found." in findings.text()
    assert "No problem was found." in findings.html()


def _truncated(rgb: np.ndarray) -> bytes:
    data = encoded(rgb, "JPEG", quality=90)
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("code", "data", "name"),
    [
        ("file.missing", None, "bad.png"),
        ("file.unreadable", b"\x89PNG\r\n\x1a\n" + bytes(40), "bad.png"),
        ("file.unreadable", b"", "bad.png"),
        ("file.unreadable", b"no picture at all", "bad.png"),
        ("file.damaged", _truncated(view(1)), "bad.jpg"),
        ("file.name", encoded(view(1)), "bad.jpg"),
    ],
)
def test_a_bad_file_is_counted_and_named_and_the_rest_goes_on(built, code: str, data: bytes | None, name: str) -> None:
    def build(builder: SetBuilder) -> None:
        builder.add(name, data)
        _healthy(builder)

    findings = built(build)
    found = _problems(findings)
    assert set(found) == {code}
    assert [e.image for e in found[code].examples] == [name]
    assert found[code].count == 1
    assert findings.pictures == HEALTHY + 1
    assert findings.opened == HEALTHY + (code not in ("file.missing", "file.unreadable"))


_COLOURED = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
_COLOURED[8:20, 10:30] = (0, 255, 0)
_RAMP = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
_EMPTY, _FULL = np.zeros((HEIGHT, WIDTH), np.uint8), np.full((HEIGHT, WIDTH), 255, np.uint8)


@pytest.mark.parametrize(
    ("code", "label", "mask"),
    [
        ("mask.size", 1, block(size=(HEIGHT // 2, WIDTH))),
        ("mask.faint", 1, block(1)),
        ("mask.faint", 1, block(127)),
        ("mask.empty", 1, _EMPTY),
        ("mask.marked", 0, block()),
        ("mask.inverted", 1, 255 - block()),
        ("mask.full", 1, _FULL),
        ("mask.soft", 1, _RAMP),
        ("mask.coloured", 1, _COLOURED),
        ("mask.unreadable", 1, b"no picture at all"),
        ("mask.absent", 1, None),
    ],
)
def test_a_bad_mask_is_named_once_and_for_what_it_is(built, code: str, label: int, mask) -> None:
    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add("bad.png", encoded(view(1)), label, mask)

    found = _problems(built(build))
    # The green of the coloured mask is a grey of 150.
    assert set(found) - ({"mask.soft"} if code == "mask.coloured" else set()) == {code}
    assert [e.image for e in found[code].examples] == ["bad.png"]


@pytest.mark.parametrize(
    ("label", "mask", "fields"),
    [
        (0, _EMPTY, {}),
        (1, block(128), {}),
        (1, _FULL, {"domain": "generated"}),
        (1, None, {"domain": "generated"}),
        (1, np.roll(block(), (-8, -10), (0, 1)), {}),
    ],
)
def test_masks_that_are_right_are_left_alone(built, label: int, mask, fields: dict[str, str]) -> None:
    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add("good.png", encoded(view(1)), label, mask, **fields)

    assert {p.code for p in built(build).problems} <= {"mask.soft"}


def test_a_missing_mask_is_told_from_none(built) -> None:
    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add("bad.png", encoded(view(1)), 1, block())
        (builder.root / "bad.png.mask.png").unlink()

    assert set(_problems(built(build))) == {"mask.missing"}


def test_a_mask_drawn_on_the_upright_picture_is_recognized(built) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add("turned.jpg", encoded(view(1), "JPEG", quality=90, exif=exif), 1, block(size=(WIDTH, HEIGHT)))

    note = _problems(built(build))["mask.size"].examples[0].note
    assert f"mask {HEIGHT} × {WIDTH}, picture {WIDTH} × {HEIGHT}" in note
    assert "EXIF orientation" in note


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        ("labels", {"label": 0}, {"label": 1, "domain": "generated"}),
        ("labels", {"label": 0, "group": "a"}, {"label": 1, "group": "a", "domain": "generated", "split": "dev"}),
        ("splits", {"split": "train"}, {"split": "dev"}),
        ("within", {}, {"label": None}),
        ("within", {"group": "a"}, {"group": "a"}),
    ],
)
def test_exact_duplicates_are_weighed_by_labels_and_splits(built, code: str, first: dict, second: dict) -> None:
    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add("one.png", encoded(view(1)), **first)
        builder.add("two.png", encoded(view(1)), **second)

    found = {c: p for c, p in _problems(built(build)).items() if c.startswith("duplicate")}
    assert set(found) == {f"duplicate.exact.{code}"}
    pair = found[f"duplicate.exact.{code}"].examples[0]
    assert (pair.image, pair.other) == ("one.png", "two.png")
    assert "same bytes" in pair.note


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        ("labels", {"label": 0}, {"label": 1, "domain": "generated"}),
        ("splits", {"split": "train"}, {"split": "dev"}),
        ("splits", {"label": 0, "group": "a"}, {"label": 1, "group": "a", "domain": "generated", "split": "dev"}),
        ("within", {}, {}),
        (None, {"group": "a"}, {"group": "a"}),
        (None, {"label": 0, "group": "a"}, {"label": 1, "group": "a", "domain": "generated"}),
    ],
)
def test_near_duplicates_are_weighed_by_splits_labels_and_groups(built, code, first: dict, second: dict) -> None:
    small = np.asarray(Image.fromarray(view(1)).resize((WIDTH - 8, HEIGHT - 8), Image.Resampling.BICUBIC))

    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add("one.png", encoded(view(1)), **first)
        builder.add("two.jpg", encoded(small, "JPEG", quality=60), **second)

    found = {c: p for c, p in _problems(built(build)).items() if c.startswith("duplicate")}
    assert set(found) == ({f"duplicate.near.{code}"} if code else set())
    assert all((e.image, e.other) == ("one.png", "two.jpg") for p in found.values() for e in p.examples)


def test_many_copies_are_counted_once_each(built) -> None:
    def build(builder: SetBuilder) -> None:
        for k in range(6):
            builder.add(f"copy{k}.png", encoded(view(1)), split="dev" if k == 3 else "train")

    found = _problems(built(build))
    assert {c: p.count for c, p in found.items() if c.startswith("duplicate")} == {
        "duplicate.exact.within": 4 - 2,
        "duplicate.exact.splits": 3,
    }


def test_flat_pictures_are_no_near_duplicates(built) -> None:
    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        for value in (0, 100, 255):
            builder.add(f"flat{value}.png", encoded(np.full((HEIGHT, WIDTH, 3), value, np.uint8)))

    assert built(build).problems == []


def test_a_group_in_two_splits_is_named(built) -> None:
    def build(builder: SetBuilder) -> None:
        for k, (group, split) in enumerate([("a", "train"), ("a", "dev"), ("b", "dev"), ("b", "dev"), (None, "train")]):
            builder.add(f"{k}.png", encoded(view(k)), group=group, split=split)
            builder.add(f"{k}f.png", encoded(view(50 + k)), 1, block(), split=split)

    found = _problems(built(build))["group.across_splits"]
    assert found.count == 1
    assert found.examples[0].note == "group 'a' in 'dev', 'train'"


def test_labels_are_checked(built) -> None:
    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add("two.png", encoded(view(1)), 2)
        builder.add("none.png", encoded(view(2)), None)
        builder.add("alone.png", encoded(view(3)), 0, split="dev")

    found = _problems(built(build))
    assert {c: p.examples[0].image for c, p in found.items()} == {
        "label.value": "two.png",
        "label.unknown": "none.png",
        "label.one_class": "dev",
    }


def test_a_format_leak_becomes_a_problem_that_names_it(built) -> None:
    def build(builder: SetBuilder) -> None:
        for k in range(40):
            builder.add(f"{k}.{'png' if k % 2 else 'jpg'}", encoded(view(k), "PNG" if k % 2 else "JPEG"), k % 2, None)

    findings = built(build)
    found = _problems(findings)["format.leak"]
    assert found.severity == "warning"
    named = {e.image: e.note for e in found.examples}
    assert named["file type"].startswith("AUC 1.000 [1.000, 1.000]; ")
    assert "file type" in findings.text()


def test_overview_counts(built) -> None:
    def build(builder: SetBuilder) -> None:
        _healthy(builder, 6)
        builder.add("big.jpg", encoded(view(7, (300, 400)), "JPEG", quality=80), None, domain="web", split="dev")
        builder.add("gone.png", None, 0)

    findings = built(build)
    rows = [(b.split, b.domain, b.pristine, b.forged, b.unknown) for b in findings.balance]
    assert rows == [("dev", "web", 0, 0, 1), ("train", "manipulation", 4, 3, 0)]
    assert {b.label: b.count for b in findings.sizes} == {f"{WIDTH} × {HEIGHT}": 6, "400 × 300": 1}
    assert {b.label: b.count for b in findings.file_types} == {"PNG": 6, "JPEG": 1}
    assert {b.label: b.count for b in findings.megapixels if b.count} == {"0–0.05": 6, "0.1–0.25": 1}
    share = 12 * 20 / (HEIGHT * WIDTH)
    assert 0.1 < share < 0.2
    assert {b.label: b.count for b in findings.mask_areas if b.count} == {"10%–20%": 3}


def _defective(root: Path) -> Path:
    builder = SetBuilder(root)
    _healthy(builder, 12)
    builder.add("one.png", encoded(view(1)), split="dev")
    builder.add("two.jpg", encoded(view(1), "JPEG", quality=70))
    builder.add("inverted.png", encoded(view(2)), 1, 255 - block())
    builder.add("corrupt.png", b"nothing")
    return builder.write()


def test_workers_change_nothing(tmp_path: Path) -> None:
    builder = SetBuilder(tmp_path)
    for k in range(24):
        builder.add(f"{k}.png", encoded(view(k)) if k % 2 else None)
    alone = examine(builder.write())
    assert [e.image for e in alone.problems[0].examples] == [f"{k}.png" for k in range(0, 24, 2)]
    assert examine(tmp_path, workers=2).to_json() == alone.to_json()


def test_json_is_read_back_whole(tmp_path: Path) -> None:
    findings = examine(_defective(tmp_path))
    text = findings.to_json()
    assert Findings.model_validate_json(text).model_dump() == findings.model_dump()
    data = json.loads(text)
    assert data["schema_version"] == "1"
    assert set(data) == set(Findings.model_fields)
    assert "not shown" in Findings.model_validate_json(text).html()


def test_split_limit_and_folder(tmp_path: Path) -> None:
    path = _defective(tmp_path)
    dev = examine(path, split="dev")
    assert (dev.pictures, dev.split, dev.sampled) == (1, "dev", False)
    drawn = [examine(tmp_path, limit=5, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert [d.pictures for d in drawn] == [5, 5, 5]
    assert drawn[0].sampled
    assert not examine(tmp_path, limit=16).sampled


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_shows_pictures_and_loads_nothing(tmp_path: Path) -> None:
    findings = examine(_defective(tmp_path))
    html = findings.html()
    page = _Page()
    page.feed(html)
    sources = [a["src"] or "" for t, a in page.tags if "src" in a]
    assert len(sources) == 4  # a pair, and a picture with its mask over it
    assert all(s.startswith("data:image/jpeg;base64,") for s in sources)
    assert len(set(sources)) == 4
    assert not [t for t, _ in page.tags if t in ("script", "link", "iframe")]
    assert not [a for _, a in page.tags if "href" in a or "style" in a]
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert [t for t, _ in page.tags].count("svg") == 4


def test_the_style_has_the_hash_that_the_policy_admits(tmp_path: Path) -> None:
    import base64
    import hashlib

    html = examine(_defective(tmp_path)).html()
    style = html.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html


def test_what_a_manifest_says_is_neither_markup_nor_a_command_to_the_terminal(built) -> None:
    hostile = "<img src=x onerror=alert(1)>\x1b[2J\u202e[bold]{{ 7 * 7 }}"

    def build(builder: SetBuilder) -> None:
        _healthy(builder)
        builder.add(hostile, None, 0, split=hostile, domain=hostile, group=hostile)
        builder.add("lone\ud800surrogate.png", None, 0)
        builder.add("../../../nowhere\x00.png", None, 0)

    findings = built(build)
    assert _problems(findings)["file.missing"].count == 3
    html, text, data = findings.html(), findings.text(), findings.to_json()
    page = _Page()
    page.feed(html)
    assert not [t for t, a in page.tags if "onerror" in a or t == "img"]
    for output in (html, text, data):
        assert not [c for c in output if not (c.isprintable() or c == "\n")]
        output.encode()
    assert "49" not in html.split("<main>")[1].split("<svg")[0]
    assert "[bold]{{ 7 * 7 }}" in text.replace("\n", "")


def test_printable_keeps_what_can_be_seen() -> None:
    assert printable("Ünïcode 写真.jpg") == "Ünïcode 写真.jpg"
    assert printable("a\nb\x1b\u202e") == "a\\nb\\x1b\\u202e"


def test_text_puts_the_worst_first_with_how_to_mend_it(tmp_path: Path) -> None:
    findings = examine(_defective(tmp_path))
    severities = [p.severity for p in findings.problems]
    assert severities == sorted(severities, key=("warning", "notice", "info").index)
    text = findings.text(width=80)
    assert max(map(len, text.splitlines())) <= 80
    folded = " ".join(text.split())
    places = [folded.index(p.mend) for p in findings.problems]
    assert places == sorted(places)
    assert places[-1] < folded.index("Pictures by split and domain")
    assert "\x1b[" in findings.text(color=True)
    assert "\x1b" not in text


def test_bad_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a manifest"):
        examine(tmp_path / "none.jsonl")
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        examine(binary)
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"image": "a.png"}\n{"image": \n')
    with pytest.raises(InputError, match="line 2"):
        examine(broken)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(InputError, match="found none"):
        examine(empty)
    path = _defective(tmp_path)
    with pytest.raises(InputError, match="'dev', 'train'"):
        examine(path, split="test")
    for options in ({"workers": 0}, {"limit": 0}):
        with pytest.raises(InvalidValueError, match="at least 1"):
            examine(path, **options)
