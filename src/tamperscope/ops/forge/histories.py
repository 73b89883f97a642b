"""Histories: which JPEG compression a host or donor went through before it is forged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tamperscope.media.jpeg_markers import Component, Frame
from tamperscope.media.quantization import nearest_quality
from tamperscope.media.recompress import Subsampling
from tamperscope.ops import codecs
from tamperscope.ops.record import record
from tamperscope.types import Sample


def first_compression(sample: Sample) -> dict[str, Any]:
    """Return what is known of the earliest JPEG compression of a sample, JSON-ready.

    Returns:
        `known`: `record` (made by `recompressed`), `tables` (read from the sample's own) or `none`; unless none,
        `quality` on the IJG scale, `exact` (its tables are those of that quality) and `subsampling`, such as `4:2:0`
        or `grey`.
    """
    past = next((entry for entry in sample.meta.get("ops", ()) if entry["op"] == "recompressed"), None)
    if past is not None:
        exact = not past.get("tables")
        own = {"known": "record", "quality": past["quality"], "exact": exact, "subsampling": past["subsampling"]}
        return own if past["earlier"]["known"] == "none" else dict(past["earlier"])
    if sample.jpeg is None:
        return {"known": "none"}
    match = nearest_quality(sample.jpeg.qtables)
    parts = tuple(Component(k + 1, across, down, k) for k, (across, down) in enumerate(sample.jpeg.sampling))
    subsampling = Frame(0xC0, 8, *sample.size, parts).subsampling
    return {"known": "tables", "quality": match.quality, "exact": match.exact, "subsampling": subsampling}


def recompressed(
    sample: Sample,
    rng: np.random.Generator,
    qualities: tuple[int, int] = (60, 95),
    subsamplings: Sequence[Subsampling] = ("4:2:0", "4:4:4"),
    other_tables: bool = False,
) -> Sample:
    """Return a sample with a known history: compressed once more as JPEG, with a drawn quality and subsampling.

    The record's entry `recompressed` holds both, and under `earlier` what was known of an earlier compression.

    Args:
        sample: Host or donor.
        rng: Draws.
        qualities: Least and greatest quality, both included.
        subsamplings: To choose from.
        other_tables: Whether tables as other software writes them are drawn, instead of the IJG's.

    Raises:
        InvalidValueError: A quality is outside 1 to 100, or a subsampling has no such name.
    """
    quality = int(rng.integers(qualities[0], qualities[1] + 1))
    subsampling = subsamplings[int(rng.integers(len(subsamplings)))]
    # Only where it is asked for, so that records of others stay as they are.
    others = {"tables": int(rng.integers(1, codecs.MOST_TABLES))} if other_tables else {}
    after = codecs.jpeg(sample, quality, subsampling, **others)
    told = {"quality": quality, "subsampling": subsampling, **others, "earlier": first_compression(sample)}
    return record(sample, after, "recompressed", **told, reencoded=True)
