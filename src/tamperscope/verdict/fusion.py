"""Fuse calibrated predictions into one verdict and one map.

Log-likelihood ratios of one trace family are correlated, so only the strongest of a family counts; families add with
weights from a logistic regression (see `scripts/calibrate.py`). A detector that does not apply is neutral.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from tamperscope.types import Finding, FloatArray, Prediction, UInt8Array
from tamperscope.verdict.card import LEVELS, Calibrated, CalibrationCard, Level

DECLARED_LEVEL: Mapping[str, Level] = {"generated": "strong_evidence", "edited_by_ai": "suspicious"}

NEGLIGIBLE = 0.1  # natural-log units: odds that change by a tenth are no reason

_QUIET = frozenset(
    ("dq.double_throughout", "jpeg_ghost.none", "noisesniffer.none", "pages.none", "splicebuster.uniform", "text.none")
)
"""Reasons of detectors that found nothing: true beside a score that counts for an alteration, but no reason for one."""

_LOOKS = frozenset(("invented",))
"""Detectors of what a picture looks like, which is no trace of an alteration."""
_CONTENT = "content"
"""Their family."""
_MARGIN = 0.01
"""Below a threshold, so that sums in another order stay below it, too."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for or against, with its weight in natural-log units (0 = stated, not weighed)."""

    text: str
    weight: float
    origin: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The four-level answer and what it rests on.

    Attributes:
        level: Never says more than the evidence does.
        llr: Fused log-likelihood ratio of the pixel evidence; nan when nothing could be weighed.
        calibrated: By detector, what its score is worth.
        reasons_for: Strongest first.
        reasons_against: Strongest first.
        not_checked: (what, why).
        declared: Whether the level rests on what the file says of itself.
    """

    level: Level
    llr: float
    calibrated: Mapping[str, Calibrated]
    reasons_for: list[Reason] = field(default_factory=list)
    reasons_against: list[Reason] = field(default_factory=list)
    not_checked: list[tuple[str, str]] = field(default_factory=list)
    declared: bool = False


def by_looks(origins: Sequence[str]) -> bool:
    """Return whether the strongest reason is what the picture looks like.

    Args:
        origins: Of the reasons for an alteration, the strongest first.
    """
    return bool(origins) and origins[0] in _LOOKS


def family_evidence(calibrated: Mapping[str, Calibrated], card: CalibrationCard) -> dict[str, tuple[str, float]]:
    """Return for each trace family its strongest counting detector and that one's weighted log-likelihood ratio.

    Looks are no trace: unless traces alone are suspicious, the evidence of looks stays below the strong kind.
    """
    best: dict[str, tuple[str, float]] = {}
    for name, worth in calibrated.items():
        curve = card.detectors[name]
        if not curve.counts:
            continue
        weighted = card.weights.get(curve.family, 0.0) * worth.llr
        if curve.family not in best or weighted > best[curve.family][1]:
            best[curve.family] = (name, weighted)
    if _CONTENT in best:
        name, weighted = best.pop(_CONTENT)
        traces = card.intercept + sum(value for _, value in best.values())
        best[_CONTENT] = (name, _looks(weighted, traces, card))
    return best


def _looks(weighted: float, traces: float, card: CalibrationCard) -> float:
    """Return what looks add to the evidence of traces: strong evidence only where these are suspicious."""
    if traces >= card.thresholds["suspicious"].llr:
        return weighted
    return min(weighted, max(0.0, card.thresholds["strong_evidence"].llr - _MARGIN - traces))


def decide(predictions: Sequence[Prediction], findings: Iterable[Finding], card: CalibrationCard) -> Verdict:
    """Return the verdict on one picture from its predictions and the findings about its container."""
    worth = {p.detector: card.calibrate(p) for p in predictions}
    calibrated = {name: c for name, c in worth.items() if c is not None}
    families = family_evidence(calibrated, card)
    llr = card.intercept + sum(value for _, value in families.values()) if families else float("nan")
    level: Level = card.level(llr) if families else "inconclusive"
    verdict = Verdict(level, llr, calibrated, not_checked=_not_checked(predictions, card))
    _weigh(verdict, families, {p.detector: p for p in predictions})
    return _with_container(verdict, list(findings))


def _not_checked(predictions: Sequence[Prediction], card: CalibrationCard) -> list[tuple[str, str]]:
    silent = [(p.detector, p.cause) for p in predictions if p.status != "ok"]
    curves = [(p.detector, card.detectors.get(p.detector)) for p in predictions if p.status == "ok"]
    unweighed = [(name, f"shown, not weighed: {curve.why}") for name, curve in curves if curve and not curve.counts]
    strangers = [(name, "shown, not weighed: uncalibrated") for name, curve in curves if curve is None]
    return silent + unweighed + strangers


def _weigh(verdict: Verdict, families: Mapping[str, tuple[str, float]], by_name: Mapping[str, Prediction]) -> None:
    for name, weight in sorted(families.values(), key=lambda item: -abs(item[1])):
        found = by_name[name].reasons
        if abs(weight) < NEGLIGIBLE:
            continue
        if weight > 0:
            higher = f"The statistic of {name} is higher than in most pristine pictures."
            text = next((reason.text for reason in found if reason.code not in _QUIET), higher)
            verdict.reasons_for.append(Reason(text, weight, name))
        else:
            verdict.reasons_against.append(Reason(f"{name} found nothing that stands out", weight, name))


def _with_container(verdict: Verdict, findings: list[Finding]) -> Verdict:
    """Add what the file says of itself; a declared generator sets a floor under the level."""
    level, declared = verdict.level, False
    for finding in findings:
        floor = DECLARED_LEVEL.get(str(finding.values.get("declared")))
        if floor and LEVELS.index(floor) > LEVELS.index(level):
            level, declared = floor, True
        # That a file is cut off says nothing for an edit; it is told with the container.
        if finding.severity == "warning" and finding.code != "media.truncated":
            verdict.reasons_for.append(Reason(finding.text, 0.0, finding.origin or finding.code))
    return replace(verdict, level=level, declared=declared)


def fuse_maps(
    maps: Mapping[str, UInt8Array], calibrated: Mapping[str, Calibrated], card: CalibrationCard
) -> FloatArray | None:
    """Return the fused (H, W) float32 map in [0, 1], or None when no counting detector has a map.

    The evidence of families adds with the card's weights for pixels, and 0.5 is where the fused maps of the
    calibration's forgeries reach their highest mean F1.

    Args:
        maps: By detector, (H, W) uint8, 255 = heat 1.
        calibrated: By detector, what its score is worth.
        card: The calibration.
    """
    total: FloatArray | None = None
    for family, evidence in family_maps(maps, calibrated, card):
        evidence *= np.float32(card.pixel_weights.get(family, 1.0))
        total = evidence if total is None else np.add(total, evidence, out=total)
    if total is None:
        return None
    total += np.float32(card.pixel_prior)
    np.clip(total, -30.0, 30.0, out=total)
    np.exp(-total, out=total)
    total += 1.0
    return np.reciprocal(total, out=total)


def family_maps(
    maps: Mapping[str, UInt8Array], calibrated: Mapping[str, Calibrated], card: CalibrationCard
) -> Iterator[tuple[str, FloatArray]]:
    """Yield each trace family with its (H, W) evidence: log-likelihood ratios of a forged pixel, one map at a time.

    Each quantized heatmap becomes a per-pixel log-likelihood ratio, scaled by how probable the detector's picture-level
    score makes a forgery at all; the strongest of a family counts. See `fuse_maps` for the arguments.
    """
    by_family: dict[str, list[str]] = defaultdict(list)
    for name in maps:
        if name in calibrated and card.detectors[name].counts:
            by_family[card.detectors[name].family].append(name)
    for family, members in by_family.items():
        strongest: FloatArray | None = None
        for name in members:
            table = card.detectors[name].heat_table() * np.float32(calibrated[name].probability)
            evidence = np.asarray(cv2.LUT(maps[name], table), dtype=np.float32)
            strongest = evidence if strongest is None else np.maximum(strongest, evidence, out=strongest)
        assert strongest is not None
        yield family, strongest
