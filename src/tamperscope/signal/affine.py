"""Plane transforms between two places of one picture: hypotheses of single matches, consensus, fits.

A transform is a (2, 3) float64 matrix that takes (x, y, 1) to (x', y').
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamperscope.types import BoolArray, FloatArray

Affine = NDArray[np.float64]

# Keypoints of one copied region agree in scale and orientation up to these.
_LOG_SCALE = 0.35
_COS_TURN = 0.9
_GROWTH = 0.06  # pixels of error that a single keypoint's similarity gathers with every pixel of distance


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Pairs of places that look alike, each with the similarity transform that its two keypoints imply.

    Attributes:
        source, target: (M, 2) float32 positions (x, y).
        scale: (M,) float32 size of the target's keypoint over the source's.
        turn: (M,) float32 radians; the transform's linear part is scale * R(turn), after a mirror of y if `mirror`.
        mirror: (M,) bool.
        weight: (M,) float32, how telling the match is.
    """

    source: FloatArray
    target: FloatArray
    scale: FloatArray
    turn: FloatArray
    mirror: BoolArray
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.source)

    def take(self, index: NDArray[np.intp] | BoolArray) -> Matches:
        """Return the matches at `index`."""
        return Matches(*(getattr(self, n)[index] for n in self.__slots__))


def linear_parts(matches: Matches) -> NDArray[np.float64]:
    """Return the (M, 2, 2) linear parts of the similarities that single matches imply."""
    c, s = np.cos(matches.turn) * matches.scale, np.sin(matches.turn) * matches.scale
    flip = np.where(matches.mirror, -1.0, 1.0)
    return np.stack([np.stack([c, -s * flip], -1), np.stack([s, c * flip], -1)], -2).astype(np.float64)


def apply(transform: Affine, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (N, 2) images of (N, 2) points."""
    return np.asarray(points @ transform[:, :2].T + transform[:, 2])


def invert(transform: Affine) -> Affine:
    """Return the inverse transform.

    Raises:
        numpy.linalg.LinAlgError: The linear part is singular.
    """
    linear = np.linalg.inv(transform[:, :2])
    return np.column_stack([linear, -linear @ transform[:, 2]])


def decompose(transform: Affine) -> dict[str, float | bool]:
    """Return `scale` (root of |det|), `rotation` in degrees (-180, 180], `mirrored`, and `shift_x`, `shift_y`.

    A mirrored transform is a mirror of y first, then the rotation. The shift is the translation part at the origin.
    """
    a, b = transform[0, 0], transform[1, 0]
    det = float(np.linalg.det(transform[:, :2]))
    if det < 0:
        turn = math.atan2(b + transform[0, 1], a - transform[1, 1])
    else:
        turn = math.atan2(b - transform[0, 1], a + transform[1, 1])
    return {
        "scale": math.sqrt(abs(det)),
        "rotation": math.degrees(turn),
        "mirrored": det < 0,
        "shift_x": float(transform[0, 2]),
        "shift_y": float(transform[1, 2]),
    }


def fit_similarity(
    source: FloatArray, target: FloatArray, mirror: bool = False, weight: FloatArray | None = None
) -> Affine | None:
    """Return the weighted least-squares similarity (with a mirror of y first, if `mirror`), or None when undefined.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991;
    in the plane it is a complex linear regression.
    """
    if len(source) < 2:
        return None
    share = np.ones(len(source)) if weight is None else weight.astype(np.float64) + 1e-6
    share = share / share.sum()
    flip = -1.0 if mirror else 1.0
    z = source[:, 0] + 1j * flip * source[:, 1].astype(np.float64)
    w = target[:, 0] + 1j * target[:, 1].astype(np.float64)
    z_mean, w_mean = complex(share @ z), complex(share @ w)
    power = float(share @ np.abs(z - z_mean) ** 2)
    if power < 1e-6:
        return None
    m = complex((share * np.conj(z - z_mean)) @ (w - w_mean)) / power
    b = w_mean - m * z_mean
    return np.array([[m.real, -m.imag * flip, b.real], [m.imag, m.real * flip, b.imag]])


def fit_affine(source: FloatArray, target: FloatArray) -> Affine | None:
    """Return the least-squares affine transform, or None when the points do not span the plane."""
    centre = source.mean(axis=0)
    design = np.column_stack([source - centre, np.ones(len(source))]).astype(np.float64)
    solution, _, rank, singular = np.linalg.lstsq(design, target.astype(np.float64), rcond=None)
    if rank < 3 or singular[-1] < 1e-6:
        return None
    linear = solution[:2].T
    return np.column_stack([linear, solution[2] - linear @ centre])


def consensus(
    matches: Matches, seeds: NDArray[np.intp], tolerance: float = 3.0, growth: float = _GROWTH, chunk: int = 64
) -> NDArray[np.float32]:
    """Return, for every seed match, the weight of the matches that its similarity explains.

    The similarity of a single match is only roughly right, so the tolerance grows with the distance from the seed;
    scale and turn must agree too. This tries all seeds instead of a random sample: the answer is deterministic.

    Args:
        matches: All matches.
        seeds: Indices of those whose similarity is tried.
        tolerance: Largest distance in pixels at the seed.
        growth: Added tolerance for every pixel of distance from the seed.
        chunk: Seeds at once.
    """
    support = np.zeros(len(seeds), dtype=np.float32)
    linear = linear_parts(matches).astype(np.float32)
    log_scale = np.log(matches.scale)
    (sx, sy), (tx, ty) = matches.source.T, matches.target.T
    for low in range(0, len(seeds), chunk):
        pick = seeds[low : low + chunk, None]
        dx, dy, gx, gy = sx - sx[pick], sy - sy[pick], tx - tx[pick], ty - ty[pick]
        a, b, c, d = linear[pick[:, 0]].reshape(-1, 4, 1).swapaxes(0, 1)
        reach = tolerance + growth * np.sqrt(gx * gx + gy * gy)
        good = (a * dx + b * dy - gx) ** 2 + (c * dx + d * dy - gy) ** 2 < reach * reach
        good &= np.abs(log_scale - log_scale[pick]) < _LOG_SCALE
        good &= np.cos(matches.turn - matches.turn[pick]) > _COS_TURN
        good &= matches.mirror == matches.mirror[pick]
        support[low : low + chunk] = good.astype(np.float32) @ matches.weight
    return support


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """Matches that one transform explains.

    Attributes:
        transform: Similarity from source to target.
        source, target: (K, 2) float32 inliers.
        places: Number of distinct source places among them (one place can carry several keypoints).
    """

    transform: Affine
    source: FloatArray
    target: FloatArray
    places: int


def clusters(
    matches: Matches,
    limit: int = 8,
    min_places: int = 3,
    tolerance: float = 3.0,
    max_seeds: int = 1500,
    tries: int = 60,
    both: bool = True,
    most: float = 10.0,
) -> list[Cluster]:
    """Return the similarity transforms that explain most matches, one after the other, each with its inliers.

    Every match proposes the similarity of its own two keypoints; proposals are tried from the best supported down,
    refitted to their inliers, and take those away. All proposals are tried instead of a random sample, so the answer is
    deterministic.

    Args:
        matches: One direction suffices.
        limit: At most so many clusters.
        min_places: Fewest distinct places of a cluster.
        tolerance: Largest distance of an inlier in pixels.
        max_seeds: Only the matches of greatest weight propose.
        tries: Give up after so many proposals.
        both: Whether the reverse of every match is one too, as within one picture; between two pictures it is not.
        most: Largest factor of areas, either way.
    """
    if not len(matches):
        return []
    seeds = np.lexsort((np.arange(len(matches)), -matches.weight))[:max_seeds]
    matches = _with_reverse(matches) if both else matches
    support = consensus(matches, seeds, tolerance)
    alive = np.ones(len(matches), dtype=bool)
    found: list[Cluster] = []
    for seed in seeds[np.lexsort((seeds, -support))]:
        if len(found) >= limit or tries <= 0:
            break
        if not alive[seed]:
            continue
        tries -= 1
        cluster = _refine(matches, int(seed), alive, tolerance, most)
        if cluster is None or cluster.places < min_places:
            continue
        found.append(cluster)
        for transform in (cluster.transform, invert(cluster.transform)):
            alive &= _gap(transform, matches) >= 2 * tolerance
    return found


def _with_reverse(m: Matches) -> Matches:
    back = np.where(m.mirror, m.turn, -m.turn)
    return Matches(
        np.concatenate([m.source, m.target]),
        np.concatenate([m.target, m.source]),
        np.concatenate([m.scale, 1.0 / m.scale]),
        np.concatenate([m.turn, back]),
        np.concatenate([m.mirror, m.mirror]),
        np.concatenate([m.weight, m.weight]),
    )


def _gap(transform: Affine, matches: Matches) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(apply(transform, matches.source) - matches.target, axis=1))


def _places(points: FloatArray) -> int:
    return len(np.unique(np.rint(points / 2).astype(np.int64), axis=0))


def _refine(matches: Matches, seed: int, alive: BoolArray, tolerance: float, most: float) -> Cluster | None:
    """Refit the seed's similarity to what it explains until it settles; None when it falls apart."""
    linear = linear_parts(matches.take(np.array([seed])))[0]
    transform = np.column_stack([linear, matches.target[seed] - linear @ matches.source[seed]])
    mirror = bool(matches.mirror[seed])
    like = alive & (matches.mirror == mirror)
    like &= np.abs(np.log(matches.scale / matches.scale[seed])) < _LOG_SCALE
    like &= np.cos(matches.turn - matches.turn[seed]) > _COS_TURN
    reach = tolerance + _GROWTH * np.linalg.norm(matches.target - matches.target[seed], axis=1)
    for limit in (reach, 1.7 * tolerance, tolerance, tolerance, 0.7 * tolerance, 0.5 * tolerance):
        inliers = like & (_gap(transform, matches) < limit)
        fitted = fit_similarity(matches.source[inliers], matches.target[inliers], mirror, matches.weight[inliers] ** 2)
        if fitted is None or not 1 / most < abs(np.linalg.det(fitted[:, :2])) < most:
            return None
        transform = fitted
    inliers = like & (_gap(transform, matches) < tolerance)
    source = matches.source[inliers]
    return Cluster(transform, source, matches.target[inliers], _places(source))
