"""Extractors inside of networks: they stay as they were, and lose no precision to what is around them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tamperscope.errors import InvalidValueError
from tamperscope.nn import extractors, residuals


def picture() -> torch.Tensor:
    return torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))


def test_it_gives_the_shipped_map_three_times() -> None:
    layer, image = extractors.extractor(), picture()
    maps = layer(image)
    assert maps.shape == (2, 3, 32, 40)
    assert torch.equal(maps[:, :1], maps[:, 1:2])
    assert torch.equal(maps[:, :1], maps[:, 2:])
    assert torch.equal(maps[:, :1], residuals.shipped()(image))


def test_it_neither_learns_nor_leaves_eval_mode() -> None:
    around = torch.nn.Sequential(extractors.Frozen(residuals.Residuals(4, 8)), torch.nn.Conv2d(3, 1, 1)).train()
    assert around.training
    assert not any(module.training for module in around[0].modules())
    before = {name: value.clone() for name, value in around[0].state_dict().items()}
    around(picture()).sum().backward()
    assert [name for name, p in around.named_parameters() if p.grad is not None] == ["1.weight", "1.bias"]
    assert all(torch.equal(value, before[name]) for name, value in around[0].state_dict().items())


def test_half_precision_around_it_changes_nothing() -> None:
    layer, image = extractors.extractor(), picture()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(image), layer.eval()(image))
        assert layer(image).dtype == torch.float32
        rounded = layer.inner(image)
    assert (rounded.float() - layer(image)[:, :1]).abs().max() > 1e-3


def test_an_own_one_takes_the_place_of_the_shipped(tmp_path: Path) -> None:
    own = residuals.Residuals(4, 8)
    weights = save(own.state_dict())
    (tmp_path / "own.safetensors").write_bytes(weights)
    card = {"sha256": hashlib.sha256(weights).hexdigest(), "layers": 4, "width": 8}
    (tmp_path / "own.json").write_text(json.dumps(card))
    image = picture()
    torch.testing.assert_close(extractors.extractor(str(tmp_path / "own.safetensors"))(image)[:, :1], own.eval()(image))
    (tmp_path / "own.json").unlink()
    for missing in ("own.safetensors", "nowhere.safetensors"):
        with pytest.raises(InvalidValueError, match=missing):
            extractors.extractor(tmp_path / missing)
