"""Pooling of maps: Otsu's split against brute force and the known table, soft statistics against their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.nn import pooling


def brute(values: np.ndarray) -> float:
    """Mean of the upper class for the split of least variance within classes, at most half of the values above."""
    ordered = np.sort(values)[::-1]
    n = len(ordered)
    best = min(
        range(1, max(n // 2, 1) + 1), key=lambda k: ordered[:k].var() * k + ordered[k:].var() * (n - k) if k < n else 0
    )
    return float(ordered[:best].mean())


@given(st.integers(0, 2**31), st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_otsu_is_the_exact_split(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).random(count)
    assert pooling.otsu(torch.tensor(values[None])).item() == pytest.approx(brute(values), abs=1e-6)


@pytest.mark.parametrize(("share", "expected"), [(0.01, 0.851), (0.05, 0.848), (0.2, 0.850)])
def test_otsu_finds_small_forgeries_where_means_do_not(share: float, expected: float) -> None:
    rng = np.random.default_rng(1)
    maps = rng.normal(0.15, 0.05, (20, 56 * 56))
    maps[:, : round(share * maps.shape[1])] += 0.7
    tensor = torch.tensor(maps).reshape(20, 1, 56, 56)
    assert pooling.otsu(tensor).mean().item() == pytest.approx(expected, abs=0.02)
    authentic = torch.tensor(rng.normal(0.15, 0.05, (20, 1, 56, 56)))
    assert pooling.otsu(authentic).mean().item() == pytest.approx(0.19, abs=0.02)
    assert tensor.mean().item() < 0.3


def test_no_gradient_reaches_what_lies_below_the_split() -> None:
    maps = torch.cat([torch.full((1, 6), 0.9), torch.full((1, 20), 0.1)], 1)
    maps = (maps + 0.01 * torch.rand(1, 26, generator=torch.Generator().manual_seed(1))).requires_grad_()
    pooling.otsu(maps).sum().backward()
    assert maps.grad is not None
    assert torch.allclose(maps.grad[0, :6], torch.full((6,), 1 / 6))
    assert maps.grad[0, 6:].abs().max() == 0
    top = pooling.otsu(maps.detach(), portion=0.5)
    assert top.item() == pytest.approx(maps.detach()[0, :6].sort(descending=True).values[:3].mean().item(), abs=1e-6)


def test_otsu_of_a_constant_or_of_one_place() -> None:
    assert pooling.otsu(torch.full((2, 9), 0.3)).tolist() == pytest.approx([0.3, 0.3])
    assert pooling.otsu(torch.tensor([[0.7]])).item() == pytest.approx(0.7)


def test_soft_statistics_reach_the_true_ones() -> None:
    values = torch.randn(3, 1, 6, 7, generator=torch.Generator().manual_seed(2))
    flat = values.flatten(1)
    sharp = pooling.soft_statistics(values, sharpness=200.0)
    expected = [flat.min(1).values, flat.max(1).values, flat.mean(1), flat.square().mean(1)]
    assert torch.allclose(sharp, torch.stack(expected, 1), atol=0.03)
    plain = pooling.soft_statistics(values)
    assert torch.allclose(plain[:, 1], flat.exp().mean(1).log(), atol=1e-5)
    assert (plain[:, 0] <= plain[:, 2]).all()
    assert (plain[:, 2] <= plain[:, 1]).all()


def test_places_without_weight_do_not_speak() -> None:
    values = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    weights = torch.zeros_like(values)
    weights[..., 2:, :] = -1e4
    loud = values.clone()
    loud[..., 2:, :] = 50
    assert torch.allclose(pooling.soft_statistics(values, weights), pooling.soft_statistics(loud, weights), atol=1e-4)
    assert torch.allclose(
        pooling.soft_statistics(values, weights), pooling.soft_statistics(values[..., :2, :]), atol=1e-4
    )


def test_the_mean_of_the_top_lies_between_maximum_and_mean() -> None:
    maps = torch.rand(2, 1, 10, 20, generator=torch.Generator().manual_seed(4))
    ordered = np.sort(maps.flatten(1).numpy(), axis=1)[:, ::-1]
    for share, count in ((1e-6, 1), (0.05, 10), (1.0, 200)):
        found = pooling.top_mean(maps, share).tolist()
        assert found == pytest.approx(ordered[:, :count].mean(1).tolist(), abs=1e-6)
