"""Features made by hand: Lab against OpenCV, Gabor filters against gratings, and what is unusual in a picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.nn.handmade import HandFeatures, differences, gabor, lab  # noqa: E402


def test_lab_is_that_of_opencv() -> None:
    rgb = np.random.default_rng(0).random((16, 24, 3)).astype(np.float32)
    rgb[:4] *= 0.05
    found = lab(torch.from_numpy(rgb.transpose(2, 0, 1)[None]))[0].permute(1, 2, 0).numpy()
    # OpenCV looks values up in a table.
    np.testing.assert_allclose(100 * found, cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), atol=0.5)
    known = {(1, 1, 1): (100, 0, 0), (1, 0, 0): (53.24, 80.09, 67.20), (0, 0, 1): (32.30, 79.19, -107.86)}
    for colour, expected in known.items():
        value = lab(torch.tensor(colour).float()[None, :, None, None]).flatten()
        assert (100 * value).tolist() == pytest.approx(expected, abs=0.05)


def grating(wave: float, angle: float, side: int = 64) -> torch.Tensor:
    y, x = np.mgrid[:side, :side]
    plane = 0.5 + 0.2 * np.sin(2 * math.pi / wave * (x * math.cos(angle) + y * math.sin(angle)))
    return torch.from_numpy(plane).float().expand(1, 3, side, side)


@pytest.mark.parametrize("number", range(4))
def test_a_grating_is_answered_by_its_own_wave_and_orientation(number: int) -> None:
    features = HandFeatures(4)
    for scale, wave in enumerate((4.0, 8.0, 16.0)):
        image, energies = grating(wave, math.pi * number / 4), []
        for _ in range(3):
            energies.append(features._energy(image).unflatten(1, (3, 4))[..., 2:-2, 2:-2].mean((0, 1, 3, 4)))
            image = torch.nn.functional.avg_pool2d(image, 2)
        table = torch.stack(energies)
        assert int(table.argmax()) == 4 * scale + number
        assert table[scale].sort().values[-2] < table.max() / 3


def test_gabor_filters_see_no_brightness() -> None:
    kernels = gabor(4.0, 4)
    assert kernels.shape == (8, 1, 15, 15)
    assert kernels.sum((1, 2, 3)).abs().max() < 1e-6
    flat = HandFeatures(4)._energy(torch.full((1, 3, 16, 16), 0.8))
    assert flat.abs().max() < 1e-5


def test_differences_of_a_ramp() -> None:
    ramp = (0.01 * torch.arange(10.0)).expand(1, 1, 8, 10)
    across, down = differences(ramp)
    torch.testing.assert_close(across[..., 1:-1], torch.full((1, 1, 8, 8), 0.01))
    assert down.abs().max() == 0


def test_every_feature_is_standardized_and_an_odd_place_stands_out() -> None:
    torch.manual_seed(0)
    image = 0.4 + 0.02 * torch.randn(2, 3, 64, 96)
    image[..., 20:36, 40:60] += torch.tensor([0.2, -0.1, 0.0])[:, None, None]
    features = HandFeatures(4)
    found = features(image)
    assert found.shape == (2, 48, 16, 24)
    assert not list(features.parameters())
    assert found.mean((2, 3)).abs().max() < 1e-4
    assert (found.std((2, 3), correction=0) - 1).abs().max() < 0.05
    colours = found[:, :2].mean(1)
    inside = torch.zeros(16, 24, dtype=torch.bool)
    inside[5:9, 10:15] = True
    assert colours[:, inside].min() > 1
    assert colours[:, ~inside].max() < 1
    # Brighter or darker by as much is as unusual.
    mirrored = features(2 * image.mean((2, 3), keepdim=True) - image)
    torch.testing.assert_close(mirrored[:, :3], found[:, :3], atol=1e-3, rtol=1e-3)


def test_padding_is_in_no_mean_and_a_flat_picture_is_finite() -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 3, 32, 48)
    valid = torch.ones(1, 1, 32, 48, dtype=torch.bool)
    valid[..., 34:] = False
    features = HandFeatures(4)
    other = torch.where(valid, image, torch.rand(1, 3, 32, 48))
    # Colours of cells that are wholly the picture's; filters reach beyond.
    torch.testing.assert_close(features(image, valid)[:, :6, :, :8], features(other, valid)[:, :6, :, :8])
    assert not torch.allclose(features(image)[:, :6, :, :8], features(other)[:, :6, :, :8], atol=1e-3)
    for flat in (torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)):
        assert features(flat).abs().max() < 0.1
        assert torch.isfinite(features(flat, torch.zeros(1, 1, 16, 16, dtype=torch.bool))).all()


def test_wrong_asks() -> None:
    for settings in ({"cell": 2}, {"cell": 6}, {"limit": 0.0}):
        with pytest.raises(InvalidValueError, match="HandFeatures"):
            HandFeatures(**settings)
