"""What changes the weights: which of them, how fast, along which schedule, and their moving average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from tamperscope.engine.recipe import Lora, Optimizer, Schedule
from tamperscope.errors import InvalidValueError
from tamperscope.nn import lora


def adapted(network: nn.Module, wanted: Lora | None) -> None:
    """Put low-rank differences into a network and freeze all else, where a recipe asks for it.

    Raises:
        InvalidValueError: No linear layer has such a name.
    """
    if wanted is None:
        return
    names = lora.adapt(network, wanted.layers, wanted.rank, wanted.alpha)
    own = [f"{name}.{part}." for name in names for part in ("down", "up")]
    lora.freeze(network, [*own, *wanted.trained])


def freeze(network: nn.Module, patterns: tuple[str, ...]) -> None:
    """Freeze parameters whose name fits a pattern.

    Raises:
        InvalidValueError: A pattern fits none, or nothing is left to train.
    """
    names = dict(network.named_parameters())
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise InvalidValueError(f"optimizer.frozen: expected parameters named '{pattern}', found none")
        for name in found:
            names[name].requires_grad = False
    if not any(p.requires_grad for p in names.values()):
        raise InvalidValueError("optimizer: expected a parameter to train, found all frozen")


def training_mode(network: nn.Module) -> None:
    """Put a network to training; norms whose parameters are all frozen keep their running statistics."""
    network.train()
    for layer in network.modules():
        own = list(layer.parameters(recurse=False))
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
            layer.eval()


def build(network: nn.Module, wanted: Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer of a network's trainable parameters.

    Vectors (norms, biases, scales) have no weight decay. The learning rate of a parameter is times the factor of the
    first pattern of `rates` that its name fits.

    Raises:
        InvalidValueError: A pattern fits no parameter.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    used: set[str] = set()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        pattern = next((p for p in wanted.rates if fnmatchcase(name, p)), "")
        used.add(pattern)
        key = (wanted.rates.get(pattern, 1.0), parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    if unused := wanted.rates.keys() - used:
        raise InvalidValueError(f"optimizer.rates: expected parameters named {sorted(unused)}, found none")
    listed: list[dict[str, Any]] = [
        {"params": found, "lr": wanted.lr * factor, "weight_decay": wanted.weight_decay if decays else 0.0}
        for (factor, decays), found in groups.items()
    ]
    if wanted.name == "sgd":
        return torch.optim.SGD(listed, lr=wanted.lr, momentum=wanted.momentum, nesterov=wanted.momentum > 0)
    return torch.optim.AdamW(listed, lr=wanted.lr, betas=wanted.betas)


def factor(wanted: Schedule, step: int, steps: int) -> float:
    """Return what the learning rate is multiplied by at a step, counted from 0, of so many steps."""
    if step < wanted.warmup:
        return (step + 1) / wanted.warmup
    done = min(1.0, (step - wanted.warmup) / max(1, steps - wanted.warmup))
    shape = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "poly": (1 - done) ** wanted.power,
    }[wanted.name]
    return wanted.least + (1 - wanted.least) * shape


def scheduler(optimizer: torch.optim.Optimizer, wanted: Schedule, steps: int) -> LambdaLR:
    """Return the scheduler of an optimizer, stepped once a step."""
    return LambdaLR(optimizer, lambda step: factor(wanted, step, steps))


class Ema:
    """Exponential moving average of a network's weights; what is no float, and buffers, are copied.

    Early on the decay is (1 + n) / (10 + n), so that the random beginning is soon forgotten.

    Args:
        network: Whose weights are averaged.
        decay: Share of the old average that is kept.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights as they are now."""
        self.updates += 1
        new = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        trained = {name for name, p in network.named_parameters() if p.requires_grad}
        for name, value in network.state_dict().items():
            if name in trained:
                self.weights[name].lerp_(value, new)
            else:
                self.weights[name].copy_(value)

    def state(self) -> dict[str, Any]:
        """Return what `load` takes."""
        return {"updates": self.updates, "weights": self.weights}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.updates = int(state["updates"])
        saved: Mapping[str, Tensor] = state["weights"]
        for name, value in self.weights.items():
            value.copy_(saved[name])
