"""Low-rank adaptation (Hu et al., 2022): a frozen or trained linear layer with a small learned difference."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError


class LoraLinear(nn.Module):
    """A linear layer with named low-rank differences, of which one or none is in use: W + alpha / r B A.

    Every B begins as 0, so that a new layer answers as the old one.

    Args:
        base: The layer; its weights are shared, not copied.
        rank: r of each difference.
        alpha: Its scale is alpha / r.
        names: Of the differences; RelayFormer has `loc` and `glo`.
    """

    def __init__(self, base: nn.Linear, rank: int = 8, alpha: float = 16.0, names: Sequence[str] = ("main",)) -> None:
        super().__init__()
        if rank < 1 or not names:
            raise InvalidValueError(
                f"LoraLinear: expected a rank of at least 1 and a name, found {rank}, {list(names)}"
            )
        self.base, self.scale = base, alpha / rank
        self.active: str | None = names[0]
        like = base.weight
        self.down = nn.ParameterDict({n: nn.Parameter(like.new_empty(rank, base.in_features)) for n in names})
        self.up = nn.ParameterDict({n: nn.Parameter(like.new_zeros(base.out_features, rank)) for n in names})
        for name in names:
            nn.init.normal_(self.down[name], std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out) of (..., in)."""
        out = self.base(x)
        if self.active is None:
            return out
        return out + self.scale * F.linear(F.linear(x, self.down[self.active]), self.up[self.active])

    def merged(self, name: str) -> nn.Linear:
        """Return a plain layer that answers as this one with a difference in use.

        Raises:
            InvalidValueError: There is no difference of that name.
        """
        if name not in self.down:
            raise InvalidValueError(f"LoraLinear: expected one of {sorted(self.down)}, found '{name}'")
        plain = nn.Linear(self.base.in_features, self.base.out_features, self.base.bias is not None)
        with torch.no_grad():
            plain.weight.copy_(self.base.weight + self.scale * self.up[name] @ self.down[name])
            if self.base.bias is not None:
                plain.bias.copy_(self.base.bias)
        return plain.to(self.base.weight)


def adapt(
    module: nn.Module, layers: Iterable[str], rank: int = 8, alpha: float = 16.0, names: Sequence[str] = ("main",)
) -> list[str]:
    """Put low-rank differences around the linear layers of a module whose own name is one of `layers`.

    Args:
        module: Changed in place.
        layers: Such as `qkv` and `proj`.
        rank: Of each difference.
        alpha: Scale, times the rank.
        names: Of the differences.

    Returns:
        Full names of the layers.

    Raises:
        InvalidValueError: No linear layer has such a name.
    """
    wanted = set(layers)
    found = [
        (name, layer)
        for name, layer in module.named_modules()
        if name.rpartition(".")[2] in wanted and isinstance(layer, nn.Linear)
    ]
    if not found:
        raise InvalidValueError(f"adapt: expected linear layers named {sorted(wanted)}, found none")
    for name, layer in found:
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, LoraLinear(layer, rank, alpha, names))
    return [name for name, _ in found]


def use(module: nn.Module, name: str | None) -> None:
    """Put one named difference to use in every adapted layer of a module, or none."""
    for layer in module.modules():
        if isinstance(layer, LoraLinear):
            layer.active = name


def merged(module: nn.Module, name: str) -> nn.Module:
    """Return a copy of a module whose adapted layers are plain ones that answer as with one difference in use.

    Args:
        module: Unchanged; its own name may be none of the adapted layers.
        name: Of the difference.

    Raises:
        InvalidValueError: A layer has no difference of that name.
    """
    copied = copy.deepcopy(module)
    for path, layer in list(copied.named_modules()):
        if isinstance(layer, LoraLinear):
            parent, _, own = path.rpartition(".")
            setattr(copied.get_submodule(parent), own, layer.merged(name))
    return copied


def freeze(module: nn.Module, kept: Iterable[str] = ()) -> int:
    """Freeze a module but for parameters whose name holds one of `kept`; return how many numbers still train."""
    parts = tuple(kept)
    for name, parameter in module.named_parameters():
        parameter.requires_grad = any(part in name for part in parts)
    return sum(math.prod(p.shape) for p in module.parameters() if p.requires_grad)
