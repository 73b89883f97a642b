"""Residuals in grey levels that are cut: blind to content and borders, awake to a single grey level."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.nn.cut_residuals import CutResiduals  # noqa: E402
from tamperscope.nn.filters import Srm  # noqa: E402


def test_content_and_borders_are_not_seen() -> None:
    residuals = CutResiduals()
    down, across = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 48), indexing="ij")
    assert residuals(torch.full((1, 3, 32, 48), 0.7)).abs().max() < 1e-4
    slope = residuals((0.2 + 0.3 * down + 0.2 * across).expand(1, 3, -1, -1))
    assert slope[..., 2:-2, 2:-2].abs().max() < 1e-3
    image = torch.rand(1, 3, 32, 48) / 50
    torch.testing.assert_close(residuals(image), residuals(image + 0.5), atol=1e-3, rtol=1e-3)


def test_they_are_those_of_the_rich_model_in_grey_levels_up_to_the_limit() -> None:
    image = torch.rand(2, 3, 24, 32) / 10
    whole = Srm("sum3", clip=None)(255 * image)[..., 2:-2, 2:-2]
    for limit in (5.0, 20.0):
        found = CutResiduals(limit)(image)
        assert found.shape == image.shape
        assert found.abs().max() == 1
        torch.testing.assert_close(found[..., 2:-2, 2:-2], whole.clamp(-limit, limit) / limit, atol=1e-4, rtol=1e-4)


def test_a_grey_level_is_something_in_bfloat16_too() -> None:
    residuals, image = CutResiduals(), torch.full((1, 3, 32, 48), 0.9)
    image[..., 24] += 1 / 255
    with torch.autocast("cpu", torch.bfloat16):
        found = residuals(image)
    assert found.dtype == torch.float32
    assert torch.equal(found, residuals(image))
    assert found.abs().max() > 0.05
    assert found[..., :22].abs().max() < 1e-3


def test_the_border_of_the_picture_is_no_edge() -> None:
    residuals, image = CutResiduals(), torch.rand(1, 3, 32, 48)
    valid = torch.ones(1, 1, 32, 48, dtype=torch.bool)
    valid[..., 30:] = False
    found, alone = residuals(image, valid), residuals(image)
    assert found[..., 28:].abs().max() == 0
    assert torch.equal(found[..., :28], alone[..., :28])
    assert torch.equal(residuals(image, torch.ones_like(valid)), alone), "that of the canvas is none, either"


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="limit: expected above 0, found 0"):
        CutResiduals(0.0)
