"""Small pages of text, of which one word may have another history than the paper around it; the same for a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

HEIGHT, WIDTH = 64, 96
LINE = 21
LETTERS = tuple("ABCDEFGHKLMNPRSTUVXZ0123456789")


QUIET, NOISY = 0, 1
"""Histories: of one the noise is below a grey level, of the other some levels."""


@dataclass(frozen=True)
class Page:
    """Ink on paper, what both histories would add to it, and where each word is.

    Attributes:
        clean: (H, W, 3) grey levels, without noise.
        grain: By history, (H, W, 3) noise.
        words: Boxes (x, y, width, height).
    """

    clean: np.ndarray
    grain: tuple[np.ndarray, np.ndarray]
    words: tuple[tuple[int, int, int, int], ...]

    def made(self, own: int, word: int | None = None, history: int = NOISY, tint: float = 0.0) -> np.ndarray:
        """The picture of a page of one history, and of a word of another one, or on paper of another colour."""
        alpha = self.inside(word)[..., None].astype(float)
        colour = cv2.GaussianBlur(alpha, (0, 0), 2.5)[..., None] * np.array([tint, 0.0, -tint])
        pixels = self.clean + self.grain[own] * (1 - alpha) + self.grain[history] * alpha + colour
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def inside(self, word: int | None) -> np.ndarray:
        mask = np.zeros(self.clean.shape[:2], bool)
        if word is not None:
            x, y, width, height = self.words[word]
            mask[y : y + height, x : x + width] = True
        return mask


def page(rng: np.random.Generator) -> Page:
    """Draw a page; nothing of it depends on which word is forged, or whether one is."""
    paper, ink = rng.uniform(205, 240, 3), rng.uniform(20, 90)
    clean = np.full((HEIGHT, WIDTH, 3), paper)
    words = []
    for row in range(HEIGHT // LINE):
        x = int(rng.integers(2, 8))
        while True:
            text = "".join(rng.choice(LETTERS, int(rng.integers(2, 5))))
            (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
            if x + width + 2 > WIDTH:
                break
            base = (row + 1) * LINE - 6
            shade = np.zeros((HEIGHT, WIDTH), np.uint8)
            cv2.putText(shade, text, (x, base), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1, cv2.LINE_AA)
            alpha = cv2.GaussianBlur(shade / 255.0, (0, 0), 0.5)[..., None]
            clean = clean * (1 - alpha) + ink * alpha
            words.append((max(x - 2, 0), max(base - height - 3, 0), width + 4, height + 6))
            x += width + int(rng.integers(8, 14))
    noise = rng.standard_normal((HEIGHT, WIDTH, 3))
    return Page(clean, (rng.uniform(0.3, 0.8) * noise, rng.uniform(3, 6) * noise), tuple(words))


def drawn(rng: np.random.Generator, count: int = 8, tinted: bool = False) -> dict[str, torch.Tensor]:
    """Pages of which seven in ten are forged: a noisy word on a quiet page, or, with `tinted`, a word on other paper.

    Of the others half are noisy all over, so that noise by itself tells nothing.
    """
    pictures, masks = [], []
    for _ in range(count):
        made, kind = page(rng), rng.random()
        word = int(rng.integers(len(made.words))) if kind < 0.7 else None
        if tinted and kind < 0.2:
            pictures.append(made.made(own := int(rng.integers(2)), word, own, float(rng.choice([-15.0, 15.0]))))
        else:
            pictures.append(made.made(NOISY if kind > 0.85 else QUIET, word))
        masks.append(made.inside(word))
    mask = torch.from_numpy(np.stack(masks)[:, None]).float()
    return {"image": tensor(pictures), "mask": mask, "valid": torch.ones_like(mask, dtype=torch.bool)}


def train(net: Any, steps: int, rate: float = 3e-3, tinted: bool = False) -> None:
    """Train a network on pages that are drawn anew for every step; it is left in evaluation mode."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(net.parameters(), rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    net.train()
    for step in range(steps):
        batch = drawn(rng, tinted=tinted)
        loss = net.loss(net(batch["image"], valid=batch["valid"]), batch, step / steps)
        optimizer.zero_grad()
        sum(loss.values()).backward()
        optimizer.step()
        plan.step()
    net.eval()


def f1(logits: np.ndarray, truth: np.ndarray) -> float:
    """Of pixels, at a logit of 0."""
    marked = logits > 0
    return float(2 * (marked & truth).sum() / max(marked.sum() + truth.sum(), 1))


def tensor(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2) / 255).float()
