"""A trained network as something that is asked like a detector: a sample in, map and score at its own size out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tamperscope.engine import optim
from tamperscope.engine.recipe import Wanted
from tamperscope.engine.stream import needs_of
from tamperscope.errors import InputError
from tamperscope.geometry import Fit, Plan
from tamperscope.networks import catalog
from tamperscope.networks.base import Network
from tamperscope.types import FloatArray, Prediction, Sample


@dataclass(slots=True, eq=False)
class Predictor:
    """A network that answers for pictures of any size; call it with a sample.

    Attributes:
        network: In evaluation mode when asked.
        name: That its predictions bear.
        how: `tile`, or `pad`: the whole picture on one square canvas.
        side: Of a tile at most, brought up to a multiple of the network's own.
        overlap: Of tiles, pixels.
        batch: Tiles at once; the answer is the same for any number.
        device: Where it is computed.
    """

    network: Network
    name: str = "network"
    how: Literal["tile", "pad"] = "tile"
    side: int = 512
    overlap: int = 64
    batch: int = 4
    device: torch.device | str = "cpu"

    def __call__(self, sample: Sample) -> Prediction:
        """Return the map (sigmoid of the logit, so that 0.5 is the decision) and the score of a sample.

        The score is the sigmoid of the greatest score of a canvas; of a network that gives none, the map's maximum.
        """
        plan = self._plan(sample)
        scores: list[float] = []
        with torch.inference_mode():
            was = self.network.training
            self.network.eval()
            try:
                heat = plan.merge(self._maps(sample, plan, scores))
            finally:
                if was:
                    optim.training_mode(self.network)
        heatmap = np.clip(heat, 0, 1).astype(np.float32)
        score = max(scores) if scores else float(heatmap.max())
        return Prediction(self.name, sample.size, score, heatmap)

    predict = __call__

    def _plan(self, sample: Sample) -> Plan:
        # No larger than the picture needs: what is added to fill a canvas costs as much as the picture.
        wanted = max(sample.size) if self.how == "pad" else min(self.side, max(sample.size))
        side = -(-wanted // self.network.multiple) * self.network.multiple
        return Fit(self.how, side, min(self.overlap, side - 1) if self.how == "tile" else 0).plan(sample.size)

    def _maps(self, sample: Sample, plan: Plan, scores: list[float]) -> Iterator[FloatArray]:
        """Yield the map of each canvas, and add to the scores."""
        needs = needs_of(sample, self.network.needs)
        numbers = iter(range(len(plan)))
        while chosen := list(islice(numbers, self.batch)):
            image = np.stack([plan.cut(sample.rgb, i) for i in chosen])
            told: dict[str, Tensor] = {
                key: torch.from_numpy(value).expand(len(chosen), *value.shape).to(self.device)
                for key, value in needs.items()
            }
            if "valid" in self.network.needs:
                told["valid"] = torch.from_numpy(np.stack([plan.valid(i) for i in chosen])[:, None]).to(self.device)
            pixels = torch.from_numpy(image).to(self.device).permute(0, 3, 1, 2).float() / 255
            outputs = self.network(pixels.contiguous(), **told)
            if "score" in outputs:
                scores += outputs["score"].float().sigmoid().flatten().tolist()
            yield from outputs["mask"].float().sigmoid()[:, 0].cpu().numpy()


def saved(wanted: Wanted, weights: dict[str, Tensor], step: int, metrics: dict[str, float]) -> dict[str, Any]:
    """Return what a file of a trained network holds; `load` reads it."""
    return {"network": wanted.model_dump(mode="json"), "weights": weights, "step": step, "metrics": metrics}


def build(wanted: Wanted) -> Network:
    """Return the network that a recipe asks for, with the weights that it begins with.

    Raises:
        InputError: The file of weights does not fit.
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such system or size.
    """
    network = catalog.build(wanted.name, wanted.size, **wanted.settings)
    if wanted.weights:
        _fill(network, _read(wanted.weights)["weights"], wanted.weights)
    optim.adapted(network, wanted.lora)
    return network


def load(path: str | Path, device: str = "cpu", **options: Any) -> Predictor:
    """Return the trained network of a file, ready to be asked.

    Args:
        path: Such as `best.pt` of a training.
        device: Such as `cuda`.
        options: Of `Predictor`.

    Raises:
        InputError: It is no file of a trained network.
    """
    held = _read(path)
    wanted = Wanted.model_validate({**held["network"], "weights": ""})
    network = build(wanted)
    _fill(network, held["weights"], path)
    return Predictor(network.to(device).eval(), wanted.name, device=device, **options)


def _read(path: str | Path) -> dict[str, Any]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"'{path}': expected a file of a trained network: {error}") from error
    if not isinstance(held, dict) or "weights" not in held or "network" not in held:
        raise InputError(f"'{path}': expected a file of a trained network, found something else")
    return held


def _fill(network: Network, weights: dict[str, Tensor], path: str | Path) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"'{path}': expected weights of this network: {error}") from error
