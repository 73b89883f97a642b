"""What is scanned of an upload: the picture itself, or each page of a PDF file and each picture on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tamperscope import media
from tamperscope.errors import TamperscopeError
from tamperscope.media.sniff import HEAD, sniff
from tamperscope.serve.problems import Problem

PARTS = 200
"""Pages and pictures of a document that one upload may have."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One scan of an upload.

    Attributes:
        name: What it is called.
        options: Fields of `scans.Options` that say which part of a document it is.
    """

    name: str
    options: Mapping[str, int] = field(default_factory=dict)


def pieces(upload: Path, name: str, limits: media.Limits) -> list[Piece]:
    """Return the scans of an upload; what cannot be read is one scan, whose failure says why.

    Args:
        upload: The file.
        name: What it is called.
        limits: What it may ask for.

    Raises:
        Problem: 422, a document has more parts than one upload may have.
    """
    with upload.open("rb") as file:
        if sniff(file.read(HEAD)) != "PDF":
            return [Piece(name)]
    try:
        parts = media.parts(upload, limits)
    except TamperscopeError:
        return [Piece(name, {"page": 1})]
    if len(parts) > PARTS:
        detail = f"expected at most {PARTS} pages and pictures, found {len(parts)}; scan it with `tamperscope scan`"
        raise Problem(422, f"'{name[:100]}': {detail}")
    return [Piece(f"{name}#{part}", {"page": part.page, "image": part.image}) for part in parts]
