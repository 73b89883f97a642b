"""What plain transformers share: residuals, tables of places, tokens without a plane, merged differences."""

from __future__ import annotations

import pytest
import torch

from tamperscope.errors import InvalidValueError
from tamperscope.nn import lora
from tamperscope.nn.attention import Block
from tamperscope.nn.heads import GatedQueries
from tamperscope.nn.vit import Patches, Residuals, table


def test_residuals_are_the_strength_of_noise_and_its_pattern() -> None:
    torch.manual_seed(2)
    noise = torch.randn(1, 3, 64, 64)
    inner = (..., slice(4, -4), slice(4, -4))
    maps = [Residuals()(0.5 + sigma * noise / 255)[inner] for sigma in (3.0, 24.0)]
    ratio = (maps[1][:, 3:].exp() - 1).mean() / (maps[0][:, 3:].exp() - 1).mean()
    assert ratio.item() == pytest.approx(8, rel=1e-3)
    flat = Residuals()(torch.full((1, 3, 32, 32), 0.5))[inner]
    assert flat.abs().max() < 1e-4
    assert maps[0][:, :3].abs().max() <= 2
    assert torch.equal(maps[0][:, :3].sign(), maps[1][:, :3].sign())


def test_places_are_resized_and_kept_at_their_own_size() -> None:
    rows = torch.arange(6.0)[:, None, None].expand(6, 6, 2)
    assert table(rows, (6, 6)) is rows
    wide = table(rows, (12, 3))
    assert wide.shape == (12, 3, 2)
    assert torch.allclose(wide[3:-3, 0, 0], (torch.arange(12.0)[3:-3] + 0.5) / 2 - 0.5, atol=0.1)


def test_residuals_are_seen_beside_the_colours() -> None:
    torch.manual_seed(1)
    image = torch.full((1, 3, 32, 32), 0.5)
    noisy = image + torch.randn_like(image) / 255
    for stem in ("rgb", "srm"):
        patches = Patches(8, 16, 4, stem)
        colours = torch.zeros_like(image)
        assert torch.equal(patches(image, colours), patches(noisy, colours)) is (stem == "rgb")
    with pytest.raises(InvalidValueError, match="stem"):
        Patches(8, 16, 4, "bayar")


def test_tokens_of_a_sequence_are_those_of_a_plane_without_relative_places() -> None:
    torch.manual_seed(2)
    block, x = Block(8, 2).eval(), torch.randn(2, 3, 4, 8)
    assert torch.allclose(block.sequence(x.flatten(1, 2)), block(x).flatten(1, 2), atol=1e-6)
    valid = torch.tensor([True] * 9 + [False] * 3).expand(2, 12)
    found = block.sequence(x.flatten(1, 2), valid=valid)
    assert torch.allclose(found[:, :9], block.sequence(x.flatten(1, 2)[:, :9]), atol=1e-6)


def test_a_merged_copy_is_plain_and_leaves_the_module_as_it_was() -> None:
    torch.manual_seed(3)
    block, x = Block(8, 2), torch.randn(1, 5, 8)
    lora.adapt(block, ["qkv", "proj", "fc1", "fc2"], 2, 4.0, ["loc", "glo"])
    for name, value in block.named_parameters():
        if ".up." in name:
            torch.nn.init.normal_(value)
    for name in ("loc", "glo"):
        lora.use(block, name)
        plain = lora.merged(block, name)
        assert not any(isinstance(m, lora.LoraLinear) for m in plain.modules())
        assert torch.allclose(plain.sequence(x), block.sequence(x), atol=1e-5)  # type: ignore[operator]
    assert isinstance(block.mlp.fc1, lora.LoraLinear)
    with pytest.raises(InvalidValueError, match="expected one of"):
        lora.merged(block, "other")


def test_queries_do_not_look_at_places_that_are_not_there() -> None:
    torch.manual_seed(4)
    head, x = GatedQueries(6, 8, 3, 2, 2).eval(), torch.randn(2, 6, 4, 5)
    valid = torch.ones(2, 4, 5, dtype=torch.bool)
    valid[0, 3:] = False
    other = x.clone()
    other[0, :, 3:] += 1
    inner = (0, 0, slice(0, 2))  # the convolution sees one place further
    assert not torch.allclose(head(x)[inner], head(other)[inner], atol=1e-5)
    # The third row sees the fourth by the convolution, and would tell the queries: it is hidden as well.
    valid[0, 2] = False
    assert torch.allclose(head(x, valid)[inner], head(other, valid)[inner], atol=1e-6)
    assert torch.equal(head(x, valid)[1], head(x)[1])
