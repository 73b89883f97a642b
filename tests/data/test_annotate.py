"""Masks made of pairs: empty where nothing was edited, right where something was, and doubted where they are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from tamperscope.cli.data import app
from tamperscope.data import masks
from tamperscope.data.annotating import judging, quality, relating, run
from tamperscope.data.annotating.judging import Facts, Judged, Limits
from tamperscope.data.manifest import Entry, Manifest, write
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.ops import attack
from tamperscope.ops.forge.splice import Splice
from tamperscope.types import Sample

Photo = Callable[[str], np.ndarray]
NAMES = ("astronaut", "coffee", "chelsea")


def small(rgb: np.ndarray, side: int = 320) -> np.ndarray:
    factor = side / max(rgb.shape[:2])
    return cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def after(sample: Sample, chain: str, seed: int = 0) -> Sample:
    return attack.parse(chain)(sample, np.random.default_rng(seed))


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def oval(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.indices(size)
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)


def edited(
    photo: Photo, seed: int, host: str = "astronaut", donor: str = "coffee", side: int = 320
) -> tuple[Sample, Sample]:
    """An original, and the same with a piece of another picture in it."""
    original = Sample(small(photo(host), side), label=0)
    made = Splice(Sample(small(photo(donor), side)), share=(0.04, 0.12), feathers=(0.7,))
    return original, made(original, np.random.default_rng(seed))


def shared(photo: Photo, seed: int) -> tuple[Sample, Sample]:
    """An original, and another picture into which a piece of it was pasted."""
    donor = Sample(small(photo("astronaut"), 400))
    made = Splice(donor, oval(donor.size, (110, 175), 75), share=(0.08, 0.2), turn=(-20, 20), feathers=(0.7,))
    return donor, made(Sample(small(photo("coffee"), 400), label=0), np.random.default_rng(seed))


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_without_an_edit_gives_an_empty_mask(photo: Photo, name: str) -> None:
    original = Sample(small(photo(name)))
    found = judging.judge(original.rgb, original.rgb)
    assert found.facts.relation == "same_canvas"
    assert not found.soft.any() or found.soft.max() < 0.5
    assert judging.reason(found.facts, Limits()) == "no edit was found"
    for chain in ("jpeg:quality=60", "gamma:gamma=0.85|crop:keep=0.97|resize:factor=0.8|jpeg:quality=60"):
        found = judging.judge(after(original, "jpeg:quality=90").rgb, after(original, chain).rgb)
        assert found.facts.relation == "same_canvas"
        assert found.facts.area < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_an_edit_is_found_through_what_defeats_a_plain_difference(photo: Photo, seed: int, tmp_path: Path) -> None:
    original, forged = edited(photo, seed)
    stored = after(original, "jpeg:quality=60")
    cases = {"lossless": "", "as the web has it": "gamma:gamma=0.65|jpeg:quality=60"}
    plain, ours = {}, {}
    for name, chain in cases.items():
        sent = after(forged, chain)
        source = original if name == "lossless" else stored
        (tmp_path / "o.png").write_bytes(cv2.imencode(".png", source.rgb[..., ::-1])[1].tobytes())
        assert forged.mask is not None
        plain[name] = iou(masks.read(tmp_path / "o.png", "original", picture=sent.rgb), forged.mask)
        ours[name] = iou(judging.judge(source.rgb, sent.rgb).mask, forged.mask)
    assert plain["lossless"] > 0.7, "where nothing else happened, the difference is the mask"
    assert plain["as the web has it"] < 0.5
    assert min(ours.values()) > 0.8


@pytest.mark.parametrize("chain", ["crop:keep=0.97", "resize:factor=1.03", "crop:keep=0.97|resize:factor=0.7", "flip"])
def test_alignment_undoes_crop_scale_and_mirror(photo: Photo, chain: str) -> None:
    original, forged = edited(photo, 4)
    sent = after(forged, f"{chain}|jpeg:quality=80", 3)
    found = judging.judge(original.rgb, sent.rgb)
    assert found.facts.relation == "same_canvas"
    assert found.soft.shape == sent.size
    assert sent.mask is not None
    assert iou(found.mask, sent.mask) > 0.75
    assert judging.reason(found.facts, Limits()) == ""


def test_a_shared_object_is_found_where_it_was_pasted(photo: Photo) -> None:
    hits, overlaps = 0, []
    for seed in range(10):
        donor, forged = shared(photo, seed)
        sent = after(forged, "brightness:shift=8|jpeg:quality=75")
        found = judging.judge(donor.rgb, sent.rgb)
        assert sent.mask is not None
        place = np.unravel_index(int(cv2.GaussianBlur(found.soft, (0, 0), 4).argmax()), found.soft.shape)
        hits += bool(found.facts.relation == "shared_object" and sent.mask[place])
        overlaps.append(iou(found.mask, sent.mask))
    assert hits >= 8
    assert np.median(overlaps) > 0.7
    other = judging.judge(small(photo("chelsea"), 400), sent.rgb)
    assert other.facts.relation == "unrelated"
    assert not other.soft.any()
    assert judging.reason(other.facts, Limits()) == "the pictures have nothing in common"


def test_the_quality_score_by_hand() -> None:
    soft = np.zeros((8, 8), np.float32)
    assert quality.qes(soft) == 0
    soft[0, :4] = 1.0
    soft[1, :4] = 0.5
    assert quality.qes(soft) == pytest.approx(0.5)
    assert quality.agreement(soft, soft) == 1
    assert quality.agreement(soft, np.zeros_like(soft)) == 0
    assert quality.agreement(0 * soft, 0 * soft) == 1
    assert quality.agreement(soft, 0.5 * soft) == pytest.approx(0.5)


def test_the_known_failure_of_the_quality_score_is_caught_by_agreement() -> None:
    """A decided map scores 1 wherever it lies; the second map lies elsewhere when the first one is an accident."""
    right, wrong = (oval((64, 64), (20, x), 10).astype(np.float32) for x in (16, 48))
    assert quality.qes(right) == pytest.approx(quality.qes(wrong)) == pytest.approx(1)
    facts = Facts("same_canvas", 0.08, quality.qes(wrong), quality.agreement(right, wrong))
    assert "mirrored" in judging.reason(facts, Limits())
    assert judging.reason(facts, Limits(agree=0)) == "", "the quality score alone lets it pass"


def graded(photo: Photo, seed: int) -> tuple[Judged, float]:
    """A pair whose edit is anything from plain to drowned in compression, its map and how right that is."""
    rng = np.random.default_rng(seed)
    host, donor = rng.permutation(NAMES)[:2]
    original, forged = edited(photo, seed, str(host), str(donor), 224)
    strength = 10 ** rng.uniform(-1.3, 0)
    mixed = original.rgb + strength * (forged.rgb.astype(np.float32) - original.rgb)
    assert forged.mask is not None
    sent = after(forged.with_pixels(np.rint(mixed).astype(np.uint8)), f"jpeg:quality={int(rng.integers(25, 96))}")
    found = judging.judge(after(original, "jpeg:quality=80").rgb, sent.rgb)
    return found, iou(found.mask, forged.mask)


def test_the_quality_score_ranks_masks_as_the_truth_does(photo: Photo) -> None:
    found = [graded(photo, seed) for seed in range(100, 124)]
    scores, overlaps = (np.array(v) for v in zip(*((f.facts.qes, o) for f, o in found), strict=True))
    assert spearmanr(scores, overlaps)[0] >= 0.6
    half = overlaps[np.argsort(-scores, kind="stable")[: len(found) // 2]].mean()
    rng = np.random.default_rng(0)
    random = [rng.permutation(overlaps)[: len(found) // 2].mean() for _ in range(2000)]
    assert (np.array(random) >= half).mean() < 0.01


def test_pictures_without_texture_or_size() -> None:
    flat = np.full((64, 80, 3), 120, np.uint8)
    found = judging.judge(flat, flat)
    assert not found.mask.any()
    assert judging.reason(found.facts, Limits())
    with pytest.raises(InvalidValueError, match="from 32 pixels"):
        judging.judge(flat, flat[:20])
    with pytest.raises(InvalidValueError, match="keep and agree"):
        Limits(keep=1.5)


def test_the_same_answer_twice(photo: Photo) -> None:
    donor, forged = shared(photo, 1)
    first, second = (judging.judge(donor.rgb, forged.rgb) for _ in range(2))
    np.testing.assert_array_equal(first.soft, second.soft)
    assert first.facts == second.facts
    assert relating.relate(donor.rgb, forged.rgb).kind == "shared_object"


@pytest.fixture
def listed(photo: Photo, tmp_path: Path) -> Path:
    """Three pairs: an edit, none, and a file that is no picture."""
    original, forged = edited(photo, 0)
    for name, rgb in (("a.png", original.rgb), ("b.png", forged.rgb), ("c.png", original.rgb)):
        (tmp_path / name).write_bytes(cv2.imencode(".png", rgb[..., ::-1])[1].tobytes())
    (tmp_path / "d.png").write_bytes(b"nothing")
    (tmp_path / "pairs.csv").write_text("image,original,split\nb.png,a.png,train\nc.png,a.png,train\nd.png,a.png,\n")
    masks_of = forged.mask
    assert masks_of is not None
    np.save(tmp_path / "truth.npy", masks_of)
    return tmp_path / "pairs.csv"


def test_a_list_becomes_a_manifest_and_what_is_left_out_has_a_reason(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    seen: list[int] = []
    summary = run.annotate(listed, out, advance=seen.append)
    assert (summary.kept, sum(summary.rejected.values()), seen) == (1, 2, [0, 1, 2, 3])
    (entry,) = Manifest(out / run.MANIFEST)
    sample = Manifest(out / run.MANIFEST).open(entry)
    assert sample.mask is not None
    assert iou(sample.mask, np.load(tmp_path / "truth.npy")) > 0.8
    assert (entry.label, entry.split, entry.group, entry.extra["original"]) == (1, "train", "a.png", "../a.png")
    assert entry.extra["annotated"]["relation"] == "same_canvas"
    rejected = [json.loads(line) for line in (out / run.REJECTED).read_text().splitlines()]
    assert [row["image"] for row in rejected] == ["../c.png", "../d.png"]
    assert rejected[0]["reason"] == "no edit was found"
    assert rejected[1]["reason"]
    before = (out / run.MANIFEST).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(judging, "judge", lambda *_: pytest.fail("judged again"))
        assert run.annotate(listed, out).kept == 1
        assert (out / run.MANIFEST).read_bytes() == before
        assert run.annotate(listed, out, Limits(keep=1.0)).kept == 0, "other limits need no second look"
    # What a stopped run lacks is made anew, and nothing else.
    next(iter((out / run.RECORDS).iterdir())).unlink()
    assert run.annotate(listed, out).kept == 1
    assert (out / run.MANIFEST).read_bytes() == before
    again = tmp_path / "two"
    run.annotate(listed, again, workers=2)
    assert (again / run.MANIFEST).read_bytes() == before
    assert not list(out.rglob("*.part"))


def test_lists_and_folders_name_the_same_pairs(listed: Path, tmp_path: Path) -> None:
    for name, source in (("originals/x.png", "a.png"), ("photoshops/x/1.png", "b.png")):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes((tmp_path / source).read_bytes())
    (pair,) = run.read(tmp_path / "set")
    assert (pair.edited.name, pair.original.name, pair.group) == ("1.png", "x.png", "x")
    # As `data prepare` states it: the original relative to the set, not to the manifest.
    made = Entry.model_validate({"image": "../set/photoshops/x/1.png", "label": 1, "original": "originals/x.png"})
    (tmp_path / "m").mkdir()
    write(tmp_path / "m" / "manifest.jsonl", [made, Entry(image="../set/originals/x.png", label=0)])
    (pair,) = run.read(tmp_path / "m" / "manifest.jsonl")
    assert pair.original.samefile(tmp_path / "set" / "originals" / "x.png")
    assert len(run.read(listed)) == 3
    listed.write_text("image,original\nb.png,nowhere.png\n")
    assert run.annotate(listed, tmp_path / "n").kept == 0
    assert "nowhere.png" in json.loads((tmp_path / "n" / run.REJECTED).read_text())["reason"]
    listed.write_text("image,label\nb.png,1\n")
    with pytest.raises(InputError, match="`image` and `original`"):
        run.read(listed)
    with pytest.raises(InvalidValueError, match="worker"):
        run.annotate([], tmp_path / "o", workers=0)


def test_the_command_says_what_it_made(listed: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["annotate", str(listed), "--out", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    assert "1 pictures with masks in" in done.output
    assert "1: no edit was found" in done.output
    wrong = CliRunner().invoke(app, ["annotate", str(tmp_path / "none.csv"), "--out", str(tmp_path / "o")])
    assert wrong.exit_code != 0
