"""Xception: Chollet's flows with their numbers, layer for layer, and nothing but the picture."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.networks import xception  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.xception import CHANNELS, Block, Separable, Xception  # noqa: E402


def tiny(**settings: object) -> Xception:
    """A network whose norms have left their beginning."""
    torch.manual_seed(1)
    net = xception.build("tiny", **settings)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, 0.1, 0.2)
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(pictures(4, 64, 64))
    return net.eval()


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    """Clouds of drawn brightness, so that no two are alike."""
    coarse = torch.rand(count, 3, 5, 5) * torch.rand(count, 3, 1, 1)
    return F.interpolate(coarse, (height, width), mode="bilinear") * 0.8 + 0.2 * torch.rand(count, 3, height, width)


def score(net: Xception, image: torch.Tensor, valid: torch.Tensor | None = None) -> float:
    with torch.inference_mode():
        return net(image, valid=valid)["score"].item()


def test_the_published_shape() -> None:
    """Of 22,855,952 numbers that learn, 2,049,000 are those of the thousand classes."""
    with torch.device("meta"):
        full = xception.build("full")
    assert parameters(full) == 22_855_952 - 2_049_000 + 2_049 == 20_809_001
    assert len(full.blocks) == 3 + 8 + 1
    assert [block.short is not None for block in full.blocks] == [True] * 3 + [False] * 8 + [True]
    assert [len(block.layers) for block in full.blocks] == [2] * 3 + [3] * 8 + [2]
    assert [block.rectified for block in full.blocks] == [False] + [True] * 11
    widths = [block.layers[-1].pointwise.out_channels for block in full.blocks]
    assert widths == [128, 256, *[728] * 9, 1024]
    # The exit block widens in its last convolution, those of the entry in their first.
    assert [block.layers[0].pointwise.out_channels for block in full.blocks] == [128, 256, *[728] * 10]
    separable = [layer for layer in full.modules() if isinstance(layer, Separable)]
    assert len(separable) == 34
    assert parameters(full.blocks[5]) == 3 * (728 * 9 + 728 * 728 + 2 * 728)
    assert [layer[0].padding for layer in full.plain] == [(0, 0)] * 2
    assert full.last.in_features == 2048


def written_out(net: Xception, image: torch.Tensor) -> torch.Tensor:
    """The same layers as Chollet draws them, with none told where the picture ends."""

    def separable(x: torch.Tensor, layer: Separable) -> torch.Tensor:
        return layer.norm(layer.pointwise(layer.depthwise(x)))

    def block(x: torch.Tensor, part: Block) -> torch.Tensor:
        found = x
        for place, layer in enumerate(part.layers):
            found = separable(found if place == 0 and not part.rectified else found.relu(), layer)
        return x + found if part.short is None else part.short(x) + F.max_pool2d(found, 3, 2, 1)

    x = 2 * image - 1
    for layer in net.plain:
        x = layer(x)
    for part in net.blocks:
        x = block(x, part)
    for layer in net.exit:
        x = separable(x, layer).relu()
    return net.last(x.mean((2, 3)))[:, 0]


@pytest.mark.parametrize("size", [(64, 64), (75, 98)], ids=str)
def test_layer_for_layer_it_is_the_published_one(size: tuple[int, int]) -> None:
    net, image = tiny(), pictures(2, *size)
    with torch.inference_mode():
        found, expected = net(image)["score"], written_out(net, image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert (expected[0] - expected[1]).abs() > 1e-3


@pytest.mark.parametrize("size", [(64, 48), (71, 90), (33, 40)], ids=str)
def test_a_picture_on_a_canvas_is_the_picture(size: tuple[int, int]) -> None:
    net, (height, width) = tiny(), size
    image = pictures(1, height, width)
    canvas, valid = torch.full((1, 3, 96, 96), 0.9), torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    canvas[..., :height, :width], valid[..., :height, :width] = image, True
    alone = score(net, image)
    assert score(net, canvas, valid) == pytest.approx(alone, abs=1e-5)
    assert abs(score(net, canvas) - alone) > 1e-3


def test_a_canvas_of_nothing_has_a_score() -> None:
    assert torch.isfinite(torch.tensor(score(tiny(), torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32).bool())))


def test_labels_teach_each_picture_for_itself_and_unknown_ones_nothing() -> None:
    net, logits = tiny(), torch.tensor([1.5, -0.5, 3.0])
    terms = net.loss({"score": logits}, {"label": torch.tensor([1, 0, -1])}, 0.5)
    expected = (torch.tensor([1.5, 0.5]).neg().exp().log1p().sum() / 3).item()
    assert terms["label"].item() == pytest.approx(expected, abs=1e-6)
    assert net.loss({"score": logits}, {"label": -torch.ones(3).long()}, 0.5)["label"].item() == 0


def test_settings_out_of_range_are_refused() -> None:
    for settings in ({"channels": CHANNELS[:-1]}, {"middle": -1}, {"dropout": 1.0}, {"channels": (0, *CHANNELS[1:])}):
        with pytest.raises(InvalidValueError, match="8 numbers of channels, middle from 0"):
            xception.build("tiny", **settings)
