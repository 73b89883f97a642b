"""Low-rank differences: nothing at first, mergeable, and the frozen layer stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tamperscope.errors import InvalidValueError
from tamperscope.nn import lora


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 12)
        self.proj = nn.Linear(12, 5, bias=False)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(torch.relu(self.qkv(self.norm(x))))


def adapted() -> tuple[Block, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    block, x = Block(), torch.randn(4, 6)
    before = block(x).detach()
    assert lora.adapt(block, ["qkv", "proj"], 3, 6.0, ["loc", "glo"]) == ["qkv", "proj"]
    return block, x, before


def test_a_new_difference_changes_nothing_in_any_mode() -> None:
    block, x, before = adapted()
    for name in ("loc", "glo", None):
        lora.use(block, name)
        assert torch.equal(block(x), before)


def test_modes_differ_once_trained_and_merge_to_plain_layers() -> None:
    block, x, before = adapted()
    for layer in block.modules():
        if isinstance(layer, lora.LoraLinear):
            for up in layer.up.values():
                nn.init.normal_(up, std=0.5)
    answers = {}
    for name in ("loc", "glo", None):
        lora.use(block, name)
        answers[name] = block(x).detach()
    assert not torch.allclose(answers["loc"], answers["glo"], atol=1e-3)
    assert torch.equal(answers[None], before)
    plain = Block()
    plain.norm = block.norm
    plain.qkv, plain.proj = block.qkv.merged("glo"), block.proj.merged("glo")  # type: ignore[operator]
    assert torch.allclose(plain(x), answers["glo"], atol=1e-5)
    with pytest.raises(InvalidValueError, match="glo"):
        block.qkv.merged("other")  # type: ignore[operator]


def test_only_the_differences_train() -> None:
    block, x, _ = adapted()
    count = lora.freeze(block, ["down", "up"])
    assert count == 2 * 3 * (6 + 12 + 12 + 5)
    weights = {name: p.detach().clone() for name, p in block.named_parameters()}
    optimizer = torch.optim.SGD([p for p in block.parameters() if p.requires_grad], lr=0.5)
    lora.use(block, "loc")
    for _ in range(2):  # the first step moves only B, which is 0 before
        optimizer.zero_grad()
        block(x).square().sum().backward()
        optimizer.step()
    moved = {name for name, p in block.named_parameters() if not torch.equal(p, weights[name])}
    assert moved == {f"{layer}.{part}.loc" for layer in ("qkv", "proj") for part in ("up", "down")}


def test_wrong_asks() -> None:
    with pytest.raises(InvalidValueError, match="found none"):
        lora.adapt(Block(), ["fc1"])
    with pytest.raises(InvalidValueError, match="rank"):
        lora.LoraLinear(nn.Linear(2, 2), rank=0)
