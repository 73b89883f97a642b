"""Preparing a set: two made-up sets with planted defects, and one real layout from end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tamperscope.data import checking, sources
from tamperscope.data import prepare as preparing
from tamperscope.data.manifest import Manifest
from tamperscope.data.sources.base import Found, Source, Tree, forged, pristine
from tamperscope.errors import InputError, UnknownNameError

SIZE = (40, 64)


def _source(**changes: object) -> Source:
    own = {"title": "Tiny", "domain": "manipulation", "licence": "none stated", "home": "https://example.org"}
    return Source(**{**own, "size": "small", "layout": "tp/*.png", **changes})  # type: ignore[arg-type]


def _read(tree: Tree) -> Iterator[Found]:
    for image in tree.pictures("tp/*"):
        name = image.rpartition("/")[2].rpartition(".")[0]
        yield from forged(tree, image, tree.one_of(f"gt/{name}.*"), split="test", kind="splice")
    yield from pristine(tree, "au/*")


TINY = SimpleNamespace(SOURCE=_source(expected={"forged": 4, "pristine": 1, "test/forged": 4}), read=_read)


def _read_dark(tree: Tree) -> Iterator[Found]:
    for image in tree.pictures("tp/*"):
        yield Found(image, 1, image.replace("tp/", "gt/"), "black", group="g", extra={"image": "evil", "boxes": [[1]]})


DARK = SimpleNamespace(SOURCE=_source(), read=_read_dark)


@pytest.fixture(autouse=True)
def _sets(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = sources.load, {"tiny": TINY, "dark": DARK}
    monkeypatch.setattr(sources, "load", lambda name: made[name] if name in made else real(name))


def _png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def _mask(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 255
    return mask


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Four forged pictures: a plain mask, one of 0 and 1, one of half the size, one without; a pristine one."""
    root = tmp_path / "my copy ü"
    for seed, name in enumerate(("plain", "ones", "half", "orphan")):
        _png(root / "tp" / f"{name}.png", _picture(seed))
    _png(root / "gt" / "plain.png", _mask())
    _png(root / "gt" / "ones.png", _mask() // 255)
    _png(root / "gt" / "half.png", _mask((20, 32)))
    _png(root / "au" / "real.png", _picture(9))
    return root


def test_masks_are_repaired_and_the_manifest_opens(copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = preparing.prepare("tiny", copy, out)
    manifest = Manifest(out / "manifest.jsonl")
    entries = {e.image.rpartition("/")[2]: e for e in manifest}
    assert sorted(entries) == ["half.png", "ones.png", "plain.png", "real.png"]
    for name in ("plain", "ones", "half"):
        sample = manifest.open(entries[f"{name}.png"])
        assert sample.mask is not None, name
        assert (sample.mask == (_mask() > 0)).all(), name
    assert entries["plain.png"].mask == "../my copy ü/gt/plain.png"
    assert entries["ones.png"].mask == "masks/tp/ones.png.png"
    assert set(np.unique(cv2.imread(str(out / "masks/tp/ones.png.png"), cv2.IMREAD_UNCHANGED))) == {0, 255}
    plain = entries["plain.png"]
    assert (plain.label, plain.split, plain.domain, plain.group) == (1, "test", "manipulation", None)
    assert plain.extra == {"kind": "splice", "source": "tiny"}
    assert (entries["real.png"].label, entries["real.png"].mask) == (0, None)
    assert summary.counts == {"forged": 3, "test/forged": 3, "pristine": 1}
    assert not summary.complete
    repaired = {(n.path, n.text) for n in summary.notes if n.kind == "repaired"}
    assert repaired == {
        ("tp/ones.png", "mask: values of 0 and 1"),
        ("tp/half.png", "mask: resized by nearest neighbour"),
    }
    assert [n.path for n in summary.notes if n.kind == "missing"] == ["tp/orphan.png"]
    for part in ("forged: 3 (expected 4)", "pristine: 1\n", "tp/orphan.png", "resized"):
        assert part in summary.text()


def test_the_card_keeps_licence_and_origin(copy: Path, tmp_path: Path) -> None:
    preparing.prepare("tiny", copy, tmp_path / "out")
    text = (tmp_path / "out" / "source.json").read_text(encoding="utf-8")
    card = json.loads(text)
    wanted = {"name": "tiny", "licence": "none stated", "home": "https://example.org", "complete": False}
    assert wanted.items() <= card.items()
    assert card["expected"] == {"forged": 4, "pristine": 1, "test/forged": 4}
    assert str(tmp_path) not in text + (tmp_path / "out" / "manifest.jsonl").read_text(encoding="utf-8")


def test_a_second_run_gives_the_same_files_and_checks_nothing_again(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = preparing.prepare("tiny", copy, out)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (out / "masks").rglob("*.png")}
    manifest = (out / "manifest.jsonl").read_bytes()
    checked: list[str] = []
    real = checking.Checker.check
    monkeypatch.setattr(checking.Checker, "check", lambda self, f: checked.append(f.image) or real(self, f))
    assert preparing.prepare("tiny", copy, out) == first
    assert checked == []
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before} == before
    assert (out / "manifest.jsonl").read_bytes() == manifest
    _png(copy / "gt" / "plain.png", np.roll(_mask(), 5, 0) // 255)
    (out / "masks/tp/ones.png.png").unlink()
    preparing.prepare("tiny", copy, out)
    assert checked == ["tp/ones.png", "tp/plain.png"]
    assert (out / "masks/tp/plain.png.png").exists()
    assert (out / "masks/tp/ones.png.png").exists()


def test_an_interrupted_run_goes_on_where_it_stopped(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, checked = tmp_path / "out", list[str]()
    real = checking.Checker.check

    def check(self: checking.Checker, found: Found) -> checking.Row:
        if len(checked) == 2:
            raise KeyboardInterrupt
        checked.append(found.image)
        return real(self, found)

    monkeypatch.setattr(checking.Checker, "check", check)
    with pytest.raises(KeyboardInterrupt):
        preparing.prepare("tiny", copy, out)
    assert not (out / "manifest.jsonl").exists()
    with (out / ".prepared.jsonl").open("a") as stream:
        stream.write('{"cut short')
    done = list(checked)
    checked.clear()
    preparing.prepare("tiny", copy, out)
    assert not set(done) & set(checked)
    assert len(done) == 2
    assert len(list(Manifest(out / "manifest.jsonl"))) == 4


def test_dark_truth_is_inverted_and_a_set_cannot_overwrite_the_path(copy: Path, tmp_path: Path) -> None:
    for name in ("plain", "ones", "half", "orphan"):
        _png(copy / "gt" / f"{name}.png", 255 - _mask())
    preparing.prepare("dark", copy, tmp_path / "out")
    manifest = Manifest(tmp_path / "out" / "manifest.jsonl")
    for entry in manifest:
        sample = manifest.open(entry)
        assert sample.mask is not None
        assert (sample.mask == (_mask() > 0)).all()
        assert (entry.group, entry.extra["boxes"]) == ("g", [[1]])


def test_inverted_masks_are_reported_and_mended_only_when_asked(copy: Path, tmp_path: Path) -> None:
    _png(copy / "gt" / "plain.png", 255 - _mask())
    _png(copy / "gt" / "ones.png", 0 * _mask())
    told = preparing.prepare("tiny", copy, tmp_path / "told")
    assert {(n.path, n.kind) for n in told.notes if "mask mark" in n.text} == {
        ("tp/plain.png", "unknown"),
        ("tp/ones.png", "unknown"),
    }
    preparing.prepare("tiny", copy, tmp_path / "mended", mend_polarity=True)
    for folder, wanted in (("told", 255 - _mask()), ("mended", _mask())):
        manifest = Manifest(tmp_path / folder / "manifest.jsonl")
        entry = next(e for e in manifest if "plain" in e.image)
        sample = manifest.open(entry)
        assert sample.mask is not None
        assert (sample.mask == (wanted > 0)).all()


def test_a_set_known_to_mix_both_polarities_is_mended_unasked(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _png(copy / "gt" / "plain.png", 255 - _mask())
    asked = preparing.prepare("tiny", copy, tmp_path / "asked", mend_polarity=True)
    mixed = SimpleNamespace(SOURCE=_source(mixed_polarity=True), read=_read)
    monkeypatch.setattr(sources, "load", lambda name: mixed)
    known = preparing.prepare("tiny", copy, tmp_path / "known")
    assert known.notes == asked.notes
    assert any("polarity inverted" in note.text for note in known.notes)


def test_boxes_stand_in_for_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        _png(tmp_path / "set" / f"{name}.png", _picture(1))
    boxes = {"a": [[3, 4, 10.5, 20], [60, 30, 99, 99]], "b": [[1]]}

    def read(tree: Tree) -> Iterator[Found]:
        for name, each in boxes.items():
            yield Found(f"{name}.png", 1, extra={"boxes": each})

    monkeypatch.setattr(sources, "load", lambda name: SimpleNamespace(SOURCE=_source(), read=read))
    summary = preparing.prepare("receipts", tmp_path / "set", tmp_path / "out")
    (entry,) = list(Manifest(summary.manifest))
    mask = Manifest(summary.manifest).open(entry).mask
    expected = np.zeros(SIZE, bool)
    expected[4:20, 3:11] = True
    expected[30:, 60:] = True
    np.testing.assert_array_equal(mask, expected)
    assert [n.kind for n in summary.notes] == ["repaired", "skipped"]


def test_polygons_go_before_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _png(tmp_path / "set" / "a.png", _picture(1))
    shapes = {"polygons": [[10, 10, 30, 10, 30, 20, 10, 20], [40, 2, 50, 2, 50, 12]], "boxes": [[0, 0, 64, 40]]}
    found = Found("a.png", 1, extra=shapes)
    monkeypatch.setattr(
        sources, "load", lambda name: SimpleNamespace(SOURCE=_source(), read=lambda tree: iter([found]))
    )
    summary = preparing.prepare("faces", tmp_path / "set", tmp_path / "out")
    (entry,) = list(Manifest(summary.manifest))
    mask = Manifest(summary.manifest).open(entry).mask
    assert mask is not None
    assert mask[12:18, 12:28].all()
    assert mask[4, 48]
    assert not mask[11, 41]  # below the diagonal of the triangle
    assert 200 <= mask.sum() <= 270


def test_broken_pictures_and_masks_are_left_out_with_a_reason(copy: Path, tmp_path: Path) -> None:
    (copy / "tp" / "plain.png").write_bytes(b"no picture")
    (copy / "gt" / "ones.png").write_bytes(b"")
    _png(copy / "gt" / "half.png", _mask((64, 40)))
    summary = preparing.prepare("tiny", copy, tmp_path / "out")
    skipped = {n.path: n.text for n in summary.notes if n.kind == "skipped"}
    assert sorted(skipped) == ["tp/half.png", "tp/ones.png", "tp/plain.png"]
    assert "64 × 40" in skipped["tp/half.png"]
    assert "40 × 64" in skipped["tp/half.png"]
    assert summary.counts == {"pristine": 1}


def test_a_field_of_the_wrong_kind_is_told_in_one_line(copy: Path, tmp_path: Path) -> None:
    checker = checking.Checker("tiny", "manipulation", copy, tmp_path / "out")
    row = checker.check(Found("au/real.png", label="forged"))  # type: ignore[arg-type]
    (note,) = row.notes
    told = "label: Input should be a valid integer, unable to parse string as an integer, found 'forged'"
    assert (note.kind, note.text, row.entry) == ("skipped", f"left out: {told}", {})


def test_duplicates_are_reported(copy: Path, tmp_path: Path) -> None:
    shutil.copy(copy / "au" / "real.png", copy / "au" / "again.png")
    summary = preparing.prepare("tiny", copy, tmp_path / "out")
    assert summary.duplicates == (("../my copy ü/au/again.png", "../my copy ü/au/real.png"),)
    assert "duplicates" in summary.text()
    assert summary.counts["pristine"] == 2


def test_sizes_come_from_headers_alone(tmp_path: Path) -> None:
    _png(tmp_path / "i.png", _picture(1))
    data = (tmp_path / "i.png").read_bytes()
    at = data.index(b"IDAT") + 10
    (tmp_path / "i.png").write_bytes(data[:at] + bytes(100) + data[at + 100 :])
    assert checking.look(tmp_path / "i.png").size == SIZE
    with pytest.raises(InputError, match="cannot be read"):
        checking.look(tmp_path / "none.png")


def test_an_unknown_set_and_an_unknown_layout_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'doctamper'"):
        preparing.prepare("doctampr", copy, tmp_path / "out")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"tp/\*\.png"):
        preparing.prepare("tiny", tmp_path / "other", tmp_path / "out")
    with pytest.raises(InputError, match="outside"):
        preparing.prepare("tiny", copy, copy / "out")
    assert not (tmp_path / "out").exists()


def test_every_set_is_listed_loaded_and_described() -> None:
    names = sources.names()
    assert "doctamper" in names
    assert not {"base", "folders", "__init__"} & set(names)
    for name in names:
        assert callable(sources.load(name).read)
        assert sources.describe(name).title


def test_a_real_layout_from_end_to_end(tmp_path: Path) -> None:
    root = tmp_path / "DocTamperV1-FCD"
    _png(root / "images" / "000000000.png", _picture(4))
    _png(root / "masks" / "000000000.png", _mask() // 255)
    preparing.prepare("doctamper", tmp_path / "DocTamperV1-FCD", tmp_path / "out")
    manifest = Manifest(tmp_path / "out" / "manifest.jsonl")
    (entry,) = manifest
    sample = manifest.open(entry)
    assert sample.mask is not None
    assert (sample.mask == (_mask() > 0)).all()
    assert (entry.domain, entry.extra["source"]) == ("document", "doctamper")
