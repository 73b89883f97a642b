"""The rectangle of a canvas that is the picture's: moved, mirrored, measured and resized by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tamperscope.nn.rectangles import cornered, halved, inside, picked, resized


def on_canvas(image: torch.Tensor, top: int, left: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture somewhere on a canvas of noise, and where it is."""
    canvas = torch.rand(1, image.shape[1], *size, generator=torch.Generator().manual_seed(1))
    valid = torch.zeros(1, 1, *size, dtype=torch.bool)
    area = (..., slice(top, top + image.shape[2]), slice(left, left + image.shape[3]))
    canvas[area], valid[area] = image, True
    return canvas, valid


@pytest.mark.parametrize("corner", [(0, 0), (3, 0), (6, 9)])
def test_a_picture_goes_to_the_corner_and_its_mirrors_beyond(corner: tuple[int, int]) -> None:
    image = torch.rand(1, 3, 5, 7)
    found, heights, widths = cornered(*on_canvas(image, *corner, (18, 32)))
    expected = np.pad(image.numpy(), [(0, 0), (0, 0), (0, 13), (0, 25)], "symmetric")
    assert torch.equal(found, torch.from_numpy(expected))
    assert (heights.tolist(), widths.tolist()) == ([5], [7])


def test_each_picture_has_its_own_rectangle() -> None:
    one, other = torch.rand(1, 3, 9, 4), torch.rand(1, 3, 6, 12)
    (a, first), (b, second) = on_canvas(one, 2, 1, (12, 12)), on_canvas(other, 0, 0, (12, 12))
    found, heights, widths = cornered(torch.cat([a, b]), torch.cat([first, second]))
    assert torch.equal(found[:1, ..., :9, :4], one)
    assert torch.equal(found[1:, ..., :6, :12], other)
    assert (heights.tolist(), widths.tolist()) == ([9, 6], [4, 12])
    whole, heights, widths = cornered(a)
    assert whole is a
    assert (heights.tolist(), widths.tolist()) == ([12], [12])
    nothing, heights, _ = cornered(a, torch.zeros_like(first))
    assert torch.isfinite(nothing).all()
    assert heights.tolist() == [0]


def test_lines_cross_at_pixels() -> None:
    image = torch.rand(2, 3, 6, 8)
    rows, columns = torch.tensor([[1, 5], [0, 0]]), torch.tensor([[7, 2, 3], [4, 5, 6]])
    found = picked(image, rows, columns)
    for b in range(2):
        assert torch.equal(found[b], image[b][:, rows[b]][..., columns[b]])


def test_what_is_inside_and_how_large_it_is_after_steps_of_two() -> None:
    heights, widths = torch.tensor([2, 3]), torch.tensor([4, 1])
    found = inside(heights, widths, torch.empty(2, 5, 3, 4))
    assert found.dtype == torch.float32
    assert found[0, 0].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert found[1, 0].tolist() == [[1, 0, 0, 0]] * 3
    sizes = torch.arange(9)
    assert halved(sizes).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert halved(sizes, 2).tolist() == [len(range(0, n, 4)) for n in range(9)]
    assert torch.equal(inside(halved(heights), halved(widths), found[..., ::2, ::2]), found[..., ::2, ::2])


@pytest.mark.parametrize(("size", "side"), [((60, 44), 16), ((20, 90), 33), ((13, 9), 40)])
def test_resized_as_elsewhere_and_the_picture_alone(size: tuple[int, int], side: int) -> None:
    image = torch.rand(1, 3, *size)
    whole = resized(*cornered(image), side)
    elsewhere = torch.nn.functional.interpolate(image, (side, side), mode="bilinear", antialias=True)
    torch.testing.assert_close(whole, elsewhere, atol=1e-5, rtol=0)
    torch.testing.assert_close(resized(*cornered(*on_canvas(image, 3, 5, (96, 96))), side), whole, atol=1e-5, rtol=0)
    levels = (255 * image[0].permute(1, 2, 0)).round().byte().numpy()
    theirs = np.asarray(Image.fromarray(levels).resize((side, side), Image.Resampling.BILINEAR), float)
    ours = 255 * resized(*cornered(torch.from_numpy(levels).permute(2, 0, 1)[None] / 255), side)
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).max() <= 1
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resized(*cornered(image), side), whole)


def test_a_checkerboard_is_gone_at_half_of_its_size() -> None:
    checkered = 1.0 - 2 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2)
    small = resized(*cornered(checkered[None, None]), 32)
    assert small[..., 1:-1, 1:-1].abs().max() < 1e-5
    assert torch.isfinite(resized(checkered[None, None], torch.tensor([0]), torch.tensor([0]), 8)).all()
