"""Splice: a piece of another picture is pasted in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import blending, objects, placement, shapes
from tamperscope.types import BoolArray, Sample


@dataclass(frozen=True, slots=True, eq=False)
class Splice:
    """Paste a piece of `donor` into the sample.

    Attributes:
        donor: Picture with another history; at least 32 pixels a side.
        donor_mask: The object to cut out, or None.
        share: Range of the pasted area as a share of the host.
        seek: Whether to look for a salient object when none is given; else a random shape is cut out.
        place: `anywhere`, `resembling`, `learned` (see the classes of these names in `placement`), or a function; where
            torch is absent, `resembling` stands in for `learned`. The record states as `placed` which it was.
        turn: Range of the rotation, degrees counter-clockwise.
        flip: How often the piece is mirrored.
        blends: Edges to choose from.
        feathers: Widths of a feathered edge to choose from, pixels.
        matches: Ways to match colours to the new surroundings, to choose from.
        strength: Range of how far colours are matched, in [0, 1].
        noun: What the object is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A range is upside down or out of bounds.
    """

    donor: Sample
    donor_mask: BoolArray | None = None
    share: shapes.Span = (0.02, 0.2)
    seek: bool = False
    place: Literal["anywhere", "resembling", "learned"] | placement.Placer = "anywhere"
    turn: shapes.Span = (0, 0)
    flip: float = 0.0
    blends: Sequence[blending.Blend] = ("feathered",)
    feathers: Sequence[float] = (0.0, 0.7, 1.5)
    matches: Sequence[blending.Match] = ("none",)
    strength: shapes.Span = (0.4, 0.9)
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, low, high in (("share", 1e-6, 1), ("turn", -180, 180), ("strength", 0, 1)):
            shapes.check_span(f"splice.{name}", getattr(self, name), low, high)
        if not callable(self.place) and self.place not in ("anywhere", "resembling", "learned"):
            expected = "anywhere, resembling, learned or a function"
            raise InvalidValueError(f"splice.place: expected {expected}, found {self.place!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample; `mask` marks the paste.

        Raises:
            InvalidValueError: The donor's mask is not of its size, or the place lies outside of the host.
        """
        mask, kind = objects.chosen(self.donor, self.donor_mask, self.seek, (0.15, 0.15), rng)
        turn, flip = shapes.drawn(self.turn, rng), bool(self.flip > 0 and rng.random() < self.flip)
        whole = shapes.reshaped(shapes.cut(self.donor.rgb, mask), turn=turn, flip=flip)
        placer = self._placer(mask)
        top, left, scale = placer(sample, whole.mask[shapes.box(whole.mask)], rng)
        # What blending needs of the object's surroundings must outlast the scaling.
        piece = shapes.cut(self.donor.rgb, mask, 2 + math.ceil(2 / scale))
        paste = shapes.pasted(sample.rgb, shapes.reshaped(piece, scale, turn, flip), top, left)
        if not paste.mask.any():
            raise InvalidValueError(f"splice: expected a place inside {sample.size}, found ({top}, {left})")
        look = blending.draw(self.blends, self.feathers, rng, self.matches, self.strength)
        return shapes.forged(
            sample,
            look.lay(sample.rgb, paste.rgb, paste.mask),
            paste.mask,
            "splice",
            donor=self.donor.id,
            placed=getattr(placer, "name", "given"),
            at=[int(top), int(left)],
            scale=float(scale),
            turn=turn,
            flip=flip,
            **asdict(look),
            warp=paste.warp.tolist(),
            object=kind,
            trace=self._traces(sample, paste.warp) + look.traces,
            words=shapes.words(
                paste.mask, objects.noun(self.noun, kind), "pasted in from another picture", self.attributes
            ),
        )

    def _placer(self, mask: BoolArray) -> placement.Placer:
        if callable(self.place):
            return self.place
        if self.place == "anywhere":
            return placement.Anywhere(self.share)
        chosen = placement.learned if self.place == "learned" else placement.Resembling
        return chosen(self.donor, mask, self.share)

    def _traces(self, host: Sample, warp: shapes.Warp) -> list[str]:
        geometry = ["resampling"] if shapes.resampled(warp) else []
        return ["foreign_noise", *geometry, *shapes.history_traces(host, self.donor, warp)]
