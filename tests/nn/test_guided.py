"""The guided filter: against regressions written out, at outlines, beside padding, and what gradient reaches."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.nn.guided import GuidedFilter, box_sum  # noqa: E402


def drawn(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def written_out(guide: np.ndarray, source: np.ndarray, valid: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Each box has a ridge regression of its own; a pixel's answer is the mean of all that hold it."""
    height, width = valid.shape
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            box = np.zeros_like(valid)
            box[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = True
            box &= valid
            if not valid[row, column]:
                continue
            x, y = guide[box], source[box]
            away = x - x.mean(0)
            weights = np.linalg.solve(away.T @ away / len(x) + eps * np.eye(3), away.T @ (y - y.mean()) / len(x))
            total[box] += (x - x.mean(0)) @ weights + y.mean()
            count[box] += 1
    return np.divide(total, count, out=np.zeros_like(total), where=valid)


@pytest.mark.parametrize(("radius", "eps"), [(1, 1e-2), (2, 1e-3), (20, 0.1)])
@pytest.mark.parametrize("padded", [False, True])
def test_it_is_a_regression_in_every_box(radius: int, eps: float, padded: bool) -> None:
    guide, source = drawn(2, 3, 9, 11), drawn(2, 1, 9, 11, seed=1)
    valid = torch.ones(2, 1, 9, 11, dtype=torch.bool)
    if padded:
        valid[1, ..., 7:] = False
    found = GuidedFilter(guide, radius, eps, valid)(source)
    for picture in range(2):
        expected = written_out(
            guide[picture].permute(1, 2, 0).double().numpy(),
            source[picture, 0].double().numpy(),
            valid[picture, 0].numpy(),
            radius,
            eps,
        )
        np.testing.assert_allclose(found[picture, 0].numpy(), expected, atol=2e-5)


def test_padding_is_as_if_it_were_cut_off() -> None:
    guide, source = drawn(1, 3, 20, 24), drawn(1, 1, 20, 24, seed=1)
    valid = torch.zeros(1, 1, 20, 24, dtype=torch.bool)
    valid[..., :13, :17] = True
    found = GuidedFilter(guide, 4, 1e-3, valid)(source, 3)
    cut = GuidedFilter(guide[..., :13, :17], 4, 1e-3)(source[..., :13, :17], 3)
    torch.testing.assert_close(found[..., :13, :17], cut, atol=1e-5, rtol=1e-4)
    assert found[~valid].abs().max() == 0


def test_a_map_moves_to_the_outline_of_the_picture() -> None:
    truth = torch.zeros(1, 1, 48, 48)
    truth[..., 14:34, 12:36] = 1
    colours = torch.tensor([0.1, -0.1, 0.0])[:, None, None]
    guide = (
        0.5 + colours * (2 * truth - 1) + 0.01 * torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    )
    shifted = truth.roll((3, 2), (2, 3))

    def iou(called: torch.Tensor) -> float:
        return float(((called > 0.5) & (truth > 0)).sum() / ((called > 0.5) | (truth > 0)).sum())

    found = GuidedFilter(guide, 8, 1e-3)(shifted, 3)
    assert iou(shifted) < 0.7
    assert iou(found) > 0.95
    # The same brightness everywhere: a filter guided by grey levels would see no outline here.
    assert guide.mean(1).std() < 0.01
    # Without the outline it is smoothed alone.
    flat = GuidedFilter(0.5 + 0 * guide, 8, 1e-3)(shifted, 3)
    assert iou(flat) < iou(shifted) + 0.02


def test_it_is_linear_and_keeps_what_is_even() -> None:
    fit = GuidedFilter(drawn(1, 3, 16, 16), 3, 1e-2)
    a, b = drawn(1, 1, 16, 16, seed=1), drawn(1, 1, 16, 16, seed=2)
    torch.testing.assert_close(fit(a, 3) - fit(b, 3), fit(a - b, 3), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fit(torch.full_like(a, 0.7), 3), torch.full_like(a, 0.7), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fit(fit(a)), fit(a, 2))


def test_gradient_reaches_the_map_and_not_the_guide() -> None:
    guide, source = drawn(1, 3, 12, 12).requires_grad_(), drawn(1, 1, 12, 12, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = GuidedFilter(guide, 2, 1e-2)(source)
    assert found.dtype == torch.float32
    found.square().sum().backward()
    assert guide.grad is None
    assert source.grad is not None
    assert source.grad.abs().min() > 0


def test_sums_of_boxes() -> None:
    planes = drawn(1, 2, 7, 9).double()
    found = box_sum(planes, 2)
    for row, column in ((0, 0), (3, 4), (6, 8), (1, 7)):
        part = planes[..., max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3].sum((2, 3))
        torch.testing.assert_close(found[..., row, column], part)


def test_wrong_asks() -> None:
    for radius, eps in ((0, 1e-3), (2, 0.0)):
        with pytest.raises(InvalidValueError, match="radius from 1 and eps above 0"):
            GuidedFilter(drawn(1, 3, 4, 4), radius, eps)
