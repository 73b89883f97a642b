"""What a bench scores: detectors, exported networks, the fused scan, baselines, or the saved maps of any other tool.

An exported network is named by its folder, as it was written.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tamperscope import registry
from tamperscope.bench import baselines
from tamperscope.data.manifest import Entry
from tamperscope.detectors.base import Detector
from tamperscope.errors import InputError, unknown_name
from tamperscope.inference.artifact import open_artifact
from tamperscope.report.maps import quantized
from tamperscope.scanning.one import Scanner
from tamperscope.types import Prediction, Sample
from tamperscope.verdict.card import Calibrated, CalibrationCard, Curve, Level, shipped_card
from tamperscope.verdict.fusion import decide, fuse_maps

FUSED, CLASSICAL = "fused", "classical"
"""The whole scan, and what it is without the shipped networks."""
_SCANS = {FUSED: True, CLASSICAL: False}
_PACKAGE = Path(__file__).parents[1]
# Code that every number rests on; a detector's own file comes on top.
_ROOMS = ("media", "signal", "metrics", "ops", "inference")
_SHARED = ("types.py", "geometry.py", *_ROOMS, "detectors/base.py", "bench/subjects.py")


def resolve(names: Sequence[str]) -> list[str]:
    """Return the subjects of a bench: those asked for (all when empty), and always the bar they must pass.

    Raises:
        UnknownNameError: No subject of that name.
    """
    known = [*registry.names(), FUSED, CLASSICAL, *baselines.MAPS]
    for name in names:
        if name not in known and not registry.is_network(name):
            raise unknown_name("detector", name, known)
    return list(dict.fromkeys([*(names or [*registry.names(), CLASSICAL, FUSED]), "ela", *baselines.MAPS]))


@cache
def _card(name: str) -> CalibrationCard:
    """Return the card of a scan, with what its networks' own cards say."""
    return Scanner(network=_SCANS[name]).card


def _parts(name: str) -> list[str]:
    """Return the detectors that a subject asks."""
    if name in _SCANS:
        known = _card(name).detectors
        return [n for n in registry.names() if n in known and known[n].counts]
    return [name] if name in registry.names() or registry.is_network(name) else []


class Panel:
    """Subjects loaded once; each picture is shown to all of them."""

    def __init__(self, names: Sequence[str], folder: SavedMaps | None = None) -> None:
        """Load the subjects.

        Args:
            names: As from `resolve`; only what is asked for is loaded.
            folder: Saved predictions of another tool, scored under their own name.
        """
        self.names = list(names)
        self._folder = folder
        wanted = [part for name in self.names for part in _parts(name)]
        self._detectors: dict[str, Detector] = {name: registry.load(name) for name in dict.fromkeys(wanted)}

    def predict(self, sample: Sample) -> Iterator[Prediction]:
        """Yield the predictions of all subjects in order; one that raises becomes a `failed` prediction."""
        found: dict[str, Prediction] = {}
        for name in self.names:
            if name in _SCANS:
                yield self._fused(name, sample, found)
            else:
                yield self._one(name, sample, found)

    def _one(self, name: str, sample: Sample, found: dict[str, Prediction]) -> Prediction:
        if name not in found:
            try:
                found[name] = self._ask(name, sample)
            except Exception as error:  # one broken subject must not cost the others' answers
                cause = f"{type(error).__name__}: {error}"
                found[name] = Prediction(name, sample.size, status="failed", cause=cause)
        return found[name]

    def _ask(self, name: str, sample: Sample) -> Prediction:
        if self._folder is not None and name == self._folder.name:
            return self._folder.predict(sample)
        if name in baselines.MAPS:
            return baselines.predict(name, sample)
        found = self._detectors[name].predict(sample)
        # A network is known by its folder here.
        return found if found.detector == name else replace(found, detector=name)

    def _fused(self, name: str, sample: Sample, found: dict[str, Prediction]) -> Prediction:
        """Weigh detectors as a scan does."""
        card = _card(name)
        predictions = [self._one(part, sample, found) for part in _parts(name)]
        verdict = decide(predictions, [], card)
        maps = {p.detector: quantized(p.detector, p.heatmap, sample.size) for p in predictions if p.heatmap is not None}
        return Prediction(name, sample.size, verdict.llr, fuse_maps(maps, verdict.calibrated, card))


class SavedMaps:
    """Maps and scores of another tool in a folder: `<picture path or stem>.png`, and `scores.csv` or `scores.json`.

    A map is grey, 255 = forged, and is brought to the picture's size. `scores.csv` has the columns `image` and `score`,
    `scores.json` is an object; without them the score is the map's maximum, and a map of another size is resized.
    """

    def __init__(self, folder: str | Path, name: str = "") -> None:
        """Read the scores.

        Raises:
            InputError: There is no such folder, or its scores are not as expected.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"--predictions: expected a folder of maps, found nothing at '{folder}'")
        self.name = name or self.folder.resolve().name
        self.scores = self._read_scores()

    def _read_scores(self) -> dict[str, float]:
        try:
            if (self.folder / "scores.csv").is_file():
                with (self.folder / "scores.csv").open(newline="", encoding="utf-8") as stream:
                    return {row["image"]: float(row["score"]) for row in csv.DictReader(stream)}
            if (self.folder / "scores.json").is_file():
                text = (self.folder / "scores.json").read_text(encoding="utf-8")
                return {str(k): float(v) for k, v in json.loads(text).items()}
        except (KeyError, ValueError, AttributeError) as error:
            raise InputError(f"scores: expected columns `image` and `score`: {error!r}") from error
        return {}

    def path(self, image: str) -> Path | None:
        """Return the file that holds the map of a picture, or None."""
        plain = Path(image)
        names = (f"{image}.png", str(plain.with_suffix(".png")), f"{plain.name}.png", f"{plain.stem}.png")
        for name in names:
            candidate = self.folder / name
            if ".." not in plain.parts and not plain.is_absolute() and candidate.is_file():
                return candidate
        return None

    def predict(self, sample: Sample) -> Prediction:
        """Return the saved prediction of a sample; without map and score it has failed."""
        path, score = self.path(sample.id), self.scores.get(sample.id)
        if path is None and score is None:
            return Prediction(self.name, sample.size, status="failed", cause="no saved map or score of this picture")
        heat = None
        if path is not None:
            grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if grey is None:
                return Prediction(self.name, sample.size, status="failed", cause=f"{path.name} is no picture")
            heat = grey.astype(np.float32) / np.float32(255)
            if heat.shape != sample.size:
                heat = cv2.resize(heat, sample.size[::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1)
            score = float(heat.max()) if score is None else score
        return Prediction(self.name, sample.size, math.nan if score is None else score, heat)

    def fingerprint(self, image: str) -> str:
        """Return a digest of what is saved of a picture."""
        path = self.path(image)
        data = path.read_bytes() if path is not None else b""
        return hashlib.sha256(data + repr(self.scores.get(image)).encode()).hexdigest()


def probability(name: str, score: float) -> float:
    """Return the calibrated probability of a forgery at equal priors; nan when nothing says what the score is worth.

    The fused scan's score is a log-likelihood ratio already; a detector's goes through its curve on the shipped card,
    or on its own. Scores of other tools are taken as probabilities where they lie in [0, 1].
    """
    if math.isnan(score):
        return math.nan
    if name in _SCANS:
        return Calibrated(score, score, score).probability
    curve = shipped_card().detectors.get(name) or own_curve(name)
    if curve is not None:
        return curve.at(score).probability
    if name in baselines.MAPS or name not in registry.names():
        return score if 0.0 <= score <= 1.0 else math.nan
    return math.nan


@cache
def own_curve(name: str) -> Curve | None:
    """Return what an exported network's own card says of its scores, as a scan weighs them; None for all else."""
    if name not in registry.SHIPPED and not registry.is_network(name):
        return None
    scanner = Scanner((name,))
    return scanner.card.detectors.get(scanner.networks[name].name)


def level(llr: float) -> Level:
    """Return the verdict's level of a fused score; nan, when nothing could be weighed, is inconclusive."""
    return "inconclusive" if math.isnan(llr) else shipped_card().level(llr)


def calibrated() -> set[str]:
    """Return the subjects whose scores the shipped cards know the worth of."""
    return {*_SCANS, *shipped_card().detectors}


@cache
def fingerprint(name: str) -> str:
    """Return a digest of the code, and for the fused scan the card, that a subject's numbers rest on."""
    state = hashlib.sha256()
    for part in _SHARED:
        path = _PACKAGE / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            state.update(file.read_bytes())
    for own in _parts(name):
        detector = registry.load(own)
        state.update(Path(inspect.getfile(type(detector))).read_bytes())
        state.update(str(getattr(detector, "fingerprint", "")).encode())
    if name in _SCANS:
        state.update(_card(name).model_dump_json().encode())
    state.update((_PACKAGE / "bench/baselines.py").read_bytes() if name in baselines.MAPS else b"")
    return state.hexdigest()


def about(name: str) -> str:
    """Return one line on a subject."""
    lines = {e.name: e.summary for e in registry.entries()}
    lines |= {
        FUSED: "The whole scan: all detectors, calibrated and weighed.",
        CLASSICAL: "A scan without the shipped networks.",
        baselines.RANDOM: "Noise: looks at nothing.",
        baselines.CENTRE_BLOB: "A Gaussian at the middle: looks at nothing.",
        baselines.TABLE_LOOKUP: "Looks up the quantization table alone, learnt on other sources of the same set.",
    }
    if registry.is_network(name):
        return open_artifact(name).card.title
    return lines.get(name, "Saved predictions of another tool.")


def fields_of(entry: Entry, sample: Sample) -> dict[str, Any]:
    """Return what a row keeps of the manifest's line and of the file: its fields and the name of its tables."""
    tables = b"".join(t.astype("<u2").tobytes() for t in sample.jpeg.qtables) if sample.jpeg is not None else b""
    named = hashlib.sha256(tables).hexdigest()[:16] if tables else "none"
    plain = {k: v for k, v in entry.extra.items() if isinstance(v, (str, int, float, bool))}
    return {**plain, "domain": entry.domain, "split": entry.split, "table": named}
