"""Covers: every pixel is in a tile, no tile leaves the picture; thumbnails and maps are those written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tamperscope.errors import InvalidValueError
from tamperscope.geometry import Fit
from tamperscope.nn import cover


def rectangle(size: tuple[int, int], top: int, left: int, height: int, width: int) -> torch.Tensor:
    valid = torch.zeros(1, 1, *size, dtype=torch.bool)
    valid[..., top : top + height, left : left + width] = True
    return valid


def random_rectangle(rng: np.random.Generator, side: int, most: int = 5) -> torch.Tensor:
    """A picture somewhere on a canvas whose sides are multiples of a tile; it may be smaller than one."""
    size = (side * int(rng.integers(1, most + 1)), side * int(rng.integers(1, most + 1)))
    height, width = (int(rng.integers(1, n + 1)) for n in size)
    return rectangle(
        size, int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1)), height, width
    )


def counted(extent: torch.Tensor, places: torch.Tensor, side: int, size: tuple[int, int]) -> np.ndarray:
    """How often each pixel of the canvas of a picture is in a tile."""
    rows, columns = cover.lines(extent, places, side)
    found = np.zeros(size, int)
    for down, across in zip(rows[0][places[0, :, 0] >= 0], columns[0][places[0, :, 0] >= 0], strict=True):
        np.add.at(found, (down.numpy()[:, None], across.numpy()[None]), 1)
    return found


def test_every_pixel_of_a_thousand_pictures_is_in_a_tile_and_no_tile_leaves_one(rng: np.random.Generator) -> None:
    for _ in range(1000):
        side = int(rng.choice([8, 14, 16]))
        valid = random_rectangle(rng, side)
        size, extent = tuple(valid.shape[2:]), cover.extents(valid)
        places = cover.every(extent, side, size)
        assert np.array_equal(counted(extent, places, side, size) > 0, valid[0, 0].numpy())
        height, width = (int(n) for n in extent[0, :, 1])
        there = places[0, :, 0] >= 0
        assert int(there.sum()) == -(-height // side) * -(-width // side), "the fewest"
        if min(height, width) >= side:
            ends = places[0, there].amax(0) + side
            assert ends.tolist() == [height, width], "flush with the ends"


def test_tiles_lie_where_those_of_a_single_picture_do(rng: np.random.Generator) -> None:
    for _ in range(100):
        height, width = (int(n) for n in rng.integers(16, 90, 2))
        size = (-(-height // 16) * 16, -(-width // 16) * 16)
        extent = cover.extents(rectangle(size, 0, 0, height, width))
        boxes = Fit("tile", 16).plan((height, width)).boxes
        wanted = torch.tensor([(y, x) for x, y, _, _ in boxes])
        assert int((cover.every(extent, 16, size)[0] - wanted).abs().max()) <= 1, "halves are rounded another way"


def test_a_tile_holds_the_pixels_of_its_place_and_a_narrow_picture_is_mirrored() -> None:
    image = torch.rand(2, 3, 32, 48)
    extent = cover.extents(torch.cat([rectangle((32, 48), 0, 0, 32, 48), rectangle((32, 48), 3, 5, 11, 40)]))
    places = torch.tensor([[[0, 0], [7, 32]], [[0, 2], [-1, -1]]])
    tiles = cover.cut(image, extent, places, 16)
    assert torch.equal(tiles[0, 1], image[0, :, 7:23, 32:48])
    picture = image[1, :, 3:14, 5:45]
    mirrored = torch.cat([picture, picture.flip(1)], 1)[:, :16, 2:18]
    assert torch.equal(tiles[1, 0], mirrored)


def test_drawn_tiles_lie_in_the_picture_and_alike_in_pictures_of_one_size() -> None:
    valid = torch.cat([rectangle((64, 64), 0, 0, 64, 64), rectangle((64, 64), 0, 0, 64, 64)])
    valid = torch.cat([valid, rectangle((64, 64), 5, 0, 20, 10)])
    shares = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
    places = cover.drawn(cover.extents(valid), 16, shares)
    assert torch.equal(places[0], places[1])
    assert set(places[0].flatten().tolist()) == set(range(49))
    assert set(places[2, :, 0].tolist()) == set(range(5))
    assert set(places[2, :, 1].tolist()) == {0}


def test_a_map_is_the_mean_of_what_all_tiles_say(rng: np.random.Generator) -> None:
    for _ in range(30):
        valid = random_rectangle(rng, 16, 4)
        size, extent = tuple(valid.shape[2:]), cover.extents(valid)
        places = cover.every(extent, 16, size)
        values = torch.from_numpy(rng.normal(size=(1, places.shape[1], 4, 4))).float()
        rows, columns = cover.lines(extent, places, 16)
        total, count = np.zeros(size), np.zeros(size)
        for number in range(places.shape[1]):
            if places[0, number, 0] >= 0:
                large = values[0, number].repeat_interleave(4, 0).repeat_interleave(4, 1).numpy()
                where = (rows[0, number].numpy()[:, None], columns[0, number].numpy()[None])
                np.add.at(total, where, large)
                np.add.at(count, where, 1)
        found = cover.merged(values, extent, 16, size)
        assert found.shape == (1, 1, *size)
        np.testing.assert_allclose(found[0, 0].numpy(), total / np.maximum(count, 1), atol=1e-5)


def test_a_thumbnail_is_pillows(rng: np.random.Generator) -> None:
    for height, width in ((100, 173), (40, 9)):
        pixels = rng.random((height, width, 3)).astype(np.float32) * 0.6 + 0.2
        image, valid = torch.rand(1, 3, 128, 192), rectangle((128, 192), 11, 7, height, width)
        image[0, :, 11 : 11 + height, 7 : 7 + width] = torch.from_numpy(pixels).permute(2, 0, 1)
        found = cover.thumbnails(image, cover.extents(valid), 32)[0].permute(1, 2, 0).numpy()
        how = Image.Resampling.LANCZOS
        wanted = [np.asarray(Image.fromarray(pixels[..., i]).resize((32, 32), how)) for i in range(3)]
        np.testing.assert_allclose(found, np.clip(np.stack(wanted, -1), 0, 1), atol=1e-4)


def test_what_is_finer_than_a_pixel_of_the_thumbnail_is_in_the_tiles_alone() -> None:
    """Three grey levels of a checkerboard on 1024 x 1024 pixels."""
    checkered = 1 - 2 * ((torch.arange(1024)[:, None] + torch.arange(1024)) % 2)
    image = (127 + 3 * checkered).float()[None, None].expand(1, 3, -1, -1) / 255
    extent = cover.extents(rectangle((1024, 1024), 0, 0, 1024, 1024))
    small = 255 * cover.thumbnails(image, extent, 224)
    assert float((small - 127).abs().max()) < 0.1
    tile = 255 * cover.cut(image, extent, torch.tensor([[[400, 400]]]), 224)
    assert float((tile - 127).abs().min()) > 2.9


def test_nothing_valid_is_answered_and_what_does_not_fit_is_refused() -> None:
    extent = cover.extents(torch.zeros(1, 1, 32, 32, dtype=torch.bool))
    places = cover.every(extent, 16, (32, 32))
    assert int((places >= 0).all(2).sum()) == 1
    assert torch.isfinite(cover.cut(torch.rand(1, 3, 32, 32), extent, places, 16)).all()
    assert float(cover.thumbnails(torch.rand(1, 3, 32, 32), extent, 16).abs().max()) == 0
    assert float(cover.merged(torch.rand(1, 4, 2, 2), extent, 16, (32, 32)).abs().max()) == 0
    with pytest.raises(InvalidValueError, match=r"4 tiles of \(g, g\) values"):
        cover.merged(torch.rand(1, 3, 2, 2), extent, 16, (32, 32))
    with pytest.raises(InvalidValueError, match="divisor of 16"):
        cover.merged(torch.rand(1, 4, 3, 3), extent, 16, (32, 32))
