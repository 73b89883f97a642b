"""Pictures in which nothing but the strength of noise tells what is forged; made in moments, the same for a seed.

The background has noise of a strength drawn anew for every picture, the forged part has more by a fixed factor. So a
place is undecidable by itself: whether its noise is strong depends on what is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FACTOR = 1.7
WEAKEST, STRONGEST = 1.0, 8.0
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """Pictures (B, 3, H, W), or clips (B, T, 3, H, W), with their masks and the strengths (B,) of their backgrounds."""

    image: Tensor
    mask: Tensor
    strength: Tensor

    @property
    def batch(self) -> dict[str, Tensor]:
        """As networks are told."""
        return {"image": self.image, "mask": self.mask, "valid": torch.ones_like(self.mask, dtype=torch.bool)}

    @property
    def frames(self) -> World:
        """The frames of clips as pictures."""
        count = self.image.shape[1]
        return World(self.image.flatten(0, 1), self.mask.flatten(0, 1), self.strength.repeat_interleave(count))


def content(rng: np.random.Generator, side: int) -> Floats:
    """Return a smooth picture (side, side, 3), 60 to 190 grey levels."""
    return 60 + 130 * cv2.resize(rng.random((4, 4, 3)), (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def strength(rng: np.random.Generator) -> float:
    """Return a strength of noise whose logarithm is even."""
    return float(np.exp(rng.uniform(np.log(WEAKEST), np.log(STRONGEST))))


def noisy(rng: np.random.Generator, background: Floats, alpha: Floats, sigma: float, factor: float = FACTOR) -> Floats:
    """Return a picture with noise: `sigma` where alpha (H, W) is 0, `factor` times that where it is 1."""
    noise = sigma * (1 + (factor - 1) * alpha[..., None]) * rng.standard_normal(background.shape)
    return (background + noise).clip(0, 255)


def world(pictures: list[Floats], masks: list[Bools], strengths: list[float]) -> World:
    """Return pictures (H, W, 3) in grey levels, masks and strengths as tensors."""
    image = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2) / 255).float()
    return World(image, torch.from_numpy(np.stack(masks)[:, None]).float(), torch.tensor(strengths))


def relative(
    rng: np.random.Generator,
    count: int,
    side: int,
    cell: int,
    around: tuple[int, int] = (0, 16),
    inverted: float = 0.0,
) -> World:
    """Return pictures with a forged rectangle that covers a cell, any cell as often as any other.

    Args:
        rng: Draws everything.
        count: Of pictures.
        side: Of a picture, pixels, a multiple of the cell's.
        cell: Side of a cell.
        around: Least and most pixels beyond each border of the cell that are covered too; over the border of the
            picture it goes on at the other side, or cells in the middle would be covered more often.
        inverted: How often all but the rectangle is forged.
    """
    pictures, masks, strengths = [], [], []
    for _ in range(count):
        up, down, left, right = rng.integers(around[0], around[1] + 1, 4)
        row, column = rng.integers(0, side // cell, 2)
        mask = np.zeros((side, side), bool)
        mask[: cell + up + down, : cell + left + right] = True
        mask = np.roll(mask, (cell * row - up, cell * column - left), (0, 1)) ^ (rng.random() < inverted)
        sigma = strength(rng)
        pictures.append(noisy(rng, content(rng, side), mask.astype(np.float64), sigma))
        masks.append(mask)
        strengths.append(sigma)
    return world(pictures, masks, strengths)


def clips(rng: np.random.Generator, count: int, side: int) -> World:
    """Return clips of two frames: one wholly forged or wholly clear, and beside it one that is half forged."""
    made = []
    for _ in range(count):
        sigma = strength(rng)
        whole = np.full((side, side), rng.random() < 0.5)
        half = np.zeros((side, side), bool)
        half[:, : int(rng.integers(side // 3, side - side // 3))] = True
        half = np.rot90(half, int(rng.integers(4)))
        masks = [whole, half] if rng.random() < 0.5 else [half, whole]
        pictures = [noisy(rng, content(rng, side), m.astype(np.float64), sigma) for m in masks]
        made.append(world(pictures, masks, [sigma]))
    images, masks_ = (torch.stack([getattr(w, name) for w in made]) for name in ("image", "mask"))
    return World(images, masks_, torch.cat([w.strength for w in made]))


def feathered(rng: np.random.Generator, count: int, side: int, blur: float = 4.0, factor: float = 3.0) -> World:
    """Return pictures with an ellipse of stronger noise whose border fades; the mask is where it is half there."""
    pictures, masks, strengths = [], [], []
    for _ in range(count):
        shape = np.zeros((side, side), np.float32)
        centre = tuple(int(v) for v in rng.integers(side // 4, side - side // 4, 2))
        axes = tuple(int(v) for v in rng.integers(side // 6, side // 3, 2))
        cv2.ellipse(shape, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        alpha = cv2.GaussianBlur(shape, (0, 0), blur).astype(np.float64)
        sigma = float(rng.uniform(1.5, 3))
        pictures.append(noisy(rng, content(rng, side), alpha, sigma, factor))
        masks.append(alpha > 0.5)
        strengths.append(sigma)
    return world(pictures, masks, strengths)


def train(
    net: nn.Module, draw: Callable[[np.random.Generator], World], steps: int, rate: float = 3e-3, seed: int = 0
) -> None:
    """Train a network on pictures that are drawn anew for every step; it is left in evaluation mode."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    net.train()
    for step in range(steps):
        batch = draw(rng).batch
        loss = net.loss(net(batch["image"], batch["valid"]), batch, step / steps)  # type: ignore[operator]
        optimizer.zero_grad()
        sum(loss.values()).backward()
        optimizer.step()
        schedule.step()
    net.eval()


def answer(net: Callable[[Tensor], Mapping[str, Tensor]], image: Tensor, many: int = 16) -> Tensor:
    """Return the logits of pictures or clips."""
    with torch.no_grad():
        return torch.cat([net(part)["mask"] for part in image.split(many)])


def covered(mask: Bools, cell: int, reach: int = 0) -> Bools:
    """Return which cells (rows, columns) a mask covers wholly, with so many pixels around them."""
    wide = np.pad(mask, reach, mode="wrap").astype(np.uint8)
    eroded = cv2.erode(wide, np.ones((2 * reach + 1,) * 2, np.uint8), borderValue=1)
    inner = eroded[reach : reach + len(mask), reach : reach + mask.shape[1]] > 0
    rows, columns = (n // cell for n in mask.shape)
    return np.asarray(inner.reshape(rows, cell, columns, cell).all((1, 3)))


def undecidable(logits: Tensor, truth: World, cell: int, margin: int = 8, reach: int = 0) -> tuple[Floats, Bools]:
    """Return the logits of cells whose own noise tells nothing, and whether they are forged.

    Of cells wholly inside and wholly outside those are taken whose noise is between `FACTOR * WEAKEST` and `STRONGEST`:
    there the logarithms of both classes' strengths are even. As many are taken of one class as of the other.

    Args:
        logits: (B, 1, H, W).
        truth: The pictures.
        cell: Side of a cell.
        margin: Pixels along the border of a cell that are left out, for logits are blurred over it when enlarged.
        reach: Pixels around a cell that are of its class, too.

    Returns:
        (N, P) logits of pixels, and (N,).
    """
    found: dict[bool, list[Floats]] = {True: [], False: []}
    for plane, mask, sigma in zip(
        logits[:, 0].numpy(), truth.mask[:, 0].numpy() > 0, truth.strength.tolist(), strict=True
    ):
        rows, columns = (n // cell for n in mask.shape)
        cells = plane.reshape(rows, cell, columns, cell).transpose(0, 2, 1, 3)
        cells = cells[:, :, margin : cell - margin, margin : cell - margin].reshape(rows, columns, -1)
        for forged, area in ((True, covered(mask, cell, reach)), (False, covered(~mask, cell, reach))):
            if FACTOR * WEAKEST <= sigma * (FACTOR if forged else 1) <= STRONGEST:
                found[forged].extend(cells[area])
    count = min(map(len, found.values()))
    chosen = [np.stack(c)[np.linspace(0, len(c) - 1, count).astype(int)] for c in found.values()]
    return np.concatenate(chosen), np.repeat(list(found), count)


def f1(logits: Floats, forged: Bools) -> float:
    """Return the F1 of pixels at a logit of 0; marking every pixel of two classes alike gives 0.667."""
    marked = logits > 0
    truth = np.broadcast_to(forged.reshape(forged.shape + (1,) * (logits.ndim - forged.ndim)), logits.shape)
    return float(2 * (marked & truth).sum() / max(marked.sum() + truth.sum(), 1))


def auc(logits: Floats, forged: Bools) -> float:
    """Return the AUC of cells by their mean logit; 0.5 is chance."""
    means = logits.mean(1)
    ranks = np.empty(len(means))
    ranks[means.argsort()] = np.arange(1, len(means) + 1)
    inside, outside = forged.sum(), (~forged).sum()
    return float((ranks[forged].sum() - inside * (inside + 1) / 2) / (inside * outside))
