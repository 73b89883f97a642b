"""EfficientNet: the published numbers at every size, gates of the picture alone, paths that are dropped."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.nn.efficientnet import SCALES, EfficientNet, Gated, rounded  # noqa: E402

PUBLISHED = {"b0": 5_288_548, "b1": 7_794_184, "b2": 9_109_994, "b3": 12_233_232, "b4": 19_341_616, "b5": 30_389_784}
"""With a layer for 1000 classes."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        net = EfficientNet(*SCALES[name])
    assert parameters(net) + 1000 * (net.channels + 1) == PUBLISHED[name]


def test_the_shape_of_b4() -> None:
    with torch.device("meta"):
        net = EfficientNet(*SCALES["b4"])
    assert len(net.blocks) == 32
    assert net.channels == 1792
    wide = [block.depthwise for block in net.blocks]
    assert [layer.kernel_size[0] for layer in wide] == [3] * 6 + [5] * 4 + [3] * 6 + [5] * 14 + [3] * 2
    assert [place for place, layer in enumerate(wide) if layer.stride == (2, 2)] == [2, 6, 10, 22]
    assert [round(block.drop, 4) for block in net.blocks[:3]] == [0, 0.0063, 0.0125]


def test_channels_are_multiples_of_eight_and_never_much_less() -> None:
    found = {32 * 1.4: 48, 16 * 1.4: 24, 320 * 1.4: 448, 3: 8, 11: 16, 1792.0: 1792}
    assert {value: rounded(value) for value in found} == found
    assert all(rounded(n) % 8 == 0 and rounded(n) >= 0.9 * n for n in range(1, 400))


@pytest.mark.parametrize("size", [(64, 48), (37, 61)], ids=str)
def test_a_picture_on_a_canvas_is_the_picture(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = EfficientNet(0.5, 0.5).eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, 0, 0.3)
    height, width = size
    x = torch.randn(1, 3, height, width)
    canvas, inside = torch.zeros(1, 3, 96, 96), torch.zeros(1, 1, 96, 96)
    canvas[..., :height, :width], inside[..., :height, :width] = x, 1
    with torch.inference_mode():
        alone, whole = net(x, torch.ones(1, 1, height, width))
        found, there = net(canvas, inside)
    assert whole.bool().all()
    assert alone.shape[-2:] == (-(-height // 32), -(-width // 32))
    torch.testing.assert_close(found[..., : alone.shape[2], : alone.shape[3]], alone, atol=1e-4, rtol=1e-4)
    assert int(there.sum()) == whole.numel()


def test_a_path_is_dropped_for_a_picture_as_a_whole_and_made_up_for() -> None:
    torch.manual_seed(0)
    block, x = Gated(8, 8, 3, 1, 6, drop=0.5), torch.randn(64, 8, 6, 6)
    inside = torch.ones(64, 1, 6, 6)
    block.train()
    # Norms of one picture, so that what is dropped elsewhere does not matter.
    for layer in block.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eval()
    whole, found = block.eval()(x, inside) - x, None
    block.training = True
    with torch.inference_mode():
        found = block(x, inside) - x
    dropped = found.abs().amax((1, 2, 3)) < 1e-6
    assert 20 < int(dropped.sum()) < 44
    torch.testing.assert_close(found[~dropped], 2 * whole[~dropped], atol=1e-5, rtol=1e-4)


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ((0, 1, 0.2), (1, 0, 0.2), (1, 1, 1.0)):
        with pytest.raises(InvalidValueError, match="factors above 0"):
            EfficientNet(*wrong)
