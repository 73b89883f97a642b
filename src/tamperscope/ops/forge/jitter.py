"""Object jitter: an object is put back into its own place, slightly changed (after Web-IML, Qu et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops.forge import blending, objects, shapes
from tamperscope.types import BoolArray, Sample, UInt8Array

Change = Literal["scale", "turn", "shift", "exposure", "blur"]
_RELATIONS = {
    "scale": "resized in its place",
    "turn": "turned in its place",
    "shift": "moved a little",
    "exposure": "brightened or darkened",
    "blur": "blurred",
}
_LEAST_SIDE, _LEAST_AREA, _MOST = 8, 256, 0.75
_GROWTH = 1 + 2 / 16
_FEATHERS = (0.8, 1.1, 1.4, 1.7, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class Jitter:
    """Resize, turn, move, expose or blur an object a little, and put it back; `mask` marks its old and its new place.

    What it no longer covers is filled from its surroundings.

    Attributes:
        source: (H, W) bool, the object, or None.
        seek: Whether to look for a salient object when none is given; else a random shape is taken.
        share: Range of a random shape's area as a share of the picture.
        changes: What may happen.
        most: Greatest number of changes at once.
        scale: Range of the factor of a growth; as often it shrinks by the same factor.
        shrink: Whether it may shrink, or only grows.
        turn: Range of the angle of a rotation, degrees; either way.
        shift: Range of the way of a move, as a share of the object's height and width; any way.
        exposure: Range of the factor of a brightening; as often it darkens by the same factor.
        blur: Range of the standard deviation of a blur, pixels.
        blends: Edges to choose from.
        feathers: Widths of a feathered edge to choose from, pixels.
        noun: What the object is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A range is upside down or out of bounds, or nothing may happen.
        UnknownNameError: There is no such change.
    """

    source: BoolArray | None = None
    seek: bool = True
    share: shapes.Span = (0.02, 0.12)
    changes: Sequence[Change] = get_args(Change)
    most: int = 2
    scale: shapes.Span = (1.05, 1.2)
    shrink: bool = True
    turn: shapes.Span = (2, 10)
    shift: shapes.Span = (0.03, 0.12)
    exposure: shapes.Span = (1.08, 1.3)
    blur: shapes.Span = (0.6, 1.5)
    blends: Sequence[blending.Blend] = ("hard", "feathered")
    feathers: Sequence[float] = (0.7, 1.5)
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        limits = {"share": (1e-6, 0.5), "scale": (1, 2), "turn": (0, 45), "shift": (0, 0.5), "exposure": (1, 4)}
        for name, (low, high) in {**limits, "blur": (0, 50)}.items():
            shapes.check_span(f"jitter.{name}", getattr(self, name), low, high)
        for name in set(self.changes) - set(get_args(Change)):
            raise unknown_name("change", name, get_args(Change))
        if not self.changes or self.most < 1:
            raise InvalidValueError(f"jitter: expected a change and most >= 1, found {self.changes!r}, {self.most}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: The object is smaller than 256 pixels or 8 a side, or it covers over 3/4 of the picture.
        """
        old, kind = objects.chosen(sample, self.source, self.seek, self.share, rng)
        rows, columns = shapes.box(old)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if min(height, width) < _LEAST_SIDE or old.sum() < _LEAST_AREA:
            raise InvalidValueError(
                f"jitter: expected an object of {_LEAST_AREA} pixels, {_LEAST_SIDE} a side, "
                f"found {old.sum()} in {width} x {height}; use a larger object"
            )
        values = self._draw(height, width, rng)
        piece = shapes.reshaped(shapes.cut(sample.rgb, old, 8), values["scale"], values["turn"])
        piece = shapes.Piece(_toned(piece.rgb, values), piece.mask, piece.warp)
        paste = shapes.pasted(sample.rgb, piece, *_corner(old, piece, values["shift"]))
        mask = old | paste.mask
        if mask.mean() > _MOST:
            raise InvalidValueError(
                f"jitter: expected at most {_MOST:.0%} of the picture, found {mask.mean():.0%}; use a smaller object"
            )
        look = blending.draw(self.blends, self.feathers, rng)
        filled = _filled(sample.rgb, old, old & ~paste.mask)
        relation = " and ".join(_RELATIONS[change] for change in values["changes"])
        return shapes.forged(
            sample,
            look.lay(filled, paste.rgb, paste.mask),
            mask,
            "jitter",
            **values,
            **asdict(look),
            warp=paste.warp.tolist(),
            object=kind,
            trace=_traces(sample, values, paste.warp, bool((old & ~paste.mask).any())) + look.traces,
            words=shapes.words(mask, objects.noun(self.noun, kind), relation, self.attributes),
        )

    def _draw(self, height: int, width: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return which changes happen, in the order of `changes`, and how far; a move is (down, right) in pixels."""
        count = int(rng.integers(1, min(self.most, len(self.changes)) + 1))
        picked = rng.choice(len(self.changes), count, replace=False)
        chosen = [self.changes[i] for i in sorted(picked.tolist())]
        values: dict[str, Any] = {"scale": 1.0, "turn": 0.0, "shift": [0, 0], "exposure": 1.0, "blur": 0.0}
        for change in chosen:
            far, sign = shapes.drawn(getattr(self, change), rng), 1 if rng.random() < 0.5 else -1
            if change == "shift":
                way = rng.uniform(0, 2 * np.pi)
                down, right = round(far * height * np.sin(way)), round(far * width * np.cos(way))
                values[change] = [down, right] if down or right else [0, sign]
            elif change == "scale" and not self.shrink:
                values[change] = far
            elif change in ("scale", "exposure"):
                values[change] = far**sign
            else:
                values[change] = far * sign if change == "turn" else far
        return {"changes": chosen, **values}


def published(source: BoolArray | None = None) -> Jitter:
    """Return the jitter as APSC-Net's pipeline has it: a sixteenth larger on every side, a fifth with a soft edge.

    Only growing, it covers its old place and nothing has to be filled. Departures: of several annotated objects one is
    taken, found by its colour where no outline is given, and the edge's softness (the published kernels of 3 to 11
    pixels, as standard deviations) does not follow the object's height.

    Args:
        source: (H, W) bool, the object, or None.
    """
    edges: tuple[blending.Blend, ...] = ("hard", "hard", "hard", "hard", "feathered")
    grown = (_GROWTH, _GROWTH)
    return Jitter(source, changes=("scale",), most=1, scale=grown, shrink=False, blends=edges, feathers=_FEATHERS)


def _toned(rgb: UInt8Array, values: dict[str, Any]) -> UInt8Array:
    if values["blur"]:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), values["blur"]), np.uint8)
    return blending.exposed(rgb, values["exposure"]) if values["exposure"] != 1 else rgb


def _corner(old: BoolArray, piece: shapes.Piece, shift: Sequence[int]) -> tuple[int, int]:
    """Return (top, left) at which the middle of the piece's box is that of the old one, moved by `shift`."""
    then, now = shapes.box(old), shapes.box(piece.mask)
    top, left = (
        a.start + ((a.stop - a.start) - (b.stop - b.start)) // 2 + s for a, b, s in zip(then, now, shift, strict=True)
    )
    return top, left


def _filled(rgb: UInt8Array, old: BoolArray, bare: BoolArray) -> UInt8Array:
    """Return the picture with `bare` filled from what surrounds the old object (Telea, 2004)."""
    if not bare.any():
        return rgb
    part = shapes.box(old, 16)
    # Nothing of the object, nor of its soft edge, may flow back into the ground.
    gone = cv2.dilate(old[part].astype(np.uint8), np.ones((5, 5), np.uint8))
    ground, out = cv2.inpaint(rgb[part], gone, 3, cv2.INPAINT_TELEA), rgb.copy()
    out[part] = blending.hard(rgb[part], np.asarray(ground, np.uint8), bare[part])
    return out


def _traces(sample: Sample, values: dict[str, Any], warp: shapes.Warp, bare: bool) -> list[str]:
    """Return what a jitter leaves to be detected."""
    changes = {
        "resampling": shapes.resampled(warp),
        "blur": values["blur"],
        "statistics": bare or values["exposure"] != 1,
    }
    return [*(name for name, on in changes.items() if on), *shapes.history_traces(sample, sample, warp)]
