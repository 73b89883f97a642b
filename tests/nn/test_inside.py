"""Layers that are told where the picture ends: a picture on a canvas is the picture."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from tamperscope.nn.inside import eroded, highest, mean, told, unpadded  # noqa: E402

SIZES = [(12, 16), (13, 9), (7, 15)]


def canvas(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A map, the same at the top left of a larger one of other numbers, and where it is."""
    generator = torch.Generator().manual_seed(height)
    x = torch.randn(2, 3, height, width, generator=generator) - 1
    large = 9 + torch.randn(2, 3, 20, 24, generator=generator)
    large[..., :height, :width] = x
    inside = torch.zeros(2, 1, 20, 24)
    inside[..., :height, :width] = 1
    return x, large, inside


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_maxima_and_means_are_those_of_the_picture_alone(size: tuple[int, int]) -> None:
    x, large, inside = canvas(*size)
    alone = torch.ones_like(x[:, :1])
    torch.testing.assert_close(mean(large, inside), x.mean((2, 3)))
    for kernel, stride in ((3, 2), (3, 1), (5, 3)):
        expected = F.max_pool2d(x, kernel, stride, kernel // 2)
        assert torch.equal(highest(x, alone, kernel, stride), expected)
        found = highest(large, inside, kernel, stride)
        height, width = expected.shape[-2:]
        assert torch.equal(found[..., :height, :width], expected)
        outside = inside[..., ::stride, ::stride] == 0
        assert not found[outside.expand_as(found)].any()
        assert int((~outside[0]).sum()) == height * width


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_sees_nothing_but_the_picture(size: tuple[int, int]) -> None:
    """Told by arithmetic: a mean over the window is 1 where all of it is inside."""
    _, _, inside = canvas(*size)
    for reach in (0, 1, 2):
        side = 2 * reach + 1
        expected = (F.avg_pool2d(inside, side, 1, reach) > 1 - 1e-6).float()
        assert torch.equal(eroded(inside, reach), expected)
        assert torch.equal(eroded(torch.ones(1, 1, *size), reach)[0, 0].sum(), torch.tensor(_inner(size, reach)))
    for stride in (1, 2):
        assert torch.equal(unpadded(inside, 3, stride), (F.avg_pool2d(inside, 3, stride) > 1 - 1e-6).float())


def _inner(size: tuple[int, int], reach: int) -> float:
    return float((size[0] - 2 * reach) * (size[1] - 2 * reach))


def test_nothing_inside_is_a_mean_of_nothing() -> None:
    x = torch.full((1, 2, 4, 4), 5.0)
    assert mean(x, torch.zeros(1, 1, 4, 4)).tolist() == [[0, 0]]
    assert not highest(x, torch.zeros(1, 1, 4, 4)).any()


def test_who_is_not_told_sees_all() -> None:
    image = torch.rand(2, 3, 4, 5)
    assert told(None, image).tolist() == torch.ones(2, 1, 4, 5).tolist()
    valid = torch.rand(2, 1, 4, 5) > 0.5
    assert torch.equal(told(valid, image.double()), valid.double())
