"""Asking a network of faces: each face of a picture, brought to one place and size, and the maps brought back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tamperscope.signal import alignment, faces
from tamperscope.types import FloatArray, Prediction, Sample

LEAST = 16.0
"""Distance of the eyes, pixels, below which a face has nothing to be judged by."""
MOST = 16
"""Faces of a picture that are asked, the largest first."""


def crops(sample: Sample, side: int) -> list[tuple[faces.Face, Sample, NDArray[np.float64]]]:
    """Return each face of a picture, the largest first, as a picture of its own, with the map (2, 3) that made it.

    Args:
        sample: The picture.
        side: Of the crops, pixels.
    """
    found = [(float(np.linalg.norm(face.points[1] - face.points[0])), face) for face in faces.find(sample)]
    large = sorted((pair for pair in found if pair[0] >= LEAST), key=lambda pair: -pair[0])
    made = []
    for _, face in large[:MOST]:
        warp = alignment.warp_of(face.points, side)
        mask = sample.mask
        if mask is not None:
            mask = alignment.crop(mask.astype(np.uint8) * 255, warp, side) > 127
        crop = Sample(alignment.crop(sample.rgb, warp, side), mask, sample.label, sample.id)
        made.append((face, crop, warp))
    return made


def joined(size: tuple[int, int], answers: list[tuple[Prediction, NDArray[np.float64]]], name: str) -> Prediction:
    """Return the answer for a picture from those for its faces: the greatest score, the hottest of each pixel.

    Args:
        size: (H, W) of the picture.
        answers: Of each face, with the map that made its crop.
        name: That the prediction bears.
    """
    if not answers:
        cause = f"no face was found whose eyes are {LEAST:g} pixels apart or more"
        return Prediction(name, size, status="not_applicable", cause=cause)
    heat: FloatArray | None = None
    for answer, warp in answers:
        if answer.heatmap is not None:
            whole = alignment.back(answer.heatmap, warp, size)
            heat = whole if heat is None else np.maximum(heat, whole, out=heat)
    best = max((answer for answer, _ in answers), key=lambda one: -math.inf if math.isnan(one.score) else one.score)
    evidence = {**best.evidence, "faces": [round(answer.score, 4) for answer, _ in answers]}
    return Prediction(name, size, best.score, heat, evidence=evidence)
