"""Stages one by one are the whole backbone, and what goes between them is heard."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tamperscope.nn import backbones  # noqa: E402
from tamperscope.nn.stagewise import ConvNextStages, SwinStages  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


def test_stages_of_convnext_are_those_of_the_backbone() -> None:
    torch.manual_seed(1)
    whole = backbones.build("convnext", "tiny", 5).eval()
    torch.manual_seed(1)
    parts = ConvNextStages("tiny", inputs=5).eval()
    image = torch.rand(2, 5, 64, 96)
    with torch.inference_mode():
        wanted, found = whole(image), parts(image)
        assert all(torch.equal(x, y) for x, y in zip(wanted, found, strict=True))
        changed = parts(image, lambda place, x: x.flip(1) if place == 1 else x)
    assert [torch.equal(x, y) for x, y in zip(wanted, changed, strict=True)] == [True, False, False, False]
    assert parts.channels == whole.channels
    torch.manual_seed(1)
    first = ConvNextStages("tiny", 2, 5).eval()
    with torch.inference_mode():
        assert all(torch.equal(x, y) for x, y in zip(first(image), wanted, strict=False))
    assert len(first(image)) == len(first.channels) == 2


def test_stages_of_swin_are_those_of_the_backbone_after_its_first() -> None:
    torch.manual_seed(2)
    whole = backbones.build("swinv2", "tiny").eval()
    torch.manual_seed(2)
    parts = SwinStages("tiny").eval()
    image = torch.rand(2, 3, 64, 96)
    given: list[torch.Tensor] = []
    whole.body.encoder.layers[0].register_forward_hook(lambda module, told, out: given.append(out[0]))
    with torch.inference_mode():
        wanted = whole(image)
        found = parts(given[0].transpose(1, 2).unflatten(2, (8, 12)))
    assert [x.shape[1:] for x in found] == [(96, 4, 6), (192, 2, 3), (192, 2, 3)]
    assert (parts.inputs, parts.channels) == (48, (96, 192, 192))
    # The library's maps are those before the resolution is halved; the last one is not.
    torch.testing.assert_close(found[2], wanted[3])
