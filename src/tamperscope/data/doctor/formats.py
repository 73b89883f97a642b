"""Features of the file that have nothing to do with what the picture shows, by family, and their matrix."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tamperscope.media import Opened

FAMILIES = {
    "file_type": "file type",
    "pixel_format": "bits and colour mode",
    "file_size": "file size",
    "dimensions": "dimensions",
    "metadata": "presence of metadata",
    "quantization": "JPEG quantization tables",
    "subsampling": "JPEG chroma subsampling",
    "coding": "JPEG coding and order of markers",
}
BINS, CATEGORIES = 8, 32
# A text is a category, a number is binned; a family that a file does not have (JPEG's) is absent.
Features: TypeAlias = "dict[str, dict[str, str | float]]"


def features_of(opened: Opened) -> Features:
    """Return the format features of a picture by family; no pixel plays a part."""
    intake = opened.intake
    width, height = int(intake["width"]), int(intake["height"])
    count = max(1, int(intake["bytes"] or 0))
    found: Features = {
        "file_type": {"type": str(intake["type"]), "name ending": str(intake["type_by_extension"])},
        "pixel_format": {"bits": str(intake["bits"]), "steps": ", ".join(intake["transformations"]) or "none"},
        "file_size": {"kilobytes": count / 1000, "bits per pixel": 8.0 * count / (width * height)},
        "dimensions": _dimensions(width, height),
        "metadata": _metadata(opened),
    }
    return found | _jpeg(opened.facts.get("jpeg", {}))


def _dimensions(width: int, height: int) -> dict[str, str | float]:
    return {
        "width": float(width),
        "height": float(height),
        "megapixels": width * height / 1e6,
        "aspect": width / height,
        "size": f"{width} × {height}",
        "whole 8 × 8 blocks": _yes(width % 8 == 0 and height % 8 == 0),
    }


def _yes(value: Any) -> str:
    return "yes" if value else "no"


def _metadata(opened: Opened) -> dict[str, str | float]:
    facts = opened.facts.get("metadata", {})
    exif = facts.get("exif", {})
    first = exif.get("IFD0", {})
    # Every TIFF file has tags; only those of a camera make EXIF of them.
    has_exif = bool(exif) and (opened.intake["type"] != "TIFF" or "Exif" in exif or "Make" in first)
    carriers = opened.facts.get("jpeg", {}).get("carriers", {})
    present = {
        "EXIF": has_exif,
        "camera make": first.get("Make"),
        "software": first.get("Software"),
        "orientation": facts.get("orientation", 1) != 1,
        "thumbnail": opened.sample.thumbnail is not None,
        "C2PA": opened.facts.get("c2pa", {}).get("present"),
        "JFIF": carriers.get("jfif"),
        "Adobe": carriers.get("adobe_transform") is not None,
        "comment": opened.facts.get("jpeg", {}).get("comments"),
    }
    present |= {name: facts.get(name.lower()) for name in ("XMP", "ICC", "IPTC", "Photoshop", "text")}
    return {name: _yes(value) for name, value in present.items()}


def _jpeg(facts: Mapping[str, Any]) -> Features:
    frame = facts.get("frame") or {}
    if not frame:
        return {}
    stated = facts.get("quantization", {})
    tables = [table.get("values") for table in stated.get("tables", [])]
    nearest = stated.get("nearest_ijg") or {}
    name = hashlib.sha256(repr(tables).encode()).hexdigest()[:8]
    quantization: dict[str, str | float] = {"tables": f"{name} (IJG quality ≈ {nearest.get('quality', '?')})"}
    if "quality" in nearest:
        quantization["nearest IJG quality"] = float(nearest["quality"])
    return {
        "quantization": quantization,
        "subsampling": {"subsampling": str(frame.get("subsampling"))},
        "coding": {
            "process": str(frame.get("process")),
            "default Huffman tables": _yes(facts.get("huffman", {}).get("default")),
            "markers": _markers(facts.get("markers", {}).get("segments", [])),
        },
    }


def _markers(segments: Sequence[Mapping[str, Any]]) -> str:
    """Return the order of the markers that code the picture; those that carry metadata have a family of their own."""
    names = [str(s.get("marker")) for s in segments]
    runs = [(name, len(list(run))) for name, run in groupby(n for n in names if not n.startswith(("APP", "COM")))]
    return " ".join(name if count == 1 else f"{name}*{count}" for name, count in runs)


def matrix(
    rows: Sequence[Mapping[str, Mapping[str, str | float]]], families: Sequence[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the one-hot (N, D) matrix of the rows and what each column means; labels play no part in it.

    A number falls into one of `BINS` bins of equal population; of categories the `CATEGORIES` most frequent that
    occur at least twice have a column, of yes and no only yes has. What does not vary has none.
    """
    columns: list[NDArray[np.bool_]] = []
    names: list[str] = []
    for family in families:
        for name in dict.fromkeys(key for row in rows for key in row.get(family, {})):
            values = [row.get(family, {}).get(name) for row in rows]
            for title, column in _columns(name, values):
                if 0 < column.sum() < len(rows):
                    columns.append(column)
                    names.append(title)
    empty = np.zeros((len(rows), 0))
    return (np.stack(columns, axis=1).astype(np.float64) if columns else empty), names


def _columns(name: str, values: Sequence[str | float | None]) -> list[tuple[str, NDArray[np.bool_]]]:
    if any(isinstance(v, float) for v in values):
        return _binned(name, np.array([v if isinstance(v, float) else math.nan for v in values]))
    common = Counter(v for v in values if isinstance(v, str))
    if common.keys() <= {"yes", "no"}:
        common.pop("no", None)
    kept = sorted((v for v, n in common.items() if n > 1), key=lambda v: (-common[v], v))[:CATEGORIES]
    codes = np.array(values, object)
    return [(f"{name}: {value}", np.asarray(codes == value, bool)) for value in kept]


def _binned(name: str, values: NDArray[np.float64]) -> list[tuple[str, NDArray[np.bool_]]]:
    known = ~np.isnan(values)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
    place = np.searchsorted(edges, values, side="right")
    ends = ["", *(f"{edge:.4g}" for edge in edges), ""]
    titles = [
        f"{name}: {low} to {high}" if low and high else f"{name}: from {low}" if low else f"{name}: below {high}"
        for low, high in pairwise(ends)
    ]
    return [(title, (place == k) & known) for k, title in enumerate(titles)]
