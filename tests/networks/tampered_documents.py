"""Pages of text on grained paper, compressed, and parts pasted into them that have, or have not, another history."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from tamperscope.inference.needs import needs_of
from tamperscope.media import open as open_picture
from tamperscope.media.recompress import decode_jpeg, encode_jpeg

SIDE = 128
LETTERS = np.array(list("ABCDEFGHKLMNPRSTUVWXYZabcdefghkmnpqrstuvwxyz0123456789"))
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)


def page(rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """A grey page: grained paper, and lines of text all over it."""
    grain = cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), 0.7)
    stains = cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), 3)
    paper = rng.uniform(190, 225) + rng.uniform(6, 9) * grain / grain.std() + rng.uniform(4, 7) * stains / stains.std()
    sheet = np.zeros((side, side), np.uint8)
    font, size = FONTS[rng.integers(len(FONTS))], float(rng.uniform(0.45, 0.6))
    for base in range(int(rng.integers(6, 18)), side + 14, 17):
        line = "".join(rng.choice(LETTERS, 16))
        cv2.putText(sheet, line, (int(rng.integers(-8, 3)), base), font, size, 255, 1, cv2.LINE_AA)
    grey = paper - rng.uniform(120, 170) * (sheet / 255)
    return np.asarray(np.repeat(np.clip(grey, 0, 255)[..., None], 3, 2), np.uint8)


def compressed(rgb: np.ndarray, quality: int, shift: int) -> np.ndarray:
    """The page after a compression whose grid begins `shift` pixels before its corner."""
    wide = np.pad(rgb, ((shift, 0), (shift, 0), (0, 0)), "reflect")
    return np.asarray(decode_jpeg(encode_jpeg(wide, quality)))[shift:, shift:]


def forged(
    rng: np.random.Generator, count: int, shifts: tuple[int, int] = (0, 4), moved: int = 0, last: int = 90
) -> dict[str, Any]:
    """A batch of pages saved at 75, with a part of another such page, saved again.

    Args:
        rng: Of the draws.
        count: Pages.
        shifts: Of the first grids of page and part: with two equal ones both have one history.
        moved: Lines cut off at top and left before they are saved again, so that no first grid is where the last is.
        last: Quality of the second compression.
    """
    images, masks, tables = [], [], []
    for _ in range(count):
        back, part = (compressed(page(rng), 75, shift) for shift in shifts)
        mask = np.zeros((SIDE, SIDE), bool)
        # Whole blocks: those that a seam goes through were quantized twice by nobody.
        top, left = 8 * rng.integers(1, 8, 2)
        height, width = 8 * rng.integers(4, 7), 8 * rng.integers(5, 8)
        mask[top : top + height, left : left + width] = True
        both = np.where(mask[..., None], part, back)
        both = np.pad(both[moved:, moved:], ((0, moved), (0, moved), (0, 0)), "reflect")
        sample = open_picture(encode_jpeg(both, last)).sample
        images.append(sample.rgb.transpose(2, 0, 1))
        masks.append(mask)
        tables.append(needs_of(sample, ("qtables",))["qtables"])
    return {
        "image": torch.from_numpy(np.stack(images)).float() / 255,
        "mask": torch.from_numpy(np.stack(masks))[:, None].float(),
        "qtables": torch.from_numpy(np.stack(tables)),
        "valid": torch.ones(count, 1, SIDE, SIDE, dtype=torch.bool),
    }


def taught(net: Any, steps: int, rate: float, count: int = 4) -> Any:
    """The network after so many steps; every second batch has page and part change roles, and so does its truth."""
    net, rng = net.train(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(steps):
        # Else where a part lies would tell which of two it is.
        batch = forged(rng, count, (0, 4) if step % 2 else (4, 0))
        batch["mask"] = batch["mask"] if step % 2 else 1 - batch["mask"]
        outputs = net(batch["image"], qtables=batch["qtables"], valid=batch["valid"])
        loss = sum(net.loss(outputs, batch, step / steps).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def told_apart(net: Any, batch: dict[str, Any], table: float = 0) -> tuple[float, float]:
    """The AUC of parts against pages, and by how much more probable parts are in the mean.

    Of answers that are the same everywhere the AUC ranks what little differs; the difference does not.

    Args:
        net: That answers.
        batch: What it is asked.
        table: What all steps are told as; 0 leaves them.
    """
    tables = torch.full_like(batch["qtables"], table) if table else batch["qtables"]
    with torch.inference_mode():
        found = net(batch["image"], qtables=tables, valid=batch["valid"])["mask"]
    part = batch["mask"].bool()
    apart = found[part].sigmoid().mean() - found[~part].sigmoid().mean()
    return float(roc_auc_score(part.numpy().ravel(), found.numpy().ravel())), float(apart)
