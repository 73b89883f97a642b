"""Small pictures with up to three edits whose order is in the pixels only where they overlap, and what learns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from tamperscope.metrics.sequences import adaptive_accuracy, fixed_accuracy
from tamperscope.networks.seqfakeformer import Ordered
from tamperscope.nn import sequences

SIDE = 32
# (top, bottom, left, right) of each edit: side by side, or all three over each other by a few pixels.
APART = {1: (2, 16, 2, 15), 2: (2, 16, 17, 30), 3: (18, 30, 8, 24)}
OVER = {1: (2, 20, 2, 20), 2: (2, 20, 12, 30), 3: (12, 30, 6, 26)}


class Accuracy(NamedTuple):
    """How well the edits of pictures are told.

    Attributes:
        sets: Share of pictures whose edits were named, in whatever order.
        order: Of those, the share in the right order.
        fixed: Mean accuracy over five places (`metrics.sequences`).
        adaptive: The same over the longer sequence.
    """

    sets: float
    order: float
    fixed: float
    adaptive: float


def drawn(generator: torch.Generator) -> torch.Tensor:
    """A soft picture with noise, (3, S, S)."""
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    soft = functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
    return (0.6 * soft + 0.2 + 0.05 * torch.randn(3, SIDE, SIDE, generator=generator)).clamp(0, 1)


def edited(image: torch.Tensor, kind: int, box: tuple[int, int, int, int], seed: int) -> torch.Tensor:
    """Blur, noise, or few grey levels in a box; nothing outside of it is looked at."""
    top, bottom, left, right = box
    part = image[:, top:bottom, left:right]
    if kind == 1:
        for _ in range(2):
            part = functional.avg_pool2d(functional.pad(part[None], (1,) * 4, mode="replicate"), 3, 1)[0]
    elif kind == 2:
        part = part + 0.12 * torch.randn(part.shape, generator=torch.Generator().manual_seed(seed))
    else:
        part = (5 * part).round() / 5
    after = image.clone()
    after[:, top:bottom, left:right] = part.clamp(0, 1)
    return after


def made(image: torch.Tensor, order: list[int], overlap: bool, seed: int) -> torch.Tensor:
    """A picture after edits in an order; what is random in one follows from the seed."""
    for kind in order:
        image = edited(image, kind, (OVER if overlap else APART)[kind], seed)
    return image


def scenes(generator: torch.Generator, count: int, overlap: bool) -> dict[str, torch.Tensor]:
    """Pictures with one to three edits in a drawn order."""
    truth, images = torch.zeros(count, 5, dtype=torch.long), []
    for number in range(count):
        edits = int(torch.randint(1, 4, (1,), generator=generator))
        order = (torch.randperm(3, generator=generator)[:edits] + 1).tolist()
        seed = int(torch.randint(1 << 30, (1,), generator=generator))
        images.append(made(drawn(generator), order, overlap, seed))
        truth[number, :edits] = torch.tensor(order)
    valid = torch.ones(count, 1, SIDE, SIDE, dtype=torch.bool)
    return {"image": torch.stack(images), "valid": valid, "sequence": truth}


def varied(net: Ordered, image: torch.Tensor) -> Ordered:
    """An untrained network, whose norms know pictures and whose first word depends on them, ready to be asked."""
    last = net.decoder.last[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight, 0, 1)
    with torch.no_grad():
        net.train()(image)
        net.eval().inverted, kept = False, net.inverted
        first = net(image)["sequence"][:, 0]
        last.bias.sub_(first.mean(0))
        # An end is the likeliest first word of one picture at most, so that there is an order to be told.
        last.bias[6] -= (first[:, 6] - first[:, 6].mean()).sort().values[-2]
        net.inverted = kept
    return net


def trained(build: Callable[..., Ordered], overlap: bool, steps: int, seed: int = 0, **settings: Any) -> Ordered:
    """A tiny network after some steps on new pictures each."""
    torch.manual_seed(seed)
    net, generator = build("tiny", **settings), torch.Generator().manual_seed(100 + seed)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-4)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    net.train()
    for _ in range(steps):
        batch = scenes(generator, 32, overlap)
        optimizer.zero_grad()
        total = sum(net.loss(net(batch["image"], valid=batch["valid"]), batch, 0).values())
        assert isinstance(total, torch.Tensor)
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        plan.step()
    return net.eval()


def accuracies(net: Ordered, overlap: bool, count: int = 300) -> dict[int, Accuracy]:
    """Of new pictures, by their number of edits."""
    batch = scenes(torch.Generator().manual_seed(9), count, overlap)
    with torch.inference_mode():
        said = sequences.called(net(batch["image"], valid=batch["valid"])["sequence"]).tolist()
    rows: dict[int, list[tuple[bool, bool, float, float]]] = {1: [], 2: [], 3: []}
    for words, listed in zip(said, batch["sequence"].tolist(), strict=True):
        truth = [word for word in listed if word]
        named = words[: words.index(6)] if 6 in words else words
        close = fixed_accuracy(named, truth), adaptive_accuracy(named, truth)
        rows[len(truth)].append((sorted(named) == sorted(truth), named == truth, *close))
    found = {}
    for edits, judged in rows.items():
        same, exact, *both = np.array(judged, float).T
        found[edits] = Accuracy(float(same.mean()), exact.sum() / max(1, same.sum()), *(float(c.mean()) for c in both))
    return found
