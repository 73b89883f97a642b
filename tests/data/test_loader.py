"""The loader loses no picture, repeats itself for a seed, and is the same whatever the number of workers."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_data import make_set
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope import media
from tamperscope.data.loader import UNKNOWN, Batch, Failure, Listed, Loader, Sampling, pictures
from tamperscope.data.manifest import Manifest
from tamperscope.errors import DecodeError, InvalidValueError
from tamperscope.geometry import Fit
from tamperscope.ops import attack
from tamperscope.types import Sample

PICTURES = Path(__file__).parent


@dataclass(frozen=True)
class Item:
    """What a manifest's entry has."""

    image: str
    label: int | None = 0
    size: tuple[int, int] = (20, 24)


def draw(item: Item) -> Sample:
    """Return a picture that follows from its name: every pixel differs, the mask is its upper half when forged."""
    if "broken" in item.image:
        raise DecodeError("expected a picture, found damage")
    rgb = np.random.default_rng(list(item.image.encode())).integers(0, 256, (*item.size, 3), dtype=np.uint8)
    if item.label is None:
        return Sample(rgb, id=item.image)
    mask = np.zeros(item.size, bool)
    mask[: item.size[0] // 2] = bool(item.label)
    return Sample(rgb, mask=mask, label=item.label, id=item.image)


def read(path: str, item: Item) -> Sample:
    return media.open(Path(path) / item.image).sample


def listed(prefix: str, pristine: int, forged: int = 0, **more: Any) -> Listed:
    items = [Item(f"{prefix}{i}", int(i >= pristine), **more) for i in range(pristine + forged)]
    return Listed(items, draw)


def ids(batches: Iterator[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.ids]


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert [b.ids for b in first] == [b.ids for b in second]
    for one, two in zip(first, second, strict=True):
        for name in ("images", "masks", "known", "valid", "labels"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert (one.plans, one.canvases) == (two.plans, two.canvases)


PAD = Fit("pad", 32)
NOISE = attack.parse("gaussian_noise:sigma=9|flip:axis=horizontal/vertical")


def test_a_batch_holds_pictures_masks_and_the_valid_area() -> None:
    items = [Item("a", 1, (20, 24)), Item("b", 0, (32, 5)), Item("c", None, (9, 9))]
    (batch,) = Loader([Listed(items, draw)], PAD, batch_size=4)
    assert (batch.images.shape, batch.images.dtype) == ((3, 32, 32, 3), np.uint8)
    assert batch.labels.tolist() == [1, 0, UNKNOWN]
    assert batch.known.tolist() == [True, True, False]
    assert len(batch) == 3
    for row, item in enumerate(items):
        sample, (height, width) = draw(item), item.size
        np.testing.assert_array_equal(batch.images[row, :height, :width], sample.rgb)
        assert batch.images[row].sum() == sample.rgb.sum(dtype=int)
        assert batch.valid[row, :height, :width].all()
        assert batch.valid[row].sum() == height * width
        assert batch.masks[row].sum() == (0 if sample.mask is None else sample.mask.sum())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 9), max_size=3),
    batch_size=st.integers(1, 7),
    how=st.sampled_from([PAD, Fit("resize", 8), Fit("tile", 16, 4)]),
)
def test_in_sequence_each_picture_comes_once_and_none_is_lost(counts: list[int], batch_size: int, how: Fit) -> None:
    sources = [listed(f"set{i}_", n, 1) for i, n in enumerate(counts)]
    batches = list(Loader(sources, how, batch_size))
    seen = [(n, c) for b in batches for n, c in zip(b.ids, b.canvases, strict=True)]
    tiles = len(how.plan((20, 24)))
    assert seen == [(i.image, c) for s in sources for i in s for c in range(tiles)]
    assert all(len(b) == batch_size for b in batches[:-1])
    assert not batches or 1 <= len(batches[-1]) <= batch_size


def test_sequence_is_not_listed_in_advance() -> None:
    class Endless:
        def __iter__(self) -> Iterator[Item]:
            return (Item(str(i)) for i in iter(lambda: len(opened), -1))

        def open(self, entry: Item) -> Sample:
            opened.append(entry)
            return draw(entry)

    for workers in (0, 2):
        opened: list[Item] = []
        batches = Loader([Endless()], PAD, batch_size=3, workers=workers).epoch(0)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert len(opened) <= 3 + 2 * workers + 1


@pytest.mark.parametrize("sampling", [None, Sampling((13, 9), classes=True)])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(sampling: Sampling | None, workers: int) -> None:
    sources = [listed("a", 8, 5), Listed([*listed("b", 6), Item("broken", 0)], draw)]
    quiet = {"report": lambda failure: None}
    make = functools.partial(Loader, sources, PAD, 4, NOISE, sampling, seed=3, **quiet)
    alone, many = make(), make(workers=workers)
    for epoch in (0, 1):
        assert_same(list(alone.epoch(epoch)), list(many.epoch(epoch)))
        assert alone.failures == many.failures


def test_processes_change_nothing() -> None:
    sources = [listed("a", 3, 2), Listed([Item("coffee.png"), Item("chelsea.png")], functools.partial(read, PICTURES))]
    make = functools.partial(Loader, sources, Fit("tile", 512, 32), 3, NOISE, seed=1)
    assert_same(list(make()), list(make(workers=2, pool="process")))


def test_draws_follow_from_seed_epoch_and_place() -> None:
    same = Listed([Item("x")] * 3, draw)

    def images(seed: int, epoch: int) -> np.ndarray:
        (batch,) = Loader([same], PAD, 4, NOISE, seed=seed).epoch(epoch)
        return batch.images

    np.testing.assert_array_equal(images(0, 0), images(0, 0))
    different = [images(0, 0)[0], images(0, 0)[1], images(0, 0)[2], images(0, 1)[0], images(1, 0)[0]]
    assert len({picture.tobytes() for picture in different}) == 5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_picture_is_counted_and_the_rest_delivered(tmp_path: Path, workers: int) -> None:
    whole = (PICTURES / "coffee.png").read_bytes()
    (tmp_path / "good.png").write_bytes(whole)
    (tmp_path / "no_picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "last.png").write_bytes(whole)
    names = ["good.png", "no_picture.png", "text.jpg", "gone.png", "last.png"]
    told: list[Failure] = []
    source = Listed([Item(n) for n in names], functools.partial(read, str(tmp_path)))
    loader = Loader([source], Fit("resize", 64), 2, workers=workers, report=told.append)
    assert ids(loader.epoch(0)) == ["good.png", "last.png"]
    assert [f.id for f in loader.failures] == ["no_picture.png", "text.jpg", "gone.png"]
    assert told == loader.failures
    assert "no such file" in loader.failures[2].cause
    assert ids(loader.epoch(1)) == ["good.png", "last.png"]
    assert len(loader.failures) == 3


def test_failures_are_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    list(Loader([Listed([Item("broken")], draw)], PAD))
    assert "broken: DecodeError: expected a picture" in caplog.text


def test_a_picture_too_large_for_the_canvas_is_a_failure_too() -> None:
    loader = Loader([Listed([Item("large", 0, (40, 40)), Item("small")], draw)], PAD, report=lambda failure: None)
    assert ids(loader.epoch(0)) == ["small"]
    assert "use how='tile'" in loader.failures[0].cause


def test_mistakes_in_code_are_not_swallowed() -> None:
    def mistaken(sample: Sample, rng: np.random.Generator) -> Sample:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Loader([listed("a", 2)], PAD, op=mistaken, workers=2))


def test_balanced_takes_the_same_number_of_each_set_and_each_picture_about_as_often() -> None:
    sources = [listed("small", 3), listed("large", 40)]
    loader = Loader(sources, PAD, 8, sampling=Sampling.balanced(2, 20), seed=5)
    order = ids(loader.epoch(0))
    times = Counter(order)
    assert sum(n for name, n in times.items() if name.startswith("small")) == 20
    assert sum(n for name, n in times.items() if name.startswith("large")) == 20
    assert {times[f"small{i}"] for i in range(3)} == {6, 7}
    assert max(n for name, n in times.items() if name.startswith("large")) == 1
    assert order != ids(loader.epoch(1))
    assert order == ids(loader.epoch(0))
    # Shuffled together: the first half holds some of both.
    assert 4 <= sum(name.startswith("small") for name in order[:20]) <= 16


def test_over_many_epochs_every_picture_comes_equally_often() -> None:
    loader = Loader([listed("p", 30)], Fit("resize", 4), 10, sampling=Sampling((10,)))
    times = Counter(name for epoch in range(90) for name in ids(loader.epoch(epoch)))
    # 90 epochs of 10 out of 30: binomial, mean 30, deviation sqrt(90 / 3 * 2 / 3) = 4.5; four of them allowed.
    assert all(abs(times[f"p{i}"] - 30) < 18 for i in range(30))


@pytest.mark.parametrize(("count", "least", "most"), [(10, 5, 5), (11, 5, 6)])
def test_classes_come_equally_often(count: int, least: int, most: int) -> None:
    sources = [listed("a", 50, 2), listed("only_pristine", 7)]
    loader = Loader(sources, PAD, 64, sampling=Sampling((count, 4), classes=True), seed=2)
    forged = []
    for epoch in range(8):
        (batch,) = loader.epoch(epoch)
        of_a = np.array([name.startswith("a") for name in batch.ids])
        assert of_a.sum() == count
        forged.append(int(batch.labels[of_a].sum()))
        assert batch.labels[~of_a].tolist() == [0] * 4
    assert (min(forged), max(forged)) == (least, most)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=6).filter(sum), total=st.integers(0, 5000))
def test_ratio_shares_all_and_is_off_by_less_than_one(weights: list[float], total: int) -> None:
    counts = Sampling.ratio(weights, total).counts
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - weight / sum(weights) * total) < 1 + 1e-6


def test_ratio_by_hand() -> None:
    assert Sampling.ratio([1, 2, 1], 10).counts == (3, 5, 2)
    assert Sampling.ratio([0, 5], 7).counts == (0, 7)


@pytest.mark.parametrize("how", [Fit("tile", 16, 6), Fit("pad", 64)])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_maps_find_their_way_back_to_pictures(how: Fit, batch_size: int) -> None:
    items = [Item("a", 1, (20, 24)), Item("b", 0, (16, 16)), Item("c", 1, (41, 33))]
    loader = Loader([Listed(items, draw)], how, batch_size)
    answers = ((batch, batch.images.mean(axis=3)) for batch in loader)
    found = dict(pictures(answers))
    assert list(found) == ["a", "b", "c"]
    for item in items:
        np.testing.assert_allclose(found[item.image], draw(item).rgb.mean(axis=2), atol=1e-3)


def test_maps_that_do_not_match_are_refused() -> None:
    batches = list(Loader([listed("a", 2)], Fit("tile", 16), 2))
    with pytest.raises(InvalidValueError, match="expected 2 maps"):
        list(pictures([(batches[0], np.zeros((1, 16, 16)))]))
    with pytest.raises(InvalidValueError, match="keep order"):
        list(pictures([(batches[1], np.zeros((2, 16, 16)))]))


def test_the_mask_follows_an_attack_that_moves_pixels() -> None:
    loader = Loader([Listed([Item("a", 1)], draw)], PAD, op=attack.parse("flip:axis=vertical"))
    (batch,) = loader
    assert batch.masks[0, 10:20, :24].all()
    assert batch.masks[0].sum() == 240


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"workers": -1}, {"seed": -1}, {"sampling": Sampling((1, 2))}],
)
def test_bad_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="expected"):
        Loader([listed("a", 1)], PAD, **wrong)


def test_bad_weights_and_empty_sources_are_refused() -> None:
    for weights in ([0.0, 0.0], [-1.0, 2.0], [float("nan")], []):
        with pytest.raises(InvalidValueError, match="weights"):
            Sampling.ratio(weights, 5)
    with pytest.raises(InvalidValueError, match="at least 0"):
        Sampling((3, -1))
    with pytest.raises(InvalidValueError, match="empty one"):
        list(Loader([listed("a", 0)], PAD, sampling=Sampling((1,))))
    assert list(Loader([listed("a", 0)], PAD, sampling=Sampling((0,)))) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_manifest_is_a_source_in_threads_and_processes(tmp_path: Path, workers: int) -> None:
    manifest = Manifest(make_set(tmp_path, 5))
    pool = "process" if workers else "thread"
    loader = Loader([manifest], Fit("pad", 128), batch_size=2, workers=workers, pool=pool)  # type: ignore[arg-type]
    batches = list(loader)
    assert ids(iter(batches)) == [f"p{i}.jpg" for i in range(5)]
    entries = list(manifest)
    for name, mask, valid, picture in (
        (name, batch.masks[k], batch.valid[k], batch.images[k]) for batch in batches for k, name in enumerate(batch.ids)
    ):
        sample = manifest.open(next(e for e in entries if e.image == name))
        height, width = sample.size
        assert (picture[:height, :width] == sample.rgb).all()
        assert (mask[:height, :width] == sample.mask).all()
        assert valid.sum() == height * width
