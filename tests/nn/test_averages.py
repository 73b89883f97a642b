"""Means of what is valid: against sums written out."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tamperscope.nn.averages import valid_mean  # noqa: E402


def test_each_place_weighs_as_much_as_is_valid_in_it() -> None:
    planes = torch.rand(2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    valid = torch.zeros(2, 1, 8, 16, dtype=torch.bool)
    valid[..., :5, :7] = True
    found = valid_mean(planes, valid)
    weights = {(0, 0): 16, (0, 1): 12, (1, 0): 4, (1, 1): 3}
    expected = sum(w * planes[..., row, column] for (row, column), w in weights.items()) / 35
    torch.testing.assert_close(found, expected)
    other = planes.clone()
    other[..., 2:] = 1e6
    assert torch.equal(valid_mean(other, valid), found)


def test_all_and_nothing() -> None:
    planes = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(valid_mean(planes), planes.mean((2, 3)))
    torch.testing.assert_close(valid_mean(planes, torch.ones(2, 1, 4, 5, dtype=torch.bool)), planes.mean((2, 3)))
    assert valid_mean(planes, torch.zeros(2, 1, 4, 5, dtype=torch.bool)).abs().max() == 0
