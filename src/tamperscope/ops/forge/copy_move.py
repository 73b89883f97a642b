"""Copy-move: a piece of the picture is copied to another place of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import blending, objects, shapes
from tamperscope.types import BoolArray, Sample, UInt8Array

_TRIES = 50


@dataclass(frozen=True, slots=True, eq=False)
class CopyMove:
    """Copy a piece of the sample to another place, as it is or changed; `mask` marks the copy.

    Attributes:
        share: Range of the piece's area as a share of the picture, where it is a random shape.
        plain: How often the copy is left as it is.
        source: (H, W) bool, the object to copy, or None.
        seek: Whether to look for a salient object when none is given.
        turn: Range of the rotation, degrees counter-clockwise.
        scale: Range of the scale.
        flip: How often a changed copy is mirrored.
        gain: Range of the exposure factor.
        blur: Range of the standard deviation of a blur, pixels; below 0.3 there is none.
        noise: Range of the standard deviation of added noise, grey levels.
        blends: Edges to choose from.
        feathers: Widths of a feathered edge to choose from, pixels.
        noun: What the object is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A range is upside down or out of bounds.
    """

    share: shapes.Span = (0.02, 0.12)
    plain: float = 0.5
    source: BoolArray | None = None
    seek: bool = False
    turn: shapes.Span = (-40, 40)
    scale: shapes.Span = (0.8, 1.3)
    flip: float = 0.0
    gain: shapes.Span = (0.9, 1.1)
    blur: shapes.Span = (0, 0)
    noise: shapes.Span = (0, 0)
    blends: Sequence[blending.Blend] = ("feathered",)
    feathers: Sequence[float] = (0.0, 0.7)
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        limits = {"share": (1e-6, 0.5), "turn": (-180, 180), "scale": (0.05, 20), "gain": (0, 10)}
        for name, (low, high) in {**limits, "blur": (0, 50), "noise": (0, 100)}.items():
            shapes.check_span(f"copy_move.{name}", getattr(self, name), low, high)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InvalidValueError: No place for the copy beside its source was found, or the source has another size.
        """
        source, kind = objects.chosen(sample, self.source, self.seek, self.share, rng)
        plain = bool(rng.random() < self.plain)
        values = self._change(plain, rng)
        piece = shapes.cut(sample.rgb, source, 8)
        if not plain:
            piece = shapes.reshaped(piece, values["scale"], values["turn"], values["flip"])
        piece = shapes.Piece(_toned(piece.rgb, values, rng), piece.mask, piece.warp)
        copy = self._placed(sample, source, piece, rng)
        look = blending.draw(self.blends, self.feathers, rng)
        relation = f"copied from the {shapes.place(source)}"
        return shapes.forged(
            sample,
            look.lay(sample.rgb, copy.rgb, copy.mask),
            copy.mask,
            "copy_move",
            **values,
            **asdict(look),
            warp=copy.warp.tolist(),
            object=kind,
            trace=_traces(sample, values, copy.warp) + look.traces,
            words=shapes.words(copy.mask, objects.noun(self.noun, kind), relation, self.attributes),
        )

    def _change(self, plain: bool, rng: np.random.Generator) -> dict[str, Any]:
        """Return what happens to the copy."""
        if plain:
            return {"turn": 0.0, "scale": 1.0, "flip": False, "gain": 1.0, "blur": 0.0, "noise": 0.0}
        values: dict[str, Any] = {k: shapes.drawn(getattr(self, k), rng) for k in ("turn", "scale", "gain")}
        values["flip"] = bool(self.flip > 0 and rng.random() < self.flip)
        blur, noise = (shapes.drawn(span, rng) for span in (self.blur, self.noise))
        return {**values, "blur": blur if blur >= 0.3 else 0.0, "noise": noise}

    def _placed(self, sample: Sample, source: BoolArray, piece: shapes.Piece, rng: np.random.Generator) -> shapes.Piece:
        """Return the piece at a place where it does not overlap its source and at most a tenth of it is cut off."""
        rows, columns = shapes.box(piece.mask)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        for _ in range(_TRIES):
            left, top = (
                round(float(rng.uniform(0, n)) - p / 2) for n, p in zip(sample.size[::-1], (width, height), strict=True)
            )
            copy = shapes.pasted(sample.rgb, piece, top, left)
            if not (copy.mask & source).any() and copy.mask.sum() > 0.9 * piece.mask.sum():
                return copy
        raise InvalidValueError("copy-move: found no place for the copy; use a smaller share or object")


def _toned(rgb: UInt8Array, values: dict[str, Any], rng: np.random.Generator) -> UInt8Array:
    """Return pixels blurred, exposed and with noise, as far as the values say."""
    if values["blur"]:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), values["blur"]), np.uint8)
    if values["gain"] != 1:
        rgb = blending.exposed(rgb, values["gain"])
    if values["noise"]:
        rgb = np.clip(np.rint(rgb + rng.normal(0, values["noise"], rgb.shape)), 0, 255).astype(np.uint8)
    return rgb


def _traces(sample: Sample, values: dict[str, Any], warp: shapes.Warp) -> list[str]:
    """Return what a copy leaves to be detected."""
    changes = {"resampling": shapes.resampled(warp), "blur": values["blur"], "foreign_noise": values["noise"]}
    return ["duplication", *(name for name, on in changes.items() if on), *shapes.history_traces(sample, sample, warp)]
