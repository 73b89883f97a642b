"""The parts of a report that say what was received, and which software read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from tamperscope.report.fields import Model, Pixels, Text


class Tool(Model):
    """The software that wrote the report."""

    name: Text = Field(default="tamperscope", description="Name of the tool.")
    version: Text = Field(description="Its version.")
    python: Text = Field(default="", description="Version of Python.")
    numpy: Text = Field(default="", description="Version of NumPy.")
    opencv: Text = Field(default="", description="Version of OpenCV.")


class Intake(Model):
    """The file as received, and everything that was done to it before a detector saw it."""

    name: Text = Field(description="File name as given, or empty; untrusted text.")
    source: Text = Field(default="file", description="What was handed in: a file, bytes, or pixels without a file.")
    bytes: int | None = Field(default=None, ge=0, description="File size in bytes; null without a file.")
    sha256: Text | None = Field(default=None, description="SHA-256 of the bytes, hexadecimal; null without a file.")
    same_as: Text | None = Field(
        default=None, description="Earlier file of the same bytes whose scan this is; null: it was scanned itself."
    )
    type_by_magic: Text | None = Field(default=None, description="Format of the first bytes; null without a file.")
    type_by_extension: Text | None = Field(default=None, description="Format that the name states; null for none.")
    frames: int | None = Field(default=None, description="Frames or pages in the file; one is analysed.")
    bits: int | None = Field(default=None, description="Bits per channel as stored.")
    decoder: Text = Field(default="", description="Decoder of the pixels, with its version.")
    orientation_policy: Text = Field(
        default="pixels analysed as stored; EXIF orientation applied to the display only",
        description="What was done about the EXIF orientation.",
    )
    transformations: list[Text] = Field(
        default_factory=list, description="Every change between the bytes and the analysed pixels, in order."
    )
    complete: bool = Field(default=True, description="False when only a part of the picture could be decoded.")
    not_read: Text = Field(default="", description="Why readers of the container gave no answer; empty: they did.")

    @classmethod
    def of(cls, intake: Mapping[str, Any]) -> Intake:
        """Return the model of what `media.open` notes as `intake`; the size is left to `Picture`."""
        known = {key: value for key, value in intake.items() if key not in ("type", "width", "height")}
        return cls(type_by_magic=intake["type"], **known)


class Picture(Model):
    """Size and orientation of the decoded picture."""

    width: Pixels = Field(description="Columns of the picture as stored.")
    height: Pixels = Field(description="Rows of the picture as stored.")
    orientation: int = Field(default=1, ge=1, le=8, description="EXIF orientation, 1 (upright as stored) to 8.")
    megapixels: float = Field(ge=0.0, description="Millions of pixels.")
