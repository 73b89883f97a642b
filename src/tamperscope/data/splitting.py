"""Part a manifest by group: which part a group is in follows from its name and the seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

from tamperscope.data.manifest import Manifest, moved, write
from tamperscope.errors import InvalidValueError


def part_of(group: str, shares: Mapping[str, float], seed: int = 0) -> str | None:
    """Return the part of a group, or None where the shares leave room and it falls there.

    A part keeps its groups when pictures are added, and for as long as the shares before it and its own stay.

    Args:
        group: Its name.
        shares: Of the groups, by part, in order; above 0, at most 1 together.
        seed: Of the draw.

    Raises:
        InvalidValueError: Shares are out of range.
    """
    if not shares or min(shares.values()) <= 0 or sum(shares.values()) > 1 + 1e-9:
        raise InvalidValueError(f"shares: expected parts above 0 that are at most 1 together, found {dict(shares)}")
    digest = hashlib.sha256(f"{seed}/{group}".encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    ends = accumulate(shares.values())
    return next((name for name, end in zip(shares, ends, strict=True) if place < end), None)


def split(manifest: Manifest, out: str | Path, shares: Mapping[str, float], seed: int = 0) -> dict[str, int]:
    """Write `PART.jsonl` for every part; return the number of entries of each.

    Pictures are not copied: the parts name them where they lie. Entries of one group, or without a group the picture
    alone, never part.

    Args:
        manifest: What is parted.
        out: Folder of the parts.
        shares: As of `part_of`; they name the files.
        seed: Of the draw.

    Raises:
        InputError: The manifest is none.
        InvalidValueError: Shares are out of range, or a name is none of a file.
    """
    for name in shares:
        if Path(name).name != name or name in ("", ".", ".."):
            raise InvalidValueError(f"part: expected a plain name, found {name!r}")
    part_of("", shares, seed)  # refuses wrong shares before a folder is made
    folder, root = Path(out), manifest.path.parent
    folder.mkdir(parents=True, exist_ok=True)
    return {
        name: write(
            folder / f"{name}.jsonl",
            (moved(e, root, folder) for e in manifest if part_of(e.source_group, shares, seed) == name),
        )
        for name in shares
    }
