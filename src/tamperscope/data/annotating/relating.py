"""How an edited picture and its original are related, and where the original's pixels lie in the edited one.

Sources and departures: MIML's annotator (Qu et al., CVPR 2024) tells the relations apart, and finds the common part, by
a trained ConvNeXt-XL. Here keypoints do both: similarity transforms that many of them support are the candidates, and
how much of the canvas agrees after alignment decides. That needs no training and also aligns turned and mirrored
pictures; pictures without texture, which have no keypoints, are only compared as wholes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.signal import affine, dense_match, keypoints, preview
from tamperscope.signal.affine import Affine, Matches
from tamperscope.signal.blocks import luma
from tamperscope.types import BoolArray, FloatArray, UInt8Array

Kind = Literal["same_canvas", "shared_object", "unrelated"]
_KEYPOINTS, _CONTRAST, _RATIO = 2500, 0.015, 0.8
_CANDIDATES, _LEAST_PLACES = 4, 6
_AGREES = 0.6
# Shares of the canvas: covered by the original, and of its textured part that agrees.
_COVERS, _STAYS = 0.5, 0.4
_SURE = 0.12
_DRIFT = 0.12
_TRUSTED = 30
_MOST = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """The original laid over the edited picture.

    Attributes:
        transform: From the edited picture's pixels (x, y) to those of the original.
        picture: (h, w, 3) float32, the original on the edited picture's pixels.
        covered: (h, w) bool, where it has any.
        points: (N, 2) places in the edited picture that are known to correspond.
        places: Number of them that are distinct.
        stays: Share of the textured covered windows that agree.
    """

    transform: Affine
    picture: FloatArray
    covered: BoolArray
    points: FloatArray
    places: int
    stays: float


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """How two pictures are related.

    Attributes:
        kind: `same_canvas`: the edited picture is the original, changed (MIML's SPG, shared probe); `shared_object`:
            an object of the original lies on another canvas (SDG, shared donor); or `unrelated`.
        laid: The ways in which the original lies over the edited picture; one for the same canvas, else one an object.
    """

    kind: Kind
    laid: tuple[Laid, ...] = ()


def relate(original: UInt8Array, edited: UInt8Array) -> Relation:
    """Return how an edited picture is related to its original.

    Args:
        original: (H, W, 3), of about the size of the edited one.
        edited: (h, w, 3).
    """
    found = _supported(original, edited, 1)
    whole = _whole(original, edited)
    same = [x for x in [*found, whole] if _same_canvas(x, edited.shape[:2], whole.transform)]
    if same:
        return Relation("same_canvas", (max(same, key=lambda x: x.stays * float(x.covered.mean())),))
    # An object that became small shows its keypoints only when it is enlarged.
    objects = tuple(found or _supported(original, edited, 2))
    return Relation("shared_object", objects) if objects else Relation("unrelated")


def _supported(original: UInt8Array, edited: UInt8Array, upsample: int) -> list[Laid]:
    """Return the original as many keypoints lay it over the edited picture, best supported first."""
    matches = _matches(original, edited, upsample)
    groups = affine.clusters(matches, _CANDIDATES, _LEAST_PLACES, both=False, most=_MOST**2)
    return [_lay(original, edited, *_refined(group)) for group in groups]


def _matches(original: UInt8Array, edited: UInt8Array, upsample: int) -> Matches:
    """Return which places of the edited picture (source) look like which of the original (target)."""
    here, there = _points(edited, upsample), _points(original, 1)
    parts = [_paired(here, there, mirror) for mirror in (False, True)]
    return Matches(*(np.concatenate([getattr(p, n) for p in parts]) for n in Matches.__slots__))


def _points(rgb: UInt8Array, upsample: int) -> keypoints.Keypoints:
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return keypoints.detect(grey, _CONTRAST, _KEYPOINTS, upsample)


def _paired(here: keypoints.Keypoints, there: keypoints.Keypoints, mirror: bool) -> Matches:
    """Return the matches that pass Lowe's ratio test, in the order of the keypoints."""
    row: list[int] = []
    other: list[int] = []
    weight: list[float] = []
    if len(here) and len(there) > 1:
        asked = keypoints.mirrored(here.descriptors) if mirror else here.descriptors
        for best, second in cv2.BFMatcher(cv2.NORM_L2).knnMatch(asked, there.descriptors, k=2):
            if best.distance < _RATIO * second.distance:
                row.append(best.queryIdx)
                other.append(best.trainIdx)
                weight.append(1 - best.distance / second.distance)
    a, b = np.asarray(row, np.intp), np.asarray(other, np.intp)
    scale = there.size[b] / here.size[a]
    turn = there.angle[b] + here.angle[a] * (1 if mirror else -1)
    flags = np.full(len(a), mirror)
    made = Matches(here.xy[a], there.xy[b], scale, turn, flags, np.asarray(weight, np.float32))
    return made.take((scale > 1 / _MOST) & (scale < _MOST))


def _refined(group: affine.Cluster) -> tuple[Affine, FloatArray, int]:
    """Return the transform of a cluster, affine where many places support it: crops and resizes change proportions."""
    better = affine.fit_affine(group.source, group.target) if group.places >= _TRUSTED else None
    return group.transform if better is None else better, group.source, group.places


def _whole(original: UInt8Array, edited: UInt8Array) -> Laid:
    """Return the whole original laid over the whole edited picture, aligned to subpixels where that succeeds."""
    start = next(transform for _, transform in preview.layouts(original.shape[:2], edited.shape[:2]))
    plain = preview.Registration(0, "whole", start, 0.0)
    return _lay(original, edited, preview.align(original, edited, plain).transform, np.zeros((0, 2), np.float32), 0)


def _lay(original: UInt8Array, edited: UInt8Array, transform: Affine, points: FloatArray, places: int) -> Laid:
    picture, covered = preview.render(original, transform, edited.shape[:2])
    agreement = agreement_of(picture, edited, covered)
    asked = agreement.textured & covered
    stays = float((agreement.correlation > _AGREES)[asked].mean()) if asked.any() else 0.0
    return Laid(transform, picture, covered, points, places, stays)


def agreement_of(picture: FloatArray, edited: UInt8Array, covered: BoolArray) -> dense_match.Agreement:
    """Return how well the lumas of two pictures that lie over each other agree in small windows."""
    box = (0, 0, edited.shape[1], edited.shape[0])
    return dense_match.between(luma(edited), preview.luma_of(picture), covered, box)


def _same_canvas(laid: Laid, size: tuple[int, int], whole: Affine) -> bool:
    """Return whether an original fills the canvas: most of what it covers stayed, or it lies just as a whole would."""
    if laid.covered.mean() < _COVERS:
        return False
    corners = _corners(size)
    away = np.abs(affine.apply(laid.transform, corners) - affine.apply(whole, corners)).max(axis=0)
    span = np.ptp(affine.apply(whole, corners), axis=0)
    near = bool((away <= _DRIFT * span).all())
    return laid.stays >= (_SURE if near else _STAYS)


def _corners(size: Sequence[int]) -> NDArray[np.float64]:
    height, width = size
    return np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
