"""JPEG pictures whose parts have different compression histories, for the tests of `dq` and `jpeg_ghost`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tamperscope.media.coefficients import read_coefficients
from tamperscope.media.recompress import decode_jpeg, encode_jpeg
from tamperscope.types import Sample

Photo = Callable[[str], np.ndarray]


def pictures(photo: Photo) -> Iterator[np.ndarray]:
    """Twelve pictures of about 300 x 400 pixels: both halves of three photographs, upright and turned over."""
    for name, boxes in {
        "astronaut": [(0, 0, 304, 400), (200, 108, 512, 512)],
        "coffee": [(0, 0, 304, 400), (90, 196, 400, 600)],
        "chelsea": [(0, 0, 300, 300), (0, 147, 300, 451)],
    }.items():
        for top, left, bottom, right in boxes:
            part = photo(name)[top:bottom, left:right]
            yield part
            yield np.ascontiguousarray(part[::-1, ::-1])


def sample_of(data: bytes) -> Sample:
    """The picture and its coefficients, read in this process."""
    return Sample(rgb=decode_jpeg(data), jpeg=read_coefficients(data))


@dataclass(frozen=True)
class Case:
    """One host in four states; the paste is the host's own uncompressed content, so only the history differs."""

    mask: np.ndarray
    forged: Sample  # host saved at `first`, uncompressed part pasted back, saved at `last`
    twin: Sample  # saved at `first`, then at `last`, nothing pasted
    single: Sample  # saved at `last` only
    swapped: Sample  # uncompressed host, part saved at `first` pasted in, saved at `last`


def case(rgb: np.ndarray, first: int, last: int, subsampling: str = "4:4:4", index: int = 0) -> Case:
    """Build the four states with a part of about 12 % at a place that depends on `index`."""
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), bool)
    top, left = 21 + 13 * (index % 4), 37 + 29 * (index % 5)
    mask[top : top + height // 3 + 16, left : left + width // 3] = True
    once = decode_jpeg(encode_jpeg(rgb, first, subsampling))

    def saved(pixels: np.ndarray) -> Sample:
        return sample_of(encode_jpeg(pixels, last, subsampling))

    select = mask[..., None]
    return Case(mask, saved(np.where(select, rgb, once)), saved(once), saved(rgb), saved(np.where(select, once, rgb)))


def cases(photo: Photo, first: int, last: int, subsampling: str = "4:4:4") -> list[Case]:
    """One case for each of the twelve pictures."""
    return [case(rgb, first, last, subsampling, i) for i, rgb in enumerate(pictures(photo))]
