"""The maps of one picture: one byte a pixel, and packed where the picture is large."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.types import FloatArray, UInt8Array

ROWS = 512
"""Rows of a band."""

LARGE = 16_000_000
"""Pixels from which on a scan saves memory, and maps are packed: ten of 100 megapixels would take a gigabyte."""


class Maps(Mapping[str, UInt8Array]):
    """Maps of one size by name, in the order in which they were added; each is unpacked when it is asked for.

    Args:
        size: (H, W) of all.
        maps: Maps to add.

    Raises:
        InvalidValueError: A map has another size.
    """

    def __init__(self, size: tuple[int, int], maps: Mapping[str, FloatArray | UInt8Array] | None = None) -> None:
        self.size = size
        self._bands: dict[str, list[UInt8Array | bytes]] = {}
        for name, heat in (maps or {}).items():
            self.add(name, heat)

    def add(self, name: str, heat: FloatArray | UInt8Array) -> None:
        """Keep an (H, W) map: float in [0, 1], or uint8 with 255 = 1.0.

        Raises:
            InvalidValueError: It has another size.
        """
        whole = quantized(name, heat, self.size)
        self._bands[name] = [
            zlib.compress(whole[rows].tobytes(), 1) if self._large else whole[rows] for rows in self._rows()
        ]

    def __getitem__(self, name: str) -> UInt8Array:
        """Return a map (H, W) uint8."""
        bands = self._bands[name]
        if not self._large:
            return self._unpacked(bands[0])
        whole = np.empty(self.size, np.uint8)
        for rows, band in zip(self._rows(), bands, strict=True):
            whole[rows] = self._unpacked(band)
        return whole

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._bands)

    def __len__(self) -> int:
        """Return how many maps there are."""
        return len(self._bands)

    def bands(self) -> Iterator[tuple[slice, dict[str, UInt8Array]]]:
        """Yield rows of the picture and what all maps say of them, from the top; together they are the whole."""
        for number, rows in enumerate(self._rows()):
            yield rows, {name: self._unpacked(bands[number]) for name, bands in self._bands.items()}

    @property
    def _large(self) -> bool:
        return self.size[0] * self.size[1] >= LARGE

    def _rows(self) -> list[slice]:
        height = self.size[0]
        step = ROWS if self._large else height
        return [slice(top, min(top + step, height)) for top in range(0, height, step)]

    def _unpacked(self, band: UInt8Array | bytes) -> UInt8Array:
        if isinstance(band, bytes):
            return np.frombuffer(zlib.decompress(band), np.uint8).reshape(-1, self.size[1])
        return band


def quantized(name: str, heat: FloatArray | UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return a map as uint8, 255 = 1.0; a value of exactly 0.5 stays below the middle, as it is not above the level.

    Raises:
        InvalidValueError: The map has another size.
    """
    if heat.shape != size:
        raise InvalidValueError(f"map '{name}': expected {size} as the picture, found {heat.shape}")
    if heat.dtype == np.uint8:
        return heat.astype(np.uint8, copy=False)
    scaled = np.empty(size, np.uint8)
    for top in range(0, size[0], ROWS):
        part = heat[top : top + ROWS]
        unit = np.clip(np.nan_to_num(part, nan=0.0), 0.0, 1.0)
        band = np.rint(unit * 255.0).astype(np.uint8)
        band[(band == 128) & (part <= 0.5)] = 127
        scaled[top : top + ROWS] = band
    return scaled
