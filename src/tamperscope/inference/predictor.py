"""A network as something that is asked like a detector: a sample in, map and score at its own size out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tamperscope.geometry import Fit, Plan
from tamperscope.inference import faces
from tamperscope.inference.needs import needs_of
from tamperscope.types import FloatArray, Prediction, Sample

Arrays = Mapping[str, NDArray[Any]]
Forward = Callable[[Arrays], Arrays]
Shown = Literal["tile", "pad", "scale", "face"]
_LONGEST = 4
"""Shorter sides of a scaled canvas that its longer one has at most: panoramas lose their shape."""
_MAPS = ("mask", "confidence", "classes")


@dataclass(frozen=True, slots=True)
class View:
    """How a network is shown a picture; part of what it is, and written down with it.

    Attributes:
        how: `tile`; `pad`: the whole picture on one canvas; `scale`: the whole one in one size, for who judges
            what it shows; or `face`: each of its faces as a picture of this side.
        side: Of a tile at most, brought up to a multiple of `multiple`; of `scale` the shorter side.
        overlap: Of tiles, pixels.
        multiple: Sides of canvases are multiples of it.
        fixed: Whether canvases are always squares of this side; else they are no larger than the picture needs.
        grid: Tiles begin at multiples of it.
    """

    how: Shown = "tile"
    side: int = 512
    overlap: int = 64
    multiple: int = 1
    fixed: bool = False
    grid: int = 1

    def plan(self, size: tuple[int, int]) -> Plan:
        """Return the geometry for pictures of a size (H, W); with `fixed`, what a canvas cannot hold is tiled."""
        if self.how == "scale":
            return Fit("area", self._scaled(size)).plan(size)
        how: Literal["tile", "pad"] = "pad" if self.how == "pad" and not self.fixed else "tile"
        if self.fixed:
            wanted = self.side, self.side
        else:
            # What is added to fill a canvas costs as much as the picture.
            wanted = size if how == "pad" else (self._needed(size[0]), self._needed(size[1]))
        down, across = (-(-n // self.multiple) * self.multiple for n in wanted)
        overlap = min(self.overlap, min(down, across) - self.grid) if how == "tile" else 0
        return Fit(how, (down, across), overlap, self.grid).plan(size)

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the canvas that a picture fills as a whole, in its own shape as far as multiples of a side allow."""
        if self.fixed:
            return self.side, self.side
        factor = self.side / min(size)
        sides = [min(n * factor, _LONGEST * self.side) / self.multiple for n in size]
        return max(1, round(sides[0])) * self.multiple, max(1, round(sides[1])) * self.multiple

    def _needed(self, length: int) -> int:
        """Return the smallest side of as few tiles as cover a length, so that they overlap no more than they must."""
        if length <= self.side:
            return length
        overlap = min(self.overlap, self.side - self.grid)
        count = math.ceil((length - overlap) / (self.side - overlap))
        return math.ceil((length - overlap) / count) + overlap


@dataclass(slots=True, eq=False)
class Predictor:
    """A network that answers for pictures of any size; call it with a sample.

    Attributes:
        forward: From arrays by name to logits by name: `image` (N, 3, H, W) float32 in [0, 1] and what it needs.
        name: That its predictions bear.
        view: How it is shown a picture.
        needs: Names of what it takes beside the picture.
        batch: Canvases at once; the answer is the same for any number.
        threshold: Probability of a pixel that becomes heat 0.5, where a pixel is called forged.
        clips: Whether it takes frames together, with an axis of time after the first.
        classes: Whether answers tell the likeliest editor of each pixel, where the network tells editors apart.
        confidence: Whether answers tell how sure the network is of each pixel, where it says so.
        edits: Names of the edits whose order the network tells, if it does and answers are to tell it.
    """

    forward: Forward
    name: str = "network"
    view: View = View()
    needs: tuple[str, ...] = ()
    batch: int = 4
    threshold: float = 0.5
    clips: bool = False
    classes: bool = False
    confidence: bool = False
    edits: tuple[str, ...] = ()

    def __call__(self, sample: Sample) -> Prediction:
        """Return the map (sigmoid of the logit, so that 0.5 is the decision) and the score of a sample.

        The score is the sigmoid of the greatest score of a canvas; of a network that gives none, the map's maximum; of
        one that gives no map, for it judges whole pictures, that of the mean score. Edits in their order, as
        `evidence["sequence"]`, are those of the canvas with the greatest score. What is asked of faces does not apply
        to a picture without one.
        """
        if self.view.how == "face":
            alone = replace(self, view=replace(self.view, how="tile", fixed=True))
            answers = [(alone(crop), warp) for _, crop, warp in faces.crops(sample, self.view.side)]
            return faces.joined(sample.size, answers, self.name)
        return self.frames((sample,))[0]

    predict = __call__

    def frames(self, frames: Sequence[Sample]) -> list[Prediction]:
        """Return the answer for each frame of a clip, which the network sees together where it takes clips."""
        if self.view.how == "face" or (len(frames) > 1 and not self.clips):
            return [self(frame) for frame in frames]
        plan = self.view.plan(frames[0].size)
        logits: list[NDArray[np.float64]] = []
        orders: list[NDArray[Any]] = []
        found: set[str] = set()
        merged = plan.merge(self._maps(frames, plan, logits, orders, found))
        answers = []
        for number, maps in enumerate(merged):
            others, heat = list(maps), None
            if "mask" in found:
                heat = others.pop(0)
                np.clip(heat, 0, 1, out=heat)  # pictures may be large: no copies
            score = _score([one[number] for one in logits], heat)
            answer = Prediction(self.name, frames[number].size, score, heat)
            if "confidence" in found:
                sure = others.pop(0)
                answer.confidence = np.clip(sure, 0, 1, out=sure)
            if "classes" in found:
                answer.classes = np.argmax(others, 0).astype(np.int16)
            if orders:
                best = int(np.argmax([one[number] for one in logits]))
                answer.evidence["sequence"] = _called(orders[best][number], self.edits)
            answers.append(answer)
        return answers

    def _maps(
        self,
        frames: Sequence[Sample],
        plan: Plan,
        logits: list[NDArray[np.float64]],
        orders: list[NDArray[Any]],
        found: set[str],
    ) -> Iterator[FloatArray]:
        """Yield the maps (T, N, h, w) of each canvas; add to its scores, (T,) each, and to the names of what is found.

        Sequences are added to `orders`, (T, steps, words) each.

        They are the heat, where it is given, and where they are asked for, too, the confidence and the share of each of
        the classes.
        """
        from scipy import special  # as in `_score`

        bias = math.log(self.threshold / (1 - self.threshold))
        each = [needs_of(frame, self.needs) for frame in frames]
        numbers = iter(range(len(plan)))
        while chosen := list(islice(numbers, self.batch)):
            size = len(chosen), len(frames)
            told: dict[str, NDArray[Any]] = {
                key: np.broadcast_to(np.stack([known[key] for known in each]), (*size, *value.shape))
                for key, value in each[0].items()
            }
            if "valid" in self.needs:
                valid = np.stack([plan.valid(i) for i in chosen])[:, None, None]
                told["valid"] = np.repeat(valid, len(frames), 1)
            image = np.stack([np.stack([plan.cut(frame.rgb, i) for frame in frames]) for i in chosen])
            told["image"] = np.ascontiguousarray(np.moveaxis(image, -1, -3), np.float32) / 255
            # A picture has no axis of time, for most networks know none.
            outputs = self.forward({key: x[:, 0] for key, x in told.items()} if len(frames) == 1 else told)
            if "score" in outputs:
                logits += list(outputs["score"].astype(np.float64).reshape(size))
            if "sequence" in outputs and self.edits:
                orders += list(outputs["sequence"].reshape(*size, *outputs["sequence"].shape[-2:]))
            found.update(name for name in _MAPS if getattr(self, name, True) and name in outputs)
            maps = np.empty((*size, 0, *told["image"].shape[-2:]), np.float32)
            if "mask" in found:
                mask = outputs["mask"].astype(np.float32)
                maps = special.expit(mask - np.float32(bias)).reshape(*size, 1, *mask.shape[-2:])
            if "confidence" in found:
                sure = special.expit(outputs["confidence"].astype(np.float32))
                maps = np.concatenate([maps, sure.reshape(*size, 1, *sure.shape[-2:])], 2)
            if "classes" in found:
                shares = special.softmax(outputs["classes"].astype(np.float32), axis=-3)
                maps = np.concatenate([maps, shares.reshape(*size, *shares.shape[-3:])], 2)
            yield from maps


def _called(logits: NDArray[Any], names: Sequence[str]) -> list[str]:
    """Return the names of the likeliest edits of logits (steps, 1 + names + 2) before the first end, in their order."""
    words = logits[:-1, 1:-1].argmax(1)  # what begins and what fills up is no answer; the last step can only end
    ended = np.flatnonzero(words == len(names))
    return [names[word] for word in words[: ended[0] if len(ended) else None]]


def _score(logits: Sequence[float], heat: FloatArray | None) -> float:
    if not logits:
        return math.nan if heat is None else float(heat.max())
    from scipy import special  # a tenth of a second that who only hands pictures out need not wait

    # What is forged anywhere is forged; what judges whole pictures says the same of each part, more or less surely.
    return float(special.expit(np.mean(logits) if heat is None else max(logits)))
