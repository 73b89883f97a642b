"""Learned upscalers in the format of ncnn, as photographs are enlarged by today: networks that the user gives."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tamperscope.errors import InputError
from tamperscope.types import FloatArray, UInt8Array

TILE, MARGIN = 128, 20
"""Side of a tile of the reduced picture, and pixels around that are enlarged with it and thrown away."""
_STRIDE = 4  # networks that pool (waifu2x' CUNet) take sides of whole fours
_PROBES = (48, 64)
_FACTORS = (2, 3, 4)


class Upscaler:
    """A network that enlarges pictures.

    It runs on one thread and in 32-bit floats, so that what it makes depends on neither.

    Args:
        path: Of its `.param`; the `.bin` of the same name lies beside it.

    Attributes:
        name: Of the file, without its folder.
        digest: SHA-256 of both files.
        factor: By so much it enlarges.
        lost: Pixels of the enlarged picture that are missing in each direction, where convolutions are not padded.

    Raises:
        InputError: ncnn or a file is not there, or the files are no network that enlarges a picture by a whole factor.
    """

    def __init__(self, path: str | Path) -> None:
        file = Path(path)
        files = (file, file.with_suffix(".bin"))
        if file.suffix != ".param" or not all(f.is_file() for f in files):
            raise InputError(f"upscaler {str(path)!r}: expected a .param file of ncnn with its .bin beside it")
        self.name = file.stem
        self.digest = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
        self._net = _read(file)
        before = [np.zeros((side, side, 3), np.float32) for side in _PROBES]
        small, large = (self._enlarged(pixels).shape[0] for pixels in before)
        step = _PROBES[1] - _PROBES[0]
        self.factor = (large - small) // step
        self.lost = _PROBES[0] * self.factor - small
        if (
            self.factor not in _FACTORS
            or large - small != self.factor * step
            or not 0 <= self.lost <= 2 * MARGIN * self.factor
        ):
            sides = f"sides of {small} and {large} for {_PROBES[0]} and {_PROBES[1]}"
            raise InputError(f"upscaler {self.name}: expected a network that enlarges 2 to 4 times, found {sides}")

    def passed(self, rgb: UInt8Array) -> UInt8Array:
        """Return a picture reduced (by areas) and enlarged again, (H, W, 3) uint8; any size, content keeps its place.

        Args:
            rgb: (H, W, 3) uint8.
        """
        height, width = rgb.shape[:2]
        cell = _STRIDE * self.factor
        edged = np.pad(rgb, [*((0, -n % cell) for n in (height, width)), (0, 0)], mode="symmetric")
        rows, columns = (n // self.factor for n in edged.shape[:2])
        small = np.asarray(cv2.resize(edged, (columns, rows), interpolation=cv2.INTER_AREA))
        small = np.pad(small, [(MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)], mode="symmetric")
        out = np.empty_like(edged)
        for top in range(0, rows, TILE):
            for left in range(0, columns, TILE):
                bottom, right = min(top + TILE, rows), min(left + TILE, columns)
                tile = small[top : bottom + 2 * MARGIN, left : right + 2 * MARGIN]
                found = np.clip(
                    np.rint(255 * self._enlarged(tile.astype(np.float32) / np.float32(255))), 0, 255
                ).astype(np.uint8)
                edge = MARGIN * self.factor - self.lost // 2
                size = (self.factor * (bottom - top), self.factor * (right - left))
                where = np.s_[self.factor * top : self.factor * bottom, self.factor * left : self.factor * right]
                out[where] = found[edge : edge + size[0], edge : edge + size[1]]
        return np.ascontiguousarray(out[:height, :width])

    def _enlarged(self, pixels: FloatArray) -> FloatArray:
        """Return (h', w', 3) of pixels (h, w, 3), both about [0, 1].

        Raises:
            InputError: The network takes or gives something else.
        """
        import ncnn

        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        running = self._net.create_extractor()
        running.input(self._net.input_names()[0], ncnn.Mat(planes).clone())
        failed, found = running.extract(self._net.output_names()[0])
        made = np.array(found, np.float32, copy=True)
        if failed or made.ndim != 3 or made.shape[0] != 3:
            raise InputError(f"upscaler {self.name}: expected a picture of 3 channels, found shape {made.shape}")
        return made.transpose(1, 2, 0)


@cache
def opened(path: str) -> Upscaler:
    """Return an upscaler, read once; see `Upscaler` for errors."""
    return Upscaler(path)


def _read(file: Path) -> Any:
    try:
        import ncnn
    except ImportError as error:
        raise InputError('learned upscalers need ncnn: pip install "tamperscope[upscale]"') from error
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(file)) or net.load_model(str(file.with_suffix(".bin"))) or len(net.input_names()) != 1:
        raise InputError(f"upscaler {file.name}: expected a network of ncnn with one input, found another file")
    return net
