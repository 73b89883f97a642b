"""A residual network whose norms stand first: its size, strides, and pictures that know nothing of each other."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.nn.resnet_preact import PreactBlock, PreactResNet  # noqa: E402

SMALL = {"depths": (1, 2, 1, 1), "widths": (32, 48, 64, 80), "stem": 16, "groups": 4}


def small(**settings: object) -> PreactResNet:
    torch.manual_seed(0)
    return PreactResNet(**(SMALL | settings)).eval()


def test_it_has_the_published_size_of_resnetv2_50_d_with_group_norm() -> None:
    """25.57 M with a classifier of 1000 classes and the norm before it."""
    with torch.device("meta"):
        full = PreactResNet()
    assert parameters(full) + 2048 * 1000 + 1000 + 2 * 2048 == pytest.approx(25.57e6, rel=2e-4)
    assert full.channels == (64, 256, 512, 1024, 2048)
    assert full.strides == (2, 4, 8, 16, 32)
    assert {layer.num_groups for layer in full.modules() if isinstance(layer, torch.nn.GroupNorm)} == {32}
    assert not [n for n, m in full.named_modules() if isinstance(m, torch.nn.Conv2d) and m.bias is not None]


@pytest.mark.parametrize("strides", [(1, 1, 2, 2, 2), (2, 1, 2, 2, 1), (1, 1, 1, 2, 1)])
def test_maps_have_the_strides_that_are_told(strides: tuple[int, ...]) -> None:
    net = small(strides=strides)
    maps = net(torch.rand(2, 3, 64, 96))
    assert [tuple(x.shape) for x in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(net.channels, net.strides, strict=True)
    ]
    assert net.strides[0] == 2 * strides[0]


def test_norms_stand_before_convolutions_and_the_sum_is_left_as_it_is() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 32, 8, 12)
    plain = PreactBlock(32, 32, groups=4).eval()
    torch.nn.init.zeros_(plain.long[-1].weight)
    assert torch.equal(plain(x), x), "an identity, negative numbers and all"
    block = PreactBlock(32, 48, 2, True, 4).eval()
    first, second, third = (m.weight for m in block.long if isinstance(m, torch.nn.Conv2d))
    seen = F.group_norm(x, 4).relu()
    inner = F.group_norm(F.conv2d(seen, first), 4).relu()
    inner = F.group_norm(F.conv2d(inner, second, stride=2, padding=1), 4).relu()
    beside = F.conv2d(F.avg_pool2d(seen, 2), block.short[1].weight)
    torch.testing.assert_close(block(x), F.conv2d(inner, third) + beside)


def test_pictures_know_nothing_of_each_other_while_it_trains() -> None:
    net, image = small().train(), torch.rand(3, 3, 64, 64)
    for together, alone in zip(net(image), net(image[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


def test_sizes_that_do_not_fit_are_refused() -> None:
    for settings in (
        {"depths": (1, 1)},
        {"strides": (1, 1, 2)},
        {"strides": (1, 0, 2, 2, 2)},
        {"depths": (0, 1, 1, 1)},
    ):
        with pytest.raises(InvalidValueError, match="a depth, a width and a stride of each stage"):
            small(**settings)
    for settings in ({"stem": 12}, {"widths": (32, 48, 64, 72)}, {"groups": 0}):
        with pytest.raises(InvalidValueError, match="shared by"):
            small(**settings)
