"""One picture in, one `Report` out."""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import cv2
import numpy as np

import tamperscope
from tamperscope import media, registry
from tamperscope.detectors.base import Detector
from tamperscope.media import Limits, Opened
from tamperscope.report import schema
from tamperscope.report.fields import quantized
from tamperscope.report.text import shell_command
from tamperscope.signal import regions
from tamperscope.types import Prediction, Region, Sample, UInt8Array
from tamperscope.verdict import stability
from tamperscope.verdict.card import LEVELS, Calibrated, CalibrationCard, shipped_card
from tamperscope.verdict.fusion import Verdict, decide, fuse_maps

QUICK = ("blk", "dq", "ela", "jpeg_ghost", "thumbnail", "zero")
"""Detectors of a quick scan: those that take well under a second a megapixel."""

PROBE_SECONDS = 20.0
"""Longest time that the stability probe may be expected to take."""

LIMITS = (
    "A scan weighs traces of editing that these detectors know. No evidence is not proof that nothing was done: "
    "traces vanish when a picture is resized, strongly compressed or photographed from a screen, and careful edits "
    "leave few. Evidence of editing is not evidence of bad intent. Decide with the picture's origin and context."
)


@dataclass(slots=True)
class Scanner:
    """Detectors that are loaded once and serve many pictures.

    Attributes:
        names: Detectors to run; all when empty.
        quick: Run only the `QUICK` ones, and no stability probe.
        probe: Whether to try the verdict on re-deliveries.
        limits: What a file may ask for.
        card: The calibration.
        tell: Called with the name of each step before it starts.
    """

    names: Sequence[str] = ()
    quick: bool = False
    probe: bool = True
    limits: Limits = field(default_factory=Limits)
    card: CalibrationCard = field(default_factory=shipped_card)
    tell: Callable[[str], None] = lambda step: None
    _loaded: dict[str, Detector] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = list(dict.fromkeys(self.names)) or (list(QUICK) if self.quick else registry.names())
        self._loaded = {name: registry.load(name) for name in self.names}

    def scan(self, source: Any, name: str = "") -> schema.Report:
        """Return the report on a path, bytes, PIL image or array.

        Raises:
            InputError: The source is no picture that may be opened; the message says why and what to do.
        """
        self.tell("opening")
        opened = media.open(source, limits=self.limits, name=name)
        predictions, maps, seconds = self._predict_all(opened.sample)
        verdict = decide(predictions, opened.findings, self.card)
        trials = self._probe(opened, predictions, verdict, seconds)
        fused = fuse_maps(maps, verdict.calibrated, self.card)
        report = schema.Report(
            tool=_tool(),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            intake=schema.Intake.of(opened.intake),
            picture=_picture(opened.sample),
            facts=opened.facts,
            findings=[schema.FindingModel.of(f) for f in opened.findings],
            predictions=[self._row(p, verdict, seconds[p.detector]) for p in predictions],
            verdict=self._verdict(verdict, fused, trials),
            reproduce=self._reproduce(opened),
            limits=LIMITS,
        )
        pictures: dict[str, Any] = dict(maps)
        if fused is not None:
            pictures[schema.FUSED] = fused
        return report.with_pictures(opened.sample.rgb, pictures)

    def predict(self, name: str, sample: Sample) -> Prediction:
        """Return what detector `name` says; whatever it raises becomes a `failed` prediction."""
        try:
            return self._loaded[name].predict(sample)
        except Exception as error:  # one broken detector must not cost the others' answers
            cause = f"{type(error).__name__}: {error}"
            return Prediction(name, sample.size, status="failed", cause=cause)

    def _predict_all(self, sample: Sample) -> tuple[list[Prediction], dict[str, UInt8Array], dict[str, float]]:
        """Run every detector; heatmaps are quantized at once, so that one float map is in memory at a time."""
        predictions, maps, seconds = [], {}, {}
        for name in self.names:
            self.tell(name)
            start = time.perf_counter()
            prediction = self.predict(name, sample)
            if prediction.heatmap is not None:
                maps[name] = quantized(name, prediction.heatmap, sample.size)
                prediction.heatmap = None
            seconds[name] = time.perf_counter() - start
            predictions.append(prediction)
        return predictions, maps, seconds

    def _probe(
        self, opened: Opened, predictions: list[Prediction], verdict: Verdict, seconds: Mapping[str, float]
    ) -> list[stability.Trial]:
        if self.quick or not self.probe or opened.sample.meta.get("damaged"):
            return []
        rerun = stability.drivers(verdict, self.card) or [n for n in QUICK if n in self.names]
        if sum(seconds[name] for name in rerun) * 2.25 > PROBE_SECONDS:
            return []
        self.tell("stability under re-delivery")
        return stability.probe(opened.sample, predictions, opened.findings, self.card, rerun, self.predict)

    def _row(self, prediction: Prediction, verdict: Verdict, seconds: float) -> schema.PredictionModel:
        name = prediction.detector
        detector, curve = self._loaded[name], self.card.detectors.get(name)
        worth = verdict.calibrated.get(name)
        return schema.PredictionModel.of(
            prediction,
            summary=_first_line(detector),
            guide=detector.guide,
            family=detector.family,
            calibrated=None if worth is None else _calibrated(worth, self.card),
            counts=bool(curve and curve.counts),
            seconds=seconds,
        )

    def _verdict(self, verdict: Verdict, fused: Any, trials: list[stability.Trial]) -> schema.Verdict:
        quiet = fused is None or verdict.level == "no_evidence"
        found = [] if quiet else regions.from_heatmap(fused, schema.FUSED)
        probability = None if math.isnan(verdict.llr) else Calibrated(verdict.llr, 0, 0).probability
        changed = any((t.level == "no_evidence") != (verdict.level == "no_evidence") for t in trials)
        return schema.Verdict(
            level=verdict.level,
            headline=headline(verdict, found),
            llr=verdict.llr,
            probability=probability,
            prior=None if probability is None else 0.5,
            reasons_for=[_reason(r) for r in verdict.reasons_for],
            reasons_against=[_reason(r) for r in verdict.reasons_against],
            thresholds=[
                schema.Threshold(level=level, population=self.card.population, **dict(self.card.thresholds[level]))
                for level in LEVELS[1:]
            ],
            not_checked=self._not_checked(verdict, trials),
            regions=[schema.RegionModel.of(r, fused.shape) for r in found],
            stability=schema.Stability(
                status="not_run" if not trials else "unstable" if changed else "stable",
                trials=[schema.Trial(delivery=t.delivery, level=t.level, llr=t.llr) for t in trials],
            ),
        )

    def _not_checked(self, verdict: Verdict, trials: list[stability.Trial]) -> list[schema.NotChecked]:
        rows = [schema.NotChecked(what=what, why=why) for what, why in verdict.not_checked]
        skipped = [n for n in registry.names() if n not in self.names]
        rows += [schema.NotChecked(what=n, why="left out of this scan by its options") for n in skipped]
        if not trials:
            quick = self.quick or not self.probe
            why = "left out by options" if quick else "it would take too long here, or the file is damaged"
            rows.append(schema.NotChecked(what="stability under re-delivery", why=why))
        rows += [schema.NotChecked(what=what, why=why) for what, why in NEVER_CHECKED]
        return rows

    def _reproduce(self, opened: Opened) -> schema.Reproduce:
        words = ["tamperscope", "scan", opened.intake["name"] or "-"]
        if self.quick:
            words.append("--quick")
        if set(self.names) != set(QUICK if self.quick else registry.names()):
            words += ["--detectors", ",".join(self.names)]
        if self.limits.max_pixels != Limits().max_pixels:
            words += ["--max-pixels", str(self.limits.max_pixels)]
        options = {"detectors": list(self.names), "quick": self.quick, "max_pixels": self.limits.max_pixels}
        return schema.Reproduce(command=shell_command(words), options=options)


NEVER_CHECKED = (
    ("whether the picture was generated as a whole", "this version reads declared marks only"),
    ("origin, caption and context", "outside of what pixels and files can tell"),
)


def scan(
    source: Any,
    *,
    detectors: Sequence[str] = (),
    quick: bool = False,
    limits: Limits | None = None,
    name: str = "",
) -> schema.Report:
    """Scan one picture and return the report: verdict, map, reasons, container facts.

    Args:
        source: Path, bytes, PIL image, or (H, W[, 3 or 4]) array.
        detectors: Names of the detectors to run; all when empty.
        quick: Run only the fast ones, and no stability probe.
        limits: What a file may ask for (pixels, memory, time).
        name: Shown in the report for sources without a file name.

    Raises:
        InputError: The source is no picture that may be opened; the message says why and what to do.
        UnknownNameError: No detector of that name; the nearest one is offered.
    """
    return Scanner(detectors, quick, limits=limits or Limits()).scan(source, name)


def headline(verdict: Verdict, found: Sequence[Region]) -> str:
    """Return the verdict in one plain sentence."""
    where = f" in {len(found)} region{'s' * (len(found) != 1)}" if found else ""
    if verdict.declared:
        return "The file itself states that it was generated or edited by an AI tool."
    if math.isnan(verdict.llr):
        return "No detector could weigh this picture, so nothing can be said of its pixels."
    return {
        "no_evidence": "No evidence of manipulation was found by the checks that apply.",
        "inconclusive": f"Weak signs of manipulation{where}; not enough to tell either way.",
        "suspicious": f"Signs of manipulation{where}, more than most untouched pictures show.",
        "strong_evidence": f"Strong evidence of manipulation{where}.",
    }[verdict.level]


def _first_line(detector: Detector) -> str:
    return (sys.modules[type(detector).__module__].__doc__ or "").partition("\n")[0].strip()


def _calibrated(worth: Calibrated, card: CalibrationCard) -> schema.Calibrated:
    return schema.Calibrated(
        llr=worth.llr, probability=worth.probability, low=worth.low, high=worth.high, population=card.population
    )


def _reason(reason: Any) -> schema.Reason:
    return schema.Reason(text=reason.text, weight=reason.weight, origin=reason.origin)


def _tool() -> schema.Tool:
    return schema.Tool(
        version=tamperscope.__version__,
        python=platform.python_version(),
        numpy=np.__version__,
        opencv=cv2.__version__,
    )


def _picture(sample: Sample) -> schema.Picture:
    height, width = sample.size
    return schema.Picture(
        width=width,
        height=height,
        orientation=int(sample.meta.get("orientation", 1)),
        megapixels=round(height * width / 1e6, 4),
    )
