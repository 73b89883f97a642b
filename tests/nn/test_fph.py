"""The frequency head on pixels: one-hot planes as brute force finds them, the grid, and what is not the picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.nn.fph import FrequencyHead, Fuse, Scse  # noqa: E402

SIDE = 32


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread: None) -> None:
    pass


def small(seed: int = 1) -> FrequencyHead:
    torch.manual_seed(seed)
    return FrequencyHead("tiny").eval()


def picture(side: int = SIDE, seed: int = 2) -> Any:
    """Whole grey levels, so that nothing is rounded."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.nn.functional.interpolate(torch.rand(1, 3, side // 4, side // 4, generator=generator), (side, side))
    return (255 * coarse * 0.8 + 40 * torch.rand(1, 3, side, side, generator=generator)).round() / 255


def tables(count: int = 1, step: float = 7.0) -> Any:
    return torch.full((count, 2, 8, 8), step)


def everywhere(side: int = SIDE, count: int = 1) -> Any:
    return torch.ones(count, 1, side, side)


def test_maps_are_those_that_brute_force_finds_from_the_pixels() -> None:
    head, image = small(), picture()
    table = torch.randint(2, 90, (1, 2, 8, 8), generator=torch.Generator().manual_seed(3)).float()
    seen: list[Any] = []
    head.features.cells.register_forward_pre_hook(lambda module, given: seen.append(given[0][0]))
    dilated, norm = head.features.frequencies[0]
    narrow, narrow_norm = head.features.frequencies[2]
    for layer in (norm, narrow_norm):
        torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
        torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
    with torch.inference_mode():
        head(image, table, everywhere())
    found, few = seen[0].numpy(), head.features.steps.weight.shape[1]

    red, green, blue = (255 * image[0].double().numpy()).round()
    grey = 0.299 * red + 0.587 * green + 0.114 * blue - 128
    levels = np.zeros((SIDE, SIDE), int)
    for row in range(0, SIDE, 8):
        for column in range(0, SIDE, 8):
            block = cv2.dct(grey[row : row + 8, column : column + 8]) / table[0, 0].double().numpy()
            levels[row : row + 8, column : column + 8] = np.minimum(np.abs(np.round(block)), 20)
    assert (levels == 0).any()
    assert (levels == 20).any()

    kernel = dilated.weight.detach().numpy()
    state = [x.detach().numpy() for x in (norm.running_mean, norm.running_var, norm.weight, norm.bias)]
    state_narrow = [
        x.detach().numpy()
        for x in (narrow_norm.running_mean, narrow_norm.running_var, narrow_norm.weight, narrow_norm.bias)
    ]
    for y, x in np.ndindex(SIDE, SIDE):
        total = np.zeros(len(kernel))
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                there = (y + 8 * down, x + 8 * right)
                if min(there) >= 0 and max(there) < SIDE:
                    total += kernel[:, levels[there], down + 1, right + 1]
        inner = np.maximum((total - state[0]) / np.sqrt(state[1] + norm.eps) * state[2] + state[3], 0)
        outer = narrow.weight.detach().numpy()[:, :, 0, 0] @ inner
        maps = (outer - state_narrow[0]) / np.sqrt(state_narrow[1] + norm.eps) * state_narrow[2] + state_narrow[3]
        maps = np.maximum(maps, 0)
        step = int(min(table[0, 0, y % 8, x % 8], 63))
        np.testing.assert_allclose(found[:few, y, x], maps, atol=1e-5)
        np.testing.assert_allclose(
            found[few : 2 * few, y, x], maps * head.features.steps.weight[step].detach().numpy(), atol=1e-5
        )


def test_features_follow_a_cut_on_the_grid_and_change_when_it_leaves_the_grid() -> None:
    head, image = small(), picture(64)
    # Without what knows the place in the picture, or the whole of it.
    head.features.blocks = torch.nn.Identity()
    torch.nn.init.zeros_(head.features.cells[0].weight[:, -3:])
    with torch.inference_mode():
        whole = head(image, tables(), everywhere(64))[..., 2:6, 2:6]
        cut = head(image[..., 8:, 8:], tables(), everywhere(56))[..., 1:5, 1:5]
        torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)
        for shift in range(1, 8):
            moved = head(image[..., shift : shift - 8, shift : shift - 8], tables(), everywhere(56))[..., 2:6, 2:6]
            assert (moved - whole).abs().mean() > 0.1 * whole.abs().mean()


def test_blocks_that_reach_beyond_the_picture_are_not_seen_and_the_table_is() -> None:
    head, image, valid = small(), picture(), everywhere()
    valid[..., 20:] = 0
    other = image.clone()
    other[..., 16:] = picture(seed=5)[..., 16:]
    with torch.inference_mode():
        found = head(image, tables(), valid)
        assert torch.equal(head(other, tables(), valid), found)
        assert not torch.allclose(head(other, tables(), everywhere()), head(image, tables(), everywhere()))
        assert not torch.allclose(head(image, tables(step=9.0), valid), found)
        chroma = tables()
        chroma[:, 1] = 3
        assert torch.equal(head(image, chroma, valid), found)


def test_half_precision_leaves_the_head_as_it_is() -> None:
    head, image = small(), picture()
    with torch.inference_mode():
        wanted = head(image, tables(), everywhere())
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(head(image, tables(), everywhere()), wanted)


def test_channels_and_places_are_weighed_side_by_side() -> None:
    torch.manual_seed(4)
    layer, x = Scse(8, 4).eval(), torch.randn(2, 8, 5, 7)
    squeeze = x.mean((2, 3))
    weights = layer.channel[1](squeeze[..., None, None]).relu()
    by_channel = layer.channel[3](weights).sigmoid()
    by_place = torch.einsum("c,bchw->bhw", layer.place[0].weight[0, :, 0, 0], x) + layer.place[0].bias
    torch.testing.assert_close(layer(x), x * by_channel + x * by_place.sigmoid()[:, None])
    assert layer.channel[1].weight.shape == (2, 8, 1, 1)
    assert Fuse(24, 10)(torch.randn(2, 24, 4, 4)).shape == (2, 10, 4, 4)
