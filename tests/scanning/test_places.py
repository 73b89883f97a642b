"""What paths and addresses name, and what is fetched of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tamperscope.errors import BudgetError, InputError
from tamperscope.scanning.places import Place, digest, find


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.webp"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def names(*paths: object, recursive: bool = False) -> list[str]:
    return [Path(place.name).name for place in find([str(p) for p in paths], recursive)]


def test_folders_files_and_patterns_in_a_stable_order_and_each_once(folder: Path) -> None:
    assert names(folder) == ["a.PNG", "b.jpg"]
    assert names(folder, recursive=True) == ["a.PNG", "b.jpg", "c.webp"]
    assert names(folder / "notes.txt") == ["notes.txt"]
    assert names(folder / "*.jpg", folder / "b.jpg", folder) == ["b.jpg", "a.PNG"]
    with pytest.raises(InputError, match="found nothing"):
        names(folder / "*.xyz")


def test_a_manifest_names_its_pictures(folder: Path) -> None:
    manifest = folder / "m.jsonl"
    manifest.write_text("".join(json.dumps({"image": name, "label": 0}) + "\n" for name in ("sub/c.webp", "b.jpg")))
    assert names(manifest) == ["c.webp", "b.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_what_is_no_regular_file_is_refused_and_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    assert names(folder) == ["a.PNG", "b.jpg"]
    (place,) = find([str(folder / "pipe.jpg")])
    with pytest.raises(InputError, match="regular file"), place.local(10):
        pass


def test_addresses_are_listed_and_fetched() -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name in ("/bucket/b.jpg", "/bucket/a.png", "/bucket/deep/c.jpg", "/bucket/notes.txt"):
        store.pipe(name, name.encode())
    try:
        assert names("memory://bucket") == ["a.png", "b.jpg"]
        assert names("memory://bucket", recursive=True) == ["a.png", "b.jpg", "c.jpg"]
        assert names("memory://bucket/*.jpg") == ["b.jpg"]
        (place,) = find(["memory://bucket/b.jpg"])
        with place.local(100) as path:
            assert path.read_bytes() == b"/bucket/b.jpg"
            assert path.suffix == ".jpg"
            assert len(digest(path)) == 64
        assert not path.exists()
        with pytest.raises(BudgetError, match="13 bytes"), place.local(12):
            pass
        with pytest.raises(InputError, match="found none"):
            find(["memory://bucket/missing.jpg"])
        with pytest.raises((InputError, OSError)), Place("memory://bucket/gone.jpg").local(12):
            pass
    finally:
        store.rm("/bucket", recursive=True)


def test_unknown_stores_are_told() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match="fsspec knows"):
        find(["nosuchstore://bucket/a.jpg"])
