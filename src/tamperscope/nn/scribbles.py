"""Random strokes of a thick brush that hide parts of pictures: what is left should tell the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tamperscope.errors import InvalidValueError


def scribbles(
    count: int,
    size: Sequence[int],
    strokes: tuple[int, int] = (2, 5),
    segments: int = 5,
    width: tuple[float, float] = (0.08, 0.2),
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return what is hidden, (count, 1, H, W) bool: bent strokes, drawn from torch's generator.

    Args:
        count: Of pictures.
        size: Height and width, pixels.
        strokes: Least and most strokes of a picture.
        segments: Straight parts of a stroke, each half of the shorter side long at most.
        width: Least and most width of a stroke, as a share of the shorter side.
        device: Of the result.

    Raises:
        InvalidValueError: A setting is out of range.
    """
    if not 1 <= strokes[0] <= strokes[1] or segments < 1 or not 0 < width[0] <= width[1]:
        expected = "strokes and segments from 1 and widths above 0, in order"
        raise InvalidValueError(f"scribbles: expected {expected}, found {strokes}, {segments}, {width}")
    short, many = min(size), int(strokes[1])
    # Always drawn where the generator is the same: pictures do not depend on the device.
    drawn = torch.randint(strokes[0], many + 1, (count, 1)) > torch.arange(many)
    radius = short / 2 * torch.empty(count, many).uniform_(*width) * drawn
    turn = torch.empty(count, many, segments).uniform_(-math.pi / 3, math.pi / 3)
    angle = turn.cumsum(2) + 2 * math.pi * torch.rand(count, many, 1)
    step = short / 2 * torch.empty(count, many, segments, 1).uniform_(0.2, 1.0)
    first = torch.rand(count, many, 1, 2) * torch.tensor(size)
    ends = torch.cat([first, first + (step * torch.stack([angle.sin(), angle.cos()], 3)).cumsum(2)], 2)
    rows, columns = (torch.arange(n, device=device) + 0.5 for n in size)
    hidden = torch.zeros(count, *size, dtype=torch.bool, device=device)
    radius, ends = radius.to(device), ends.to(device)
    for stroke in range(many):
        for part in range(segments):
            near = _distance(rows, columns, ends[:, stroke, part], ends[:, stroke, part + 1])
            hidden |= near < radius[:, stroke, None, None]
    return hidden[:, None]


def _distance(rows: Tensor, columns: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return the distances (B, H, W) of pixels to segments between (B, 2) and (B, 2)."""
    along = end - start
    down = rows[None, :, None] - start[:, 0, None, None]
    across = columns[None, None] - start[:, 1, None, None]
    y, x = (along[:, i, None, None] for i in (0, 1))
    share = ((down * y + across * x) / (y * y + x * x).clamp(min=1e-12)).clamp(0, 1)
    return torch.hypot(down - share * y, across - share * x)
