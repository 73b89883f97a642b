"""A network as something that is asked like a detector: a sample in, map and score at its own size out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tamperscope.geometry import Fit, Plan
from tamperscope.inference.needs import needs_of
from tamperscope.types import FloatArray, Prediction, Sample

Arrays = Mapping[str, NDArray[Any]]
Forward = Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True)
class View:
    """How a network is shown a picture; part of what it is, and written down with it.

    Attributes:
        how: `tile`, or `pad`: the whole picture on one square canvas.
        side: Of a tile at most, brought up to a multiple of `multiple`.
        overlap: Of tiles, pixels.
        multiple: Sides of canvases are multiples of it.
        fixed: Whether canvases always have this side; else small pictures get smaller ones.
        grid: Tiles begin at multiples of it.
    """

    how: Literal["tile", "pad"] = "tile"
    side: int = 512
    overlap: int = 64
    multiple: int = 1
    fixed: bool = False
    grid: int = 1

    def plan(self, size: tuple[int, int]) -> Plan:
        """Return the geometry for pictures of a size (H, W); with `fixed`, what a canvas cannot hold is tiled."""
        how, wanted = self.how, max(size) if self.how == "pad" else max(map(self._needed, size))
        if self.fixed:
            how, wanted = "tile", self.side
        # No larger than the picture needs: what is added to fill a canvas costs as much as the picture.
        side = -(-wanted // self.multiple) * self.multiple
        return Fit(how, side, min(self.overlap, side - self.grid) if how == "tile" else 0, self.grid).plan(size)

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
        forward: From arrays by name to logits by name: `image` (N, 3, S, S) float32 in [0, 1] and what it needs.
        name: That its predictions bear.
        view: How it is shown a picture.
        needs: Names of what it takes beside the picture.
        batch: Canvases at once; the answer is the same for any number.
        threshold: Probability of a pixel that becomes heat 0.5, where a pixel is called forged.
        clips: Whether it takes frames together, with an axis of time after the first.
        classes: Whether answers tell the likeliest editor of each pixel, where the network tells editors apart.
        confidence: Whether answers tell how sure the network is of each pixel, where it says so.
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

    def __call__(self, sample: Sample) -> Prediction:
        """Return the map (sigmoid of the logit, so that 0.5 is the decision) and the score of a sample.

        The score is the sigmoid of the greatest score of a canvas; of a network that gives none, the map's maximum.
        """
        return self.frames((sample,))[0]

    predict = __call__

    def frames(self, frames: Sequence[Sample]) -> list[Prediction]:
        """Return the answer for each frame of a clip, which the network sees together where it takes clips."""
        if len(frames) > 1 and not self.clips:
            return [self(frame) for frame in frames]
        plan = self.view.plan(frames[0].size)
        scores: list[NDArray[np.float64]] = []
        found: set[str] = set()
        merged = plan.merge(self._maps(frames, plan, scores, found))
        answers = []
        for number, (heat, *others) in enumerate(merged):
            heatmap = np.clip(heat, 0, 1, out=heat)  # pictures may be large: no copies
            score = float(max(s[number] for s in scores)) if scores else float(heatmap.max())
            answer = Prediction(self.name, frames[number].size, score, heatmap)
            if "confidence" in found:
                sure = others.pop(0)
                answer.confidence = np.clip(sure, 0, 1, out=sure)
            if "classes" in found:
                answer.classes = np.argmax(others, 0).astype(np.int16)
            answers.append(answer)
        return answers

    def _maps(
        self, frames: Sequence[Sample], plan: Plan, scores: list[NDArray[np.float64]], found: set[str]
    ) -> Iterator[FloatArray]:
        """Yield the maps (T, N, S, S) of each canvas; add to the scores, (T,) each, and to the names of what is found.

        They are the heat and, where they are asked for and given, the confidence and the share of each of the classes.
        """
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
                scores += list(special.expit(outputs["score"].astype(np.float64)).reshape(size))
            mask = outputs["mask"].astype(np.float32)
            maps = special.expit(mask - np.float32(bias)).reshape(*size, 1, *mask.shape[-2:])
            found.update(name for name in ("confidence", "classes") if getattr(self, name) and name in outputs)
            if "confidence" in found:
                sure = special.expit(outputs["confidence"].astype(np.float32)).reshape(maps.shape)
                maps = np.concatenate([maps, sure], 2)
            if "classes" in found:
                shares = special.softmax(outputs["classes"].astype(np.float32), axis=-3)
                maps = np.concatenate([maps, shares.reshape(*size, *shares.shape[-3:])], 2)
            yield from maps
