"""The autocorrelation proposes the shift of a copy, also of smooth texture, and not the block grid of a JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tamperscope.media.recompress import recompress
from tamperscope.signal.offsets import normalized_detail, self_shifts


def scene(rng: np.random.Generator, shift: tuple[int, int] | None, amplitude: float) -> np.ndarray:
    """Return smooth ground with faint texture, part of it copied."""
    base = cv2.GaussianBlur(rng.normal(0, 1, (260, 380)), (0, 0), 20) * 600 + 128
    fine = base + cv2.GaussianBlur(rng.normal(0, amplitude, base.shape), (0, 0), 0.7)
    if shift is not None:
        dx, dy = shift
        fine[60 + dy : 130 + dy, 80 + dx : 160 + dx] = fine[60:130, 80:160]
    return np.repeat(np.clip(np.rint(fine), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def found(rgb: np.ndarray) -> list[tuple[int, int, float]]:
    return self_shifts(normalized_detail(rgb[..., 1].astype(np.float32)))


@pytest.mark.parametrize("shift", [(131, 57), (-43, 101), (0, 88), (160, 0)])
def test_the_shift_of_a_faint_copy_comes_first(rng, shift: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    best = found(scene(rng, shift, 6.0))[0]
    assert best[:2] == shift
    assert best[2] > 10


def test_without_the_copy_nothing_stands_out(rng) -> None:  # type: ignore[no-untyped-def]
    assert all(z < 7 for _, _, z in found(scene(rng, None, 6.0)))


def test_the_grid_of_a_jpeg_does_not(rng) -> None:  # type: ignore[no-untyped-def]
    compressed = recompress(scene(rng, None, 25.0), 30)
    assert all(z < 8 for dx, dy, z in found(compressed) if dx % 8 == 0 and dy % 8 == 0)


def test_tiny_and_flat_pictures_give_none() -> None:
    assert self_shifts(normalized_detail(np.zeros((9, 700), np.float32))) == []
    assert self_shifts(normalized_detail(np.full((90, 90), 7, np.float32))) == []
