"""Face forgeries: each changes what it says, where its mask says, and follows from its record."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.ops.forge.faces import geometry, part, self_blend, swap, warp
from tamperscope.ops.forge.faces.base import located
from tamperscope.signal import alignment
from tamperscope.types import Sample

SIZE = (300, 280)
POINTS = alignment.MEAN * 70 + (140, 130)
STILL = {"colour": (0, 0), "sharpness": 0, "shift": (0, 0), "scale": 0}


def picture(points: np.ndarray = POINTS, seed: int = 0, size: tuple[int, int] = SIZE) -> Sample:
    """A textured picture that says where its face is."""
    noise = np.random.default_rng(seed).normal(0, 1, (*size, 3)).astype(np.float32)
    layers = ((1, 60), (4, 90), (16, 120))
    rgb = sum(weight * cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma, weight in layers)
    box = [*points.min(0), *points.max(0)]
    return Sample(
        np.clip(rgb + 128, 0, 255).astype(np.uint8),
        id=f"face {seed}",
        meta={"faces": [{"box": box, "points": points.tolist()}]},
    )


def forge(op: Any, sample: Sample, seed: int = 0) -> tuple[Sample, dict[str, Any]]:
    forged = op(sample, np.random.default_rng(seed))
    return forged, forged.meta["ops"][-1]


OPS = [self_blend.SelfBlend(), warp.Warp(), part.Part(), swap.Swap(donor=picture(POINTS + np.array([4, -6]), 9))]


# What all have in common.


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_it_changes_nothing_outside_of_its_mask_and_its_record_replays_it(op: Any, seed: int) -> None:
    sample = picture()
    forged, entry = forge(op, sample, seed)
    again, same = forge(op, sample, seed)
    np.testing.assert_array_equal(forged.rgb, again.rgb)
    assert json.loads(json.dumps(entry)) == entry == same
    rgb, mask = op.replay(sample, json.loads(json.dumps(entry)))
    np.testing.assert_array_equal(rgb, forged.rgb)
    np.testing.assert_array_equal(mask, forged.mask)
    np.testing.assert_array_equal(forged.rgb[~mask], sample.rgb[~mask])
    assert (forged.rgb != sample.rgb)[mask].any(axis=1).mean() > 0.3
    assert forged.label == 1
    assert entry["op"] == op.name
    assert entry["trace"]
    assert entry["words"].keys() == {"noun", "attributes", "place", "relation"}
    np.testing.assert_allclose(entry["face"]["points"], POINTS)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_another_seed_gives_another_forgery_and_other_records_are_refused(op: Any) -> None:
    sample = picture()
    assert any((forge(op, sample, 0)[0].rgb != forge(op, sample, seed)[0].rgb).any() for seed in (1, 2, 3))
    with pytest.raises(InvalidValueError, match=f"record of {op.name}"):
        op.replay(sample, {"op": "splice"})


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_no_face_or_one_that_is_no_use_is_refused(op: Any) -> None:
    cases = {
        "whole face, found none": (picture(POINTS - (120, 0)), Sample(picture().rgb, meta={"faces": []})),
        "eyes at least 16": (picture((POINTS - POINTS.mean(0)) * 0.15 + (140, 150)),),
        "a profile": (picture((POINTS - POINTS.mean(0)) * (0.4, 1) + (140, 150)),),
    }
    for words, samples in cases.items():
        for sample in samples:
            with pytest.raises(InvalidValueError, match=words):
                forge(op, sample)


def test_the_largest_face_is_taken_and_the_next_edit_stays_with_it() -> None:
    small, large = POINTS * 0.4 + 150, POINTS * 0.9
    faces = [{"box": [*p.min(0), *p.max(0)], "points": p.tolist()} for p in (small, large)]
    sample = Sample(picture().rgb, meta={"faces": faces})
    first, entry = forge(part.Part(parts=["nose"]), sample)
    np.testing.assert_allclose(entry["face"]["points"], large)
    later = Sample(first.rgb, meta={**first.meta, "faces": []})
    np.testing.assert_allclose(located(later)[0].points, large)


# Geometry.


@given(
    angle=st.floats(-0.6, 0.6),
    scale=st.floats(0.5, 2.0),
    shift=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_parts_turn_scale_and_shift_with_the_points(
    angle: float, scale: float, shift: tuple[float, float], seed: int
) -> None:
    points = POINTS + np.random.default_rng(seed).normal(0, 4, (5, 2))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = points @ turn.T + shift
    before, after = geometry.placed(points), geometry.placed(moved)
    for name in geometry.OUTLINES:
        for outline in geometry.outlines(name):
            np.testing.assert_allclose(after(outline), before(outline) @ turn.T + shift, atol=1e-5)
    assert geometry.unit(after) == pytest.approx(scale * geometry.unit(before), rel=1e-9)


@given(seed=st.integers(0, 1000), name=st.sampled_from((*geometry.PARTS, "face", "inner")))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_masks_of_a_mirrored_face_are_the_mirrored_masks(seed: int, name: str) -> None:
    points = POINTS + np.random.default_rng(seed).normal(0, 4, (5, 2))
    mirrored = (SIZE[1] - 1 - points[[1, 0, 2, 4, 3], 0], points[[1, 0, 2, 4, 3], 1])
    mask = geometry.mask(geometry.placed(points), name, SIZE, 0.1)
    other = geometry.mask(geometry.placed(np.stack(mirrored, 1)), name, SIZE, 0.1)[:, ::-1]
    assert (mask & other).sum() > 0.97 * (mask | other).sum()


@given(seed=st.integers(0, 1000), similar=st.booleans())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_fit_takes_every_point_to_its_place_and_is_affine_far_away(seed: int, similar: bool) -> None:
    rng = np.random.default_rng(seed)
    onto = POINTS + rng.normal(0, 6, (5, 2))
    fit = geometry.fitted(alignment.MEAN, onto, similar)
    np.testing.assert_allclose(fit(alignment.MEAN), onto, atol=1e-4)
    far = np.array([[50.0, 60.0], [-40.0, 20.0]])
    np.testing.assert_allclose(fit(far), far @ fit.linear[:, :2].T + fit.linear[:, 2], atol=1e-6)
    if similar:
        a = fit.linear[:, :2]
        np.testing.assert_allclose(a.T @ a, np.eye(2) * np.linalg.det(a), atol=1e-9)


def test_parts_lie_where_the_points_say() -> None:
    fit = geometry.placed(POINTS)
    masks = {name: geometry.mask(fit, name, SIZE) for name in (*geometry.PARTS, "face")}
    right, left, nose, *mouth = np.rint(POINTS).astype(int)
    assert all(masks["eye"][y, x] for x, y in (right, left))
    assert masks["nose"][nose[1], nose[0]]
    assert masks["lip"][mouth[0][1], (mouth[0][0] + mouth[1][0]) // 2]
    rows = {name: np.nonzero(mask)[0].mean() for name, mask in masks.items()}
    assert rows["hair"] < rows["eyebrow"] < rows["eye"] < rows["nose"] < rows["lip"]
    for one, other in combinations(("nose", "eye", "eyebrow", "lip", "hair"), 2):
        assert not (masks[one] & masks[other]).any(), f"{one} and {other} overlap without being widened"
    for name in ("nose", "eye", "eyebrow", "lip"):
        assert not (masks[name] & ~masks["face"]).any()
        assert not (masks[name] & masks["skin"]).any()
    wide = {name: geometry.mask(fit, name, SIZE, 0.18) for name in ("nose", "eye", "eyebrow", "lip")}
    for one, other in (("eye", "eyebrow"), ("eye", "nose"), ("nose", "lip")):
        assert (wide[one] & wide[other]).sum() > 20, f"{one} and {other} overlap when widened"
    assert len(geometry.outlines("eye")) == 2
    with pytest.raises(UnknownNameError, match="part of a face 'ear'"):
        geometry.outlines("ear")


def test_the_mirror_of_a_face_takes_one_eye_to_the_other() -> None:
    turn = np.array([[0.9, -0.3], [0.3, 0.9]])
    points = (POINTS + np.array([[0, 0], [0, 0], [9, 0], [3, 5], [3, 0]])) @ turn.T
    for name, kept in (("eye", [1, 0]), ("lip", [4, 3]), ("nose", [2])):
        there = geometry.mirrored(points, name)
        own = sorted(kept)
        np.testing.assert_allclose(points[own] @ there[:, :2].T + there[:, 2], points[kept], atol=1e-9)
        assert np.linalg.det(there[:, :2]) == pytest.approx(-1)
    assert geometry.unlikeness(POINTS, alignment.MEAN) == pytest.approx(0, abs=1e-9)
    turned = alignment.MEAN + np.array([[0.0, 0], [0, 0], [0.4, 0], [0, 0], [0, 0]])
    assert geometry.unlikeness(turned, alignment.MEAN) > 0.2


# Self-blended.


def test_with_all_changes_off_a_self_blended_face_is_the_face() -> None:
    sample = picture()
    same, _ = forge(self_blend.SelfBlend(**STILL), sample)
    np.testing.assert_array_equal(same.rgb, sample.rgb)
    for change in ({"colour": (1, 1)}, {"sharpness": 1}, {"shift": (0.05, 0.05)}, {"scale": 0.05}):
        other, _ = forge(self_blend.SelfBlend(**(STILL | change)), sample)
        assert (other.rgb != sample.rgb).any(axis=2)[other.mask].mean() > 0.5, change


def test_the_ratio_is_how_far_the_copy_replaces_the_face() -> None:
    sample = picture()
    drawn = [forge(self_blend.SelfBlend(ratios=[r], outlines=["face"]), sample, 4)[0] for r in (0.25, 0.5, 1.0)]
    changes = [(d.rgb.astype(float) - sample.rgb)[d.mask] for d in drawn]
    np.testing.assert_allclose(changes[1], 2 * changes[0], atol=1.6)
    np.testing.assert_allclose(changes[2], 4 * changes[0], atol=2.6)


def test_the_outline_is_deformed_and_soft_only_where_asked() -> None:
    region = geometry.mask(geometry.placed(POINTS), "face", SIZE)
    hard = self_blend.weights(region, 70, {"deform": 0, "blur": 0, "ratio": 1, "seed": 0})
    np.testing.assert_array_equal(hard, region)
    bent = self_blend.weights(region, 70, {"deform": 0.06, "blur": 0, "ratio": 1, "seed": 0}) > 0.5
    assert 0.002 < (bent != region).mean() < 0.1
    near = cv2.dilate(cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))), np.ones((41, 41)))
    assert not ((bent != region) & (near == 0)).any()
    soft = self_blend.weights(region, 70, {"deform": 0, "blur": 0.1, "ratio": 0.5, "seed": 0})
    assert soft.max() == 0.5
    assert ((soft > 0) & (soft < 0.5)).sum() > 20 * ((hard > 0) & (hard < 1)).sum() + 1000


def test_a_copy_is_moved_by_the_recorded_way() -> None:
    sample, fit = picture(), geometry.placed(POINTS)
    moved = self_blend.displaced(sample.rgb, fit, {"shift": [4 / 70, -7 / 70], "scale": 1})
    np.testing.assert_allclose(moved[20:-20, 20:-20], sample.rgb[27:-13, 16:-24], atol=1)


# Warped.


@given(seed=st.integers(0, 500), amount=st.floats(0.04, 0.12), sign=st.sampled_from([-1, 1]))
@settings(max_examples=5, deadline=None, derandomize=True)
@pytest.mark.parametrize("change", ["eyes", "jaw", "smile", "nose"])
def test_what_is_at_a_control_goes_where_asked_and_nothing_folds(
    change: str, seed: int, amount: float, sign: int
) -> None:
    points = POINTS + np.random.default_rng(seed).normal(0, 2, (5, 2))
    fit, (controls, aims) = geometry.placed(points), warp.moved(change, sign * amount)
    controls, aims, reach = fit(controls), fit(aims), 45.0
    field = warp.displacement(SIZE, controls, aims, reach)
    for control, aim in zip(controls, aims, strict=True):
        # Bilinear between the pixels around the aim.
        way = np.array([cv2.getRectSubPix(field[..., k].copy(), (1, 1), tuple(map(float, aim)))[0, 0] for k in (0, 1)])
        asked = np.linalg.norm(control - aim)
        if asked > 1.2:
            np.testing.assert_allclose(aim + way, control, atol=0.35)
    away = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), 2)[:, :, None] - aims
    assert not field[np.linalg.norm(away, axis=3).min(2) > reach].any()
    length = np.linalg.norm(field, axis=2)
    assert length.max() > 1
    source = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), 2) + field
    dx, dy = np.diff(source, axis=1)[:-1], np.diff(source, axis=0)[:, :-1]
    assert (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).min() > 0, "it does not fold"


def test_a_dot_at_a_control_is_seen_where_it_was_sent() -> None:
    sample = picture()
    fit, (controls, aims) = geometry.placed(POINTS), warp.moved("smile", 0.12)
    rgb = np.full_like(sample.rgb, 60)
    start, end = fit(controls)[1], fit(aims)[1]
    cv2.circle(rgb, tuple(np.rint(start * 16).astype(int).tolist()), 3 * 16, (250, 250, 250), -1, cv2.LINE_AA, 4)
    dotted = Sample(rgb, meta=sample.meta)
    forged, _ = forge(warp.Warp(changes=["smile"], amount=(0.12, 0.12)), dotted, next(iter(_upwards("smile"))))
    weight = forged.rgb[..., 0].astype(float) - 60
    found = np.array([(weight * grid).sum() / weight.sum() for grid in np.indices(SIZE)[::-1]])
    assert np.linalg.norm(start - end) > 6
    assert np.linalg.norm(found - end) < 1


def _upwards(change: str) -> list[int]:
    """Seeds for which the amount is above 0."""
    op = warp.Warp(changes=[change], amount=(0.12, 0.12))
    return [seed for seed in range(9) if forge(op, picture(), seed)[1]["amount"] > 0]


def test_a_jaw_gets_slimmer_and_the_other_way_wider() -> None:
    controls, aims = warp.moved("jaw", 0.1)
    assert (np.abs(aims[:6, 0]) < np.abs(controls[:6, 0])).all()
    np.testing.assert_allclose(warp.moved("jaw", -0.1)[1] - controls, controls - aims)


# Parts.


@pytest.mark.parametrize("name", geometry.PARTS)
@pytest.mark.parametrize("change", sorted({*get_args(part.Change)} - {"mirror"}))
def test_each_change_reads_and_writes_its_own_part_only(name: str, change: str) -> None:
    sample = picture()
    op = part.Part(parts=[name], changes=[change], least=0)
    forged, entry = forge(op, sample)
    assert (entry["part"], entry["change"]) == (name, change)
    elsewhere = np.where(forged.mask[..., None], sample.rgb, 255 - sample.rgb)
    np.testing.assert_array_equal(op.replay(Sample(elsewhere), entry)[0][forged.mask], forged.rgb[forged.mask])
    np.testing.assert_array_equal(op.replay(Sample(elsewhere), entry)[0][~forged.mask], elsewhere[~forged.mask])


@pytest.mark.parametrize("change", ["blur", "median", "resample", "sharpen"])
def test_fine_detail_goes_or_grows(change: str) -> None:
    sample = picture()
    forged, _ = forge(part.Part(parts=["lip"], changes=[change]), sample)
    inner = cv2.erode(forged.mask.astype(np.uint8), np.ones((9, 9))).astype(bool)
    edges = (np.abs(cv2.Laplacian(s.rgb.astype(np.float32), cv2.CV_32F))[inner].mean() for s in (sample, forged))
    before, after = edges
    assert after > 1.2 * before if change == "sharpen" else after < 0.8 * before


def test_a_mirrored_eye_is_the_other_one() -> None:
    sample = picture()
    forged, _ = forge(part.Part(parts=["eye"], changes=["mirror"]), sample)
    right, left = np.rint(POINTS[:2]).astype(int)
    near = np.arange(-9, 10)
    here = forged.rgb[right[1] + near[:, None], right[0] + near].astype(float)
    there = sample.rgb[left[1] + near[:, None], left[0] - near].astype(float)
    assert np.abs(here - there).mean() < 1
    assert np.abs(here - sample.rgb[right[1] + near[:, None], right[0] + near]).mean() > 10


def _both(first: dict[str, Any], second: dict[str, Any], sample: Sample) -> np.ndarray:
    op = part.Part()
    return op.replay(Sample(op.replay(sample, first)[0]), second)[0]


def test_order_is_in_the_pixels_only_where_edits_overlap() -> None:
    sample = picture()

    def entry(name: str, change: str, wider: float) -> dict[str, Any]:
        return forge(part.Part(parts=[name], changes=[change], wider=(wider, wider)), sample, 3)[1]

    for one, other in (("nose", "lip"), ("eye", "eyebrow"), ("eye", "nose")):
        for wider, overlap in ((0.0, False), (0.2, True)):
            a, b = entry(one, "blur", wider), entry(other, "sharpen", wider)
            common = part.Part().replay(sample, a)[1] & part.Part().replay(sample, b)[1]
            differ = (_both(a, b, sample) != _both(b, a, sample)).any(axis=2)
            assert common.any() == overlap
            assert differ.any() == overlap, (one, other)
            # What one left in the common region the other spreads in its own.
            near = cv2.dilate(common.astype(np.uint8), np.ones((61, 61))).astype(bool)
            assert not (differ & ~near).any()


def test_the_sequence_is_the_order_of_edits_and_no_part_is_taken_twice() -> None:
    seen = set()
    for seed in range(4):
        sample, rng, order = picture(), np.random.default_rng(seed), []
        for count in range(1, 6):
            sample = part.Part(changes=["gamma", "recolour"])(sample, rng)
            order.append(part.LABELS[sample.meta["ops"][-1]["part"]])
            assert part.sequence(sample.meta["ops"]) == order + [0] * (5 - count)
        assert sorted(order) == [1, 2, 3, 4, 5]
        seen.add(tuple(order))
        with pytest.raises(InvalidValueError, match="expected a part besides"):
            part.Part()(sample, rng)
    assert len(seen) > 1
    assert part.sequence([{"op": "splice"}]) == [0] * 5
    with pytest.raises(InvalidValueError, match="found skin"):
        part.sequence([{"op": "face_part", "part": "skin"}])


def test_a_change_that_changes_nothing_is_refused() -> None:
    flat = Sample(np.full((*SIZE, 3), 90, np.uint8), meta=picture().meta)
    with pytest.raises(InvalidValueError, match="change of 1 grey levels"):
        forge(part.Part(changes=["blur"]), flat)
    forge(part.Part(changes=["gamma"]), flat)


# Swapped.


@pytest.mark.parametrize("seed", range(4))
def test_swapped_eyes_lie_on_the_eyes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, scale = rng.uniform(-0.3, 0.3), rng.uniform(0.9, 1.4)
    spin = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (alignment.MEAN * 70) @ spin.T + (170, 150) + rng.normal(0, 1.5, (5, 2))
    donor = Sample(np.full((400, 360, 3), 40, np.uint8), id="dots", meta=picture(points).meta)
    for point in points:
        middle = tuple(np.rint(point * 16).astype(int).tolist())
        cv2.circle(donor.rgb, middle, 5 * 16, (240, 240, 240), -1, cv2.LINE_AA, 4)
    op = swap.Swap(donor=donor, blends=["multiband"], matches=["none"])
    host = Sample(np.full((*SIZE, 3), 40, np.uint8), meta=picture().meta)
    forged, entry = forge(op, host, seed)
    np.testing.assert_allclose(entry["donor_face"]["points"], points)
    for x, y in POINTS[:3]:
        ys, xs = np.mgrid[round(y) - 12 : round(y) + 13, round(x) - 12 : round(x) + 13]
        weight = forged.rgb[ys, xs, 0].astype(float) - 40
        found = (weight * xs).sum() / weight.sum(), (weight * ys).sum() / weight.sum()
        assert np.hypot(found[0] - x, found[1] - y) < 1


def test_a_face_swapped_with_itself_is_itself() -> None:
    sample = picture()
    for blend in ("hard", "poisson"):
        forged, _ = forge(swap.Swap(donor=sample, blends=[blend], matches=["none"]), sample)
        assert np.abs(forged.rgb.astype(int) - sample.rgb).max() <= 1


@pytest.mark.parametrize("match", ["reinhard", "gain"])
def test_matched_skin_has_the_mean_of_the_host(match: str) -> None:
    sample, donor = picture(), picture(seed=5)
    donor = Sample((donor.rgb * 0.6).astype(np.uint8), id="dark", meta=donor.meta)
    means = {}
    for name in ("none", match):
        op = swap.Swap(donor=donor, blends=["hard"], matches=[name], strength=(1, 1))
        forged, _ = forge(op, sample)
        means[name] = np.abs(forged.rgb[forged.mask].mean(0) - sample.rgb[forged.mask].mean(0)).max()
    assert means[match] < 6
    assert means["none"] > 30


def test_donors_that_do_not_suit_are_refused() -> None:
    cases = {
        "has|whole face, found none": Sample(picture().rgb, meta={"faces": []}),
        "looks the same way": picture(POINTS + np.array([[0, 0], [0, 0], [25, 0], [0, 0], [0, 0]])),
        "enlarged up to 2": picture((POINTS - POINTS.mean(0)) * 0.4 + (140, 150)),
        "one cut off": picture(POINTS - (0, 100)),
    }
    for words, donor in cases.items():
        with pytest.raises(InvalidValueError, match=words):
            forge(swap.Swap(donor=donor), picture())


# Settings.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: self_blend.SelfBlend(ratios=[]), "outlines and ratios"),
        (lambda: self_blend.SelfBlend(ratios=[1.5]), "outlines and ratios"),
        (lambda: self_blend.SelfBlend(colour=(0.5, 0.1)), "face_blend.colour"),
        (lambda: warp.Warp(amount=(0.1, 0.4)), "face_warp.amount"),
        (lambda: warp.Warp(changes=[]), "face_warp.changes"),
        (lambda: part.Part(parts=[]), "face_part.parts"),
        (lambda: part.Part(strength=(0, 1)), "face_part.strength"),
        (lambda: swap.Swap(donor=picture(), strength=(0, 2)), "face_swap.strength"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        make()


def test_unknown_names_are_refused() -> None:
    for make in (
        lambda: self_blend.SelfBlend(outlines=["chin"]),
        lambda: warp.Warp(changes=["ears"]),
        lambda: part.Part(parts=["ear"]),
        lambda: part.Part(changes=["melt"]),
    ):
        with pytest.raises(UnknownNameError):
            make()
