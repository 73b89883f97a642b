"""An exported network, asked like any other detector; which one is said by its folder.

How. The picture is covered with canvases, the network answers for each, and its probabilities are blended over their
seams. What it learned, from what, how well it did there and under which licence its weights are stands in its card.

Limits. A network knows what it was shown. On pictures unlike those it can be sure and wrong, both ways.
"""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import ClassVar

from tamperscope.detectors.base import Detector, Family, Guide, NotApplicable
from tamperscope.inference.artifact import Artifact, open_artifact
from tamperscope.signal.regions import LARGE, from_heatmap
from tamperscope.types import Finding, FloatArray, Prediction, Region, Sample


class Network(Detector):
    """An exported network.

    Args:
        artifact: Its folder, or the artifact itself.

    Raises:
        InputError: It is no artifact, or one whose files were changed.
    """

    family: ClassVar[Family] = "network"
    min_side = 32
    guide = Guide(
        looks_at="Whatever its training taught it to tell forged from untouched pixels by.",
        how_to_read="Bright parts are those that it takes for forged; at 0.5 it would call a pixel so.",
        when_it_lies="Pictures unlike those it was trained on, and strong compression, can make it sure and wrong.",
    )

    def __init__(self, artifact: str | Path | Artifact) -> None:
        self.artifact = artifact if isinstance(artifact, Artifact) else open_artifact(artifact)
        self._ask = self.artifact.predictor()

    @property
    def name(self) -> str:
        """Name of the artifact."""
        return self.artifact.card.name

    @property
    def fingerprint(self) -> str:
        """What its answers follow from, beside this code."""
        return self.artifact.sha256

    def ask(self, sample: Sample) -> Prediction:
        """Return the network's answer, without reasons and regions; of a large picture, without its confidence.

        That map takes as much memory as the picture's heat.
        """
        self._ask.confidence = math.prod(sample.size) < LARGE
        return self._ask(sample)

    def analyze(self, sample: Sample) -> Prediction:
        """Return what the network says; see `Detector.analyze`."""
        card, answer = self.artifact.card, self.ask(sample)
        if answer.status != "ok":
            raise NotApplicable(answer.cause)
        faces = len(answer.evidence.get("faces", ()))
        answer.evidence = {
            "threshold": card.threshold,
            "artifact_sha256": self.artifact.sha256,
            "licence": card.licence,
        }
        if answer.heatmap is None:
            text = (
                f"The network {card.title} {self._asked_of(faces)}; its score is {answer.score:.3f}, "
                f"and it calls pictures forged from {card.threshold:.3f} on."
            )
            answer.reasons = [Finding("network.score", text, "info", {"score": answer.score}, self.name)]
            return answer
        share = float((answer.heatmap >= 0.5).mean())
        text = f"The network {card.title} takes {share:.1%} of the picture for forged; its score is {answer.score:.3f}."
        answer.reasons = [Finding("network.share", text, "info", {"share": share}, self.name)]
        answer.regions = from_heatmap(answer.heatmap, self.name)
        if answer.confidence is not None:
            answer.regions = [_sure(region, answer.confidence) for region in answer.regions]
        answer.evidence["share"] = share
        return answer

    def scored(self, answer: Prediction, above: str, below: str, share: str) -> Prediction:
        """Return an answer on a whole picture with its one reason: what a score at the card's threshold means.

        Args:
            answer: Of `analyze`.
            above: Said from the threshold on; `{told}` stands for the score and the threshold.
            below: Said below it, in the same way.
            share: How many photographs, such as `twenty`, there are for one that reaches the threshold.
        """
        least = self.artifact.card.threshold
        told = f"its score is {answer.score:.3f}, and one in {share} photographs reaches {least:.3f}"
        text = (above if answer.score >= least else below).format(told=told)
        return replace(
            answer, reasons=[Finding(f"{self.name}.score", text, "info", {"score": answer.score}, self.name)]
        )

    def _asked_of(self, faces: int) -> str:
        """Return what a network without a map judged."""
        if self.artifact.card.input.how != "face":
            return "judges the picture as a whole"
        return f"was asked of {faces} face{'s' * (faces != 1)}; the worst one counts"


def shipped(name: str) -> Path:
    """Return the folder of a network inside of the package."""
    return Path(str(resources.files("tamperscope.weights"))) / name


def _sure(region: Region, confidence: FloatArray) -> Region:
    """Return a region with how sure the network is of it, on average."""
    x0, y0, x1, y1 = region.box
    inside = confidence[y0:y1, x0:x1][region.mask if region.mask is not None else ...]
    return replace(region, values={**region.values, "confidence": round(float(inside.mean()), 3)})
