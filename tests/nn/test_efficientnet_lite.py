"""EfficientNet-Lite0: shapes, the published count, weights by the public names."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError  # noqa: E402
from tamperscope.nn.efficientnet_lite import EfficientNetLite0  # noqa: E402


def test_it_has_the_published_number_of_parameters_and_maps() -> None:
    whole = EfficientNetLite0(7)
    head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert sum(p.numel() for p in whole.parameters()) + head == 4_652_008
    maps = whole.eval()(torch.rand(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(whole.channels, whole.strides, strict=True)
    ]
    assert whole.strides == (2, 4, 8, 16, 32)


def test_each_stage_is_the_beginning_of_those_with_more() -> None:
    whole = EfficientNetLite0(7).eval()
    image = torch.rand(1, 3, 32, 64)
    maps = whole.each(image)
    assert [x.shape[1] for x in maps] == list(whole.each_width) == [16, 24, 40, 80, 112, 192, 320]
    assert [32 // x.shape[2] for x in maps] == list(whole.each_stride) == [2, 4, 8, 16, 16, 32, 32]
    for place, found in zip((0, 1, 2, 4, 6), whole(image), strict=True):
        assert torch.equal(maps[place], found)
    for stages in range(1, 7):
        part = EfficientNetLite0(stages).eval()
        part.load_state_dict({name: value for name, value in whole.state_dict().items() if name in part.state_dict()})
        torch.testing.assert_close(part.each(image)[-1], maps[stages - 1])


def test_weights_go_by_name_and_what_is_not_here_is_left_out(tmp_path: Path) -> None:
    whole, part = EfficientNetLite0(7), EfficientNetLite0(5).eval()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    image = torch.rand(1, 3, 32, 32)
    wanted = whole.eval()(image)[:4]
    for name in ("w.safetensors", "w.pth"):
        part = EfficientNetLite0(5).eval()
        assert not torch.equal(part(image)[-1], wanted[-1])
        part.load(tmp_path / name)
        for found, same in zip(part(image), wanted, strict=True):
            torch.testing.assert_close(found, same)


def test_a_step_of_two_begins_at_the_corner(tmp_path: Path) -> None:
    """As TensorFlow pads: the extra line is at the far side, so the first output is centred on the second pixel."""
    net = EfficientNetLite0(1)
    with torch.no_grad():
        net._conv_stem.weight.zero_()
        net._conv_stem.weight[:, :, 1, 1] = 1
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(net._conv_stem(image)[0, 0], image[0].sum(0)[1::2, 1::2])


def test_what_is_no_weights_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"no weights")
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    torch.save([1], tmp_path / "list.pth")
    save_file({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "few.safetensors")
    for name in ("w.pth", "w.safetensors", "list.pth", "few.safetensors", "none.pth"):
        with pytest.raises(InputError, match="EfficientNet-Lite0"):
            EfficientNetLite0().load(tmp_path / name)
    with pytest.raises(InvalidValueError, match="stages"):
        EfficientNetLite0(8)
