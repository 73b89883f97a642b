"""The page: self-contained, inert, complete, readable by machines that read it aloud."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser

import pytest
from fake_results import HOSTILE, METRICS, MISSING, SET, SUBJECTS, fake

from tamperscope.bench import charts, comparing, page, view
from tamperscope.bench.results import Results, Worst
from tamperscope.errors import InputError

RESULTS = fake()
VOID = {"meta", "img", "br", "line", "rect", "circle", "polygon", "polyline"}
LOADS = {"src", "href", "action", "data", "poster", "srcset", "background", "xlink:href"}
PNG = b"\x89PNG fake"


class Page(HTMLParser):
    """Elements, and every table as (caption, headings, {row: cells}); fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[dict] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), tag
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if "svg" not in self.open and "table" in self.open:
            if {"td", "th"} & set(self.open):
                self.tables[-1]["rows"][-1][-1] += data
            elif "caption" in self.open:
                self.tables[-1]["caption"] += data

    def all(self, *tags):
        return [attrs for tag, attrs in self.elements if tag in tags]

    def table(self, caption: str) -> list[list[str]]:
        found = [t["rows"] for t in self.tables if " ".join(t["caption"].split()).startswith(caption)]
        assert found, [t["caption"] for t in self.tables]
        return [[" ".join(c.split()) for c in row] for row in found[0]]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def panels(worst: Worst) -> tuple[bytes | None, ...]:
    return PNG, PNG + worst.image.encode(), PNG if worst.label else None


@pytest.fixture(scope="module")
def source() -> str:
    return page.html(RESULTS, panels)


@pytest.fixture(scope="module")
def shown(source: str) -> Page:
    return Page(source)


def test_nothing_is_loaded_and_no_script_runs(source: str, shown: Page) -> None:
    assert not re.search(r"(?:https?:)?//\w", source.replace(base64.b64encode(PNG).decode(), ""))
    assert "url(" not in source
    assert "@import" not in source
    assert not shown.all("script", "iframe", "object", "link", "base", "form")
    for tag, attrs in shown.elements:
        for name, value in attrs.items():
            assert not name.startswith("on"), tag
            assert name != "style", "the policy forbids style attributes"
            if name in LOADS:
                assert str(value).startswith(("data:image/png;base64,", "#"))


def test_policy_admits_the_style_of_the_page_only(source: str, shown: Page) -> None:
    policy = next(m["content"] for m in shown.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    css = re.search(r"<style>(.*?)</style>", source, re.DOTALL)
    assert css is not None
    digest = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()
    assert policy is not None
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_hostile_names_are_text(source: str, shown: Page) -> None:
    assert HOSTILE not in source
    assert HOSTILE in shown.text
    assert SET in shown.text
    for fields in ({"title": "\x1b[31m\u202eevil"}, {"command": "{{ 7*7 }}"}):
        text = page.html(RESULTS.model_copy(update=fields))
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "49" not in Page(text).table("Subjects")[0]
    assert "{{ 7*7 }}" in Page(page.html(RESULTS.model_copy(update={"command": "{{ 7*7 }}"}))).text


def test_every_number_stands_in_its_row_and_column(shown: Page) -> None:
    for attack in RESULTS.attacks:
        rows = shown.table(f"imdl · {attack.label}")
        assert rows[0] == ["subject", *map(view.heading, METRICS)]
        assert {row[0] for row in rows[1:]} == set(SUBJECTS)
        for row in rows[1:]:
            for metric, cell in zip(METRICS, row[1:], strict=True):
                number = RESULTS.number(attack=attack.label, subject=row[0], metric=metric)
                if number is None:
                    assert cell == "–"
                    continue
                left = f", {number.undefined} undefined" if number.undefined else ""
                assert cell == f"{view.with_interval(number)} n = {number.n}{left}"


def test_main_table_ends_with_the_trivial_rows(shown: Page) -> None:
    rows = shown.table("imdl Localization")
    names = [row[0] for row in rows]
    assert names == ["subject", "fused", HOSTILE, "trivial: what a result must be clear of", *view.TRIVIAL]
    assert rows[1][1].endswith("✓")
    assert rows[4][3] == "–"


def test_comparisons_alarms_and_worst_are_there(shown: Page) -> None:
    tables = [t["rows"] for t in shown.tables if t["rows"][0][:2] == ["subject", "bar"]]
    assert sum(len(rows) - 1 for rows in tables) == len(RESULTS.comparisons)
    fused = ["fused", "centre_blob", "imdl pixel_f1", "+.381 [+.331, +.431]", "p < .001", "180", "✓ clear"]
    assert tables[0][1] == fused
    assert next(c for c in tables[0] if c[-1] == "not clear")[0] == HOSTILE
    for alarm in RESULTS.alarms:
        rows = shown.table(alarm.attack)
        row = next(r for r in rows if r[0] == alarm.category)
        assert row[rows[0].index(alarm.subject)] == f"{view.with_interval(alarm)} n = {alarm.n}"
    verdicts = next(t["rows"] for t in shown.tables if t["rows"][0][1:2] == ["verdict or stronger"])
    assert ["untouched", "suspicious", ".557 [.557, .577] (n = 181)", ".011 [.011, .031] (n = 180)"] in verdicts
    for worst in (w for w in RESULTS.worst if w.image != "fake/8.jpg"):
        assert worst.image in shown.text
        assert f"{worst.metric} {view.decimal(worst.value)}" in shown.text
    assert "fake/8.jpg" not in shown.text


def test_pictures_are_embedded_worst_first_with_alternative_text(shown: Page) -> None:
    images = shown.all("img")
    assert len(images) == 8 * 3 + 4 * 2
    maps = [base64.b64decode(str(i["src"]).partition("base64,")[2])[len(PNG) :].decode() for i in images]
    assert [m for m in maps if m.startswith("fake")] == [f"fake/{i}.jpg" for i in range(8)]
    assert all(str(i["alt"]).startswith(("Picture: ", "Map over it: ", "Outline of the truth: ")) for i in images)


def test_a_picture_that_cannot_be_opened_costs_only_itself() -> None:
    def broken(worst: Worst) -> tuple[bytes | None, ...]:
        if worst.image == "fake/0.jpg":
            raise InputError("gone")
        return panels(worst)

    found = Page(page.html(RESULTS, broken))
    assert found.text.count("No picture at hand.") == 1
    assert len(found.all("img")) == 7 * 3 + 4 * 2
    without = Page(page.html(RESULTS))
    assert without.text.count("No picture at hand.") == 12
    assert not without.all("img")


def test_charts_have_finite_coordinates_inside_their_frame(shown: Page) -> None:
    frame = (math.inf, math.inf)
    seen = 0
    for tag, attrs in shown.elements:
        if tag == "svg":
            box = [float(v) for v in str(attrs["viewbox"]).split()]
            frame = box[2], box[3]
            assert (attrs.get("role") == "img" and attrs.get("aria-label")) or attrs.get("aria-hidden") == "true"
        for name in ("x", "x1", "x2", "cx", "y", "y1", "y2", "cy", "points"):
            if tag != "svg" and name in attrs and "transform" not in attrs:
                values = [float(v) for v in re.split(r"[ ,]", str(attrs[name]))]
                limit = max(frame) if name == "points" else frame["y" in name]
                assert all(0 <= v <= limit for v in values), (tag, attrs)
                seen += 1
        if "transform" in attrs:
            x, y = (float(v) for v in re.findall(r"[-\d.]+", str(attrs["transform"])))
            assert 0 <= x <= frame[0]
            assert 0 <= y <= frame[1]
    assert seen > 200


def test_one_chart_per_family_and_followed_number(shown: Page) -> None:
    labels = [str(s["aria-label"]) for s in shown.all("svg") if s.get("role") == "img"]
    starts = [label.partition(",")[0] for label in labels]
    pairs = [("jpeg", "pixel_f1"), ("jpeg", "image_auc"), ("screen", "pixel_f1"), ("screen", "image_auc")]
    assert starts == [f"{metric} under {family}" for family, metric in pairs]
    assert "fused: .6" in labels[0]


def test_many_subjects_are_drawn_in_part_and_the_page_says_so() -> None:
    extra = [n.model_copy(update={"subject": f"s{i}"}) for n in RESULTS.numbers[:36] for i in range(8)]
    extra = [n for n in extra if n.metric in ("pixel_f1", "image_auc")]
    text = Page(page.html(RESULTS.model_copy(update={"numbers": [*RESULTS.numbers, *extra]}))).text
    assert f"The {charts.STYLES} subjects that rank best over all sets are drawn" in text


def test_a_subject_looks_the_same_on_every_set() -> None:
    swapped = {"fused": HOSTILE, HOSTILE: "fused"}
    other = [
        n.model_copy(update={"test": MISSING, "subject": swapped.get(n.subject, n.subject)}) for n in RESULTS.numbers
    ]
    found = page.html(RESULTS.model_copy(update={"numbers": [*RESULTS.numbers, *other]}))
    keys = re.findall(r'<ul class="key">(.*?)</ul>', found, re.DOTALL)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    curves = re.findall(r'class="curve (s[01])" points="([^"]+)"', found)
    lines = {style: [points for s, points in curves if s == style] for style in ("s0", "s1")}
    assert lines["s0"] == [*lines["s0"][:2], *lines["s1"][:2]]
    assert lines["s1"] == [*lines["s1"][:2], *lines["s0"][:2]]
    assert lines["s0"][0] != lines["s1"][0]


def test_tables_have_headers_and_ids_are_unique(shown: Page) -> None:
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in shown.all("th"))
    assert len(shown.all("th")) > 50
    ids = [attrs["id"] for _, attrs in shown.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in shown.all("section"):
        assert attrs["aria-labelledby"] in ids


def test_the_page_says_what_it_rests_on_in_the_agreed_order(shown: Page) -> None:
    wanted = [
        "Some paper & others",
        "Learned subjects may train on: CASIA v2 only",
        "Summary",
        "3 of 366 pictures failed",
        "trivial: what a result must be clear of",
        "Paired comparisons",
        "Robustness · imdl",
        "False alarms by kind of picture",
        "Worst pictures",
        f"{MISSING} Not measured: no manifest at gone",
        "What this rests on",
        "0.5 of f",
        "CC BY 4.0 & more",
        "DecodeError: no pixel",
        RESULTS.command,
    ]
    places = [shown.text.index(words) for words in wanted]
    assert places == sorted(places)


def test_empty_results_make_a_page() -> None:
    empty = {
        "numbers": [],
        "comparisons": [],
        "alarms": [],
        "levels": [],
        "worst": [],
        "attacks": [],
        "subjects": [],
        "tests": [],
    }
    found = Page(page.html(RESULTS.model_copy(update=empty)))
    assert "0 of 0 pictures failed" in found.text
    assert not found.all("svg")


def test_the_leaderboard_page_is_as_inert() -> None:
    source = comparing.leaderboard_html({f"{HOSTILE}.json": RESULTS})
    found = Page(source)
    assert HOSTILE not in source
    assert not found.all("script")
    rows = found.table("pixel_f1 over 180 pictures")
    trivial = ["centre_blob (trivial)", "ela (trivial)", "random (trivial)"]
    assert [row[1] for row in rows] == ["subject", "fused", HOSTILE, *trivial]
    assert rows[1][4] == f"{HOSTILE}.json"


def test_two_renderings_are_equal(source: str) -> None:
    assert page.html(Results.model_validate_json(RESULTS.model_dump_json(indent=1)), panels) == source
