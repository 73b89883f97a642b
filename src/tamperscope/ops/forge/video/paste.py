"""Paste into a clip: an object of another clip, or a still one, keeps its place in the scene as the camera moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import blending, shapes
from tamperscope.ops.forge.video import background
from tamperscope.ops.forge.video.clip import Clip, check_record, empty, forged, span
from tamperscope.ops.forge.video.motion import Motion, local, moved
from tamperscope.ops.forge.video.shadow import Shadow
from tamperscope.types import BoolArray, FloatArray, UInt8Array

_DRAWN = ("start", "stop", "key", "at", "scale", "growth", "drift", "flip", "first", "look", "shadow")
_STEADY = 2.0  # frames over which the path of a donor's foot is smoothed, standard deviation
_LEAST = 24  # pixels of a paste below which it is no object any more
_ONE_PART = 0.75  # share of an object in its largest part, above which nothing stands before it
_PLACES = 16  # that are compared


@dataclass(frozen=True, slots=True, eq=False)
class ClipPaste:
    """Paste the object of `donor` into a clip, frame by frame; `mask` marks it and its shadow, and only these change.

    Its foot keeps a place of the scene, which moves, grows and turns as the camera moves there, plus a smooth drift.
    Colours are matched once for all frames, so that they do not flicker.

    Attributes:
        donor: Clip with objects; one frame is a still object. A shorter one is played back and forth.
        share: Range of the object's area in the key frame as a share of it.
        foot: Range of the height of the object's foot in the key frame, 0 at the top, 1 at the bottom.
        drift: Greatest way that it goes on its own in the whole clip, as a share of the width.
        growth: Range of the factor by which it grows on its own.
        flip: How often it is mirrored.
        shadow: How often it casts a shadow.
        strength: Range of how far colours are matched.
        matches: Ways to match colours, to choose from.
        blends: Edges to choose from: `hard`, `feathered`, or `multiband`, which thins small objects.
        feathers: Widths of a feathered edge to choose from, pixels.
        frames: Range of the share of the frames in which it is pasted.
        noun: What the object is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A range is upside down or out of bounds, or the donor has no object.
    """

    donor: Clip
    share: shapes.Span = (0.01, 0.1)
    foot: shapes.Span = (0.5, 0.95)
    drift: float = 0.1
    growth: shapes.Span = (0.9, 1.1)
    flip: float = 0.5
    shadow: float = 0.5
    strength: shapes.Span = (0.4, 0.9)
    matches: Sequence[blending.Match] = ("none", "reinhard", "gain")
    blends: Sequence[blending.Blend] = ("hard", "feathered", "feathered")
    feathers: Sequence[float] = (0.7, 1.2)
    frames: shapes.Span = (1.0, 1.0)
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        bounds = {"share": (1e-4, 0.5), "foot": (0, 1), "growth": (0.2, 5), "strength": (0, 1), "frames": (1e-3, 1)}
        for name, (low, high) in bounds.items():
            shapes.check_span(f"clip_paste.{name}", getattr(self, name), low, high)
        if "poisson" in self.blends:
            raise InvalidValueError("clip_paste.blends: expected hard, feathered or multiband; poisson flickers")
        if self.donor.objects is None or not any(mask.any() for mask in self.donor.objects):
            raise InvalidValueError("clip_paste.donor: expected a clip whose object is known, found none")

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the forged clip.

        Raises:
            InvalidValueError: The object leaves the picture, or is too small in it.
        """
        start, stop = span(len(clip), self.frames, rng)
        look = blending.draw(self.blends, self.feathers, rng, self.matches, self.strength)
        height, width = clip.size
        masks = [mask for mask in self.donor.objects or () if mask.any()]
        wanted = shapes.area(self.share, rng) * height * width
        scale = min(math.sqrt(wanted / float(np.median([mask.sum() for mask in masks]))), _most(masks, clip.size))
        turn = float(rng.uniform(0, 2 * math.pi))
        way = float(rng.uniform(0, self.drift)) * width
        values: dict[str, Any] = {
            "start": start,
            "stop": stop,
            "key": int(rng.integers(start, stop)),
            "scale": scale,
            "growth": shapes.drawn(self.growth, rng),
            "drift": [way * math.cos(turn), 0.2 * way * math.sin(turn)],
            "flip": bool(rng.random() < self.flip),
            "first": int(rng.integers(len(self.donor))),
            "look": asdict(look),
            "shadow": Shadow.draw(rng).values() if rng.random() < self.shadow else None,
        }
        motion = _motion(clip)
        values["at"] = self._place(motion, range(start, stop), values["key"], rng)
        said = {"noun": self.noun or "an object", "attributes": list(self.attributes)}
        return _pasted(clip, {"op": "clip_paste", **values, "words": said}, self.donor, motion)

    def _place(self, motion: Motion, inside: range, key: int, rng: np.random.Generator) -> list[float]:
        """Return a place of the key frame, (x, y): of those drawn, the first that most frames show."""
        height, width = motion.frames[0].shape[:2]
        x = rng.uniform(0.15, 0.85, _PLACES) * width
        y = np.array([shapes.drawn(self.foot, rng) for _ in x]) * height
        shown = np.zeros(len(x))
        for number in inside:
            goes = np.array([moved(motion.between(key, number), *at) for at in zip(x, y, strict=True)])
            shown += ((goes > (0.1 * width, 0.2 * height)) & (goes < (0.9 * width, 1.05 * height))).all(axis=1)
        best = int(shown.argmax())
        return [float(x[best]), float(y[best])]

    @classmethod
    def replay(cls, clip: Clip, entry: Mapping[str, Any], donor: Clip) -> Clip:
        """Return the forged clip of a record; the errors are those of a call.

        Args:
            clip: As it was before.
            entry: Of a frame's `meta["ops"]`.
            donor: As it was then.
        """
        check_record(entry, "clip_paste")
        return _pasted(clip, entry, donor, _motion(clip))


def _motion(clip: Clip) -> Motion:
    """Return the motion of a host's camera."""
    return background.motion_of(clip, clip.objects or [empty(clip)] * len(clip))


def _pasted(clip: Clip, entry: Mapping[str, Any], donor: Clip, motion: Motion) -> Clip:
    """Return the forged clip of a record."""
    inside = range(entry["start"], entry["stop"])
    warps = placed(motion, donor, inside, entry)
    pieces = [_piece(donor, *warp, clip.size) for warp in warps]
    masks = [mask if mask.sum() >= _LEAST else np.zeros_like(mask) for _, mask in pieces]
    if 2 * sum(bool(mask.any()) for mask in masks) < len(masks):
        raise InvalidValueError("clip_paste: expected an object that half of the frames show; it leaves the picture")
    matched = blending.Look(**entry["look"])
    look = replace(matched, match="none")
    patches = _matched([rgb for rgb, _ in pieces], masks, clip, inside, matched)
    objects, shadows = ([empty(clip) for _ in clip.frames] for _ in range(2))
    rgb, feet = clip.rgb, _feet(donor)
    for number, patch, mask, (frame, warp) in zip(inside, patches, masks, warps, strict=True):
        if not mask.any():
            continue
        host, objects[number] = rgb[number], mask
        if entry["shadow"] is not None:
            x, y = warp @ (*feet[frame], 1.0)
            host, shadows[number] = Shadow(**entry["shadow"]).cast(host, mask, (float(x), float(y)))
        rgb[number] = look.lay(host, patch, mask)
    first = next(mask for mask in objects if mask.any())
    said = entry["words"]
    told = shapes.words(first, said["noun"], "pasted in from another clip", said["attributes"])
    # A feathered edge reaches a pixel beyond the object.
    edge = int(look.blend == "feathered" and look.feather > 0)
    changed = [_wider(mask, edge) | shadow for mask, shadow in zip(objects, shadows, strict=True)]
    kept = {key: entry[key] for key in _DRAWN}
    trace = ["foreign_noise", "resampling", *look.traces]
    return forged(clip, rgb, changed, objects, shadows, "clip_paste", donor=donor.id, **kept, trace=trace, words=told)


def entry_frame(donor: Clip, entry: Mapping[str, Any], number: int) -> int:
    """Return which of the donor's frames with an object is shown in a frame; they are played back and forth."""
    shown = _whole(donor)
    period = max(1, 2 * (len(shown) - 1))
    step: int = (entry["first"] + number - entry["start"]) % period
    return shown[min(step, period - step)]


def _whole(donor: Clip) -> list[int]:
    """Return the donor's frames that show the object whole: in one part, not much smaller than usual, and not cut off.

    Where there are none, those with any of it.
    """
    shown, whole = [], []
    for number, mask in enumerate(donor.objects or ()):
        if not mask.any():
            continue
        shown.append(number)
        parts = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
        cut_off = mask[0].any() or mask[:, 0].any() or mask[:, -1].any()
        if not cut_off and parts.max() >= _ONE_PART * parts.sum():
            whole.append((number, int(parts.sum())))
    usual = float(np.median([size for _, size in whole])) if whole else 0.0
    return [number for number, size in whole if size >= usual / 2] or shown


def _wider(mask: BoolArray, edge: int) -> BoolArray:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((2 * edge + 1, 2 * edge + 1), np.uint8)) > 0)


def placed(motion: Motion, donor: Clip, inside: range, entry: Mapping[str, Any]) -> list[tuple[int, shapes.Warp]]:
    """Return for each frame that `inside` holds: the donor's frame, and the (2, 3) that takes it to its place there.

    The foot of the object lies where the camera's motion takes its place in the key frame, and the object is scaled
    and turned as the motion does around that place.

    Args:
        motion: Of the host's camera.
        donor: With objects.
        inside: Numbers of frames.
        entry: Record of a paste: `at`, `key`, `scale`, `growth`, `drift`, `flip`, `first`, `start`.
    """
    feet, out = _feet(donor), []
    for number in inside:
        matrix = motion.between(entry["key"], number)
        along = (number - entry["key"]) / max(1, len(inside) - 1)
        x, y = (at + along * drift for at, drift in zip(entry["at"], entry["drift"], strict=True))
        place, change = moved(matrix, x, y), local(matrix, x, y)
        # An upright object is scaled and turned, but neither sheared nor tilted.
        factor = math.sqrt(max(float(np.linalg.det(change)), 1e-6)) * entry["scale"] * entry["growth"] ** along
        angle = math.atan2(change[1, 0] - change[0, 1], change[0, 0] + change[1, 1])
        turn = factor * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        if entry["flip"]:
            turn = turn @ np.diag([-1.0, 1.0])
        frame = entry_frame(donor, entry, number)
        out.append((frame, np.hstack([turn, (place - turn @ feet[frame])[:, None]])))
    return out


def _feet(donor: Clip) -> FloatArray:
    """Return where the object stands in each of the donor's frames, (N, 2), smoothed over time."""
    from scipy.ndimage import gaussian_filter1d

    shown = [n for n, mask in enumerate(donor.objects or ()) if mask.any()]
    spots = np.zeros((len(donor), 2))
    for number in shown:
        rows, columns = np.nonzero((donor.objects or ())[number])
        spots[number] = columns.mean(), rows.max() + 0.5
    spots[shown] = gaussian_filter1d(spots[shown], _STEADY, axis=0, mode="nearest")
    return np.asarray(spots, np.float32)


def _most(masks: Sequence[BoolArray], size: tuple[int, int]) -> float:
    """Return the scale at which an object fills two thirds of a frame's height or half of its width."""
    boxes = [shapes.box(mask) for mask in masks]
    high = max(rows.stop - rows.start for rows, _ in boxes)
    wide = max(columns.stop - columns.start for _, columns in boxes)
    return float(min(0.66 * size[0] / high, 0.5 * size[1] / wide))


def _piece(donor: Clip, number: int, warp: shapes.Warp, size: tuple[int, int]) -> tuple[UInt8Array, BoolArray]:
    """Return a donor's frame and its object brought to their place in a frame of `size`."""
    rgb, mask = donor.frames[number].rgb, (donor.objects or ())[number].astype(np.float32)
    factor = math.sqrt(abs(float(np.linalg.det(warp[:, :2]))))
    if factor < 0.99:
        # What is shrunk without smoothing would alias.
        sigma = 0.5 * math.sqrt(1 / factor**2 - 1)
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.uint8)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
    to = size[::-1]
    out = cv2.warpAffine(rgb, warp, to, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8), cv2.warpAffine(mask, warp, to, flags=cv2.INTER_LINEAR) > 0.5


def _matched(
    patches: Sequence[UInt8Array], masks: Sequence[BoolArray], clip: Clip, inside: range, look: blending.Look
) -> list[UInt8Array]:
    """Return the patches with their colours matched to the surroundings, in one and the same way for all frames."""
    around = [blending.ring(mask) for mask in masks]
    if look.match == "none" or not any(ring.any() for ring in around):
        return list(patches)
    tall, own, place = np.concatenate(patches), np.concatenate(masks), np.concatenate(around)
    host = np.concatenate([clip.frames[number].rgb for number in inside])
    if look.match == "reinhard":
        new = blending.reinhard(tall, own, host, place, look.strength)
    else:
        new = blending.exposed(tall, blending.gain(tall, own, host, place, look.strength))
    return np.split(new, len(patches))
