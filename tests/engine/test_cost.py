"""Multiply-accumulates against counts made by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tamperscope.engine.cost import macs
from tamperscope.nn.attention import Attention


def test_convolutions_and_linear_layers_count_their_products() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(2), nn.Linear(60, 5))
    net[0].requires_grad_(False)
    found = macs(net, lambda: net(torch.rand(2, 3, 6, 10)))
    assert found == (2 * (8 * 3 * 9 * 60 + 8 * 60 * 5), 0)
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]


def test_attention_counts_too_and_apart() -> None:
    net = Attention(16, 4)
    total, attention = macs(net, lambda: net(torch.rand(1, 30, 16)))
    assert attention == 2 * 30 * 30 * 16
    assert total == attention + 30 * 16 * 64


def test_nothing_counted_is_nothing() -> None:
    assert macs(nn.Identity(), lambda: functional.relu(torch.rand(3))) == (0, 0)
