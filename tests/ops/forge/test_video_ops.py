"""Forged clips against a scene of which all is known: camera, background, object, shadow and reflection."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.ops.forge import removal as still
from tamperscope.ops.forge.video import background, effects
from tamperscope.ops.forge.video.clip import Clip
from tamperscope.ops.forge.video.motion import Motion, local, moved
from tamperscope.ops.forge.video.paste import ClipPaste
from tamperscope.ops.forge.video.removal import ClipRemoval
from tamperscope.types import Sample

SIZE, COUNT = (150, 210), 8


@dataclass(frozen=True)
class Scene:
    """A generated clip with all that it is made of; `clean` has neither object nor effects, `bare` no effects."""

    clip: Clip
    clean: list[np.ndarray]
    shadows: list[np.ndarray]
    homographies: list[np.ndarray]


def texture(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A scene with detail at every scale, without repetition."""
    rng = np.random.default_rng(seed)
    planes = np.full((*size, 3), 128.0)
    for step, gain in ((64, 30), (24, 26), (9, 22), (4, 14)):
        small = rng.normal(0, gain, (size[0] // step + 2, size[1] // step + 2, 3))
        planes += cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(planes, 0, 255).astype(np.uint8)


def camera(number: int) -> np.ndarray:
    """Takes the scene to frame `number`: a pan, a slow zoom, a roll and a little perspective."""
    zoom, roll = 1 + 0.012 * number, 0.006 * number
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [2e-5 * number, 1e-5 * number, 1]])
    return (
        tilt
        @ np.diag([zoom, zoom, 1])
        @ turn
        @ np.array([[1, 0, -40 - 5.3 * number], [0, 1, -40 + 1.7 * number], [0, 0, 1]])
    )


@cache
def scene(step: float = 13.0, shadow: bool = True, mirror: bool = False, seed: int = 3) -> Scene:
    """The object walks `step` pixels a frame over the scene; its shadow lies beside it, its reflection below."""
    world = texture(seed, (260, 420))
    frames, objects, clean, shadows, homographies = [], [], [], [], []
    noise = np.random.default_rng(7)
    for number in range(COUNT):
        x, y = 110 + step * number, 115
        body, cast, below = (np.zeros(world.shape[:2], np.float32) for _ in range(3))
        cv2.ellipse(body, (round(x), y), (15, 30), 0, 0, 360, 1.0, -1)
        cv2.ellipse(cast, (round(x) + 32, y + 28), (30, 8), 0, 0, 360, 1.0, -1)
        below[y + 30 : y + 90] = body[y - 30 : y + 30][::-1]
        soft = 0.45 * cv2.GaussianBlur(cast, (0, 0), 1.5) * (1 - body) * shadow
        faint = 0.5 * below * (1 - body) * mirror
        lit = world * (1 - soft[..., None])
        colour = np.array([220, 60, 40], np.float32)
        lit += faint[..., None] * (colour - lit)
        whole = lit + body[..., None] * (colour - lit)
        matrix = camera(number)
        homographies.append(matrix)
        seen, ground, mask, effect = (
            cv2.warpPerspective(plane.astype(np.float32), matrix, SIZE[::-1], flags=cv2.INTER_LINEAR)
            for plane in (whole, world, body, np.maximum(soft / 0.45, faint / 0.5))
        )
        grain = noise.normal(0, 1.0, seen.shape)
        frames.append(Sample(np.clip(np.rint(seen + grain), 0, 255).astype(np.uint8), id=f"s_{number}"))
        clean.append(np.clip(np.rint(ground), 0, 255).astype(np.uint8))
        objects.append(mask > 0.02)
        shadows.append((effect > 0.3) & ~objects[-1])
    return Scene(Clip(tuple(frames), tuple(objects), None, 12.0, "scene"), clean, shadows, homographies)


@cache
def removed(effect: str = "removed", **values: Any) -> Clip:
    made = scene()
    return ClipRemoval(effect=effect, **values)(made.clip, np.random.default_rng(5))  # type: ignore[arg-type]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def each(clip: Clip, seed: int = 0, fill: still.Fill = "exemplar") -> list[np.ndarray]:
    """The object's pixels filled frame by frame, as in photographs."""
    rng = np.random.default_rng(seed)
    masks = [frame.mask for frame in removed().frames]
    return [
        still.Removal(mask=mask, fill=fill, margin=(0, 0))(frame, rng).rgb
        for frame, mask in zip(clip.frames, masks, strict=True)
    ]


def flicker(rgb: list[np.ndarray], masks: list[np.ndarray], homographies: list[np.ndarray]) -> float:
    """Mean difference of successive frames inside of their masks, along the true motion."""
    gaps = []
    for n in range(len(rgb) - 1):
        matrix = homographies[n + 1] @ np.linalg.inv(homographies[n])
        before = cv2.warpPerspective(rgb[n].astype(np.float32), matrix, SIZE[::-1])
        reach = cv2.warpPerspective(masks[n].astype(np.float32), matrix, SIZE[::-1]) > 0.99
        both = reach & masks[n + 1]
        gaps.append(np.abs(before[both] - rgb[n + 1][both]))
    return float(np.concatenate(gaps).mean())


# Motion.


def test_motion_is_the_known_one_and_a_moving_object_does_not_mislead_it() -> None:
    made = scene()
    motion = background.motion_of(made.clip, made.clip.objects)  # type: ignore[arg-type]
    for source, target in ((0, 1), (0, 7), (7, 2)):
        true = made.homographies[target] @ np.linalg.inv(made.homographies[source])
        for point in ((20.0, 20.0), (130.0, 90.0), (200.0, 140.0)):
            assert math.dist(moved(motion.between(source, target), *point), moved(true, *point)) < 0.5


def test_without_features_motion_is_none() -> None:
    flat = [np.full((*SIZE, 3), 90, np.uint8)] * 3
    np.testing.assert_array_equal(Motion(flat, [np.zeros(SIZE, bool)] * 3).between(0, 2), np.eye(3))


def test_the_local_change_is_the_derivative_of_the_motion() -> None:
    matrix, step = camera(8), 1e-4
    x, y = 70.0, 50.0
    base = np.array(moved(matrix, x, y))
    columns = [(np.array(moved(matrix, x + dx, y + dy)) - base) / step for dx, dy in ((step, 0), (0, step))]
    np.testing.assert_allclose(local(matrix, x, y), np.stack(columns, 1), atol=1e-5)


# Removal.


def test_what_other_frames_saw_comes_back_far_better_than_a_spatial_fill_can() -> None:
    made, forged = scene(), removed()
    spatial = each(made.clip)
    for number, frame in enumerate(forged.frames):
        temporal = psnr(frame.rgb[frame.mask], made.clean[number][frame.mask])  # type: ignore[index]
        assert temporal > 30
        assert temporal > psnr(spatial[number][frame.mask], made.clean[number][frame.mask]) + 10


def test_the_fill_flickers_less_than_fills_of_single_frames_also_where_no_frame_saw() -> None:
    slow = scene(step=0.0, shadow=False)
    forged = ClipRemoval(effect="removed")(slow.clip, np.random.default_rng(1))
    masks = [frame.mask for frame in forged.frames]
    rng = np.random.default_rng(1)
    single = [
        still.Removal(mask=mask, fill="exemplar", margin=(0, 0))(frame, rng).rgb
        for frame, mask in zip(slow.clip.frames, masks, strict=True)
    ]
    assert flicker(forged.rgb, masks, slow.homographies) < 0.5 * flicker(single, masks, slow.homographies)  # type: ignore[arg-type]
    moving = removed()
    inside = [frame.mask for frame in moving.frames]
    steady = flicker(moving.rgb, inside, scene().homographies)  # type: ignore[arg-type]
    assert steady < 0.5 * flicker(each(scene().clip), inside, scene().homographies)  # type: ignore[arg-type]


def test_with_its_effect_the_shadow_goes_and_without_it_stays() -> None:
    made = scene()
    residue = {}
    for mode in ("removed", "left"):
        gaps = [
            np.abs(frame.rgb[shadow].astype(float) - clean[shadow]).mean()
            for frame, clean, shadow in zip(removed(mode).frames, made.clean, made.shadows, strict=True)
        ]
        residue[mode] = float(np.mean(gaps))
    assert residue["removed"] < 0.3 * residue["left"]
    assert residue["left"] > 20
    told = {mode: removed(mode).frames[0].meta["ops"][-1]["inconsistency"] for mode in residue}
    assert told == {"removed": [], "left": ["effect_without_object"]}


def test_outside_of_the_masks_nothing_changes_and_labels_are_apart() -> None:
    for mode in ("removed", "left"):
        forged = removed(mode)
        assert forged.objects is not None
        assert forged.effects is not None
        for n, (before, after) in enumerate(zip(scene().clip.frames, forged.frames, strict=True)):
            np.testing.assert_array_equal(after.rgb[~after.mask], before.rgb[~after.mask])  # type: ignore[operator]
            assert not (forged.effects[n] & forged.objects[n]).any()
            assert (after.mask | ~forged.objects[n]).all(), "the object is removed"  # type: ignore[operator]
            inside = (forged.effects[n] & after.mask).sum()  # type: ignore[operator]
            assert inside == (forged.effects[n].sum() if mode == "removed" else 0)


# Effects.


def overlap(found: tuple[np.ndarray, ...], true: list[np.ndarray]) -> float:
    pairs = list(zip(found, true, strict=True))
    return sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs)


@pytest.mark.parametrize(("shadow", "mirror"), [(True, False), (False, True), (True, True)])
def test_effects_are_found_where_they_are(shadow: bool, mirror: bool) -> None:
    made = scene(shadow=shadow, mirror=mirror)
    assert overlap(effects.found(made.clip), made.shadows) >= 0.5


def test_without_a_shadow_none_is_found() -> None:
    made = scene(shadow=False)
    found = effects.found(made.clip)
    assert sum(int(mask.sum()) for mask in found) < 0.02 * sum(int(m.sum()) for m in made.clip.objects or ())
    assert not any(mask.any() for mask in effects.found(replace(made.clip, objects=None)))


def test_known_effects_are_used_as_they_are() -> None:
    made = scene()
    forged = ClipRemoval(effect="removed")(replace(made.clip, effects=tuple(made.shadows)), np.random.default_rng(0))
    for label, true in zip(forged.effects or (), made.shadows, strict=True):
        np.testing.assert_array_equal(label, true)


# Paste.


def donor(count: int = 1) -> Clip:
    rgb = texture(11, (120, 100))
    mask = np.zeros((120, 100), bool)
    cv2.ellipse(view := mask.view(np.uint8), (50, 60), (20, 40), 0, 0, 360, 1, -1)
    return Clip((Sample(rgb, id="d"),) * count, (view.astype(bool),) * count, None, 25.0, "donor")


def pasted(seed: int = 2, **values: Any) -> Clip:
    settings = {"shadow": 1.0, "drift": 0.0, "growth": (1.0, 1.0), "foot": (0.5, 0.7), "share": (0.02, 0.04), **values}
    return ClipPaste(donor(), **settings)(scene().clip, np.random.default_rng(seed))


def test_a_paste_keeps_its_place_and_size_in_the_scene_while_the_camera_moves() -> None:
    made, forged = scene(), pasted()
    places, sizes = [], []
    for mask, matrix in zip(forged.objects or (), made.homographies, strict=True):
        rows, columns = np.nonzero(mask)
        foot = float(columns.mean()), float(rows.max())
        places.append(moved(np.linalg.inv(matrix), *foot))
        sizes.append(mask.sum() / np.linalg.det(local(matrix, *moved(np.linalg.inv(matrix), *foot))))
    spread = np.ptp(np.array(places), axis=0)
    assert spread.max() < 2, "within a pixel of the middle"
    assert np.ptp(sizes) < 0.05 * np.mean(sizes)
    rows, columns = np.nonzero((forged.objects or ())[0])
    assert abs(columns.mean() - np.nonzero((forged.objects or ())[-1])[1].mean()) > 20, "the camera moves"


def test_drift_moves_it_steadily_through_the_scene() -> None:
    made, forged = scene(), pasted(seed=4, drift=0.4)
    entry = forged.frames[0].meta["ops"][-1]
    ways = []
    for mask, matrix in zip(forged.objects or (), made.homographies, strict=True):
        rows, columns = np.nonzero(mask)
        at = moved(np.linalg.inv(matrix), float(columns.mean()), float(rows.max()))
        ways.append(moved(made.homographies[entry["key"]], *at))
    total = np.array(ways[-1]) - ways[0]
    np.testing.assert_allclose(total, entry["drift"], atol=2.0)
    assert math.hypot(*entry["drift"]) > 8


@pytest.mark.parametrize("values", [{}, {"blends": ("hard",)}, {"blends": ("feathered",)}, {"blends": ("multiband",)}])
def test_a_paste_changes_only_its_mask_and_its_shadow_is_apart(values: dict[str, Any]) -> None:
    forged = pasted(**values)
    for n, (before, after) in enumerate(zip(scene().clip.frames, forged.frames, strict=True)):
        np.testing.assert_array_equal(after.rgb[~after.mask], before.rgb[~after.mask])  # type: ignore[operator]
        shadow, thing = (forged.effects or ())[n], (forged.objects or ())[n]
        assert not (shadow & thing).any()
        darker = before.rgb[shadow].astype(int) - after.rgb[shadow]
        assert darker.mean() > 4
    bare = pasted(shadow=0.0, **values)
    assert not any(mask.any() for mask in bare.effects or ())


def test_colours_are_matched_once_for_all_frames() -> None:
    """The same donor pixel has the same colour in all frames, though surroundings change."""
    forged = pasted(matches=("gain",), strength=(1.0, 1.0), blends=("hard",), shadow=0.0)
    plain = pasted(matches=("none",), blends=("hard",), shadow=0.0)
    ratios = []
    for a, b, mask in zip(forged.frames, plain.frames, plain.objects or (), strict=True):
        ratios.append(a.rgb[mask].astype(float).mean(0) / b.rgb[mask].mean(0))
    assert np.abs(np.array(ratios[0]) - 1).max() > 0.02
    assert np.ptp(ratios, axis=0).max() < 0.01


# The contract.


def _paste(clip: Clip, rng: np.random.Generator) -> Clip:
    return ClipPaste(donor(3), frames=(0.4, 0.6), shadow=0.5)(clip, rng)


def _remove(clip: Clip, rng: np.random.Generator) -> Clip:
    return ClipRemoval(share=(0.4, 0.6))(clip, rng)


@pytest.mark.parametrize(
    ("operation", "replay"),
    [(_remove, ClipRemoval.replay), (_paste, lambda clip, entry: ClipPaste.replay(clip, entry, donor(3)))],
)
def test_one_seed_gives_one_clip_and_its_record_replays_it(
    operation: Callable[[Clip, np.random.Generator], Clip], replay: Callable[[Clip, Any], Clip]
) -> None:
    clip = scene().clip.cut(0, 5)
    first, again, other = (operation(clip, np.random.default_rng(seed)) for seed in (8, 8, 9))
    entry = json.loads(json.dumps(first.frames[3].meta["ops"][-1]))
    assert entry["frame"] == 3
    replayed = replay(clip, entry)
    for a, b, c in zip(first.frames, again.frames, replayed.frames, strict=True):
        for twin in (b, c):
            np.testing.assert_array_equal(a.rgb, twin.rgb)
            np.testing.assert_array_equal(a.mask, twin.mask)
    assert any((a.rgb != b.rgb).any() for a, b in zip(first.frames, other.frames, strict=True))


@pytest.mark.parametrize("operation", [_remove, _paste])
def test_frames_outside_of_the_span_are_intact_and_recorded(
    operation: Callable[[Clip, np.random.Generator], Clip],
) -> None:
    clip = scene().clip
    forged = operation(clip, np.random.default_rng(8))
    entry = forged.frames[0].meta["ops"][-1]
    assert 0 < entry["stop"] - entry["start"] < COUNT
    for n, (before, after) in enumerate(zip(clip.frames, forged.frames, strict=True)):
        within = entry["start"] <= n < entry["stop"]
        assert after.meta["ops"][-1]["frame"] == n
        assert after.label == int(within)
        if not within:
            np.testing.assert_array_equal(after.rgb, before.rgb)
            assert not (after.mask | (forged.objects or ())[n] | (forged.effects or ())[n]).any()  # type: ignore[operator]


def test_bad_input_is_refused() -> None:
    clip = scene().clip
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidValueError, match="whose object is known"):
        ClipRemoval()(replace(clip, objects=None), rng)
    with pytest.raises(InvalidValueError, match="whose object is known"):
        ClipPaste(replace(clip, objects=None))
    with pytest.raises(InvalidValueError, match="poisson flickers"):
        ClipPaste(donor(), blends=("poisson",))
    with pytest.raises(UnknownNameError, match="effect mode 'kept'"):
        ClipRemoval(effect="kept")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="record of clip_removal"):
        ClipRemoval.replay(clip, {"op": "removal"})
    with pytest.raises(InvalidValueError, match="frames of one size"):
        Clip((clip.frames[0], Sample(np.zeros((8, 8, 3), np.uint8))))
    with pytest.raises(InvalidValueError, match="expected 8 masks"):
        replace(clip, objects=(clip.objects or ())[:3])
