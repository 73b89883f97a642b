"""One picture in, one `Report` out."""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import tamperscope
from tamperscope import media, registry
from tamperscope.detectors.base import Detector
from tamperscope.detectors.network import Network
from tamperscope.errors import InvalidValueError
from tamperscope.media import Limits, Opened
from tamperscope.media.footage import is_video
from tamperscope.report import schema
from tamperscope.report.maps import Maps
from tamperscope.report.text import shell_command
from tamperscope.scanning.headline import headline
from tamperscope.scanning.memory import release
from tamperscope.signal import domains, regions
from tamperscope.types import FloatArray, Prediction, Sample
from tamperscope.verdict import stability
from tamperscope.verdict.card import LEVELS, Calibrated, CalibrationCard, shipped_card
from tamperscope.verdict.fusion import Reason, Verdict, decide, fuse_maps

QUICK = ("blk", "dq", "ela", "jpeg_ghost", "thumbnail", "zero")
"""Detectors of a quick scan: those that take well under a second a megapixel."""

FRAMES = 16
"""Frames of a video that are looked at."""

PROBE_SECONDS = 20.0
"""Longest time that the stability probe may be expected to take."""

LIMITS = (
    "A scan weighs traces of editing that these detectors know. No evidence is not proof that nothing was done: "
    "traces vanish when a picture is resized, strongly compressed or photographed from a screen, and careful edits "
    "leave few. It does not tell whether a generator made the whole picture. Evidence of editing is not evidence of "
    "bad intent. Decide with the picture's origin and context."
)


@dataclass(slots=True)
class Scanner:
    """Detectors that are loaded once and serve many pictures.

    Attributes:
        names: Detectors to run; all when empty.
        quick: Run only the `QUICK` ones, and no stability probe.
        probe: Whether to try the verdict on re-deliveries.
        limits: What a file may ask for.
        network: Whether the shipped network may be asked.
        models: Folders of exported networks, asked beside the detectors.
        frames: How many frames of a video to look at.
        tell: Called with the name of each step before it starts.
        card: The calibration of these detectors; that of each of the `models` is added to it.
    """

    names: Sequence[str] = ()
    quick: bool = False
    probe: bool = True
    limits: Limits = field(default_factory=Limits)
    network: bool = True
    models: Sequence[str | Path] = ()
    frames: int = FRAMES
    tell: Callable[[str], None] = lambda step: None
    card: CalibrationCard = field(init=False)
    _loaded: dict[str, Detector] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = list(dict.fromkeys(self.names)) or self._usual()
        self.names = [name for name in wanted if self.network or name not in registry.SHIPPED]
        if not self.names:
            raise InvalidValueError("expected detectors, found shipped networks alone, which are to be left out")
        self.card = shipped_card(registry.SHIPPED_NETWORK in self.names)
        self._loaded = {name: registry.load(name) for name in self.names}
        for network in self.networks.values():
            self._weigh(network)
        for folder in self.models:
            self._add(Network(folder))

    def _usual(self) -> list[str]:
        return list(QUICK) if self.quick else registry.names()

    def _add(self, network: Network) -> None:
        if network.name in (*self._loaded, *registry.names()):
            raise InvalidValueError(f"'{network.artifact.folder}': '{network.name}' is the name of another detector")
        self.names = [*self.names, network.name]
        self._loaded[network.name] = network
        self._weigh(network)

    def _weigh(self, network: Network) -> None:
        self.card = self.card.with_network(network.name, network.family, network.artifact.card.calibration)

    @property
    def networks(self) -> dict[str, Network]:
        """The exported networks by name, the shipped one among them."""
        return {name: found for name, found in self._loaded.items() if isinstance(found, Network)}

    @property
    def models_sha256(self) -> dict[str, str]:
        """What the answers of each exported network follow from."""
        return {name: network.artifact.sha256 for name, network in self.networks.items()}

    def scan(self, source: Any, name: str = "", page: int = 0) -> schema.Report:
        """Return the report on a path, bytes, PIL image or array; on a video, with a timeline.

        Args:
            source: What to scan.
            name: Shown in the report.
            page: Of a PDF file, from 1; 0 for anything else.

        Raises:
            InputError: The source is no picture that may be opened; the message says why and what to do.
        """
        if is_video(source):
            from tamperscope.scanning.video import scan_video

            return scan_video(self, source, name)
        self.tell("opening")
        if page:
            opened = media.open_page(source, page, self.limits, name)
        else:
            opened = media.open(source, limits=self.limits, name=name)
        predictions, maps, seconds = self.predict_all(opened.sample, self.names)
        verdict = decide(predictions, opened.findings, self.card)
        trials, untried = self._probe(opened, predictions, verdict, seconds)
        fused = self._fused(maps, verdict)
        report = schema.Report(
            tool=tool(),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            intake=schema.Intake.of(opened.intake),
            picture=_picture(opened.sample),
            facts=opened.facts,
            findings=[schema.FindingModel.of(f) for f in [*opened.findings, *domains.findings(opened.sample)]],
            predictions=[self._row(p, verdict, seconds[p.detector]) for p in predictions],
            verdict=self._verdict(verdict, fused, trials, untried),
            reproduce=self.reproduce(opened.intake["name"]),
            limits=LIMITS,
        )
        if fused is not None:
            maps.add(schema.FUSED, fused)
        return report.with_pictures(opened.sample.rgb, maps)

    def predict(self, name: str, sample: Sample) -> Prediction:
        """Return what detector `name` says; whatever it raises becomes a `failed` prediction."""
        try:
            return self._loaded[name].predict(sample)
        except Exception as error:  # one broken detector must not cost the others' answers
            cause = f"{type(error).__name__}: {error}"
            return Prediction(name, sample.size, status="failed", cause=cause)

    def detector(self, name: str) -> Detector:
        """Return one of the detectors."""
        return self._loaded[name]

    def predict_all(
        self, sample: Sample, names: Sequence[str], where: str = ""
    ) -> tuple[list[Prediction], Maps, dict[str, float]]:
        """Run the named detectors; heatmaps are quantized at once, so that one float map is in memory at a time.

        Args:
            sample: The picture.
            names: Of the detectors.
            where: Said before the name of each.

        Returns:
            Predictions, maps and seconds by detector.
        """
        predictions, maps, seconds = [], Maps(sample.size), {}
        for name in names:
            self.tell(where + name)
            start = time.perf_counter()
            prediction = self.predict(name, sample)
            if prediction.heatmap is not None:
                maps.add(name, prediction.heatmap)
                prediction.heatmap = None
            if prediction.confidence is not None:
                maps.add(f"{name}{schema.CONFIDENCE}", prediction.confidence)
                prediction.confidence = None
            release(math.prod(sample.size))
            seconds[name] = time.perf_counter() - start
            predictions.append(prediction)
        return predictions, maps, seconds

    def _fused(self, maps: Maps, verdict: Verdict) -> FloatArray | None:
        fused = None
        for rows, band in maps.bands():
            part = fuse_maps(band, verdict.calibrated, self.card)
            if part is None:
                return None
            fused = np.empty(maps.size, np.float32) if fused is None else fused
            fused[rows] = part
        return fused

    def _probe(
        self, opened: Opened, predictions: list[Prediction], verdict: Verdict, seconds: Mapping[str, float]
    ) -> tuple[list[stability.Trial], str]:
        """Return the verdicts on re-deliveries, or none and why."""
        if self.quick or not self.probe:
            return [], "left out by options"
        if opened.sample.meta.get("damaged"):
            return [], "the file is damaged"
        if math.isnan(verdict.llr):
            return [], "no detector could weigh this picture, so there is nothing to try"
        # What does not count cannot change a verdict, so running it again would test nothing.
        counting = [n for n in self.names if n in self.card.detectors and self.card.detectors[n].counts]
        rerun = stability.drivers(verdict, self.card) or [n for n in QUICK if n in counting] or counting
        if sum(seconds[name] for name in rerun) * 2.25 > PROBE_SECONDS:
            return [], "it would take too long here"
        self.tell("stability under re-delivery")
        given = (opened.sample, predictions, opened.findings, self.card, rerun, self.predict, self.limits)
        trials = stability.probe(*given)
        return trials, "" if trials else "no copy of this picture can be made"

    def _row(self, prediction: Prediction, verdict: Verdict, seconds: float) -> schema.PredictionModel:
        name = prediction.detector
        detector, curve = self._loaded[name], self.card.detectors.get(name)
        worth = verdict.calibrated.get(name)
        population = (curve and curve.population) or self.card.population
        return schema.PredictionModel.of(
            prediction,
            summary=first_line(detector),
            guide=detector.guide,
            family=detector.family,
            calibrated=None if worth is None else _calibrated(worth, population),
            counts=bool(curve and curve.counts),
            seconds=seconds,
        )

    def _verdict(self, verdict: Verdict, fused: Any, trials: list[stability.Trial], untried: str) -> schema.Verdict:
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
            start=None if probability is None else self.card.intercept,
            reasons_for=[reason(r) for r in verdict.reasons_for],
            reasons_against=[reason(r) for r in verdict.reasons_against],
            thresholds=[
                schema.Threshold(level=level, population=self.card.population, **dict(self.card.thresholds[level]))
                for level in LEVELS[1:]
            ],
            not_checked=self._not_checked(verdict, untried),
            regions=[schema.RegionModel.of(r, fused.shape) for r in found],
            stability=schema.Stability(
                status="not_run" if not trials else "unstable" if changed else "stable",
                trials=[schema.Trial(delivery=t.delivery, level=t.level, llr=t.llr) for t in trials],
            ),
        )

    def _not_checked(self, verdict: Verdict, untried: str) -> list[schema.NotChecked]:
        # First what matters most: a long list is cut where room is short.
        rows = [*NEVER_CHECKED]
        if untried:
            rows.append(("stability under re-delivery", untried))
        added = (n for n in self.networks if n != registry.SHIPPED_NETWORK and n in verdict.calibrated)
        weighed = [n for n in added if self.card.detectors[n].counts]
        if weighed:
            rows.append(("false alarms of this verdict", f"the rates were measured without {', '.join(weighed)}"))
        absent = [n for n, curve in self.card.detectors.items() if curve.counts and n not in self.names]
        if absent and not math.isnan(verdict.llr):
            rows.append(("false alarms of this verdict", f"the rates were measured with {', '.join(absent)}, too"))
        rows += verdict.not_checked
        rows += [(n, "left out of this scan by its options") for n in registry.names() if n not in self.names]
        return [schema.NotChecked(what=what, why=why) for what, why in rows]

    def reproduce(self, name: str, **more: Any) -> schema.Reproduce:
        """Return how to scan the file of that name again; `more` are options that only its kind has."""
        words = ["tamperscope", "scan", operand(name)]
        if self.quick:
            words.append("--quick")
        own = [name for name in self.names if name in registry.names()]
        usual = set(self._usual()) - (set() if self.network else set(registry.SHIPPED))
        if not self.network:
            words.append("--no-model")
        if set(own) != usual:
            words += ["--detectors", ",".join(own)]
        for folder in self.models:
            words += ["--model", str(folder)]
        if self.limits.max_pixels != Limits().max_pixels:
            words += ["--max-pixels", str(self.limits.max_pixels)]
        for option, value in more.items():
            words += [f"--{option}", str(value)]
        options: dict[str, Any] = {
            "detectors": list(self.names),
            "quick": self.quick,
            "max_pixels": self.limits.max_pixels,
            **more,
        }
        if self.networks:
            options["models"] = self.models_sha256
        return schema.Reproduce(command=shell_command(words), options=options)


NEVER_CHECKED = (
    ("whether a generator made the whole picture", "only declared marks, looks and simple decoders' traces are told"),
    ("origin, caption and context", "outside of what pixels and files can tell"),
)


def scan(
    source: Any,
    *,
    detectors: Sequence[str] = (),
    quick: bool = False,
    limits: Limits | None = None,
    name: str = "",
    models: Sequence[str | Path] = (),
    frames: int = FRAMES,
    network: bool = True,
    page: int = 0,
) -> schema.Report:
    """Scan one picture or video and return the report: verdict, map, reasons, container facts.

    Args:
        source: Path, bytes, PIL image, or (H, W[, 3 or 4]) array.
        detectors: Names of the detectors to run; all when empty.
        quick: Run only the fast ones, and no stability probe.
        limits: What a file may ask for (pixels, memory, time).
        name: Shown in the report for sources without a file name.
        models: Folders of exported networks, asked beside the detectors.
        frames: How many frames of a video to look at; `report.timeline` tells of each.
        network: Whether the shipped network may be asked; without it only classical detectors are.
        page: Of a PDF file, from 1; 0 for anything else.

    Raises:
        InputError: The source is no picture that may be opened, or a model no exported network; the message says why.
        UnknownNameError: No detector of that name; the nearest one is offered.
    """
    scanner = Scanner(detectors, quick, limits=limits or Limits(), network=network, models=models, frames=frames)
    return scanner.scan(source, name, page)


def operand(name: str) -> str:
    """Return the name of a file as a word of a command line: no option, whatever it begins with; "" is `-`, stdin."""
    if name in ("", "-"):
        return "-"
    return f"./{name}" if name.startswith("-") else name


def first_line(detector: Detector) -> str:
    """Return what a detector looks for, in one sentence."""
    return (sys.modules[type(detector).__module__].__doc__ or "").partition("\n")[0].strip()


def _calibrated(worth: Calibrated, population: str) -> schema.Calibrated:
    return schema.Calibrated(
        llr=worth.llr, probability=worth.probability, low=worth.low, high=worth.high, population=population
    )


def reason(found: Reason) -> schema.Reason:
    """Return the model of a verdict's reason."""
    return schema.Reason(text=found.text, weight=found.weight, origin=found.origin)


def tool() -> schema.Tool:
    """Return the versions of this software."""
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
