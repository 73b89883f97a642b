"""Compares the preview that a camera embeds in a file with the picture itself.

How. Black bars are cut off the thumbnail, the picture is reduced to its size with the filter (area, bilinear, bicubic,
Lanczos) and the quarter turn that match best, and brightness is fitted by a quadratic curve that outliers do not
move. What differs then by more than noise, sharpening and a shift of half a pixel can explain was changed after
the thumbnail was made.

Limits. Editors that write a new thumbnail leave nothing to find. A crop or another development of the same shot is
told apart from another picture by its correlation, but a strong global edit can hide a local one. The thumbnail has
about 160 pixels a row, so small changes do not show.

Source. E. Kee, M. Johnson, H. Farid, "Digital image authentication from JPEG headers", TIFS 2011 (thumbnails as
evidence); the comparison itself is plain registration.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import special

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal.regions import components, from_heatmap
from tamperscope.types import Finding, FloatArray, Prediction, Sample, Severity, UInt8Array

_FILTERS = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_BLACK = 24  # grey levels: bars are JPEG-coded black
_NOISE = 10.0  # grey levels of difference that any thumbnail may show
_SLACK = 0.75  # pixels: misregistration and sharpening grow with the local slope
_ASPECT = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class _Match:
    """The picture brought to the thumbnail's grid.

    Attributes:
        thumb: (h, w) float32 luma of the thumbnail inside its bars, turned as the picture lies.
        main: (h, w) float32 luma of the picture at that size.
        correlation: Normalized cross-correlation of the two.
        turns: Quarter turns that the thumbnail needed.
        kernel: Name of the reduction filter.
        aspect: Width over height of the thumbnail over that of the picture.
    """

    thumb: FloatArray
    main: FloatArray
    correlation: float
    turns: int
    kernel: str
    aspect: float


class Thumbnail(Detector):
    """Embedded thumbnail against the picture.

    Args:
        other_picture: Correlation below which the thumbnail shows another picture.
    """

    family = "container"
    needs = frozenset({"thumbnail"})
    min_side = 64
    guide = Guide(
        looks_at="The small preview that the camera stored inside the file when the photo was taken.",
        how_to_read="Bright areas look different in the preview: they were changed after it was made.",
        when_it_lies="Another crop, rotation or development of the same shot differs as well; editors renew previews.",
    )

    def __init__(self, other_picture: float = 0.5) -> None:
        self.other_picture = other_picture

    def analyze(self, sample: Sample) -> Prediction:
        """Return where preview and picture differ; see `Detector.analyze`."""
        assert sample.thumbnail is not None
        thumb = _without_bars(sample.thumbnail)
        if min(thumb.shape[:2]) < 24:
            raise NotApplicable("the embedded thumbnail is too small to compare")
        match = _best_match(_grey(thumb), sample.rgb)
        excess = _excess(match)
        heat = special.expit(4.0 * (excess - 1.5)).astype(np.float32)
        heatmap = np.clip(cv2.resize(heat, sample.size[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
        parts = components(excess > 1.5, min_area=max(4, excess.size // 500))
        share = parts[0].area / excess.size if parts else 0.0
        score = 100 * share + 20 * max(0.0, 0.95 - match.correlation)
        return Prediction(
            self.name,
            sample.size,
            float(score),
            np.asarray(heatmap, np.float32),
            regions=from_heatmap(np.asarray(heatmap, np.float32), self.name),
            reasons=self._reasons(match, share),
            evidence={
                "correlation": match.correlation,
                "largest_difference_share": share,
                "filter": match.kernel,
                "quarter_turns": match.turns,
                "aspect_ratio_of_ratios": match.aspect,
                "thumbnail_size": [int(n) for n in sample.thumbnail.shape[1::-1]],
            },
        )

    def _reasons(self, match: _Match, share: float) -> list[Finding]:
        found = []
        if match.correlation < self.other_picture:
            text = f"The embedded thumbnail shows another picture (correlation {match.correlation:.2f})."
            found.append(self._finding("other_picture", text, "warning", {"correlation": match.correlation}))
        elif share > 0.01:
            text = f"A part of {share:.1%} of the picture differs from the embedded thumbnail."
            found.append(self._finding("part_differs", text, "warning", {"share": share}))
        if abs(match.aspect - 1) > _ASPECT:
            text = f"The picture's shape differs from its thumbnail's by {abs(match.aspect - 1):.1%}: cropped since."
            found.append(self._finding("aspect", text, "notice", {"ratio": match.aspect}))
        if match.turns:
            text = f"The thumbnail lies turned by {90 * match.turns}° against the picture: one of them was turned."
            found.append(self._finding("turned", text, "notice", {"quarter_turns": match.turns}))
        return found

    def _finding(self, code: str, text: str, severity: Severity, values: dict[str, float]) -> Finding:
        return Finding(f"thumbnail.{code}", text, severity, values, self.name)


def _grey(rgb: UInt8Array) -> FloatArray:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)


def _without_bars(thumb: UInt8Array) -> UInt8Array:
    """Cut black bars that lie on two opposite sides; a dark scene has them on one side or unevenly."""
    grey = thumb.max(axis=2)
    box = []
    for axis in (1, 0):
        lit = np.nonzero(np.percentile(grey, 98, axis=axis) >= _BLACK)[0]
        length = grey.shape[1 - axis]
        first, last = (int(lit[0]), length - 1 - int(lit[-1])) if lit.size else (0, 0)
        even = min(first, last) >= 2 and abs(first - last) <= 4 and first + last < length / 2
        box.append(slice(first + 1, length - last - 1) if even else slice(0, length))
    return thumb[box[0], box[1]]


def _best_match(thumb: FloatArray, rgb: UInt8Array) -> _Match:
    best: _Match | None = None
    height, width = rgb.shape[:2]
    for turns in range(4):
        turned = np.ascontiguousarray(np.rot90(thumb, turns))
        h, w = turned.shape
        aspect = (w / h) / (width / height)
        middle = _grey(np.asarray(cv2.resize(rgb, (w * 4, h * 4), interpolation=cv2.INTER_AREA), np.uint8))
        for name, kernel in _FILTERS.items():
            small = np.asarray(cv2.resize(middle, (w, h), interpolation=kernel), np.float32)
            found = _Match(turned, small, _correlation(turned, small), turns, name, aspect)
            # A picture that turns into itself (sky, texture) must not be called turned for a hair.
            margin = 0.05 if best is not None and turns != best.turns else 0.0
            if best is None or found.correlation > best.correlation + margin:
                best = found
    assert best is not None
    return best


def _correlation(a: FloatArray, b: FloatArray) -> float:
    x, y = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    # Two flat pictures do not contradict each other.
    return float((x * y).sum() / scale) if scale > 1e-3 * a.size else 1.0


def _excess(match: _Match) -> FloatArray:
    """Return the difference over what noise, sharpening and misregistration explain; 1 is the edge of explicable."""
    fitted = _fit_tone(match.main, match.thumb)
    difference = cv2.GaussianBlur(np.abs(fitted - match.thumb), (0, 0), 1.0)
    slope = np.hypot(
        cv2.Sobel(match.thumb, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(match.thumb, cv2.CV_32F, 0, 1, ksize=3)
    )
    slope = cv2.dilate(slope / 8.0, np.ones((3, 3), np.uint8))
    usual = float(np.median(difference))
    return np.asarray(difference / (_NOISE + 2.0 * usual + _SLACK * 2.0 * slope), np.float32)


def _fit_tone(main: FloatArray, thumb: FloatArray) -> FloatArray:
    """Fit thumb = a + b main + c main² with weights that fall with the residual (five rounds)."""
    x = main.ravel().astype(np.float64) / 255.0
    table = np.stack([np.ones_like(x), x, x * x], axis=1)
    weight = np.ones_like(x)
    for _ in range(5):
        root = np.sqrt(weight)[:, None]
        coefficients = np.linalg.lstsq(table * root, thumb.ravel() * root[:, 0], rcond=None)[0]
        residual = np.abs(table @ coefficients - thumb.ravel())
        weight = 1.0 / (1.0 + (residual / (1.5 * np.median(residual) + 1.0)) ** 2)
    return np.asarray((table @ coefficients).reshape(main.shape), np.float32)
