"""Finds parts of a picture that repeat elsewhere in it: moved, turned, scaled or mirrored copies.

How. SIFT keypoints are compared with their exact nearest neighbours in the same picture; matches that pass the ratio
test each state a similarity transform, and those that agree are gathered and refined. Plain shifts of smooth content,
which gives no keypoints, come from the autocorrelation of the fine detail. Every proposal is then verified pixel by
pixel: the part on which the picture agrees with its own image is grown, and judged by how large and how textured it is,
how constant the brightness between both ends stays, and how little of the texture is left when one is subtracted from
the other. Natural repetition (windows, letters, leaves) agrees in outline, not in that residue.

Which end was pasted shows at the outline: around the source the scene goes on, around the copy another one begins, so
the colour step across the outline is larger there. The map shows the source the less, the clearer that is.

Limits. Copies of flat or very smooth parts cannot be told from chance. Where the outline does not tell, as with a thing
cut out exactly, both ends are marked. Pictures over 3.2 megapixels are searched at that size.

Sources. I. Amerini et al., TIFS 6(3), 2011 (SIFT, generalized ratio test, affine RANSAC); D. Cozzolino, G. Poggi,
L. Verdoliva, TIFS 10(11), 2015 (dense verification). Departures: matches vote by their own scale and angle before any
sampling; the decision is a logistic regression over three measures, fitted on copies made in training pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal import affine, clones, seam
from tamperscope.signal.clones import Clone
from tamperscope.types import BoolArray, Box, Finding, FloatArray, Prediction, Region, Sample, UInt8Array

# Logistic regression of true copies over natural repetition (see `evidence_of`): intercept, then one weight a measure.
_INTERCEPT, _SIZE, _BRIGHTNESS, _RESIDUE = -4.447, 0.603, -3.653, 1.369
_SURE = 0.8  # probability from which an end is called source or copy
_SHOWN = -3.0  # weaker repetitions are not even shown


class CopyMove(Detector):
    """Copy-move by keypoints and shifts, verified pixel by pixel.

    Args:
        max_pixels: Larger pictures are searched at this size.
        max_overlap: Share of a region that its own copy may cover; more is a periodic texture.
    """

    family = "duplication"
    min_side = 64
    guide = Guide(
        looks_at="Parts of the picture that occur twice, also when one was turned, scaled, mirrored or brightened.",
        how_to_read="Regions with one number are copies of each other; the brighter one is more likely the pasted one.",
        when_it_lies="Identical things (printed patterns, screens, tiles) repeat too; copies of flat areas are missed.",
    )

    def __init__(self, max_pixels: int = 3_200_000, max_overlap: float = 0.15) -> None:
        self.max_pixels = max_pixels
        self.max_overlap = max_overlap

    def analyze(self, sample: Sample) -> Prediction:
        """Return both ends of every copy; see `Detector.analyze`."""
        rgb, scale = _reduced(sample.rgb, self.max_pixels)
        if min(rgb.shape[:2]) < self.min_side:
            raise NotApplicable("the picture is too narrow to search")
        found = self._clones(rgb)
        heat = np.zeros(rgb.shape[:2], np.float32)
        regions: list[Region] = []
        for pair, (logit, clone) in enumerate(found, 1):
            value = 1.0 / (1.0 + math.exp(-logit))
            ends = _ends(rgb, clone)
            for end in ends:
                _raise_to(heat, end.box, end.mask, np.float32(value * min(1.0, 2.0 * end.pasted)))
            if logit > 0:
                regions += [_region(end, clone, pair, value, scale, sample.size) for end in ends]
        best = found[0][0] if found else _SHOWN
        return Prediction(
            self.name,
            sample.size,
            best,
            _enlarged(heat, sample.size),
            regions=regions,
            reasons=[_reason(logit, clone, pair) for pair, (logit, clone) in enumerate(found, 1) if logit > 0],
            evidence={"searched_at_scale": scale, "repetitions": len(found), "copies": len(regions) // 2},
        )

    def _clones(self, rgb: UInt8Array) -> list[tuple[float, Clone]]:
        """Return (evidence, clone), strongest first, one for each place."""
        gray = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        contrast = 0.005 if gray.size < 500_000 else 0.01
        proposals, points = clones.propose_by_keypoints(gray, contrast)
        plane = gray.astype(np.float32)
        proposals += clones.propose_by_shifts(plane)
        if not points and not proposals:
            raise NotApplicable("the picture has no texture that could be found again")
        found = []
        for clone in clones.verified(plane, proposals):
            if clone.traits["overlap"] <= self.max_overlap:
                logit = evidence_of(clone)
                if logit > _SHOWN and not (logit > 0 and _periodic(gray, clone)):
                    found.append((logit, clone))
        found.sort(key=lambda item: -item[0])
        return _distinct(found)


def evidence_of(clone: Clone) -> float:
    """Return the log odds that a verified repetition is a copy and not natural.

    The measures are the textured area, how far the brightness between both ends strays from a constant, and the
    texture's energy over what remains of it after subtraction.
    """
    t = clone.traits
    size = math.log(t["textured"] + 30.0)
    brightness = math.log(t["gain_gap"] + 0.15)
    residue = math.log((t["tensor"] + 0.05) / (t["res_median"] + 0.5))
    return _INTERCEPT + _SIZE * size + _BRIGHTNESS * brightness + _RESIDUE * residue


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    """One of the two regions of a clone, and the probability that it is the pasted one."""

    box: Box
    mask: BoolArray
    pasted: float

    @property
    def role(self) -> str:
        """What a person would call it."""
        if abs(self.pasted - 0.5) < _SURE - 0.5:
            return "one end"
        return "copy" if self.pasted > 0.5 else "source"


def _ends(rgb: UInt8Array, clone: Clone) -> list[_End]:
    """Return both ends, the more likely pasted one first."""
    places = ((clone.box, clone.source), (clone.target_box, clone.target))
    steps = [seam.step(rgb, box, mask) for box, mask in places]
    chance = seam.chance_pasted(steps[0], steps[1])
    ends = [_End(box, mask, p) for (box, mask), p in zip(places, (chance, 1.0 - chance), strict=True)]
    return sorted(ends, key=lambda end: -end.pasted)


def _periodic(gray: UInt8Array, clone: Clone, window: int = 48, peaks: int = 3) -> bool:
    """Tell whether the region occurs at `peaks` more places than its own two: then the scene repeats, not an edit."""
    x0, y0, x1, y1 = clone.box
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    half = min(window, x1 - x0, y1 - y0) // 2
    patch = gray[max(0, y - half) : y + half, max(0, x - half) : x + half]
    if min(patch.shape) < 8 or float(patch.std()) < 2.0:
        return False
    alike = cv2.matchTemplate(gray, patch, cv2.TM_CCOEFF_NORMED)
    highest = cv2.dilate(alike, np.ones((half | 1, half | 1), np.uint8))
    return int(((alike == highest) & (alike > 0.8)).sum()) >= peaks + 2


def _distinct(found: list[tuple[float, Clone]], limit: int = 6) -> list[tuple[float, Clone]]:
    """Drop a clone whose source and target both lie mostly inside those of a stronger one."""
    kept: list[tuple[float, Clone]] = []
    for logit, clone in found:
        if len(kept) < limit and not any(_same_place(clone, other) for _, other in kept):
            kept.append((logit, clone))
    return kept


def _same_place(a: Clone, b: Clone) -> bool:
    return any(
        _box_share(a.box, first) > 0.5 and _box_share(a.target_box, second) > 0.5
        for first, second in ((b.box, b.target_box), (b.target_box, b.box))
    )


def _box_share(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height) / ((a[2] - a[0]) * (a[3] - a[1]))


def _reduced(rgb: UInt8Array, max_pixels: int) -> tuple[UInt8Array, float]:
    pixels = rgb.shape[0] * rgb.shape[1]
    if pixels <= max_pixels:
        return rgb, 1.0
    scale = math.sqrt(max_pixels / pixels)
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _raise_to(heat: FloatArray, box: Box, mask: BoolArray, value: np.float32) -> None:
    x0, y0, x1, y1 = box
    window = heat[y0:y1, x0:x1]
    np.maximum(window, np.where(mask, value, np.float32(0.0)), out=window)


def _enlarged(heat: FloatArray, size: tuple[int, int]) -> FloatArray:
    if heat.shape == size:
        return heat
    return np.asarray(cv2.resize(heat, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _region(end: _End, clone: Clone, pair: int, score: float, scale: float, size: tuple[int, int]) -> Region:
    """Return one end at the picture's own resolution."""
    moved = {k: round(v, 3) if isinstance(v, float) else v for k, v in affine.decompose(clone.transform).items()}
    moved |= {k: round(float(moved[k]) / scale, 1) for k in ("shift_x", "shift_y")}
    x0, y0 = (int(v / scale) for v in end.box[:2])
    x1, y1 = (min(n, math.ceil(v / scale)) for v, n in zip(end.box[2:], size[::-1], strict=True))
    side = (x1 - x0, y1 - y0)
    shape = cv2.resize(end.mask.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
    values = {"pair": pair, **moved, "role": end.role, "chance_pasted": round(end.pasted, 3)}
    return Region((x0, y0, x1, y1), shape, score, "copy_move", f"copy {pair}, {end.role}", values)


def _reason(logit: float, clone: Clone, pair: int) -> Finding:
    moved = affine.decompose(clone.transform)
    how = [
        f"turned by {moved['rotation']:.0f}°" if abs(moved["rotation"]) > 1 else "",
        f"scaled by {moved['scale']:.2f}" if abs(moved["scale"] - 1) > 0.02 else "",
        "mirrored" if moved["mirrored"] else "",
    ]
    ways = ", ".join(h for h in how if h) or "moved without turning or scaling"
    text = f"A part of {int(clone.source.sum())} pixels occurs twice ({ways})."
    values = {"pair": pair, "log_odds": round(logit, 2), **{k: round(v, 4) for k, v in clone.traits.items()}}
    return Finding("copy_move.pair", text, "warning", values, "copy_move")
