"""What a suite is made of, and what is kept of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tamperscope.metrics.pixel import Authentic, Polarity


@dataclass(frozen=True, slots=True)
class Rule:
    """One pixel metric with its conventions.

    Attributes:
        metric: Of `pixel.METRICS`, or `boundary_f1`.
        name: Column of the table.
        threshold: Strict.
        polarity: See `pixel.measure`; `complement` turns the decisions round instead of the scores, `either` takes the
            better of the decisions and their complement.
        authentic: See `pixel.measure`.
        boundary: See `pixel.measure`.
        reduce: `image`: mean over pictures; `dataset`: all pixels of all pictures as one.
        only: Which pictures count: all, those with a forged pixel, or those without.
    """

    metric: str
    name: str
    threshold: float = 0.5
    polarity: Polarity | Literal["complement", "either"] = "normal"
    authentic: Authentic = "skip"
    boundary: tuple[int, int] | None = None
    reduce: Literal["image", "dataset"] = "image"
    only: Literal["all", "forged", "authentic"] = "all"


@dataclass(frozen=True, slots=True)
class Suite:
    """Named metrics.

    Attributes:
        name: Key.
        about: What it measures, and where its conventions come from.
        pixel: Rules for maps.
        image: Of `image.METRICS`. Rank metrics use the detector's score, the others its probability.
        canvas: Side in pixels of the square to which maps and truth are warped first; None = original resolution.
        video: Whether frames are also scored as whole videos, by the manifest's field `video`.
        by: Field of the manifest by whose values the picture level is broken down, such as `generator`; every value is
            set against all pristine pictures, and the mean over values is added.
        regions: Of `observe.REGIONS`: box and sequence metrics.
    """

    name: str
    about: str
    pixel: tuple[Rule, ...] = ()
    image: tuple[str, ...] = ()
    canvas: int | None = None
    video: bool = False
    by: str = ""
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of one picture and one detector.

    Attributes:
        key: Its id.
        group: Source; bootstrap draws take whole groups.
        label: 0 pristine, 1 forged or generated, None unknown.
        score: Of the detector; nan when it abstained.
        probability: Calibrated probability of a forgery at equal priors; nan when there is none.
        values: From `observe`.
        fields: Other fields of the manifest's line.
    """

    key: str
    group: str
    label: int | None
    score: float
    probability: float = float("nan")
    values: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
