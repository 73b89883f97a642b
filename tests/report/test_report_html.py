"""The page: self-contained, inert, upright, readable."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from rich.console import Console

from tamperscope.report import imaging, schema, terminal, view
from tamperscope.report.html import render_html
from tamperscope.report.schema import Report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}\x1b[31m\u202egpj.exe"
VOID = {"meta", "img", "input", "br", "link", "line", "rect", "circle", "path"}
LOADS = {"src", "href", "action", "data", "poster", "srcset", "background", "formaction", "xlink:href"}


class Page(HTMLParser):
    """All elements of a page; fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def by_id(self, name):
        return next(attrs for _, attrs in self.elements if attrs.get("id") == name)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def hostile(make_report) -> Report:
    """A report with a hostile string in every field that holds free text."""

    def poison(value, path=""):
        if isinstance(value, dict):
            return {k: poison(v, k) for k, v in value.items()} | ({HOSTILE: HOSTILE} if path == "facts" else {})
        if isinstance(value, list):
            return [poison(v, path) for v in value]
        fixed = {"status", "level", "severity", "schema_version"}
        return f"{value} {HOSTILE}" if isinstance(value, str) and path not in fixed else value

    good = make_report()
    bad = Report.model_validate(poison(good.to_dict()))
    maps = {**{f"{name} {HOSTILE}": heat for name, heat in good.maps.items()}, **good.maps}
    return bad.with_pictures(good.rgb, maps)


def test_page_is_well_formed_and_states_everything(report):
    page = Page(render_html(report))
    for part in (
        "Strong evidence of alteration", "0.42 % of untouched pictures", "0.11 % to 1.1 %", "1,200 untouched camera",
        "shifted by (3, 5)", "noiseprint found nothing that stands out", "whether the picture was generated",
        "Unstable", "JPEG 70", "Brick walls, windows and printed patterns", "the file embeds no thumbnail",
        "names an editor", "DateTimeOriginal", "A1 ↔ A2", "rotation degrees 12", "tamperscope scan astronaut.jpg",
        "simplejpeg 1.9.0", "ICC profile ignored", "No evidence is not proof", "9f9f9f9f", "Start −0.02: what",
    ):  # fmt: skip
        assert part in page.words, part


def test_nothing_is_loaded_from_anywhere(report):
    text = render_html(report)
    assert "http:" not in text
    assert "https:" not in text
    for tag, attrs in Page(text).elements:
        assert not tag.startswith(("link", "iframe", "object", "embed", "base", "form")), tag
        for name in LOADS & attrs.keys():
            assert attrs[name].startswith(("data:image/", "#")), (tag, name, attrs[name][:40])
    assert "url(" not in text
    assert "@import" not in text


def test_policy_admits_only_the_page_s_own_style_and_script(report):
    text = render_html(report)
    policy = next(a["content"] for a in Page(text).all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert text.index("Content-Security-Policy") < min(text.index("<style>"), text.index("<img"), text.index("<title>"))
    for _, attrs in Page(text).elements:
        assert "style" not in attrs
        assert not any(name.startswith("on") for name in attrs)


def test_hostile_strings_stay_text(make_report, report):
    text = render_html(hostile(make_report))
    page = Page(text)
    assert len(page.all("script")) == 1
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in Page(render_html(report)).elements}
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert not set(text) & {"\x1b", "\u202e", "\x07", "\x00"}
    assert "<script>alert" not in text
    assert "{{ 7*7 }}" in page.words
    assert "49" not in re.findall(r"onerror=alert\(2\)>(.{0,3})", page.words)
    for attrs in page.all("img"):
        assert attrs["src"].startswith("data:image/")


def test_no_untrusted_value_is_marked_safe():
    folder = resources.files("tamperscope.report") / "templates"
    for entry in folder.iterdir():
        if entry.name.endswith(".j2"):
            source = entry.read_text(encoding="utf-8")
            assert not re.search(r"\|\s*safe\b|autoescape\s+false|Markup", source), entry.name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_and_maps_are_shown_upright(make_report, orientation):
    rng = np.random.default_rng(orientation)
    rgb = cv2.resize(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8), (270, 180), interpolation=cv2.INTER_CUBIC)
    heat = cv2.resize(rng.integers(0, 255, (6, 9), dtype=np.uint8), (270, 180), interpolation=cv2.INTER_NEAREST)
    report = make_report(rgb, orientation=orientation).with_pictures(rgb, {"fused": heat, "zero": heat[::-1]})

    def turned(array):
        buffer = io.BytesIO()
        picture = Image.fromarray(array)
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(buffer, "PNG", exif=exif)
        return np.asarray(ImageOps.exif_transpose(Image.open(buffer)))

    text = render_html(report)
    page = Page(text)
    shown = np.asarray(decoded(page.by_id("picture")["src"]).convert("RGB")).astype(float)
    assert shown.shape == turned(rgb).shape
    assert np.abs(shown - turned(rgb)).mean() < 3
    assert np.array_equal(np.asarray(decoded(page.by_id("heat")["src"])) // 4, turned(heat) // 4)
    card = next(a for a in page.all("img") if a.get("alt", "").startswith("Map of zero"))
    assert np.array_equal(np.asarray(decoded(card["src"])) // 4, turned(heat[::-1].copy()) // 4)
    assert ("Turned upright" in page.words) == (orientation != 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_the_picture(orientation):
    rng = np.random.default_rng(orientation)
    for _ in range(20):
        height, width = rng.integers(2, 40, 2)
        x0, y0 = rng.integers(0, width), rng.integers(0, height)
        x1, y1 = rng.integers(x0 + 1, width + 1), rng.integers(y0 + 1, height + 1)
        mask = np.zeros((height, width), np.uint8)
        mask[y0:y1, x0:x1] = 1
        a0, b0, a1, b1 = imaging.upright_box((x0, y0, x1, y1), (height, width), orientation)
        turned = imaging.upright(mask, orientation)
        assert turned[b0:b1, a0:a1].all()
        assert turned.sum() == (a1 - a0) * (b1 - b0)


def test_marks_lie_where_the_regions_are(make_report):
    report = make_report(orientation=6)
    x0, y0, x1, y1 = report.verdict.regions[0].box
    height = report.picture.height
    mark = view.marks(report)[0]
    assert mark.x == pytest.approx(100 * (height - y1) / height, abs=0.01)
    assert mark.y == pytest.approx(100 * x0 / report.picture.width, abs=0.01)
    assert mark.width == pytest.approx(100 * (y1 - y0) / height, abs=0.01)
    assert mark.height == pytest.approx(100 * (x1 - x0) / report.picture.width, abs=0.01)


def test_overlay_colours_only_what_is_loud(report):
    heat, rgb = report.maps["fused"], report.rgb
    mixed = imaging.overlay(rgb, heat)
    assert np.array_equal(mixed[heat <= 51], rgb[heat <= 51])
    assert np.abs(mixed[heat > 200].astype(int) - rgb[heat > 200]).mean() > 40
    assert np.array_equal(imaging.overlay(rgb, heat, strength=0.0), rgb)


def test_colours_get_lighter_and_denser_with_suspicion():
    table = imaging.heat_table().astype(float)
    luminance = cv2.cvtColor((table[None, :, :3] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)[0, :, 0]
    assert np.all(np.diff(luminance) > -0.5)
    assert np.all(np.diff(table[:, 3]) >= 0)


def test_reduced_maps_keep_the_decision_level_and_their_budget(rng):
    heat = rng.integers(0, 256, (600, 800), dtype=np.uint8)
    data, size = imaging.bounded_heat_png(heat, 10_000_000)
    assert size == heat.shape
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))) >= 128, heat >= 128)
    data, size = imaging.bounded_heat_png(heat, 40_000)
    assert len(data) <= 40_000
    assert size[0] / size[1] == pytest.approx(0.75, abs=0.02)


def test_outline_encloses_what_lies_above_the_level():
    heat = np.zeros((300, 400), np.uint8)
    heat[100:200, 150:350] = 255
    (line,) = imaging.outline(heat)
    xs, ys = [x * 400 for x, _ in line], [y * 300 for _, y in line]
    assert (min(xs), max(xs), min(ys), max(ys)) == pytest.approx((150.5, 349.5, 100.5, 199.5))
    assert imaging.outline(np.full((50, 50), 127, np.uint8)) == []


def test_large_pictures_are_reduced_and_say_so(make_report):
    rgb = np.zeros((500, 5000, 3), np.uint8)
    page = Page(render_html(make_report(rgb)))
    assert decoded(page.by_id("picture")["src"]).size == (4096, 410)
    assert "Shown at 4096 × 410 of 5000 × 500 pixels" in page.words


def test_a_busy_12_megapixel_picture_fits_the_budget(make_report):
    rng = np.random.default_rng(1)
    photo = cv2.resize(make_report().rgb, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    grain = np.tile(rng.integers(0, 25, (300, 400, 3), dtype=np.uint8), (10, 10, 1))
    photo = cv2.subtract(cv2.add(photo, grain), np.full_like(grain, 12))
    report = make_report(photo)
    noise = np.tile(rng.integers(0, 256, (300, 400), dtype=np.uint8), (10, 10))
    text = render_html(report.with_pictures(photo, dict.fromkeys(report.maps, noise)))
    assert len(text.encode()) <= 12_000_000
    assert decoded(Page(text).by_id("picture")["src"]).size == (4000, 3000)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2500, 2), (7, 5)])
def test_tiny_and_thin_pictures(make_report, size):
    data = make_report().to_dict()
    data["picture"] |= {"height": size[0], "width": size[1]}
    data["verdict"]["regions"] = [{"box": [0, 0, size[1], size[0]]}]
    for prediction in data["predictions"]:
        prediction["regions"] = []
    report = Report.model_validate(data).with_pictures(
        np.zeros((*size, 3), np.uint8), {"fused": np.full(size, 255, np.uint8), "zero": np.zeros(size, np.uint8)}
    )
    assert Page(render_html(report)).by_id("picture")["src"]


def test_page_without_pictures_maps_or_answers(make_report):
    full = make_report()
    data = full.to_dict()
    data |= {"facts": {}, "findings": [], "predictions": [], "limits": ""}
    data["verdict"] = {"level": "inconclusive", "headline": "Nothing could be weighed."}
    bare = Report.model_validate(data)
    words = Page(render_html(bare)).words
    assert "carries no picture" in words
    assert "No false-alarm rate is known" in words
    assert "Not tested" in words
    only_rgb = bare.with_pictures(full.rgb)
    assert "No detector that counts made a map" in Page(render_html(only_rgb)).words


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({}, "line"), ({"a": 1}, "tree"), ([], "line"), ([1, 2], "line"), ([[1, 2], [3, 4]], "matrix"),
        ([[1, 2], [3]], "line"), (list(range(64)), "matrix"), ([{"a": 1}, {"b": 2}], "records"),
        ([{"a": {"b": 1}}], "list"), ([{str(i): i for i in range(9)}], "list"), ("x", "line"), (None, "line"),
    ],
)  # fmt: skip
def test_facts_are_shown_by_their_shape(value, kind):
    assert view.kind_of(value) == kind


def test_a_quantization_table_is_shown_as_eight_rows(make_report):
    data = make_report().to_dict() | {"facts": {"jpeg": {"table": list(range(1000, 1064))}}}
    text = render_html(Report.model_validate(data))
    (table,) = re.findall(r'<table class="matrix">(.*?)</table>', text, flags=re.S)
    assert [row.count("<td>") for row in table.split("</tr>")[:-1]] == [8] * 8


def test_pixels_without_a_file_are_said_to_be_so(make_report):
    data = make_report().to_dict()
    data["intake"] = {"name": "", "source": "array", "not_read": "no file: there is no container to read"}
    report = Report.model_validate(data)
    words = Page(render_html(report)).words
    assert "unnamed picture" in words
    assert "no file: there is no container to read" in words
    stream = io.StringIO()
    terminal.render(report, Console(file=stream, width=100))
    assert "array" in stream.getvalue()


def test_page_is_accessible(report):
    page = Page(render_html(report))
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("main", "h1")] == [1, 1]
    assert "header" in tags
    assert "footer" in tags
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all("alt" in attrs for attrs in page.all("img"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        for name in ("aria-labelledby", "for"):
            assert attrs.get(name, ids[0]) in ids
    assert page.by_id("blend")["type"] == "range"
    assert dict(page.elements[0][1])["lang"] == "en"


def luminance(colour: str) -> float:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_contrast_is_enough_in_light_and_dark():
    css = (resources.files("tamperscope.report") / "templates" / "report.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)
    ]
    assert len(themes) == 2
    inks = ("ink", "soft", "accent", "no_evidence", "inconclusive", "suspicious", "strong_evidence")
    for theme in themes:
        for ink in inks:
            for ground in ("ground", "card", "well"):
                light, dark = sorted((luminance(theme[ink]), luminance(theme[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_saving_writes_the_page(report, tmp_path):
    path = report.save_html(tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render_html(report)
    assert schema.SCHEMA_VERSION in path.read_text(encoding="utf-8")


def test_the_title_is_the_name_and_the_path_is_told_below(make_report):
    page = render_html(make_report(name="/far/away/in/a.jpg"))
    assert "– a.jpg</title>" in page
    assert "<h1>a.jpg</h1>" in page
    assert "/far/away/in/a.jpg" in page.partition("How this report was made")[2]
