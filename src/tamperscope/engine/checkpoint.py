"""Checkpoints: all that a training needs to go on as if nothing had happened, written whole or not at all.

What is random in a step, in the data and in the network, follows from the seed, the step and the process. So the
step is the state of every generator, and the position of the sampler too.
"""

from __future__ import annotations

import os
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tamperscope.errors import InputError
from tamperscope.files import replacing

LAST, BEST = "last.pt", "best.pt"


@dataclass(slots=True)
class Progress:
    """How far a training has come.

    Attributes:
        step: Steps done.
        skipped: Of them, those whose loss or gradient was no number.
        replaced: Pictures that could not be opened.
        first: Metrics before the first step.
        best: Metrics of the best network; empty = none yet.
        best_step: Step after which it was.
    """

    step: int = 0
    skipped: int = 0
    replaced: int = 0
    first: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = 0


def write(path: Path, held: dict[str, Any]) -> None:
    """Write a file of tensors and plain values whole or not at all."""
    with replacing(path) as part, part.open("wb") as stream:
        torch.save(held, stream)
        stream.flush()
        os.fsync(stream.fileno())


def state(progress: Progress, parts: dict[str, Any]) -> dict[str, Any]:
    """Return what `read` takes apart again; `parts` are the states of network, optimizer, scheduler, average."""
    return {"progress": asdict(progress), "parts": parts}


def read(path: Path) -> tuple[Progress, dict[str, Any]]:
    """Return progress and parts of a checkpoint; nothing but tensors and plain values is read from it.

    Raises:
        InputError: It is no checkpoint.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        return Progress(**held["progress"]), held["parts"]
    except Exception as error:
        raise InputError(f"'{path}': expected a checkpoint of a training: {error}") from error


def seed_step(seed: int, step: int, process: int) -> None:
    """Put all generators of this process to the state that a step begins with."""
    words = np.random.SeedSequence(seed, spawn_key=(4, step, process)).generate_state(3)
    random.seed(int(words[0]))
    # What networks and libraries draw without a generator of their own.
    np.random.seed(int(words[1]))  # noqa: NPY002
    torch.manual_seed(int(words[2]))
