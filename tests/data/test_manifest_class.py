"""The class `Manifest`: lazy filters, opening, writing whole or not at all, folders and tables, hostile paths."""

from __future__ import annotations

import itertools
import json
import pickle
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.data.manifest import Entry, Manifest, from_csv, from_folder, inside, read, relative, write
from tamperscope.errors import InputError


def _png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_filters_are_lazy_chain_and_leave_the_manifest_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"image": "a/1.png", "split": "dev", "domain": "face"}\n{"image": "b/2.png", "split": "dev"}\n{\n')
    manifest = Manifest(path)
    first = next(iter(manifest.where(split="dev")))
    assert first.image == "a/1.png"  # the broken third line was not read
    both = manifest.where(split="dev").where(under="b/")
    assert [e.image for e in itertools.islice(both, 1)] == ["b/2.png"]
    with pytest.raises(InputError, match="line 3"):
        list(manifest.where(split="train"))
    assert pickle.loads(pickle.dumps(both)) == both
    assert manifest.filters == ()


def test_where_keeps_only_what_fits(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    entries = [Entry(image=f"{d}/{s}.png", domain=d, split=s) for d in ("face", "document") for s in ("train", "dev")]
    write(path, entries)
    assert [e.image for e in Manifest(path).where(domain="face", split="dev")] == ["face/dev.png"]
    assert len(list(Manifest(path).where())) == 4
    assert not list(Manifest(path).where(domain=""))


def test_open_gives_pixels_truth_label_and_fields(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pixels, mask = rng.integers(0, 256, (20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8)
    mask[2:5, 7:9] = 255
    _png(tmp_path / "i.png", pixels)
    _png(tmp_path / "m.png", mask)
    manifest = Manifest(tmp_path / "manifest.jsonl")
    entry = Entry.model_validate(
        {"image": "i.png", "mask": "m.png", "label": 1, "split": "dev", "domain": "face", "kind": "splice"}
    )
    sample = manifest.open(entry)
    assert (sample.rgb == pixels[..., ::-1]).all()
    assert sample.mask is not None
    assert (sample.mask == (mask > 0)).all()
    assert (sample.id, sample.label) == ("i.png", 1)
    wanted = {"domain": "face", "split": "dev", "group": "i.png", "kind": "splice", "format": "PNG"}
    assert wanted.items() <= sample.meta.items()


def test_lines_of_text_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    _png(tmp_path / "page.png", np.full((200, 300, 3), 240, np.uint8))
    (tmp_path / "page.csv").write_text("10,20,90,20,90,40,10,40,TOTAL, RM 5\n10,60,400,60,400,80,10,80,wide\n")
    page = Entry(image="page.png", label=0, text_boxes="page.csv")
    manifest = Manifest(tmp_path / "m.jsonl")
    assert manifest.open(page, lines=True).meta["lines"] == [
        {"box": [10, 20, 90, 40], "text": "TOTAL, RM 5"},
        {"box": [10, 60, 300, 80], "text": "wide"},
    ]
    # A scan is not told of them.
    assert "lines" not in manifest.open(page).meta
    assert "lines" not in manifest.open(Entry(image="page.png"), lines=True).meta


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad.csv", "'bad.csv', line 2: expected eight numbers"),
        ("none.csv", "'none.csv': expected text boxes"),
        ("/etc/passwd", "expected one relative"),
        (5, "'page.png': expected the path of a file as `text_boxes`, found 5"),
    ],
)
def test_lines_of_text_that_cannot_be_read_are_told_of(tmp_path: Path, name: Any, message: str) -> None:
    _png(tmp_path / "page.png", np.full((20, 30, 3), 240, np.uint8))
    (tmp_path / "bad.csv").write_text("1,2,5,2,5,9,1,9,fine\n=cmd|' /C calc'!A0\n")
    with pytest.raises(InputError, match=re.escape(message)):
        Manifest(tmp_path / "m.jsonl").open(Entry(image="page.png", text_boxes=name), lines=True)


def test_pristine_is_all_false_even_with_a_mask_and_forged_without_one_is_unknown(tmp_path: Path) -> None:
    _png(tmp_path / "i.png", np.zeros((8, 9, 3), np.uint8))
    _png(tmp_path / "m.png", np.full((8, 9), 255, np.uint8))
    manifest = Manifest(tmp_path / "m.jsonl")
    pristine = manifest.open(Entry(image="i.png", mask="m.png", label=0))
    assert pristine.mask is not None
    assert pristine.mask.shape == (8, 9)
    assert not pristine.mask.any()
    forged = manifest.open(Entry(image="i.png", label=1))
    assert (forged.mask, forged.label) == (None, 1)
    assert manifest.open(Entry(image="i.png", mask="m.png")).label == 1


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    _png(tmp_path / "i.png", np.zeros((8, 9, 3), np.uint8))
    _png(tmp_path / "m.png", np.zeros((9, 8), np.uint8))
    with pytest.raises(InputError, match=r"9 × 8.*8 × 9"):
        Manifest(tmp_path / "m.jsonl").open(Entry(image="i.png", mask="m.png", label=1))


def test_write_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    assert write(path, [Entry(image="old.png")]) == 1

    def broken() -> object:
        yield Entry(image="new.png")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(path, broken())  # type: ignore[arg-type]
    assert [e.image for e in read(path)] == ["old.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda name, label, split, extra: Entry.model_validate(
                {"image": f"x{name}".replace("/", "_"), "label": label, "split": split, "note": extra}
            ),
            _TEXT,
            st.sampled_from([0, 1, None]),
            _TEXT,
            _TEXT,
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    path = tmp_path_factory.mktemp("m") / "m.jsonl"
    write(path, entries)
    assert list(read(path)) == entries


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "a/../../b.png", "..", "", ".", "a/../b", "x\0.png", "C:\\x.png", "C:/x.png", "\\\\h\\s\\x"]
)
def test_hostile_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="relative to the manifest"):
        inside(tmp_path, name)
    with pytest.raises(InputError, match="relative to the manifest"):
        write(tmp_path / "m.jsonl", [Entry(image="ok.png", mask=name)])
    with pytest.raises(InputError):
        Manifest(tmp_path / "m.jsonl").open(Entry(image=name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["..a.png", "a..b/c.png", "a:b.png", "-x.png", "$(id).png", "ü %s\n.png", "a b\\c.png"]
)
def test_odd_names_are_only_names(tmp_path: Path, name: str) -> None:
    _png(tmp_path / name, np.full((4, 5, 3), 7, np.uint8))
    assert (Manifest(tmp_path / "m.jsonl").open(Entry(image=name)).rgb == 7).all()


def test_pictures_outside_are_named_relatively_and_found(tmp_path: Path) -> None:
    _png(tmp_path / "set" / "a" / "i.png", np.full((4, 5, 3), 9, np.uint8))
    name = relative(tmp_path / "set" / "a" / "i.png", tmp_path / "out" / "deep")
    assert name == "../../set/a/i.png"
    write(tmp_path / "out" / "deep" / "m.jsonl", [Entry(image=name)])
    manifest = Manifest(tmp_path / "out" / "deep" / "m.jsonl")
    assert (manifest.open(next(iter(manifest))).rgb == 9).all()


def test_deeply_nested_json_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("[" * 200_000)
    with pytest.raises(InputError, match="line 1"):
        list(read(tmp_path / "m.jsonl"))


def test_images_and_masks_pair_by_name_never_by_order(tmp_path: Path) -> None:
    _touch(tmp_path, "images/b.jpg", "images/a.JPG", "images/c.jpg", "masks/A_mask.png", "masks/0.png", "masks/c.png")
    entries, notes = from_folder(tmp_path)
    found = {e.image: (e.mask, e.label) for e in entries}
    assert found == {
        "images/a.JPG": ("masks/A_mask.png", 1),
        "images/b.jpg": (None, None),
        "images/c.jpg": ("masks/c.png", 1),
    }
    assert {(n.kind, n.path) for n in notes} == {("missing", "images/b.jpg"), ("missing", "masks/0.png")}


def test_tp_au_gt_and_class_folders(tmp_path: Path) -> None:
    _touch(tmp_path, "S/Tp/1.tif", "S/Tp/2.tif", "S/Gt/1_gt.png", "S/Au/1.tif", "cat/0_real/r.png", "cat/1_fake/f.png")
    _touch(tmp_path, "real/images/q.png", "forged/images/z.png", "forged/masks/z.png", "readme/x.png")
    entries, notes = from_folder(tmp_path)
    found = {e.image: (e.mask, e.label) for e in entries}
    assert found == {
        "S/Tp/1.tif": ("S/Gt/1_gt.png", 1),
        "S/Tp/2.tif": (None, 1),
        "S/Au/1.tif": (None, 0),
        "cat/0_real/r.png": (None, 0),
        "cat/1_fake/f.png": (None, 1),
        "real/images/q.png": (None, 0),
        "forged/images/z.png": ("forged/masks/z.png", 1),
    }
    assert [(n.kind, n.path) for n in notes] == [("missing", "S/Tp/2.tif")]


def test_folder_names_with_pattern_characters_still_pair(tmp_path: Path) -> None:
    _touch(tmp_path, "s[1]*/images/a b.png", "s[1]*/masks/a b.png")
    assert [e.mask for e in from_folder(tmp_path)[0]] == ["s[1]*/masks/a b.png"]


def test_an_unknown_layout_is_an_error(tmp_path: Path) -> None:
    _touch(tmp_path, "things/a.png")
    with pytest.raises(InputError, match="authentic"):
        from_folder(tmp_path)


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('\ufeffPath;Label;mask;split;tool\n"a;b.png";Fake;m.png;dev;gimp\n\nc.png;real;;;\nd.png;;;;\n')
    first, second, third = from_csv(path)
    assert (first.image, first.label, first.mask, first.split) == ("a;b.png", 1, "m.png", "dev")
    assert first.extra == {"tool": "gimp"}
    assert (second.label, second.mask, third.label) == (0, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one column named image"),
        ("name,label\na,1\n", "one column named image"),
        ("path,image\na,1\n", "one column named image"),
        ("image,label\na.png,maybe\n", r"line 2.*maybe"),
        ("image,label\na.png\n", "line 2: expected 2 columns"),
        ("image,label\nb.png,1\n,1\n", "line 3"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        list(from_csv(path))


def test_lines_leave_out_what_holds_nothing() -> None:
    assert json.loads(Entry(image="ü.png", label=0).line()) == {"image": "ü.png", "label": 0}
