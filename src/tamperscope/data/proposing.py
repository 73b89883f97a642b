"""Regions that a network proposes: outlines of objects to forge with, or weak labels of forged pictures.

A network that learned where objects are without any truth (`peekaboo`), or where a class is from labels alone (`bas`,
`wscl`), marks regions that nobody drew. `tamperscope forge` takes such outlines where it takes those of people, and a
training takes such masks; each entry says who proposed its region, for it is no truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest, moved, write
from tamperscope.errors import InvalidValueError, TamperscopeError, unknown_name
from tamperscope.files import write_atomic
from tamperscope.inference.artifact import Artifact
from tamperscope.signal.regions import components
from tamperscope.types import BoolArray, FloatArray

Use = Literal["object", "mask"]
"""What a region is for: the outline of an object, or the mask of a picture that is known to be forged."""


def use(name: str) -> Use:
    """Return what a region is for, of its name.

    Raises:
        UnknownNameError: It is none.
    """
    if name not in get_args(Use):
        raise unknown_name("use of a region", name, get_args(Use))
    return cast(Use, name)


@dataclass(slots=True)
class Proposed:
    """What came of it.

    Attributes:
        regions: That were proposed.
        known: Entries left as they are: they have a region of that kind, or are not known to be forged.
        refused: Of the others, why none was proposed, by name; they are not in the new manifest.
    """

    regions: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def propose(
    manifest: Manifest,
    entries: Iterable[Entry],
    network: Artifact,
    out: str | Path,
    kind: Use = "object",
    shares: tuple[float, float] = (0.01, 0.6),
) -> Proposed:
    """Write a region of every entry that lacks one, and `manifest.jsonl` of all that have one then.

    Args:
        manifest: Where the entries are from; their pictures stay where they are.
        entries: Pictures to ask about.
        network: Who proposes; its map is cut at the threshold of its card.
        out: Folder of the regions and the manifest.
        kind: `object`: the largest part becomes the outline `object_mask`. `mask`: all parts become the `mask` of
            pictures with the label 1; others keep what they have.
        shares: Least and largest share of the picture that a region may have.

    Raises:
        InvalidValueError: Shares are out of range.
    """
    if not 0 <= shares[0] < shares[1] <= 1:
        raise InvalidValueError(f"propose.shares: expected two that rise from 0 to 1, found {shares}")
    folder, found, listed = Path(out), Proposed(), []
    (folder / "regions").mkdir(parents=True, exist_ok=True)
    ask, name = network.predictor(), "object_mask" if kind == "object" else "mask"
    for entry in entries:
        there = moved(entry, manifest.path.parent, folder)
        if getattr(entry, name) is not None or (kind == "mask" and entry.label != 1):
            found.known += 1
            listed.append(there)
            continue
        try:
            region = _region(ask(manifest.open(entry)).heatmap, kind, shares)
        except (TamperscopeError, OSError) as error:
            found.refused[entry.image] = str(error)
            continue
        path = f"regions/{found.regions:06}.png"
        write_atomic(folder / path, masks.png(region))
        said = {name: path, "proposed_by": f"{network.card.name} {network.sha256[:12]}"}
        listed.append(Entry(**(there.model_dump(exclude_defaults=True) | said)))
        found.regions += 1
    write(folder / "manifest.jsonl", listed)
    return found


def _region(heatmap: FloatArray | None, kind: Use, shares: tuple[float, float]) -> BoolArray:
    """Return what a map marks, (H, W) bool."""
    if heatmap is None:
        raise InvalidValueError(
            "expected a network that shows a map; this one judges pictures as a whole, or abstained"
        )
    marked = heatmap >= 0.5
    if kind == "object" and (parts := components(marked, limit=1)):
        x0, y0, x1, y1 = parts[0].box
        marked = np.zeros_like(marked)
        marked[y0:y1, x0:x1] = parts[0].mask
    if not shares[0] <= (share := float(marked.mean())) <= shares[1]:
        raise InvalidValueError(f"expected a region of {shares[0]:.0%} to {shares[1]:.0%}, found {share:.1%}")
    return marked
