"""Manifests: one JSON line a picture, paths relative to the manifest's own folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tamperscope.errors import InputError


class Entry(BaseModel):
    """One picture of a manifest; fields that are not named here are kept.

    Attributes:
        image: Path of the picture, relative to the manifest.
        mask: Path of its truth mask (> 127 is forged), or None.
        label: 0 pristine, 1 forged or generated, None unknown.
        split: Such as `train` or `dev`.
        domain: Such as `manipulation`, `pristine`, `document`, `generated`.
        group: Name shared by pictures of one source; they never go to different splits.
        object_mask: Path of an object's outline, which is no truth of tampering.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    image: str
    mask: str | None = None
    label: int | None = None
    split: str = ""
    domain: str = ""
    group: str | None = None
    object_mask: str | None = None

    @property
    def source_group(self) -> str:
        """The group, or the picture itself when it has none."""
        return self.group or self.image

    @property
    def extra(self) -> dict[str, Any]:
        """Fields beyond the named ones."""
        return dict(self.model_extra or {})


def read(path: str | Path) -> Iterator[Entry]:
    """Yield the entries of a manifest, one line in memory at a time.

    Raises:
        InputError: A line is no JSON object of the expected shape; the message names the line.
    """
    path = Path(path)
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield Entry.model_validate(json.loads(line))
            except (json.JSONDecodeError, ValidationError) as error:
                raise InputError(f"{path.name}, line {number}: expected one JSON object a line: {error}") from error
