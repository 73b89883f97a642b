"""How files are written by other software than ours: Pillow, with its own or given tables, and FFmpeg's MJPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from PIL import Image

Tables = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Writer:
    """How a file is written: by Pillow with a quality or with tables, or by FFmpeg with a scale from 2 to 31."""

    quality: int = 0
    tables: Tables = ()
    scale: int = 0
    subsampling: int = 2

    def __str__(self) -> str:
        return "ffmpeg" if self.scale else "pillow, tables of others" if self.tables else "pillow"

    def __call__(self, picture: Image.Image) -> bytes:
        if self.scale:
            return self._mjpeg(picture)
        how: dict[str, Any] = {"qtables": [list(t) for t in self.tables]} if self.tables else {"quality": self.quality}
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", subsampling=self.subsampling, **how)
        return buffer.getvalue()

    def _mjpeg(self, picture: Image.Image) -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mjpeg") as out:
            stream = out.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuvj420p"
            stream.codec_context.qmin = stream.codec_context.qmax = self.scale
            for packet in (*stream.encode(av.VideoFrame.from_image(picture)), *stream.encode(None)):
                out.mux(packet)
        return buffer.getvalue()


def drawn(rng: np.random.Generator, tables: Sequence[Tables]) -> Writer:
    """Return a writer: a third each of Pillow's qualities, of tables that files came with, and of FFmpeg."""
    kind, subsampling = int(rng.integers(3)), int(rng.choice([0, 2]))
    if kind == 0 or (kind == 1 and not tables):
        return Writer(quality=int(rng.integers(60, 97)), subsampling=subsampling)
    if kind == 1:
        return Writer(tables=tables[int(rng.integers(len(tables)))], subsampling=subsampling)
    return Writer(scale=int(rng.integers(2, 9)))


def reread(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
