"""Smash & Reconstruction: patches are ordered by their texture, keep their pixels, lose their places, leave padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamperscope.errors import InvalidValueError
from tamperscope.nn.smash import PATCH, Smash, diversity


def picture(seed: int, *size: int) -> torch.Tensor:
    """Grey levels whose contrast grows from left to right: (1, 3, H, W) in [0, 1]."""
    rng = np.random.default_rng(seed)
    levels = 128 + np.linspace(0, 90, size[1]) * rng.uniform(-1, 1, (3, *size))
    return torch.from_numpy(np.rint(levels)[None] / 255).float()


def written_out(patch: np.ndarray) -> int:
    """The texture diversity of one patch (C, h, w), pixel by pixel."""
    level = np.rint(255 * patch).astype(int)
    total = 0
    for y in range(level.shape[1]):
        for x in range(level.shape[2]):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                if y + down < level.shape[1] and 0 <= x + right < level.shape[2]:
                    total += int(np.abs(level[:, y, x] - level[:, y + down, x + right]).sum())
    return total


def cells(mosaic: torch.Tensor) -> list[np.ndarray]:
    """The patches of a mosaic (C, h, w), row by row."""
    rows, columns = (n // PATCH for n in mosaic.shape[1:])
    return [
        mosaic[:, PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)].numpy()
        for i in range(rows)
        for j in range(columns)
    ]


def places(smash: Smash, *size: int) -> np.ndarray:
    """Row and column of the first pixel of each draw, (draws, 2), told by a picture of its own coordinates."""
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij")
    found = smash.patches(torch.stack([rows, columns])[None])[0]
    return found[:, :, 0, 0].numpy().astype(int)


def test_diversity_is_that_of_four_directions_written_out() -> None:
    patches = picture(1, 32, 96).unfold(3, 32, 32)[0].movedim(2, 0)
    assert diversity(patches).tolist() == [written_out(patch.numpy()) for patch in patches]
    column = torch.zeros(1, 4, 5)
    column[..., 2] = 10 / 255
    # A line across which one steps twice a row, along which never, and whose neighbours on diagonals are 3 rows of 2.
    assert diversity(column).item() == 10 * (2 * 4 + 2 * 3 + 2 * 3)
    rising = torch.zeros(1, 2, 2)
    rising[0, 0, 1] = rising[0, 1, 0] = 10 / 255
    assert diversity(rising).item() == diversity(rising.flip(-1)).item() == 10 * (2 + 2)


def test_diversity_is_of_texture_alone() -> None:
    patch = picture(2, 32, 32)[0]
    value = diversity(patch).item()
    for same in (patch.flip(1), patch.flip(2), patch.transpose(1, 2), 1 - patch, patch[[2, 0, 1]]):
        assert diversity(same).item() == value
    dark = ((255 * patch).round() // 2) / 255
    assert diversity(dark + 50 / 255).item() == diversity(dark).item() < 0.6 * value
    assert diversity(torch.full((3, 32, 32), 0.3)).item() == 0
    # The order must be the same wherever it is computed.
    assert diversity(patch + 0.4 / 255 * (2 * torch.rand_like(patch) - 1)).item() == value
    largest = ((-1.0) ** torch.arange(32) + 1).div(2).expand(3, 32, 32)
    assert diversity(largest).item() == 255 * 3 * (31 * 32 + 2 * 31 * 31)


@pytest.mark.parametrize(("side", "draws", "size"), [(2, 8, (64, 96)), (3, 40, (70, 133)), (8, 192, (256, 224))])
def test_mosaics_are_those_of_brute_force(side: int, draws: int, size: tuple[int, int]) -> None:
    smash, image = Smash(side, draws), picture(3, *size)
    pixels = image[0].numpy()
    found = places(smash, *size)
    cut = [pixels[:, y : y + PATCH, x : x + PATCH] for y, x in found]
    grade = [written_out(patch) if draws < 100 else int(diversity(torch.from_numpy(patch))) for patch in cut]
    order = sorted(range(draws), key=lambda i: (grade[i], i))
    poor, rich = (cells(mosaic[0]) for mosaic in smash(image))
    assert len(poor) == len(rich) == side * side
    for place in range(side * side):
        # Every pixel is one of the picture's, and so are its neighbours.
        assert np.array_equal(poor[place], cut[order[place]])
        assert np.array_equal(rich[place], cut[order[-1 - place]])
    assert grade[order[side * side - 1]] < grade[order[-side * side]]


def test_poor_patches_are_of_flat_places_and_rich_ones_of_textured_ones() -> None:
    smash = Smash(3, 48)
    image = torch.full((1, 3, 96, 160), 0.5)
    noise = torch.rand(3, 96, 80, generator=torch.Generator().manual_seed(4))
    image[0, ..., 80:] = noise
    poor, rich = smash(image)
    assert poor.std() == 0
    assert rich.std() > 0.2
    for turned in (image.flip(3), image.flip(2), image.transpose(2, 3)):
        other = smash(turned)
        assert torch.equal(other[0], poor)
        assert abs(float(other[1].std() - rich.std())) < 0.02
    image[0, ..., :80] = noise
    image[0, ..., 80:] = 0.5
    assert smash(image)[0].std() == 0
    assert smash(image)[1].std() > 0.2


def test_draws_are_spread_evenly_reach_the_edges_and_never_change() -> None:
    smash = Smash()
    state = torch.random.get_rng_state()
    found = places(smash, 231, 331)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(found, places(Smash(), 231, 331))
    assert len({tuple(place) for place in found}) == 192
    assert found.min() >= 0
    assert (found.max(0) <= (199, 299)).all()
    assert (found.min(0) < (4, 5)).all()
    assert (found.max(0) > (195, 294)).all()
    counts = np.histogram2d(*found.T, bins=(8, 8), range=((0, 200), (0, 300)))[0]
    assert counts.min() >= 1
    assert counts.max() <= 6
    # A patch for which there is one place lies there.
    assert (places(smash, 32, 32) == 0).all()


def test_padding_is_in_no_patch() -> None:
    smash, image = Smash(2, 24), picture(5, 70, 90)
    alone = smash(image)
    for top, left in ((0, 0), (0, 6), (26, 38)):
        canvas = torch.rand(1, 3, 96, 128)
        valid = torch.zeros(1, 1, 96, 128, dtype=torch.bool)
        inside = (..., slice(top, top + 70), slice(left, left + 90))
        canvas[inside], valid[inside] = image, True
        for mosaic, expected in zip(smash(canvas, valid), alone, strict=True):
            assert torch.equal(mosaic, expected)
    assert not torch.equal(smash(canvas)[1], alone[1]), "noise is richer"
    both = torch.cat([canvas, torch.rand(1, 3, 96, 128)])
    known = torch.cat([valid, torch.ones_like(valid)])
    assert torch.equal(smash(both, known)[0][:1], alone[0]), "nor of another picture"


@pytest.mark.parametrize("size", [(20, 50), (50, 7), (1, 40), (31, 31), (1, 1)])
def test_short_sides_are_mirrored(size: tuple[int, int]) -> None:
    smash, image = Smash(2, 16), picture(6, *size)
    wide = np.pad(image.numpy(), [(0, 0), (0, 0), *((0, max(0, PATCH - n)) for n in size)], "symmetric")
    for found, expected in zip(smash(image), smash(torch.from_numpy(wide)), strict=True):
        assert torch.equal(found, expected)
    valid = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    valid[..., : size[0], : size[1]] = True
    canvas = torch.zeros(1, 3, 64, 64)
    canvas[..., : size[0], : size[1]] = image
    assert torch.equal(smash(canvas, valid)[1], smash(image)[1])
    nothing = smash(canvas, torch.zeros_like(valid))
    assert all(torch.isfinite(mosaic).all() for mosaic in nothing)


def test_wrong_asks() -> None:
    for side, draws in ((0, 10), (2, 7), (8, 127)):
        with pytest.raises(InvalidValueError, match=f"found {side}, {draws}"):
            Smash(side, draws)
