"""One pair: relation, soft map with a mirrored second opinion, scores, and why it is not to be trained on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.data.annotating import mapping, quality, relating
from tamperscope.data.annotating.relating import Kind
from tamperscope.errors import InvalidValueError
from tamperscope.types import BoolArray, FloatArray, UInt8Array

SIDE = 640
"""Longer side, in pixels, at which pictures are compared."""
_LEAST_SIDE = 32
_AREA = (0.0005, 0.75)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a mask must fulfil to be kept.

    Attributes:
        keep: Least quality score, `quality.qes`.
        agree: Least overlap with the map of the mirrored pair, `quality.agreement`.

    Raises:
        InvalidValueError: One lies outside of [0, 1].
    """

    keep: float = 0.5
    agree: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.keep <= 1 and 0 <= self.agree <= 1):
            raise InvalidValueError(f"annotate: expected keep and agree in [0, 1], found {self.keep}, {self.agree}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a pair's mask without knowing the truth.

    Attributes:
        relation: Of the two pictures.
        area: Share of the edited picture that is marked.
        qes: Quality score of the soft map.
        agreement: Overlap of the soft map with that of the mirrored pair.
    """

    relation: Kind
    area: float
    qes: float
    agreement: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was found of a pair.

    Attributes:
        soft: (H, W) float32 in [0, 1], on the edited picture's pixels.
        facts: What is known of it.
    """

    soft: FloatArray
    facts: Facts

    @property
    def mask(self) -> BoolArray:
        """(H, W) bool, what was edited."""
        return np.asarray(self.soft > 0.5)


def judge(original: UInt8Array, edited: UInt8Array) -> Judged:
    """Return the map of what was edited, and how far it can be trusted.

    The pair is also judged as its mirror image: the map is the mean of both, as in MIML, and how far they agree is a
    score of its own, for the quality score alone trusts every decided map.

    Args:
        original: (H, W, 3) uint8.
        edited: (h, w, 3) uint8.

    Raises:
        InvalidValueError: A side is shorter than 32 pixels.
    """
    if min(*original.shape[:2], *edited.shape[:2]) < _LEAST_SIDE:
        shapes = f"{original.shape[:2]}, {edited.shape[:2]}"
        raise InvalidValueError(f"annotate: expected sides from {_LEAST_SIDE} pixels, found {shapes}")
    first, second = _limited(original), _limited(edited)
    kind, plain = _map(first, second)
    mirrored_kind, mirrored = _map(*(np.ascontiguousarray(x[:, ::-1]) for x in (first, second)))
    mirrored = mirrored[:, ::-1]
    same = kind == mirrored_kind
    soft = np.asarray((plain + mirrored) / 2, np.float32) if same else plain
    whole = np.asarray(cv2.resize(soft, edited.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    agreement = quality.agreement(plain, mirrored) if same else 0.0
    return Judged(whole, Facts(kind, float((whole > 0.5).mean()), quality.qes(soft), agreement))


def _map(original: UInt8Array, edited: UInt8Array) -> tuple[Kind, FloatArray]:
    found = relating.relate(original, edited)
    make = mapping.changed if found.kind == "same_canvas" else mapping.shared
    maps = [make(laid, edited) for laid in found.laid]
    return found.kind, np.maximum.reduce(maps) if maps else np.zeros(edited.shape[:2], np.float32)


def _limited(rgb: UInt8Array) -> UInt8Array:
    factor = SIDE / max(rgb.shape[:2])
    if factor >= 1:
        return rgb
    size = (max(8, round(rgb.shape[1] * factor)), max(8, round(rgb.shape[0] * factor)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def reason(facts: Facts, limits: Limits) -> str:
    """Return why a mask is not kept, in a few words, or "" where it is."""
    faults = {
        "the pictures have nothing in common": facts.relation == "unrelated",
        "no edit was found": facts.area < _AREA[0],
        f"more than {_AREA[1]:.0%} of the picture is marked": facts.area > _AREA[1],
        f"quality score below {limits.keep:g}": facts.qes < limits.keep,
        f"agreement with the mirrored pair below {limits.agree:g}": facts.agreement < limits.agree,
    }
    return next((text for text, wrong in faults.items() if wrong), "")
