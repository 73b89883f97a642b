"""Objects to forge with: found where none is given, cleaned where one is."""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.errors import InvalidValueError
from tamperscope.ops.forge import shapes
from tamperscope.types import BoolArray, FloatArray, Sample, UInt8Array

_SIDE = 300
_SHARES = (0.01, 0.4)
_FALLBACK = (0.02, 0.12)


def find(sample: Sample, rng: np.random.Generator) -> BoolArray:
    """Return the mask of a salient object of a picture, (H, W) bool, or of a random shape where none stands out."""
    return chosen(sample, None, True, _FALLBACK, rng)[0]


def chosen(
    sample: Sample, given: BoolArray | None, seek: bool, share: shapes.Span, rng: np.random.Generator
) -> tuple[BoolArray, str]:
    """Return the object to forge with and where it comes from: `given`, `found` or `blob`.

    Args:
        sample: The picture.
        given: (H, W) bool, its object, or None; one without a pixel counts as none.
        seek: Whether to look for a salient object when none is given.
        share: Range of a random shape's area, taken when nothing else is found.
        rng: Draws.

    Raises:
        InvalidValueError: The given mask is not of the picture's size.
    """
    if given is not None and (given.dtype != np.bool_ or given.shape != sample.size):
        raise InvalidValueError(f"object: expected bool {sample.size}, found {given.dtype} {given.shape}")
    if given is not None and given.any():
        return cleaned(given), "given"
    found = salient(sample.rgb, rng) if seek else None
    if found is not None:
        return found, "found"
    return shapes.blob(sample.size, shapes.area(share, rng), rng), "blob"


def noun(name: str, kind: str) -> str:
    """Return what to call an object: its name where that is known, else what its kind allows."""
    return name or ("a region" if kind == "blob" else "an object")


def cleaned(mask: BoolArray, least: float = 0.1, hole: float = 0.05) -> BoolArray:
    """Return a mask without specks and small holes.

    Args:
        mask: (H, W) bool with a pixel that is True.
        least: Parts smaller than this share of the largest one are dropped.
        hole: Holes smaller than this share of what is left are filled.
    """
    parts, sizes = _components(mask)
    solid = np.isin(parts, 1 + np.flatnonzero(sizes >= least * sizes.max()))
    gaps, sizes = _components(~solid, 4)
    edge = np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])
    small = np.setdiff1d(1 + np.flatnonzero(sizes < hole * solid.sum()), edge)
    return np.asarray(solid | np.isin(gaps, small))


def _components(mask: BoolArray, connectivity: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return labels from 1 on, and the number of pixels of each."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    return labels, stats[1:, cv2.CC_STAT_AREA]


def salient(rgb: UInt8Array, rng: np.random.Generator) -> BoolArray | None:
    """Return the mask of an object that stands out by its colour, or None.

    The most salient compact part (`saliency`) seeds a graph cut (GrabCut: Rother et al., 2004) at 300 pixels a side at
    most. The result counts when it is compact, covers 1 to 40 % of the picture and touches two sides at most.

    Args:
        rgb: (H, W, 3) uint8.
        rng: Draws the seed of the graph cut's mixture models.
    """
    factor = min(1.0, _SIDE / max(rgb.shape[:2]))
    side = (max(8, round(rgb.shape[1] * factor)), max(8, round(rgb.shape[0] * factor)))
    small = np.asarray(cv2.resize(rgb, side, interpolation=cv2.INTER_AREA), np.uint8)
    seed = int(rng.integers(2**31))
    start = _seed_region(saliency(small))
    if start is None:
        return None
    refined = _cut_out(small, start, seed)
    if refined is None or not plausible(refined):
        return None
    soft = cv2.resize(refined.astype(np.float32), rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(soft > 0.5)


def saliency(rgb: UInt8Array) -> FloatArray:
    """Return how far each pixel's colour lies from the picture's mean, in [0, 1] (after Achanta et al., 2009).

    Args:
        rgb: (h, w, 3) uint8.
    """
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    away = np.linalg.norm(cv2.GaussianBlur(lab, (0, 0), max(1.0, min(rgb.shape[:2]) / 60)) - lab.mean((0, 1)), axis=2)
    return np.asarray(away / max(float(away.max()), 1e-6), np.float32)


def plausible(mask: BoolArray) -> bool:
    """Return whether a region may be an object: compact, 1 to 40 % of the picture, touching two sides at most."""
    if not _SHARES[0] <= mask.mean() <= _SHARES[1]:
        return False
    sides = sum(bool(line.any()) for line in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return sides <= 2 and _solidity(mask) >= 0.5


def _solidity(mask: BoolArray) -> float:
    """Return the share of its convex hull that a region fills."""
    hull = cv2.convexHull(np.argwhere(mask)[:, ::-1].astype(np.int32))
    filled = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), hull, 1)
    return float(mask.sum() / max(1, int(filled.sum())))


def _seed_region(heat: FloatArray) -> BoolArray | None:
    """Return the part of a saliency map that is the brightest for its size and may be an object."""
    level, _ = cv2.threshold((255 * heat).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    opened = cv2.morphologyEx((255 * heat > level).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    labels, sizes = _components(opened.astype(bool))
    best, region = 0.0, None
    for label in 1 + np.argsort(-sizes, kind="stable")[:5]:
        part = labels == label
        worth = float(heat[part].mean() * np.sqrt(part.mean()))
        if worth > best and plausible(part):
            best, region = worth, part
    return region


def _cut_out(rgb: UInt8Array, start: BoolArray, seed: int) -> BoolArray | None:
    """Return the largest part that a graph cut finds around a first guess, or None."""
    reach = max(3, round(np.sqrt(start.sum()) / 3))
    grown, shrunk = (
        f(start.astype(np.uint8), np.ones((n, n), np.uint8))
        for f, n in ((cv2.dilate, 2 * reach + 1), (cv2.erode, 2 * (reach // 3) + 1))
    )
    guess = np.full(start.shape, cv2.GC_BGD, np.uint8)
    guess[grown > 0] = cv2.GC_PR_BGD
    guess[start] = cv2.GC_PR_FGD
    guess[shrunk > 0] = cv2.GC_FGD
    if not (guess == cv2.GC_BGD).any():
        return None
    cv2.setRNGSeed(seed)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(rgb[..., ::-1]), guess, (0, 0, 1, 1), *models, 4, cv2.GC_INIT_WITH_MASK)
    found = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD))
    return cleaned(found, least=1.0) if found.any() else None
