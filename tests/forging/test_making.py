"""One forgery: its twin, its maps, and that its record is enough to make it again."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tamperscope import media
from tamperscope.data import masks
from tamperscope.data.manifest import Entry
from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.forging import making, operations
from tamperscope.forging.making import Made
from tamperscope.forging.plan import Plan, Prepared, Step
from tamperscope.forging.pool import Photo, Pool


def planned(*steps: str, host: str = "b0.jpg", delivery: str = "", **prepared: object) -> Plan:
    """Return a plan on a known host; splices take a piece of c0.jpg."""
    settings = {"splice": {"share": [0.05, 0.2]}, "removal": {"fill": "telea"}}
    edits = tuple(
        Step(
            operation=name,
            settings=settings.get(name, {}),
            donor=Prepared(photo="c0.jpg") if operations.get(name).donor else None,
        )
        for name in steps
    )
    prepared_host = Prepared.model_validate({"photo": host, **prepared})
    return Plan(seed=4, index=0, attempt=0, host=prepared_host, steps=edits, delivery=delivery)


def reach(mask: np.ndarray, far: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * far + 1, 2 * far + 1), np.uint8)).astype(bool)


def entry_of(made: Made) -> Entry:
    fields = {"plan": made.plan.model_dump(mode="json"), "sha256": making.digests(made)}
    return Entry.model_validate({"image": "images/000000.png", "label": 1, **fields})


@pytest.mark.parametrize("name", ["splice", "copy_move", "removal", "trace_blur"])
def test_without_loss_forgery_and_twin_are_one_picture_but_for_the_edit(name: str, pool: Pool, photos: Path) -> None:
    made = making.make(planned(name), pool)
    host = media.open(photos / "b0.jpg").sample.rgb
    assert np.array_equal(made.twin.rgb, host)
    assert np.array_equal(media.open(made.data).sample.rgb, made.sample.rgb)
    assert made.sample.mask is not None
    assert np.array_equal(made.sample.rgb[~reach(made.sample.mask, 2)], host[~reach(made.sample.mask, 2)])
    assert (made.sample.rgb != host).any(axis=2)[made.sample.mask].mean() > 0.3
    assert (made.sample.label, made.twin.label) == (1, 0)
    assert made.twin.mask is not None
    assert not made.twin.mask.any()
    assert made.suffix == ".png"


def test_compressed_forgery_and_twin_share_tables_and_size(pool: Pool) -> None:
    made = making.make(planned("splice", delivery="resize:factor=0.5..0.9|jpeg:quality=60..95"), pool)
    assert made.suffix == ".jpg"
    assert made.sample.size == made.twin.size != (120, 160)
    assert made.sample.jpeg is not None
    assert made.twin.jpeg is not None
    for ours, theirs in zip(made.sample.jpeg.qtables, made.twin.jpeg.qtables, strict=True):
        assert np.array_equal(ours, theirs)
    far = ~reach(made.turns > 0, 20)
    difference = np.abs(made.sample.rgb.astype(int) - made.twin.rgb)
    assert difference[far].mean() < 0.5 < difference[made.turns > 0].mean()
    opened = media.open(made.data).sample
    assert np.array_equal(opened.rgb, made.sample.rgb)


def test_each_pixel_has_the_number_and_the_editor_of_its_last_edit(pool: Pool) -> None:
    whole = making.make(planned("splice", "removal", "copy_move"), pool)
    assert whole.sample.mask is not None
    assert np.array_equal(whole.sample.mask, whole.turns > 0)
    table = np.array([0, 1, 3, 2])  # places in operations.classes()
    assert np.array_equal(whole.editors, table[whole.turns])
    assert [edit["op"] for edit in whole.edits] == ["splice", "removal", "copy_move"]
    # What the first edits alone changed is still marked, unless a later one lies over it.
    first = making.make(planned("splice"), pool)
    second = making.make(planned("splice", "removal"), pool)
    assert first.sample.mask is not None
    assert np.array_equal(first.sample.mask & (whole.turns < 2), whole.turns == 1)
    assert np.array_equal((second.turns == 2) & (whole.turns != 3), whole.turns == 2)
    assert (whole.turns == 3).any()


def test_maps_of_several_edits_follow_a_delivery_that_shifts(pool: Pool) -> None:
    plain = making.make(planned("splice", "removal"), pool)
    cut = making.make(planned("splice", "removal", delivery="double_jpeg:first=80,second=90,dy=3,dx=5"), pool)
    assert cut.sample.size == (117, 155)
    assert np.array_equal(cut.turns, plain.turns[3:, 5:])


@pytest.mark.parametrize("delivery", ["", "jpeg:quality=70..95", "social:profile=whatsapp"])
def test_a_record_makes_the_same_bytes_again(delivery: str, pool: Pool, photos: Path) -> None:
    wanted = planned("splice", "copy_move", delivery=delivery, qualities=(60, 90), max_side=100)
    made = making.make(wanted, pool)
    again = making.remake(Entry.model_validate_json(entry_of(made).line()), photos)
    assert again.data == made.data
    assert again.twin_data == made.twin_data
    assert np.array_equal(again.turns, made.turns)
    replayed = making.replay(entry_of(made), photos / "manifest.jsonl")
    assert np.array_equal(replayed.rgb, made.sample.rgb)
    assert replayed.meta["ops"] == made.sample.meta["ops"]
    other = making.make(wanted.model_copy(update={"seed": 5}), pool)
    assert other.data != made.data


def test_replay_refuses_other_photographs_and_lines_without_a_plan(pool: Pool, tmp_path: Path) -> None:
    made = making.make(planned("splice"), pool)
    for name in ("b0.jpg", "c0.jpg"):
        (tmp_path / name).write_bytes((pool.root / name).read_bytes())
    copy = Pool(tmp_path, [Photo("b0.jpg", "b"), Photo("c0.jpg", "c")])
    assert making.remake(entry_of(made), copy).data == made.data
    (tmp_path / "c0.jpg").write_bytes((pool.root / "c1.jpg").read_bytes())
    with pytest.raises(InputError, match=r"others are now: c0\.jpg"):
        making.replay(entry_of(made), copy)
    with pytest.raises(UnknownNameError, match=r"c0\.jpg"):
        making.replay(entry_of(made), Pool(tmp_path, [Photo("b0.jpg", "b")]))
    with pytest.raises(InputError, match="found none"):
        making.replay(Entry(image="twins/000000.png", label=0), copy)


def test_replay_notices_that_other_bytes_are_made(pool: Pool) -> None:
    made = making.make(planned("removal"), pool)
    fields = entry_of(made).model_dump()
    other = fields["plan"] | {"seed": 99}
    with pytest.raises(InputError, match=r"other bytes were made; `forge\.json`"):
        making.replay(Entry.model_validate(fields | {"plan": other}), pool)
    with pytest.raises(InputError) as told:
        making.replay(Entry.model_validate(fields | {"plan": other | {"seed": "one"}}), pool)
    assert str(told.value) == (
        f"'{fields['image']}': expected the plan of a forgery: seed: Input should be a valid integer, unable to parse "
        "string as an integer, found 'one'; take the line as the run wrote it"
    )


def test_hosts_are_shrunk_compressed_and_recorded(pool: Pool) -> None:
    made = making.make(planned("removal", max_side=80, qualities=(70, 70)), pool)
    assert max(made.before.size) == 80
    ops = made.sample.meta["ops"]
    assert [op["op"] for op in ops] == ["resize", "recompressed", "removal", "delivery"]
    assert ops[1]["quality"] == 70
    assert made.edits == (ops[2],)
    untouched = making.make(planned("removal"), pool)
    assert [op["op"] for op in untouched.sample.meta["ops"]] == ["removal", "delivery"]
    with pytest.raises(InvalidValueError, match="sides from 500"):
        making.make(planned("removal", min_side=500), pool)


def test_hosts_are_cut_on_their_blocks_where_it_is_planned(pool: Pool, photos: Path) -> None:
    host = media.open(photos / "b0.jpg").sample.rgb
    places = set()
    for seed in range(6):
        planned_one = planned("removal", max_side=80)
        cut = planned_one.model_copy(update={"seed": seed, "host": planned_one.host.model_copy(update={"cut": True})})
        made = making.make(cut, pool)
        window = made.sample.meta["ops"][0]
        top, left = window["top"], window["left"]
        places.add((top, left))
        assert (window["op"], top % 8, left % 8) == ("window", 0, 0)
        assert made.twin.size == (80, 80)
        assert np.array_equal(made.twin.rgb, host[top : top + 80, left : left + 80])
    assert len(places) > 2


def test_a_known_object_follows_the_host_and_gives_its_name(pool: Pool) -> None:
    known = making.make(planned("removal", host="a0.jpg", object=True, max_side=80), pool)
    assert known.sample.mask is not None
    outline = np.zeros((60, 80), np.bool_)
    outline[15:40, 25:50] = True
    assert known.sample.mask[outline].all()
    assert not known.sample.mask[~reach(outline, 4)].any()
    assert known.edits[0]["words"]["noun"] == "a person"
    unknown = making.make(planned("removal", host="a0.jpg"), pool)
    assert unknown.edits[0]["words"]["noun"] != "a person"
    # Once it is gone it cannot go again.
    twice = making.make(planned("removal", "removal", host="a0.jpg", object=True), pool)
    assert twice.edits[0]["words"]["noun"] == "a person"
    assert twice.edits[1]["words"]["noun"] != "a person"


def test_a_photograph_that_lies_on_its_side_is_put_upright(tmp_path: Path, photo: Callable[[str], np.ndarray]) -> None:
    rgb = photo("coffee")[60:180, 30:190]
    picture, buffer = Image.fromarray(rgb), io.BytesIO()
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(buffer, "PNG", exif=exif)
    (tmp_path / "lying.png").write_bytes(buffer.getvalue())
    outline = np.zeros((120, 160), np.bool_)
    outline[10:40, 20:60] = True
    (tmp_path / "mask.png").write_bytes(masks.png(outline))
    pool = Pool(tmp_path, [Photo("lying.png", "x", object_mask="mask.png")])
    made = making.make(planned("removal", host="lying.png", object=True), pool)
    assert np.array_equal(made.twin.rgb, np.rot90(rgb, -1))
    assert made.sample.mask is not None
    assert made.sample.mask[np.rot90(outline, -1)].all()
    assert made.sample.meta["ops"][0] == {"op": "upright", "orientation": 6}
    assert made.sample.meta["orientation"] == 1


def test_an_edit_that_is_cut_off_is_no_forgery(pool: Pool) -> None:
    wanted = planned("removal", delivery="crop:keep=0.02,down=0,right=0 > png")
    with pytest.raises(InvalidValueError, match="cut off"):
        making.make(wanted, pool)


def test_stages_are_independent(pool: Pool) -> None:
    """Another delivery leaves the edit as it is; another edit leaves the delivery's draws as they are."""
    jpeg = making.make(planned("splice", delivery="jpeg:quality=60..95"), pool)
    plain = making.make(planned("splice"), pool)
    assert np.array_equal(jpeg.after.rgb, plain.after.rgb)
    other = making.make(planned("removal", delivery="jpeg:quality=60..95"), pool)
    qualities = [next(op["quality"] for op in m.sample.meta["ops"] if op["op"] == "jpeg") for m in (jpeg, other)]
    assert qualities[0] == qualities[1]


def test_the_history_of_host_and_donor_is_known(pool: Pool) -> None:
    plan = planned("splice", max_side=100, qualities=(70, 70))
    host, donor = making.make(plan, pool).sources
    for source in (host, donor):
        first = source.history["first"]
        assert (first["known"], first["quality"], first["exact"]) == ("tables", 90, True)
    done = host.history["ops"]
    assert [entry["op"] for entry in done] == ["resize", "recompressed"]
    assert done[-1]["quality"] == 70
    assert donor.history["ops"] == []
