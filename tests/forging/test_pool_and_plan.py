from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamperscope.data import masks
from tamperscope.errors import InputError, UnknownNameError
from tamperscope.forging import plan
from tamperscope.forging.pool import Photo, Pool, UnreadableError
from tamperscope.forging.recipe import Pictures, Recipe


def test_a_manifest_gives_authentic_photographs_with_what_is_known(photos: Path) -> None:
    pool = Pool.of(photos)
    assert {p.id for p in pool.photos} == {
        *("a0.jpg", "a1.jpg", "b0.jpg", "b1.jpg", "c0.jpg", "c1.jpg", "d0.jpg"),
        "broken.jpg",
    }
    assert pool.photos == Pool.of(photos / "manifest.jsonl").photos
    first = pool.get("a0.jpg")
    assert (first.group, first.noun, first.attributes, first.object_mask) == (
        "a",
        "a person",
        ("old",),
        "a0_object.png",
    )
    opened, outline = pool.open(first)
    assert outline is not None
    assert outline.sum() == 50 * 50
    assert outline.shape == opened.sample.size
    assert {p.id for p in Pool.of(photos, {"split": "dev"}).photos} == {"d0.jpg"}
    assert {p.id for p in Pool.of(photos, {"under": "b"}).photos} == {"b0.jpg", "b1.jpg", "broken.jpg"}


def test_a_plain_folder_gives_all_its_pictures(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("x.png", "deep/y.png"):
        (tmp_path / name).write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    (tmp_path / "notes.txt").write_text("no picture")
    pool = Pool.of(tmp_path)
    assert [p.id for p in pool.photos] == ["deep/y.png", "x.png"]
    assert len({p.group for p in pool.photos}) == 2
    with pytest.raises(InputError, match="found none"):
        Pool.of(tmp_path, {"split": "train"})


def test_broken_and_unknown_photographs(photos: Path, tmp_path: Path) -> None:
    pool = Pool.of(photos)
    with pytest.raises(UnreadableError, match=r"broken\.jpg"):
        pool.open(pool.get("broken.jpg"))
    (photos / "small.png").write_bytes(masks.png(np.ones((5, 6), np.bool_)))
    with pytest.raises(UnreadableError, match="object mask"):
        pool.open(Photo("b0.jpg", "b", object_mask="small.png"))
    (photos / "small.png").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableError, match="nothere"):
        pool.open(Photo("nothere.jpg", "x"))
    assert pool.open(Photo("b0.jpg", "b"))[1] is None
    with pytest.raises(UnknownNameError, match=r"did you mean 'a0\.jpg'"):
        pool.get("a0.jpeg")
    with pytest.raises(InputError, match="found none"):
        Pool.of(tmp_path / "empty")
    with pytest.raises(InputError):
        Pool.of(tmp_path / "nowhere")


def test_what_is_known_of_the_photographs_is_their_digest(pool: Pool) -> None:
    assert pool.digest() == Pool(pool.root, list(pool.photos)).digest()
    assert pool.digest() != Pool(pool.root, list(pool.photos)[:-1]).digest()


def test_donors_are_of_another_group_and_the_same_split(photos: Path, quick: Recipe) -> None:
    pool = Pool.of(photos)
    recipe = quick.model_copy(update={"operations": {"splice": 1.0}})
    plans = [plan.draw(recipe, pool, 3, index, 0) for index in range(300)]
    # The only picture of `dev` has no donor.
    assert any(p is None for p in plans)
    hosts = Counter()
    for made in filter(None, plans):
        hosts[made.host.photo] += 1
        host = pool.get(made.host.photo)
        assert host.split == "train"
        for step in made.steps:
            assert step.donor is not None
            donor = pool.get(step.donor.photo)
            assert donor.group != host.group
            assert donor.split == host.split
    assert len(hosts) == 7
    assert min(hosts.values()) > 15


def test_hosts_are_cut_as_often_as_asked_and_other_draws_stay(pool: Pool, quick: Recipe) -> None:
    half = quick.model_copy(update={"donors": quick.donors.model_copy(update={"cut": 0.5})})
    drawn = [plan.draw(half, pool, 3, index, 0) for index in range(300)]
    donors = [step.donor for made in drawn if made is not None for step in made.steps if step.donor is not None]
    assert 0.4 < np.mean([donor.cut for donor in donors]) < 0.6
    first = [plan.draw(recipe, pool, 3, 0, 0) for recipe in (quick, half)]
    assert first[0].host.photo == first[1].host.photo
    assert not any(made.host.cut for made in drawn if made is not None)


def test_histories_have_other_tables_as_often_as_asked_and_other_draws_stay(pool: Pool, quick: Recipe) -> None:
    half = quick.model_copy(update={"hosts": quick.hosts.model_copy(update={"other_tables": 0.5})})
    drawn = [made for index in range(300) if (made := plan.draw(half, pool, 3, index, 0)) is not None]
    assert 0.4 < np.mean([made.host.other_tables for made in drawn]) < 0.6
    first = [plan.draw(recipe, pool, 3, 0, 0) for recipe in (quick, half)]
    assert (first[0].host.photo, first[0].host.qualities) == (first[1].host.photo, first[1].host.qualities)


def test_a_plan_depends_on_seed_index_and_attempt_only(pool: Pool, quick: Recipe) -> None:
    first = plan.draw(quick, pool, 1, 5, 0)
    assert first == plan.draw(quick, pool, 1, 5, 0)
    others = [plan.draw(quick, pool, *path) for path in ((2, 5, 0), (1, 6, 0), (1, 5, 1))]
    assert all(first != other for other in others)
    assert first is not None
    assert plan.Plan.model_validate_json(first.model_dump_json()) == first
    states = [rng.integers(2**60) for rng in (first.host_rng(), first.delivery_rng(), *first.step_rngs(0))]
    states += [rng.integers(2**60) for rng in first.step_rngs(1)]
    for path in ({"seed": 2}, {"index": 6}, {"attempt": 1}):
        other = first.model_copy(update=path)
        states += [rng.integers(2**60) for rng in (other.host_rng(), other.delivery_rng(), *other.step_rngs(0))]
    assert len(set(states)) == 6 + 3 * 4


def test_weights_and_ranges_are_drawn_as_asked(pool: Pool, quick: Recipe) -> None:
    weights = {"operations": {"copy_move": 3.0, "removal": 1.0, "splice": 0.0}, "steps": (1, 3)}
    recipe = quick.model_copy(update={**weights, "deliveries": {"": 0.0, "jpeg": 1.0}})
    plans = [p for p in (plan.draw(recipe, pool, 0, index, 0) for index in range(600)) if p is not None]
    names = Counter(step.operation for p in plans for step in p.steps)
    assert set(names) == {"copy_move", "removal"}
    assert 0.70 < names["copy_move"] / sum(names.values()) < 0.80
    counts = Counter(len(p.steps) for p in plans)
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > 150
    assert {p.delivery for p in plans} == {"jpeg"}


def test_known_objects_and_histories_come_as_often_as_asked(pool: Pool, quick: Recipe) -> None:
    for share in (0.0, 0.25, 1.0):
        hosts = Pictures(objects=share, recompressed=share, qualities=(61, 62))
        recipe = quick.model_copy(update={"hosts": hosts})
        drawn = [p.host for p in (plan.draw(recipe, pool, 0, i, 0) for i in range(900)) if p is not None]
        known = [host.object for host in drawn if host.photo == "a0.jpg"]
        assert not any(host.object for host in drawn if host.photo != "a0.jpg")
        assert abs(np.mean(known) - share) < 0.12
        assert abs(np.mean([host.qualities is not None for host in drawn]) - share) < 0.06
        assert {host.qualities for host in drawn} <= {None, (61, 62)}


def test_operations_for_a_domain_are_drawn_for_its_pictures_alone(tmp_path: Path) -> None:
    photos = [Photo(f"{d}{i}.jpg", f"{d}{i}", domain=d) for d in ("document", "pristine", "") for i in range(3)]
    pool = Pool(tmp_path, photos)
    recipe = Recipe(title="Both", operations={"copy_move": 1, "retype": 1, "removal": 0.0})
    drawn = [plan.draw(recipe, pool, 1, index, 0) for index in range(60)]
    seen = {(pool.get(p.host.photo).domain, p.steps[0].operation) for p in drawn if p is not None}
    assert seen == {("document", "retype"), ("pristine", "copy_move"), ("", "copy_move")}
    # A recipe of nothing else takes any picture for a page.
    pages = Recipe(title="Pages", operations={"retype": 1})
    assert all(p is not None for p in (plan.draw(pages, pool, 1, index, 0) for index in range(20)))


def test_known_lines_of_text_follow_the_page(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    from tamperscope.forging import making

    page = np.full((200, 100, 3), 230, np.uint8)
    page[40:60, 20:80] = 20
    (tmp_path / "a.png").write_bytes(encode(page, "PNG"))
    (tmp_path / "a.csv").write_text(
        "20,40,80,40,80,60,20,60,TOTAL\n90,190,300,190,300,400,90,400,edge\n0,0,0,0,0,0,0,0,no\n"
    )
    (tmp_path / "manifest.jsonl").write_text('{"image": "a.png", "text_boxes": "a.csv", "domain": "document"}\n')
    pool = Pool.of(tmp_path)
    plain = plan.Plan(
        seed=1,
        index=0,
        attempt=0,
        host=plan.Prepared(photo="a.png", max_side=100),
        steps=(plan.Step(operation="white_out"),),
        delivery="",
    )
    made = making.make(plain, pool)
    lines = made.before.meta["lines"]
    assert lines == [{"box": [10, 20, 40, 30], "text": "TOTAL"}, {"box": [45, 95, 50, 100], "text": "edge"}]
    assert made.edits[0]["words"]["noun"] == "a word"
    (tmp_path / "a.csv").write_text("nothing\n")
    with pytest.raises(UnreadableError, match=r"a\.csv"):
        making.make(plain, pool)


def test_pages_give_nothing_to_photographs(tmp_path: Path) -> None:
    photos = [Photo(f"{d}{i}.jpg", f"{d}{i}", "train", d) for d in ("document", "pristine") for i in range(3)]
    pool, rng = Pool(tmp_path, photos), np.random.default_rng(1)
    for host in photos:
        donors = {donor.domain for donor in (pool.donor(host, rng) for _ in range(20)) if donor is not None}
        assert donors == {host.domain}
    alone = Pool(tmp_path, photos[2:])
    assert alone.donor(photos[2], rng) is None
    assert alone.has_donors()
