"""Ways to lay pixels over others, and to bring their colours close first.

Everything here changes pixels inside of the mask only, but `feathered`, which goes one pixel beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops.forge import shapes
from tamperscope.types import BoolArray, FloatArray, UInt8Array

Blend = Literal["hard", "feathered", "multiband", "poisson"]
Match = Literal["none", "reinhard", "gain"]
_DIRECT = 20_000


@dataclass(frozen=True, slots=True)
class Look:
    """How a paste is brought in.

    Attributes:
        blend: How its edge is treated.
        feather: Softness of a feathered edge, standard deviation in pixels.
        match: How its colours follow the surroundings.
        strength: How far, 0 not at all to 1 wholly.
    """

    blend: Blend = "hard"
    feather: float = 0.0
    match: Match = "none"
    strength: float = 0.0

    @property
    def traces(self) -> list[str]:
        """What the edge leaves to be detected."""
        soft = self.blend == "multiband" or (self.blend == "feathered" and self.feather > 0)
        return ["edge_halo"] if soft else []

    def lay(self, rgb: UInt8Array, patch: UInt8Array, mask: BoolArray) -> UInt8Array:
        """Return `rgb` with `patch` brought in where `mask`; all are of one size."""
        part = shapes.box(mask, 64)
        out = rgb.copy()
        host, piece, where = rgb[part], patch[part], mask[part]
        around = ring(where)
        if self.match == "reinhard" and around.any():
            piece = reinhard(piece, where, host, around, self.strength)
        elif self.match == "gain" and around.any():
            piece = exposed(piece, gain(piece, where, host, around, self.strength))
        if self.blend == "feathered":
            out[part] = feathered(host, piece, where, self.feather)
        else:
            out[part] = {"hard": hard, "multiband": multiband, "poisson": poisson}[self.blend](host, piece, where)
        return out


def draw(
    blends: Sequence[Blend],
    feathers: Sequence[float],
    rng: np.random.Generator,
    matches: Sequence[Match] = ("none",),
    strength: shapes.Span = (0.4, 0.9),
) -> Look:
    """Return a look drawn evenly from what may be.

    Raises:
        InvalidValueError: A sequence is empty.
        UnknownNameError: There is no such blending or matching.
    """
    if not (blends and feathers and matches):
        raise InvalidValueError("blending: expected at least one blend, feather and match, found an empty sequence")
    for kind, names, known in (("blend", blends, get_args(Blend)), ("match", matches, get_args(Match))):
        for name in set(names) - set(known):
            raise unknown_name(kind, name, known)
    blend, match = blends[int(rng.integers(len(blends)))], matches[int(rng.integers(len(matches)))]
    feather = float(feathers[int(rng.integers(len(feathers)))]) if blend == "feathered" else 0.0
    return Look(blend, feather, match, shapes.drawn(strength, rng) if match != "none" else 0.0)


def hard(rgb: UInt8Array, patch: UInt8Array, mask: BoolArray) -> UInt8Array:
    """Return `patch` where `mask` and `rgb` elsewhere."""
    return np.where(mask[..., None], patch, rgb)


def feathered(rgb: UInt8Array, patch: UInt8Array, mask: BoolArray, feather: float) -> UInt8Array:
    """Blend `patch` over `rgb` where `mask`, with an edge `feather` pixels soft."""
    alpha = mask.astype(np.float32)
    if feather > 0:
        alpha = cv2.GaussianBlur(alpha, (0, 0), feather) * cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))
    mixed = rgb + alpha[..., None] * (patch.astype(np.float32) - rgb)
    return np.rint(mixed).astype(np.uint8)


def pyramid(values: FloatArray, levels: int) -> list[FloatArray]:
    """Return the Laplacian pyramid of an array: `levels` bands, the finest first, and the rest (Burt, Adelson 1983).

    Args:
        values: (H, W) or (H, W, C) float32.
        levels: Number of bands.
    """
    bands = []
    for _ in range(levels):
        small = np.asarray(cv2.pyrDown(values), np.float32)
        bands.append(values - _grown(small, values))
        values = small
    return [*bands, values]


def collapse(bands: Sequence[FloatArray]) -> FloatArray:
    """Return the array that a Laplacian pyramid was made of."""
    values = bands[-1]
    for band in bands[-2::-1]:
        values = band + _grown(values, band)
    return values


def _grown(small: FloatArray, like: FloatArray) -> FloatArray:
    return np.asarray(cv2.pyrUp(small, dstsize=(like.shape[1], like.shape[0])), np.float32)


def multiband(rgb: UInt8Array, patch: UInt8Array, mask: BoolArray, levels: int = 4) -> UInt8Array:
    """Blend `patch` over `rgb` in bands of frequency, coarse ones over a wider edge (Burt and Adelson, 1983).

    The seam is drawn back from the mask's border, as far as the coarsest band reaches or half the object allows, so
    that little is lost where nothing outside of the mask may change.

    Args:
        rgb: (H, W, 3) uint8, the host.
        patch: (H, W, 3) uint8, laid over it.
        mask: (H, W) bool, where.
        levels: Greatest number of bands.
    """
    levels = min(levels, max(0, int(np.log2(min(mask.shape))) - 1))
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    weight = (depth > min(2.0 ** (levels - 1), float(depth.max()) / 2)).astype(np.float32)
    mixed = []
    for old, new in zip(*(pyramid(x.astype(np.float32), levels) for x in (rgb, patch)), strict=True):
        mixed.append(old + weight[..., None] * (new - old))
        weight = np.asarray(cv2.pyrDown(weight), np.float32)
    return hard(rgb, _bytes(collapse(mixed)), mask)


def poisson(rgb: UInt8Array, patch: UInt8Array, mask: BoolArray) -> UInt8Array:
    """Lay the gradients of `patch` where `mask`, with the border's colours those of `rgb` (Pérez et al., 2003).

    Inside of the mask the result's Laplacian is the patch's, so the result is the patch and a harmonic function.
    `patch` must hold one pixel more than the mask on every side. Values beyond 0 and 255 are cut.
    """
    gap = harmonic(rgb.astype(np.float64) - patch, mask)
    return hard(rgb, _bytes(patch + gap), mask)


def harmonic(values: NDArray[np.float64], mask: BoolArray, steps: int = 40) -> NDArray[np.float64]:
    """Return values whose masked pixels are each the mean of their neighbours; the others stay.

    Small regions are solved exactly. Large ones start from the solution at half the size and take `steps` of conjugate
    gradients, twice as many at each coarser size (cascadic multigrid: Bornemann and Deuflhard, 1996). At the picture's
    edge, neighbours that are not there do not count. Where all is masked, all is zero.

    Args:
        values: (H, W, C).
        mask: (H, W) bool, the unknown pixels.
        steps: Number of steps at full size.
    """
    from scipy.sparse.linalg import cg, splu

    if mask.all() or not mask.any():
        return np.zeros_like(values) if mask.all() else values
    matrix, right = _laplacian(values, mask)
    out = values.copy()
    if len(right) <= _DIRECT:
        out[mask] = splu(matrix.tocsc()).solve(right)
        return out
    guess = _halved_guess(values, mask, 2 * steps)[mask]
    for channel in range(values.shape[2]):
        out[mask, channel] = cg(matrix, right[:, channel], guess[:, channel], rtol=0, maxiter=steps)[0]
    return out


def _laplacian(values: NDArray[np.float64], mask: BoolArray) -> tuple[Any, NDArray[np.float64]]:
    """Return the matrix and the right sides of: neighbours x pixel - sum of unknown ones = sum of known ones."""
    from scipy.sparse import coo_array

    ys, xs = np.nonzero(mask)
    index = np.full(mask.shape, -1)
    index[ys, xs] = np.arange(len(ys))
    degree, right = np.zeros(len(ys)), np.zeros((len(ys), values.shape[2]))
    rows, columns = [np.arange(len(ys))], [np.arange(len(ys))]
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        y, x = ys + dy, xs + dx
        here = np.flatnonzero((y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1]))
        y, x = y[here], x[here]
        degree[here] += 1
        unknown = mask[y, x]
        right[here[~unknown]] += values[y[~unknown], x[~unknown]]
        rows.append(here[unknown])
        columns.append(index[y[unknown], x[unknown]])
    data = np.concatenate([degree, -np.ones(sum(map(len, rows[1:])))])
    return coo_array((data, (np.concatenate(rows), np.concatenate(columns)))).tocsr(), right


def _halved_guess(values: NDArray[np.float64], mask: BoolArray, steps: int) -> NDArray[np.float64]:
    height, width = mask.shape
    even = ((0, height % 2), (0, width % 2))
    known = ~np.pad(mask, even, mode="edge")
    full = np.pad(values, (*even, (0, 0)), mode="edge") * known[..., None]
    cells = (known.shape[0] // 2, 2, known.shape[1] // 2, 2)
    count = known.reshape(cells).sum((1, 3))
    small = full.reshape(*cells, -1).sum((1, 3)) / np.maximum(count, 1)[..., None]
    found = harmonic(small, count == 0, steps)
    grown = cv2.resize(found, known.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(*known.shape, -1)
    return np.asarray(grown[:height, :width], np.float64)


def ring(mask: BoolArray) -> BoolArray:
    """Return the surroundings of a region: what lies within a third of its size, at most 32 pixels, outside of it."""
    reach = int(np.clip(np.sqrt(mask.sum()) / 3, 3, 32))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel).astype(bool) & ~mask)


def reinhard(
    patch: UInt8Array, own: BoolArray, rgb: UInt8Array, around: BoolArray, strength: float = 1.0
) -> UInt8Array:
    """Move the mean and spread of a patch's CIELAB colours towards those of a place (after Reinhard et al., 2001).

    Args:
        patch: (h, w, 3) uint8, what to change.
        own: (h, w) bool, the pixels of it that are measured.
        rgb: (H, W, 3) uint8, the picture to agree with.
        around: (H, W) bool, the pixels of it that are measured.
        strength: 0 leaves the patch, 1 reaches the place's mean and spread; the spread at most halves or doubles.
    """
    lab = _lab(patch)
    have, want = lab[own], _lab(rgb[around][None])[0]
    centre, spread = have.mean(0), np.maximum(have.std(0), 1e-3)
    ratio = np.clip((1 - strength) + strength * want.std(0) / spread, 0.5, 2)
    moved = (lab - centre) * ratio + centre + strength * (want.mean(0) - centre)
    return _bytes(255 * np.asarray(cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_Lab2RGB), np.float32))


def _lab(rgb: UInt8Array) -> FloatArray:
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)


def gain(
    patch: UInt8Array, own: BoolArray, rgb: UInt8Array, around: BoolArray, strength: float = 1.0
) -> tuple[float, float, float]:
    """Return the exposure of each channel that takes a patch's mean to a place's, between 1/2 and 2.

    The arguments are those of `reinhard`; the exposure is the power `strength` of the full one.
    """
    full = np.maximum(rgb[around].mean(0), 1) / np.maximum(patch[own].mean(0), 1)
    red, green, blue = np.clip(full**strength, 0.5, 2).tolist()
    return red, green, blue


def exposed(rgb: UInt8Array, factor: float | Sequence[float]) -> UInt8Array:
    """Multiply all values, or those of each channel, by a factor."""
    return _bytes(rgb * np.asarray(factor, np.float64))


def _bytes(values: NDArray[Any]) -> UInt8Array:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
