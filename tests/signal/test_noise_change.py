"""Noise of one frame against that of the frames around it."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.signal.noise_change import BLOCK, noise_change, noise_levels


def frames(rng: np.random.Generator, count: int = 9, sigma: float = 4.0) -> list[np.ndarray]:
    base = cv2.GaussianBlur(rng.integers(0, 256, (200, 260, 3)).astype(np.float32), (0, 0), 6) * 4 - 380
    noise = [rng.normal(0, sigma, (192, 256, 1)) for _ in range(count)]
    return [np.clip(base[:192, :256] + part, 0, 255).astype(np.uint8) for part in noise]


def test_a_patch_of_other_noise_is_found_in_its_frame_and_its_blocks(rng: np.random.Generator) -> None:
    film = frames(rng)
    patch = film[4][64:128, 96:192]
    patch[:] = cv2.GaussianBlur(patch, (0, 0), 2)
    scores, changes = noise_change([noise_levels(frame) for frame in film])
    assert int(np.argmax(scores)) == 4
    assert scores[4] > 4 * np.median(scores)
    inside = np.zeros(changes[4].shape, bool)
    inside[64 // BLOCK : 128 // BLOCK, 96 // BLOCK : 192 // BLOCK] = True
    assert changes[4][inside].min() > 2 * changes[4][~inside].max()


def test_a_frame_that_is_noisier_everywhere_is_none(rng: np.random.Generator) -> None:
    film = frames(rng)
    film[4] = np.clip(film[4] + rng.normal(0, 6, (192, 256, 1)), 0, 255).astype(np.uint8)
    scores, _ = noise_change([noise_levels(frame) for frame in film])
    assert scores[4] < 3 * np.median(scores)


def test_flat_frames_have_no_change() -> None:
    flat = noise_levels(np.full((64, 64, 3), 9, np.uint8))
    assert flat.shape == (2, 2)
    scores, changes = noise_change([flat] * 5)
    assert scores == [0.0] * 5
    assert not np.any(changes)
