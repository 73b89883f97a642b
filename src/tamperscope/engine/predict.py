"""A network of torch as something that is asked like a detector, and the files of trained ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from tamperscope.engine import optim
from tamperscope.engine.recipe import Wanted
from tamperscope.errors import InputError
from tamperscope.inference.artifact import open_artifact
from tamperscope.inference.predictor import Arrays, Predictor, View
from tamperscope.networks import catalog
from tamperscope.networks.base import Network
from tamperscope.settings import wrong


def asked(
    network: Network, name: str = "network", view: View | None = None, batch: int = 4, device: Any = "cpu"
) -> Predictor:
    """Return a network, ready to be asked; it is left in the mode that it was in.

    Args:
        network: On the device.
        name: That its predictions bear.
        view: How it is shown a picture; the network's own `multiple` holds.
        batch: Canvases at once.
        device: Where it is computed.
    """

    def forward(arrays: Arrays) -> Arrays:
        told = {key: torch.from_numpy(np.array(value)).to(device) for key, value in arrays.items()}
        was = network.training
        network.eval()
        try:
            with torch.inference_mode():
                outputs = network(**told)
        finally:
            if was:
                optim.training_mode(network)
        return {key: value.float().cpu().numpy() for key, value in outputs.items()}

    shown = replace(view or View(), multiple=network.multiple, grid=network.grid)
    return Predictor(forward, name, shown, tuple(network.needs), batch, clips=network.clips)


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


def restored(path: str | Path) -> tuple[Network, Wanted]:
    """Return the trained network of a file, in evaluation mode, and what it was asked to be.

    Args:
        path: Such as `best.pt` of a training, or the folder of an artifact.

    Raises:
        InputError: It is no file of a trained network.
    """
    held = _read(path)
    try:
        told = Wanted.model_validate(held["network"])
    except ValidationError as error:
        raise InputError(
            f"'{path}': expected a file of a trained network: {wrong(error)}; name one that `tamperscope train` or "
            "`export` wrote"
        ) from error
    # What it began with is overwritten, and may be gone.
    settings = {name: value for name, value in told.settings.items() if name != "weights"}
    wanted = told.model_copy(update={"weights": "", "settings": settings})
    network = build(wanted)
    _fill(network, held["weights"], path)
    return network.eval(), wanted


def load(path: str | Path, device: str = "cpu", batch: int = 4, **view: Any) -> Predictor:
    """Return the trained network of a file, ready to be asked.

    Args:
        path: As for `restored`, whose errors it raises.
        device: Such as `cuda`.
        batch: Canvases at once.
        view: Of `View`.
    """
    network, wanted = restored(path)
    return asked(network.to(device), wanted.name, View(**view), batch, device)


def _read(path: str | Path) -> dict[str, Any]:
    if Path(path).is_dir():
        artifact = open_artifact(path)
        return {"network": artifact.card.network, "weights": safetensors.torch.load(artifact.weights())}
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
