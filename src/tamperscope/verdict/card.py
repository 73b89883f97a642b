"""The calibration card: what a raw score is worth, on which population, and where the verdict's thresholds lie.

There are two, with the shipped network and without it; `scripts/calibrate.py` makes them, and they lie in `weights`. A
detector that is not on the card is shown uncalibrated and never moves the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tamperscope.errors import InputError
from tamperscope.settings import wrong
from tamperscope.types import FloatArray, Prediction

Level = Literal["no_evidence", "inconclusive", "suspicious", "strong_evidence"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a score is worth: natural-log likelihood ratio of forged over pristine, with its 95 % interval."""

    llr: float
    low: float
    high: float

    @property
    def probability(self) -> float:
        """Probability of a forgery when both kinds are equally common beforehand."""
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, self.llr))))


_RATIOS = ("llr", "low", "high")
_STEP = 1e-6  # of a score, within which evidence begins


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curve(_Frozen):
    """Piecewise linear map from a detector's score, and from its heat, to log-likelihood ratios.

    Attributes:
        family: Trace family; within one, only the strongest detector counts.
        counts: Whether it may move the verdict, and `why`.
        scores: Increasing raw scores; `llr`, `low`, `high` at each.
        heat_llr: Log-likelihood ratio of a forged pixel at heat 0, …, 1, evenly spaced.
        population: What it was fitted on, where that is not what the card was.
    """

    family: str
    counts: bool
    why: str
    scores: tuple[float, ...]
    llr: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    heat_llr: tuple[float, ...]
    population: str = ""

    @model_validator(mode="after")
    def _check(self) -> Curve:
        lengths = {len(self.scores), len(self.llr), len(self.low), len(self.high)}
        if len(lengths) != 1 or not self.scores or any(np.diff(self.scores) <= 0):
            raise ValueError("scores must increase, and llr, low and high have their length")
        if len(self.heat_llr) < 2:
            raise ValueError("heat_llr needs at least two knots")
        return self

    def at(self, score: float) -> Calibrated:
        """Return what `score` is worth; the outermost knots hold beyond them."""
        return Calibrated(*(float(np.interp(score, self.scores, y)) for y in (self.llr, self.low, self.high)))

    def capped(self, sources: float) -> Curve:
        """Return a curve whose ratios, their intervals too, are at most `sources` + 1.

        Authentic pictures of a few sources of which none alarms leave it open whether one in `sources` + 1 would.
        """
        return self._within(-math.inf, round(math.log(sources + 1), 4))

    def from_score(self, least: float) -> Curve:
        """Return a curve by which scores below `least` say nothing, and the others what they did."""
        kept = [i for i, score in enumerate(self.scores) if score > least]
        first = self.at(least)
        columns = {"scores": (least - _STEP, least, *(self.scores[i] for i in kept))}
        for name in _RATIOS:
            columns[name] = (0.0, round(getattr(first, name), 4), *(getattr(self, name)[i] for i in kept))
        return self.model_copy(update=columns)

    def one_sided(self) -> Curve:
        """Return the same curve for a detector whose silence says nothing: evidence for, and none against."""
        return self._within(0.0, math.inf)

    def _within(self, least: float, most: float) -> Curve:
        return self.model_copy(
            update={name: tuple(min(max(least, v), most) for v in getattr(self, name)) for name in _RATIOS}
        )

    def heat_table(self) -> FloatArray:
        """Return the log-likelihood ratio of each of the 256 levels of a quantized heatmap."""
        knots = np.linspace(0.0, 1.0, len(self.heat_llr))
        return np.interp(np.arange(256) / 255.0, knots, self.heat_llr).astype(np.float32)


class Threshold(_Frozen):
    """Where a verdict level begins, and how often pristine pictures of the population get there (95 % interval)."""

    llr: float
    false_alarm_rate: float
    low: float
    high: float


class CalibrationCard(_Frozen):
    """All that the verdict rests on.

    Attributes:
        population: What the pristine and forged pictures were, in words.
        detectors: Curves by detector.
        weights: By trace family.
        intercept: Added to the weighted sum.
        pixel_weights: By trace family, of its evidence on a pixel; 1 where none is stated.
        pixel_prior: Log odds added to each pixel's evidence; set where the maps of forgeries reach their best F1.
        thresholds: By level, all but `no_evidence`.
        provenance: Sources, licences, counts, seed and the command that made it.
    """

    population: str
    detectors: dict[str, Curve]
    weights: dict[str, float]
    intercept: float
    pixel_prior: float
    pixel_weights: dict[str, float] = {}
    thresholds: dict[Level, Threshold]
    provenance: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> CalibrationCard:
        missing = [level for level in LEVELS[1:] if level not in self.thresholds]
        if missing:
            raise ValueError(f"thresholds lack {', '.join(missing)}")
        return self

    def calibrate(self, prediction: Prediction) -> Calibrated | None:
        """Return what a prediction's score is worth, or None without a score or without a curve."""
        curve = self.detectors.get(prediction.detector)
        if curve is None or prediction.status != "ok" or math.isnan(prediction.score):
            return None
        return curve.at(prediction.score)

    def with_detector(self, name: str, curve: Curve) -> CalibrationCard:
        """Return a card that knows one detector more; a family that had no weight counts in full.

        The thresholds stay as they are, so their false-alarm rates are those without it.
        """
        weights = {curve.family: 1.0, **self.weights}
        return self.model_copy(update={"detectors": {**self.detectors, name: curve}, "weights": weights})

    def with_network(self, name: str, family: str, stated: Mapping[str, Any] | None) -> CalibrationCard:
        """Return a card that knows what an exported network's own card says of its scores, where it knew nothing of it.

        Raises:
            InputError: What that card says is no calibration.
        """
        if stated is None or name in self.detectors:
            return self
        try:
            return self.with_detector(name, Curve.model_validate({**stated, "family": family}))
        except ValidationError as error:
            raise InputError(f"calibration of '{name}': {wrong(error)}; export the network again") from error

    def level(self, llr: float) -> Level:
        """Return the highest level whose threshold `llr` reaches."""
        reached: Level = "no_evidence"
        for level in LEVELS[1:]:
            if llr >= self.thresholds[level].llr:
                reached = level
        return reached


@lru_cache(maxsize=2)
def shipped_card(network: bool = True) -> CalibrationCard:
    """Return the card inside the package.

    Args:
        network: Whether the shipped network is among the detectors; without it other weights and thresholds hold.

    Raises:
        InputError: The file inside the package was changed.
    """
    name = "calibration.json" if network else "calibration_classical.json"
    text = resources.files("tamperscope.weights").joinpath(name).read_text(encoding="utf-8")
    try:
        return CalibrationCard.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"weights/{name}: expected a calibration card: {wrong(error)}; install tamperscope again, or make it anew "
            "with scripts/calibrate.py"
        ) from error
