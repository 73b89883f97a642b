"""Small pictures of what a subject saw: the picture, its map over it, and the outline of the truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tamperscope.bench.results import Worst
from tamperscope.bench.subjects import Panel
from tamperscope.data.manifest import Manifest
from tamperscope.errors import InputError
from tamperscope.ops.forge.delivery import Delivery
from tamperscope.report import imaging
from tamperscope.report.maps import quantized
from tamperscope.types import BoolArray, Sample, UInt8Array

SIDE = 320
_LINE = (95, 240, 255)


def panels(worst: Worst, manifest_path: str | Path, panel: Panel) -> tuple[bytes, bytes | None, bytes | None]:
    """Return PNG bytes, longest side at most 320: the picture, the subject's map over it, the outline of the truth.

    The second is None where the subject gives no map, the third where nothing is forged or no truth is known.

    Args:
        worst: Which picture and subject.
        manifest_path: Manifest that names the picture.
        panel: Holds the subject.

    Raises:
        InputError: The manifest has no such picture, or the panel no such subject.
    """
    sample = _sample(worst, Manifest(manifest_path))
    turn = int(sample.meta.get("orientation") or 1)

    def small(array: UInt8Array) -> UInt8Array:
        return imaging.shrink(imaging.upright(array, turn), SIDE)

    picture, heat = small(sample.rgb), _heat(worst, sample, panel)
    truth = None if sample.mask is None or not sample.mask.any() else small(sample.mask.astype(np.uint8) * 255) > 0
    plain = Delivery(None)
    return (
        plain.encode(picture),
        None if heat is None else plain.encode(imaging.overlay(picture, small(heat))),
        None if truth is None else plain.encode(outlined(picture, truth)),
    )


def outlined(rgb: UInt8Array, mask: BoolArray) -> UInt8Array:
    """Return the (H, W, 3) picture with the outline of the (H, W) mask drawn on it, light on dark."""
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(rgb).copy()
    cv2.drawContours(drawn, lines, -1, (0, 0, 0), 3)
    cv2.drawContours(drawn, lines, -1, _LINE, 1)
    return drawn


def _sample(worst: Worst, manifest: Manifest) -> Sample:
    entry = next((e for e in manifest if e.image == worst.image), None)
    if entry is None:
        raise InputError(
            f"manifest of '{worst.test}': expected a picture '{worst.image}', found none; prepare it again"
        )
    return manifest.open(entry)


def _heat(worst: Worst, sample: Sample, panel: Panel) -> UInt8Array | None:
    found = next((p for p in panel.predict(sample) if p.detector == worst.subject), None)
    if found is None:
        raise InputError(f"expected the subject '{worst.subject}', found {', '.join(panel.names) or 'none'}")
    return None if found.heatmap is None else quantized(found.detector, found.heatmap, sample.size)
