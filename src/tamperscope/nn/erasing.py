"""What is left of a decision when a place is erased: a head that is frozen for it, and BAS's loss of what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call


def frozen(module: nn.Module, x: Tensor) -> Tensor:
    """Return what a copy of a module with the weights of now would answer: gradient reaches the input alone.

    Batch norm takes its running statistics, and nothing of the module changes.

    Args:
        module: From one tensor to one.
        x: Its input.
    """
    held = {name: value.detach() for name, value in module.named_parameters()}
    with _evaluated(module):
        return functional_call(module, held, (x,))


def suppression(erased: Tensor, whole: Tensor) -> Tensor:
    """Return which share of a class's logit is left: 0 = none, 1 = all (BAS).

    It teaches what was erased alone: no gradient reaches `whole`, and none at all passes where more is left than there
    was, which counts 1.

    Args:
        erased: (B,) logits without the place.
        whole: (B,) logits with it.

    Returns:
        (B,), 0 to 1.
    """
    share = erased.relu() / (whole.detach().relu() + 1e-8)
    return torch.where(erased > whole, torch.ones_like(share), share)


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Put the parts of a module that are training to evaluation, and back."""
    parts = [part for part in module.modules() if part.training]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part in parts:
            part.training = True
