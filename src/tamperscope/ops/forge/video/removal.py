"""Removal from a clip: an object, with or without what it casts, gives way to the background that others saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops.forge import blending, shapes
from tamperscope.ops.forge import removal as still
from tamperscope.ops.forge.video import background, effects
from tamperscope.ops.forge.video.clip import Clip, check_record, empty, forged, grown, span
from tamperscope.ops.forge.video.motion import Motion, continued
from tamperscope.types import BoolArray, FloatArray, UInt8Array

Mode = Literal["removed", "left"]
MODES: tuple[Mode, ...] = get_args(Mode)
_DRAWN = ("effect", "fill", "near", "margin", "start", "stop", "seed")
_STEEP = 24.0  # grey levels: a larger step at the seam is an edge of the scene, not of exposure
_RIM = 8  # pixels around the hole in which frames are compared
_SOFT = 2.0  # pixels over which the seam is mixed


@dataclass(frozen=True, slots=True)
class ClipRemoval:
    """Remove the known object of a clip; `mask` marks what was filled, and nothing else changes.

    Pixels that another frame saw are taken from there along the camera's motion; those that none saw are filled in one
    key frame as in a photograph, and follow the motion from it. With `left`, the shadow and reflection stay without
    their object: a physical inconsistency, recorded as `inconsistency`.

    Attributes:
        effect: Whether the object's effects are `removed` or `left`; None draws one.
        fill: Of pixels that no frame saw; see `ops.forge.removal`.
        near: Range of the number of frames in a pixel's median; 1 takes the nearest frame's pixel.
        margin: Range of the pixels by which the object is grown.
        share: Range of the share of the frames in which it is removed.
        noun: What the object is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A range is upside down or out of bounds.
        UnknownNameError: There is no such effect mode or fill.
    """

    effect: Mode | None = None
    fill: still.Fill = "exemplar"
    near: tuple[int, int] = (3, 9)
    margin: tuple[int, int] = (2, 5)
    share: shapes.Span = (1.0, 1.0)
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        shapes.check_span("clip_removal.near", self.near, 1, 100)
        shapes.check_span("clip_removal.margin", self.margin, 0, 100)
        shapes.check_span("clip_removal.share", self.share, 1e-3, 1)
        if self.effect is not None and self.effect not in MODES:
            raise unknown_name("effect mode", self.effect, MODES)
        if self.fill not in still.FILLS:
            raise unknown_name("fill", self.fill, still.FILLS)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the forged clip.

        Raises:
            InvalidValueError: The clip's object is not known or in no frame, or it leaves nothing to fill from.
        """
        start, stop = span(len(clip), self.share, rng)
        near, margin = (int(rng.integers(low, high + 1)) for low, high in (self.near, self.margin))
        effect = self.effect or MODES[int(rng.integers(len(MODES)))]
        values = {"effect": effect, "fill": self.fill, "near": near, "margin": margin, "start": start, "stop": stop}
        said = {"noun": self.noun or "an object", "attributes": list(self.attributes)}
        return self.replay(clip, {"op": "clip_removal", **values, "seed": int(rng.integers(2**31)), "words": said})

    @classmethod
    def replay(cls, clip: Clip, entry: Mapping[str, Any]) -> Clip:
        """Return the forged clip of a record; the errors are those of a call.

        Args:
            clip: As it was before, with its objects.
            entry: Of a frame's `meta["ops"]`.
        """
        check_record(entry, "clip_removal")
        if clip.objects is None or not any(mask.any() for mask in clip.objects[entry["start"] : entry["stop"]]):
            raise InvalidValueError("clip_removal: expected a clip whose object is known, found none")
        objects = [grown(mask, entry["margin"]) if mask.any() else mask for mask in clip.objects]
        motion = background.motion_of(clip, clip.objects)
        known = effects.found(clip, motion) if clip.effects is None else clip.effects
        cast = [effect & ~mask for effect, mask in zip(known, clip.objects, strict=True)]
        whole = [mask | effect for mask, effect in zip(objects, cast, strict=True)]
        masks = whole if entry["effect"] == "removed" else [a & ~b for a, b in zip(objects, cast, strict=True)]
        inside = range(entry["start"], entry["stop"])
        rgb = filled(clip.rgb, masks, whole, motion, inside, entry["fill"], entry["near"], entry["seed"])
        labels = [_within(inside, of, clip) for of in (masks, clip.objects, cast)]
        left = entry["effect"] == "left" and any(effect.any() for effect in labels[2])
        first = next(mask for mask in labels[0] if mask.any())
        relation = "removed and filled with what other frames show"
        told = shapes.words(first, entry["words"]["noun"], relation, entry["words"]["attributes"])
        return forged(
            clip,
            rgb,
            labels[0],
            labels[1],
            labels[2],
            "clip_removal",
            **{key: entry[key] for key in _DRAWN},
            inconsistency=["effect_without_object"] if left else [],
            trace=["resampling", "temporal_duplication"],
            words=told,
        )


def _within(inside: range, masks: Sequence[BoolArray], clip: Clip) -> list[BoolArray]:
    """Return the masks of frames that were changed, and empty ones for the others."""
    return [mask if number in inside else empty(clip) for number, mask in enumerate(masks)]


def filled(
    frames: Sequence[UInt8Array],
    masks: Sequence[BoolArray],
    hidden: Sequence[BoolArray],
    motion: Motion,
    inside: range,
    fill: still.Fill,
    near: int,
    seed: int,
) -> list[UInt8Array]:
    """Return the frames with the masks filled in those that `inside` holds.

    Args:
        frames: (H, W, 3) uint8 each.
        masks: (H, W) bool each, what to fill.
        hidden: (H, W) bool each, what may not serve as background: the masks and more.
        motion: Among the frames.
        inside: Numbers of the frames to fill.
        fill: Of what no frame saw.
        near: Frames in a pixel's median.
        seed: Of that fill.

    Raises:
        InvalidValueError: A mask leaves nothing to fill from.
    """
    patches, known = {}, {}
    for number in inside:
        part = grown(masks[number], _RIM) if masks[number].any() else masks[number]
        found = background.seen(frames, hidden, motion, number, part, near)
        known[number] = found.known
        patch = found.rgb + _gap(frames[number], found, ~hidden[number])
        patches[number] = np.where((found.known & masks[number])[..., None], patch, frames[number])
    lacking = {number: masks[number] & ~known[number] for number in inside}
    _fill_unseen(patches, lacking, motion, fill, np.random.default_rng(seed))
    out = list(frames)
    for number in inside:
        out[number] = _laid(frames[number], patches[number], masks[number])
    return out


def _gap(rgb: UInt8Array, found: background.Seen, shown: BoolArray) -> FloatArray:
    """Return how much brighter a frame is than what others saw, continued from around the hole; (H, W, 3) float32."""
    rim = found.known & shown
    return continued(np.clip(rgb - found.rgb, -_STEEP, _STEEP).astype(np.float32), rim)


def _laid(rgb: UInt8Array, patch: FloatArray, mask: BoolArray) -> UInt8Array:
    """Return a frame with a patch where `mask`, its outermost pixels mixed; nothing else changes."""
    depth = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    weight = np.minimum(depth / _SOFT, 1)[..., None]
    mixed = rgb + weight * (patch - rgb)
    return blending.hard(rgb, np.clip(np.rint(mixed), 0, 255).astype(np.uint8), mask)


def _fill_unseen(
    patches: dict[int, FloatArray],
    lacking: dict[int, BoolArray],
    motion: Motion,
    fill: still.Fill,
    rng: np.random.Generator,
) -> None:
    """Fill what no frame saw: where most is lacking, as in a photograph; from there it follows the motion."""
    while any(mask.any() for mask in lacking.values()):
        key = max(lacking, key=lambda number: int(lacking[number].sum()))
        if lacking[key].all():
            raise InvalidValueError("clip_removal: expected a mask that leaves a part of every frame to fill from")
        whole = np.clip(np.rint(patches[key]), 0, 255).astype(np.uint8)
        patches[key] = still.filled(whole, lacking[key], fill, rng)[0].astype(np.float32)
        lacking[key] = np.zeros_like(lacking[key])
        for number, mask in lacking.items():
            if mask.any():
                known = np.ones(mask.shape, np.float32)
                sees = mask & (motion.warped(key, number, known, cv2.INTER_LINEAR) > 0.999)
                patches[number][sees] = motion.warped(key, number, patches[key])[sees]
                lacking[number] = mask & ~sees
