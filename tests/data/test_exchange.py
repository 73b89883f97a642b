"""Exchange with other tools: what goes out comes back, also with blanks and unicode in names; broken input is named."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tamperscope.data import exchange, masks
from tamperscope.data.exchange import coco, shards
from tamperscope.data.manifest import Entry, Manifest, write
from tamperscope.errors import InputError, InvalidValueError, UnknownNameError

SIZE = (30, 44)
NAMES = ("plain.png", "with blank.png", "ünïcode 图.png", "two.dots.v1.png", "sub folder/a'\"b.png")


def _png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Forged pictures of odd names, each with a mask of its own, and a pristine one."""
    folder, entries = tmp_path / "set", []
    for seed, name in enumerate(NAMES):
        rng = np.random.default_rng(seed)
        _png(folder / "images" / name, rng.integers(0, 256, (*SIZE, 3), np.uint8))
        _png(folder / "masks" / name, (rng.random(SIZE) < 0.3).astype(np.uint8) * 255)
        entries.append(Entry(image=f"images/{name}", mask=f"masks/{name}", label=1, split="dev", group=f"g{seed}"))
    _png(folder / "real.png", np.full((*SIZE, 3), 7, np.uint8))
    write(folder / "manifest.jsonl", [*entries, Entry(image="real.png", label=0, domain="face")])
    return Manifest(folder / "manifest.jsonl")


def _same(before: Manifest, after: Manifest, fields: tuple[str, ...] = ("label",)) -> None:
    """Assert that two manifests open to the same pictures, masks and fields, in the same order."""
    pairs = list(zip(before, after, strict=True))
    assert len(pairs) == len(NAMES) + 1
    for old, new in pairs:
        a, b = before.open(old), after.open(new)
        assert (a.rgb == b.rgb).all()
        assert a.mask is not None
        assert b.mask is not None
        assert (a.mask == b.mask).all()
        assert [getattr(old, f) for f in fields] == [getattr(new, f) for f in fields]


@pytest.mark.parametrize("fmt", ["benco", "forensichub"])
def test_lists_come_back(manifest: Manifest, tmp_path: Path, fmt: str) -> None:
    assert exchange.from_manifest(manifest.path, tmp_path / "a b" / "list.json", fmt) == 6
    assert exchange.to_manifest(tmp_path / "a b" / "list.json", tmp_path / "new" / "m.jsonl", fmt) == (6, [])
    _same(manifest, Manifest(tmp_path / "new" / "m.jsonl"))


def test_lists_have_the_shape_that_their_tools_read(manifest: Manifest, tmp_path: Path) -> None:
    exchange.from_manifest(manifest.path, tmp_path / "b.json", "benco")
    exchange.from_manifest(manifest.path, tmp_path / "f.json", "forensichub")
    pairs = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    objects = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert all(Path(image).is_absolute() and Path(image).is_file() for image, _ in pairs)
    assert [mask == "Negative" for _, mask in pairs] == [False] * 5 + [True]
    assert objects == [{"path": i, "mask": m, "label": int(m != "Negative")} for i, m in pairs]


def test_relative_paths_of_a_list_start_at_the_list(tmp_path: Path) -> None:
    _png(tmp_path / "lists" / "p.png", np.zeros((4, 4, 3), np.uint8))
    rows = [["p.png", "Negative"], {"path": "p.png", "label": 1}, {"path": "p.png"}, {"path": "p.png", "mask": "m.png"}]
    (tmp_path / "lists" / "l.json").write_text(json.dumps(rows))
    exchange.to_manifest(tmp_path / "lists" / "l.json", tmp_path / "out" / "m.jsonl", "benco")
    found = list(Manifest(tmp_path / "out" / "m.jsonl"))
    assert {e.image for e in found} == {"../lists/p.png"}
    assert [(e.label, e.mask) for e in found] == [(0, None), (1, None), (None, None), (1, "../lists/m.png")]


@pytest.mark.parametrize(
    "row",
    [
        "p.png",
        ["p.png"],
        ["p.png", 1],
        [None, "Negative"],
        {"mask": "m.png"},
        {"path": "p", "label": 2},
        ["", "m"],
        3,
        {"path": "p", "mask": "Negative", "label": 1},
    ],
)
def test_bad_rows_of_a_list_are_named(tmp_path: Path, row: object) -> None:
    (tmp_path / "l.json").write_text(json.dumps([["ok.png", "Negative"], row]))
    with pytest.raises(InputError, match="row 2"):
        exchange.to_manifest(tmp_path / "l.json", tmp_path / "m.jsonl", "forensichub")
    assert not (tmp_path / "m.jsonl").exists()


@pytest.mark.parametrize(
    ("fmt", "entry"), [("benco", Entry(image="a.png", label=1)), ("forensichub", Entry(image="a"))]
)
def test_what_a_list_cannot_say_is_refused(tmp_path: Path, fmt: str, entry: Entry) -> None:
    write(tmp_path / "m.jsonl", [entry])
    with pytest.raises(InputError, match=entry.image):
        exchange.from_manifest(tmp_path / "m.jsonl", tmp_path / "l.json", fmt)
    assert not (tmp_path / "l.json").exists()


def test_coco_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    assert exchange.from_manifest(manifest.path, tmp_path / "c" / "coco.json", "coco") == 6
    exchange.to_manifest(tmp_path / "c" / "coco.json", tmp_path / "n" / "m.jsonl", "coco")
    _same(manifest, Manifest(tmp_path / "n" / "m.jsonl"), ("label", "split", "group", "domain"))
    document = json.loads((tmp_path / "c" / "coco.json").read_text(encoding="utf-8"))
    first = document["annotations"][0]
    mask = manifest.open(next(iter(manifest))).mask
    assert mask is not None
    assert first["area"] == mask.sum()
    x, y, w, h = first["bbox"]
    assert mask[y : y + h, x : x + w].sum() == mask.sum()
    assert mask[y].any()
    assert mask[y + h - 1].any()
    assert mask[:, x].any()
    assert mask[:, x + w - 1].any()


MASKS = st.tuples(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.sampled_from([0, 0.02, 0.5, 1]))


def _random(drawn: tuple[int, int, int, float]) -> np.ndarray:
    height, width, seed, share = drawn
    return np.random.default_rng(seed).random((height, width)) < share


def _packed(counts: list[int]) -> str:
    """Compress run lengths as the COCO API does: two's complement in groups of five bits, low groups first."""
    text = ""
    for i, count in enumerate(counts):
        value = count - (counts[i - 2] if i > 2 else 0)
        while True:
            group, value = value & 31, value >> 5
            last = value == (-1 if group & 16 else 0)
            text += chr(48 + group + (0 if last else 32))
            if last:
                break
    return text


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_run_lengths_come_back_plain_and_compressed(drawn: tuple[int, int, int, float]) -> None:
    mask = _random(drawn)
    counts = coco.rle_encode(mask)
    value, runs = False, []
    for pixel in mask.T.ravel():  # one pixel after another, down the columns
        if pixel != value or not runs:
            runs += [0] if not runs and pixel else []
            runs.append(0)
            value = bool(pixel)
        runs[-1] += 1
    assert counts == runs
    for coded in (counts, _packed(counts), _packed(counts).encode()):
        assert (coco.rle_decode(coded, mask.shape) == mask).all()


@pytest.mark.parametrize("counts", [[1], [4, -2, 2], [5], "é", "P", "", "o" * 20, [2**40]])
def test_broken_run_lengths_are_refused(counts: Any) -> None:
    with pytest.raises(InvalidValueError, match="run lengths"):
        coco.rle_decode(counts, (2, 2))


def test_polygons_hold_the_centres_that_lie_inside() -> None:
    box = masks.polygon([2, 1, 6, 1, 6, 4, 2, 4], (6, 8))
    wanted = np.zeros((6, 8), bool)
    wanted[1:4, 2:6] = True
    assert (box == wanted).all()
    assert not masks.polygon([0.6, 0.6, 1.4, 0.6, 1.4, 1.4, 0.6, 1.4], (4, 4)).any()
    assert masks.polygon([-9, -9, 99, -9, 99, 99, -9, 99], (4, 5)).all()
    points = np.random.default_rng(5).uniform(-3, 43, 14)
    large = Image.new("1", (40 * 8, 40 * 8))
    ImageDraw.Draw(large).polygon([float(p) * 8 for p in points], fill=1)
    centres = np.asarray(large)[4::8, 4::8]
    assert (masks.polygon(points.tolist(), (40, 40)) != centres).mean() < 0.03
    for bad in ([1, 2, 3, 4], [1, 2, 3, 4, 5], [0, 0, 1, float("nan"), 1, 1]):
        with pytest.raises(InvalidValueError, match="polygon"):
            masks.polygon(bad, (4, 4))


def test_coco_of_other_tools(tmp_path: Path) -> None:
    _png(tmp_path / "p.png", np.zeros((6, 8, 3), np.uint8))
    annotations = [
        {"image_id": 7, "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4], [0, 0, 1, 0, 1, 1, 0, 1]]},
        {"image_id": 7, "segmentation": {"size": [6, 8], "counts": _packed([47, 1])}},
    ]
    pictures = [{"id": 7, "file_name": "p.png", "height": 6, "width": 8}, {"id": 9, "file_name": "p.png"}]
    (tmp_path / "c.json").write_text(json.dumps({"images": pictures, "annotations": annotations}))
    exchange.to_manifest(tmp_path / "c.json", tmp_path / "m.jsonl", "coco")
    manifest = Manifest(tmp_path / "m.jsonl")
    forged, pristine = manifest
    mask = manifest.open(forged).mask
    wanted = np.zeros((6, 8), bool)
    wanted[1:4, 2:6] = wanted[0, 0] = wanted[5, 7] = True
    assert mask is not None
    assert (mask == wanted).all()
    assert (pristine.label, pristine.mask) == (0, None)


@pytest.mark.parametrize(
    "change",
    [{"height": -1}, {"height": "x"}, {"width": 10**9}, {"file_name": None}, {"height": 7}, {"id": []}],
)
def test_broken_coco_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    picture = {"id": 1, "file_name": "p.png", "height": 6, "width": 8, **change}
    annotation = {"image_id": 1, "segmentation": {"size": [6, 8], "counts": [48]}}
    (tmp_path / "c.json").write_text(json.dumps({"images": [picture], "annotations": [annotation]}))
    with pytest.raises(InputError, match=r"c\.json"):
        exchange.to_manifest(tmp_path / "c.json", tmp_path / "m.jsonl", "coco")
    assert not (tmp_path / "m.jsonl").exists()


def test_shards_come_back_with_their_names(manifest: Manifest, tmp_path: Path) -> None:
    assert shards.write_shards(manifest, tmp_path / "s" / "train.tar", per_shard=4) == 6
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["train-000000.tar", "train-000001.tar"]
    assert exchange.to_manifest(tmp_path / "s", tmp_path / "n" / "m.jsonl", "webdataset") == (6, [])
    after = Manifest(tmp_path / "n" / "m.jsonl")
    _same(manifest, after, ("label", "split", "group", "domain"))
    assert [e.extra["name"] for e in after] == [e.image for e in manifest]
    for old, new in zip(manifest, after, strict=True):
        assert manifest.locate(old.image).read_bytes() == after.locate(new.image).read_bytes()
    with pytest.raises(InputError, match="remove them first"):
        shards.write_shards(manifest, tmp_path / "s" / "train.tar")


def test_shards_are_the_same_bytes_each_time(manifest: Manifest, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        exchange.from_manifest(manifest.path, tmp_path / folder / "x.tar", "webdataset")
    assert (tmp_path / "a" / "x-000000.tar").read_bytes() == (tmp_path / "b" / "x-000000.tar").read_bytes()


def _tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def test_members_that_would_leave_the_folder_are_ignored(tmp_path: Path) -> None:
    _png(tmp_path / "p.png", np.zeros((4, 4, 3), np.uint8))
    picture = (tmp_path / "p.png").read_bytes()
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    odd = [tarfile.TarInfo(n) for n in ("/abs.png", "../up.png", "a/../../up.png", "b;c.png", ".png", "a//b.png")]
    fields = json.dumps({"image": "/etc/passwd", "mask": "../../x.png", "label": 1, "kind": "k"}).encode()
    good = [(tarfile.TarInfo("ok/1.PNG"), picture), (tarfile.TarInfo("ok/1.json"), fields)]
    _tar(tmp_path / "s.tar", [(link, b""), *((m, picture) for m in odd), *good])
    exchange.to_manifest(tmp_path / "s.tar", tmp_path / "out" / "m.jsonl", "webdataset")
    (entry,) = Manifest(tmp_path / "out" / "m.jsonl")
    assert (entry.image, entry.mask, entry.label, entry.extra) == ("images/s/ok/1.png", None, 1, {"kind": "k"})
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {"p.png", "s.tar", "out/m.jsonl", "out/images/s/ok/1.png"}


def test_shards_of_other_tools_state_their_class(tmp_path: Path) -> None:
    _png(tmp_path / "p.png", np.zeros((4, 4, 3), np.uint8))
    picture = (tmp_path / "p.png").read_bytes()
    members = [("a.png", picture), ("a.cls", b"1\n"), ("b.png", picture), ("b.cls", b"417")]
    _tar(tmp_path / "s.tar", [(tarfile.TarInfo(name), data) for name, data in members])
    exchange.to_manifest(tmp_path / "s.tar", tmp_path / "m.jsonl", "webdataset")
    assert [e.label for e in Manifest(tmp_path / "m.jsonl")] == [1, None]


@pytest.mark.parametrize(
    "members",
    [[("a.txt", b"x")], [("a.png", b"x"), ("a.json", b"{")], [("a.png", b"x"), ("a.json", b'{"label": "y"}')]],
)
def test_broken_samples_are_named(tmp_path: Path, members: list[tuple[str, bytes]]) -> None:
    _tar(tmp_path / "s.tar", [(tarfile.TarInfo(name), data) for name, data in members])
    with pytest.raises(InputError, match="sample a"):
        exchange.to_manifest(tmp_path / "s.tar", tmp_path / "m.jsonl", "webdataset")


def test_broken_fields_of_a_sample_are_told_in_one_line(tmp_path: Path) -> None:
    _tar(tmp_path / "s.tar", [(tarfile.TarInfo("a.png"), b"x"), (tarfile.TarInfo("a.json"), b'{"label": "y"}')])
    with pytest.raises(InputError) as told:
        exchange.to_manifest(tmp_path / "s.tar", tmp_path / "m.jsonl", "webdataset")
    assert str(told.value) == (
        "shard s, sample a: expected fields of a manifest's line in its .json: label: Input should be a valid integer, "
        "unable to parse string as an integer, found 'y'; mend it and write the shard again"
    )


def test_a_file_that_is_no_archive_and_a_cut_one_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"nothing" * 200)
    shards.write_shards(manifest, tmp_path / "cut.tar")
    whole = tmp_path / "cut-000000.tar"
    whole.write_bytes(whole.read_bytes()[:3000])
    for path in (tmp_path / "no.tar", whole):
        with pytest.raises(InputError, match="tar"):
            exchange.to_manifest(path, tmp_path / "m.jsonl", "webdataset")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        exchange.to_manifest(tmp_path / "empty", tmp_path / "m.jsonl", "webdataset")


class _Dataset:
    """The part of `datasets.Dataset` that is used; rows keep their bytes only once a column is cast to bytes."""

    def __init__(self, rows: list[dict[str, Any]], columns: list[str], raw: frozenset[str] = frozenset()) -> None:
        self.rows, self.column_names, self.raw = rows, columns, raw

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            yield {n: v if n in self.raw or n not in ("image", "mask") else "decoded" for n, v in row.items()}

    def cast_column(self, column: str, feature: Any) -> _Dataset:
        return _Dataset(self.rows, self.column_names, self.raw | ({column} if not feature else set()))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    saved: dict[str, _Dataset] = {}

    class Dataset(_Dataset):
        @staticmethod
        def from_generator(rows: Any, features: dict[str, Any]) -> Dataset:
            found = list(rows())
            assert all(set(row) == set(features) for row in found)
            return Dataset(found, list(features))

        def save_to_disk(self, path: str) -> None:
            Path(path).mkdir(parents=True)
            saved[path] = self

    module = ModuleType("datasets")
    own = {"Dataset": Dataset, "Features": dict, "Value": str, "Image": lambda decode=True: decode}
    for name, value in {**own, "load_from_disk": saved.__getitem__}.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_saved_data_sets_come_back_byte_for_byte(manifest: Manifest, tmp_path: Path, library: ModuleType) -> None:
    assert exchange.from_manifest(manifest.path, tmp_path / "hf", "huggingface") == 6
    assert exchange.to_manifest(tmp_path / "hf", tmp_path / "n" / "m.jsonl", "huggingface") == (6, [])
    after = Manifest(tmp_path / "n" / "m.jsonl")
    _same(manifest, after, ("label", "split", "group", "domain"))
    assert [e.extra["name"] for e in after] == [e.image for e in manifest]
    for old, new in zip(manifest, after, strict=True):
        assert manifest.locate(old.image).read_bytes() == after.locate(new.image).read_bytes()


def test_a_data_set_without_pictures_and_a_missing_library_are_named(
    tmp_path: Path, library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tamperscope.data.exchange import huggingface

    with pytest.raises(InputError, match="column 'image'"):
        list(huggingface.from_dataset(_Dataset([], ["text"]), tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="pip install datasets"):
        exchange.to_manifest(tmp_path, tmp_path / "m.jsonl", "huggingface")


def test_folders_and_tables_become_manifests_elsewhere(manifest: Manifest, tmp_path: Path) -> None:
    _png(tmp_path / "set" / "masks" / "stray.png", np.zeros(SIZE, np.uint8))
    count, notes = exchange.to_manifest(tmp_path / "set", tmp_path / "n" / "m.jsonl", "folder")
    assert (count, [n.path for n in notes]) == (5, ["masks/stray.png"])
    after = Manifest(tmp_path / "n" / "m.jsonl")
    assert {e.image for e in after} == {f"../set/images/{n}" for n in NAMES}
    for entry in after:
        mask = after.open(entry).mask
        assert entry.label == 1
        assert mask is not None
        assert mask.any()
    (tmp_path / "set" / "t.csv").write_text("file,label\nimages/plain.png,1\n")
    assert exchange.to_manifest(tmp_path / "set" / "t.csv", tmp_path / "n" / "t.jsonl", "csv") == (1, [])
    assert next(iter(Manifest(tmp_path / "n" / "t.jsonl"))).image == "../set/images/plain.png"


def test_unknown_formats_and_directions_are_named(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'coco'"):
        exchange.to_manifest(manifest.path, tmp_path / "m.jsonl", "coc")
    with pytest.raises(UnknownNameError, match="known: benco"):
        exchange.from_manifest(manifest.path, tmp_path / "m", "folder")
    with pytest.raises(InputError, match="found nothing"):
        exchange.to_manifest(tmp_path / "none", tmp_path / "m.jsonl", "benco")
    ways = {f.name: (f.reads, f.writes) for f in exchange.formats()}
    assert ways["csv"] == (True, False)
    assert ways["coco"] == (True, True)
