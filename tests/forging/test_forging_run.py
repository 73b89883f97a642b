"""Whole runs: the same bytes for any number of workers, after a kill and in any portions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamperscope import media
from tamperscope.data import masks
from tamperscope.data.doctor import examine
from tamperscope.data.exchange import shards
from tamperscope.data.manifest import Manifest
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.forging import gate, making, operations, run, words
from tamperscope.forging.pool import Pool
from tamperscope.forging.recipe import Recipe
from tamperscope.forging.store import Store

COUNT, SEED = 12, 5
Tree = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def recipe(quick: Recipe) -> Recipe:
    return quick.model_copy(update={"where": {"split": "train"}})


@pytest.fixture(scope="module")
def whole(photos: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    found = run.forge(photos, recipe, COUNT, SEED, out)
    assert found.made == COUNT
    return out


def test_every_file_is_there_and_says_what_the_record_says(whole: Path, photos: Path) -> None:
    manifest = Manifest(whole / "manifest.jsonl")
    entries = list(manifest)
    assert [e.label for e in entries] == [1, 0] * COUNT
    known = Pool.of(photos)
    for forged, twin in zip(entries[::2], entries[1::2], strict=True):
        extra = forged.extra
        assert forged.group == twin.group == known.get(extra["host"]).group
        assert (extra["twin"], twin.extra["twin_of"]) == (twin.image, forged.image)
        assert forged.split == twin.split == "train"
        assert all(known.get(donor).group != forged.group for donor in extra["donors"])
        assert "broken.jpg" not in {extra["host"], *extra["donors"]}
        sample, pristine = manifest.open(forged), manifest.open(twin)
        assert sample.mask is not None
        turns = masks.labels(manifest.locate(extra["turn"]))
        editors = masks.labels(manifest.locate(extra["editor"]))
        assert np.array_equal(turns > 0, sample.mask)
        assert np.array_equal(editors > 0, sample.mask)
        assert {operations.classes()[i] for i in np.unique(editors[editors > 0])} <= set(extra["editors"])
        changed = np.abs(sample.rgb.astype(int) - pristine.rgb).max(axis=2) > 8
        assert np.array_equal(masks.read(manifest.locate(extra["change"])), changed)
        assert extra["ops"][-1]["op"] == "delivery"
        assert tuple(extra["sentences"]) == words.LEVELS
        assert extra["trace"]
    assert len({e.extra["sentences"]["relations"] for e in entries[::2]}) > 1


def test_every_record_replays_to_the_bytes_on_disk(whole: Path, photos: Path) -> None:
    pool = Pool.of(photos)
    for entry in list(Manifest(whole / "manifest.jsonl"))[::2]:
        made = making.remake(entry, pool)
        assert made.data == (whole / entry.image).read_bytes()
        assert made.twin_data == (whole / entry.extra["twin"]).read_bytes()
        assert np.array_equal(made.turns, masks.labels(whole / entry.extra["turn"]))


def test_two_workers_make_the_same_bytes(whole: Path, photos: Path, recipe: Recipe, tmp_path: Path, tree: Tree) -> None:
    done: list[int] = []
    run.forge(photos, recipe, COUNT, SEED, tmp_path, workers=2, advance=done.append)
    assert tree(tmp_path) == tree(whole)
    assert done == list(range(COUNT + 1))


def test_a_killed_run_goes_on_to_the_same_bytes(
    whole: Path, photos: Path, recipe: Recipe, tmp_path: Path, tree: Tree
) -> None:
    code = (
        "import sys; from tamperscope.forging import run, recipe; "
        "chosen = recipe.Recipe.model_validate_json(sys.argv[1]); "
        f"run.forge(sys.argv[2], chosen, {COUNT}, {SEED}, sys.argv[3])"
    )
    command = [sys.executable, "-c", code, recipe.model_dump_json(), str(photos), str(tmp_path)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("records/*.json"))) < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("records/*.json")}
    assert 2 <= len(finished) < COUNT
    assert not (tmp_path / "manifest.jsonl").exists()
    (tmp_path / "masks" / ".tamperscope-left.part").write_bytes(b"half")
    calls: list[int] = []
    run.forge(photos, recipe, COUNT, SEED, tmp_path, advance=calls.append)
    assert tree(tmp_path) == tree(whole)
    assert {name: (tmp_path / "records" / name).stat().st_mtime_ns for name in finished} == finished
    assert calls[0] == len(finished)


def test_portions_make_the_same_bytes_and_finished_ones_are_not_touched(
    whole: Path, photos: Path, recipe: Recipe, tmp_path: Path, tree: Tree
) -> None:
    run.forge(photos, recipe, 4, SEED, tmp_path)
    before = (tmp_path / "images").stat().st_mtime_ns
    run.forge(photos, recipe, 4, SEED, tmp_path)
    assert (tmp_path / "images").stat().st_mtime_ns == before
    assert len(list(Manifest(tmp_path / "manifest.jsonl"))) == 8
    run.forge(photos, recipe, COUNT, SEED, tmp_path)
    assert tree(tmp_path) == tree(whole)


def test_another_seed_makes_other_pictures(whole: Path, photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    run.forge(photos, recipe, 3, SEED + 1, tmp_path)
    for index in range(3):
        ours, theirs = (json.loads(Store(folder).record(index).read_text()) for folder in (whole, tmp_path))
        assert ours["entries"][0]["plan"] != theirs["entries"][0]["plan"]


@pytest.mark.parametrize("change", ["recipe", "seed", "photographs"])
def test_a_folder_holds_one_run(whole: Path, photos: Path, recipe: Recipe, change: str) -> None:
    other = recipe.model_copy(update={"tries": 3}) if change == "recipe" else recipe
    pool = Pool.of(photos, {"split": "train"})
    pool = Pool(pool.root, pool.photos[:-1]) if change == "photographs" else pool
    with pytest.raises(InputError, match=f"another {change}"):
        run.forge(pool, other, COUNT, SEED + (change == "seed"), whole)


def test_a_record_that_was_changed_is_told_in_one_line(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.record(0).parent.mkdir()
    store.record(0).write_text('{"entries": [{"label": 1}]}')
    with pytest.raises(InputError) as told:
        store.finish(1)
    expected = f"'{tmp_path}': expected the records of an earlier run"
    assert str(told.value) == f"{expected}: image: Field required; use another folder"
    assert not (tmp_path / "manifest.jsonl").exists()


def test_what_was_turned_away_is_reported(whole: Path, recipe: Recipe) -> None:
    found = run.report(Store(whole), COUNT)
    counted = [json.loads(Store(whole).record(i).read_text())["rejected"] for i in range(COUNT)]
    assert found.rejected.total() == sum(sum(r.values()) for r in counted)
    assert set(found.unreadable) == {"broken.jpg"}
    assert "skipped, cannot be opened: 'broken.jpg'" in found.text()
    assert f"{COUNT} forgeries" in found.text()


def test_pictures_without_a_good_draw_are_missing_not_wrong(photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    never = recipe.model_copy(update={"tries": 2, "gate": gate.Gate(change=255)})
    found = run.forge(photos, never, 3, SEED, tmp_path)
    assert (found.made, found.missing, found.rejected.total()) == (0, 3, 6)
    assert "3 pictures are missing" in found.text()
    assert list(Manifest(tmp_path / "manifest.jsonl")) == []
    assert not (tmp_path / "images").exists()


def test_the_card(whole: Path, recipe: Recipe) -> None:
    card = json.loads((whole / "forge.json").read_text())
    assert Recipe.model_validate(card["recipe"]) == recipe
    assert card["seed"] == SEED
    assert card["editors"] == operations.classes()
    assert card["licence"].startswith("as the photographs")
    assert {"tamperscope", "numpy", "pillow"} <= card["versions"].keys()
    assert card["photographs"]["count"] == 7


def test_nothing_of_the_files_tells_forged_from_authentic(whole: Path) -> None:
    found = examine(whole / "manifest.jsonl")
    assert not [p for p in found.problems if p.severity == "warning"]
    for forged, twin in zip(*[iter(Manifest(whole / "manifest.jsonl"))] * 2, strict=True):
        one, two = (media.open(whole / e.image) for e in (forged, twin))
        assert one.intake["type"] == two.intake["type"]
        assert one.sample.size == two.sample.size
        assert one.facts.get("jpeg", {}).get("quantization") == two.facts.get("jpeg", {}).get("quantization")


def test_shards_hold_the_same_pictures(photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # also over older shards
        run.forge(photos, recipe, 3, SEED, out, shards=True)
    assert [p.name for p in (out / "shards").iterdir()] == ["forged-000000.tar"]
    back = list(shards.read_shards(out / "shards", tmp_path / "back"))
    entries = list(Manifest(out / "manifest.jsonl"))
    assert [e.label for e in back] == [e.label for e in entries]
    for one, two in zip(back, entries, strict=True):
        assert (tmp_path / "back" / one.image).read_bytes() == (out / two.image).read_bytes()
        assert one.extra.get("plan") == two.extra.get("plan")
        if two.mask:
            assert np.array_equal(masks.read(tmp_path / "back" / str(one.mask)), masks.read(out / two.mask))


def test_bad_arguments(photos: Path, recipe: Recipe, tmp_path: Path) -> None:
    for values in ((0, 0, 1), (1, -1, 1), (1, 0, 0)):
        count, seed, workers = values
        with pytest.raises(InvalidValueError, match="count and workers from 1"):
            run.forge(photos, recipe, count, seed, tmp_path, workers)
    alone = recipe.model_copy(update={"where": {"split": "dev"}, "operations": {"splice": 1.0, "removal": 0.0}})
    with pytest.raises(InvalidValueError, match="two groups"):
        run.forge(photos, alone, 1, 0, tmp_path)
    (tmp_path / "forge.json").write_text("{")
    with pytest.raises(InputError, match="use another folder"):
        run.forge(photos, recipe, 1, 0, tmp_path)


def test_what_an_operation_lacks_is_told_before_anything_is_made(pool: Pool, quick: Recipe, tmp_path: Path) -> None:
    lacking = quick.model_copy(
        update={"operations": {"splice": 1, "repainted": 1}, "ranges": {"repainted": {"pipeline": "nowhere"}}}
    )
    with pytest.raises(InputError, match=r"repainted.*nowhere.*operations\.repainted=0"):
        run.forge(pool, lacking, 2, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    unset = lacking.model_copy(update={"ranges": {}})
    with pytest.raises(InputError, match="lack something"):
        run.forge(pool, unset, 2, 1, tmp_path / "out")
    assert run.forge(
        pool, lacking.model_copy(update={"operations": {"splice": 1, "repainted": 0}}), 1, 1, tmp_path / "out"
    ).made
