"""Compares the thumbnail that a camera embeds in a file with the picture itself.

How. The thumbnail is laid over the picture to subpixels (black bars, the middle only, quarter turns, and the picture as
a part of what the thumbnail shows are tried), the picture is reduced with the filter that matches best, and brightness,
colour and sharpness are fitted robustly. What differs then by more than noise and alignment can explain was changed
after the thumbnail was made.

Limits. Editors that write a new thumbnail leave nothing to find; nothing smaller than a few thumbnail pixels (about a
fortieth of the picture's side) shows; a global change of tone is fitted away on purpose, because cameras may take the
thumbnail before their own processing.

Source. E. Kee, M. Johnson, H. Farid, "Digital image authentication from JPEG headers", TIFS 2011 (thumbnails as
evidence). Departure: filter, tone and sharpness are nuisances fitted here, not a signature of the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal import preview, tone
from tamperscope.signal.affine import Affine
from tamperscope.signal.blocks import luma
from tamperscope.signal.regions import components, from_heatmap
from tamperscope.types import BoolArray, Finding, FloatArray, Prediction, Region, Sample, Severity, UInt8Array

_FLAT = 2.0  # grey levels of standard deviation below which a picture shows nothing to compare
_DARK = 24.0  # luma up to which what lies beside the picture counts as a black bar
_ASPECT = 0.02
_CROPPED = 0.9  # a picture with sides shorter than this share of what the thumbnail shows was cropped
_DIFFERENCE = 20.0  # grey levels by which a place must differ
_DEVIATION = 5.0  # the same in multiples of what noise and alignment explain


@dataclass(frozen=True, slots=True, eq=False)
class _Match:
    """A registered thumbnail: everything on the pixels of the thumbnail, turned like the picture."""

    turn: int
    kernel: str
    transform: Affine
    thumbnail: UInt8Array
    excess: FloatArray
    covered: BoolArray
    correlation: float


class Thumbnail(Detector):
    """Embedded thumbnail against the picture.

    Args:
        other_picture: Correlation below which the thumbnail shows another picture.
        min_share: Smallest part that counts, as a share of the thumbnail.
    """

    family = "container"
    needs = frozenset({"thumbnail"})
    min_side = 64
    guide = Guide(
        looks_at="The small preview that the camera stored inside the file when the photo was taken.",
        how_to_read="Bright areas look different in the preview: they were changed after it was made.",
        when_it_lies="Editors renew previews and leave nothing to see; a strong global edit can hide a local one.",
    )

    def __init__(self, other_picture: float = 0.75, min_share: float = 0.0015) -> None:
        self.other_picture = other_picture
        self.min_share = min_share

    def analyze(self, sample: Sample) -> Prediction:
        """Return where preview and picture differ; see `Detector.analyze`."""
        thumbnail = sample.thumbnail
        assert thumbnail is not None
        if min(thumbnail.shape[:2]) < 24:
            raise NotApplicable("the embedded thumbnail is too small to compare")
        if max(float(luma(sample.rgb).std()), float(luma(thumbnail).std())) < _FLAT:
            raise NotApplicable("neither the picture nor its thumbnail shows anything to compare")
        match = _match(sample.rgb, thumbnail)
        same = match.correlation >= self.other_picture
        least = max(9, int(self.min_share * match.covered.sum()))
        parts = components(match.excess > 1.0, least) if same else []
        share = parts[0].area / int(match.covered.sum()) if parts else 0.0
        heatmap = _heatmap(match, parts, sample.size) if same else np.zeros(sample.size, dtype=np.float32)
        shown = _shown(match, sample.size)
        return Prediction(
            self.name,
            sample.size,
            float(100 * share + 50 * max(0.0, 0.8 - match.correlation)),
            heatmap,
            regions=from_heatmap(heatmap, self.name, min_share=0.5 * self.min_share),
            reasons=self._reasons(match, share, shown),
            evidence={
                "correlation": match.correlation,
                "largest_difference_share": share,
                "filter": match.kernel,
                "quarter_turns": match.turn,
                "aspect_ratio_of_ratios": shown.aspect,
                "side_share_of_thumbnail": shown.side_share,
                "thumbnail_size": [int(n) for n in thumbnail.shape[1::-1]],
            },
        )

    def _reasons(self, match: _Match, share: float, shown: _Shown) -> list[Finding]:
        if match.correlation < self.other_picture:
            text = f"The embedded thumbnail shows another picture (correlation {match.correlation:.2f})."
            return [self._finding("other_picture", text, "warning", {"correlation": match.correlation})]
        found = []
        if share > 0:
            text = f"A part of {share:.1%} of the picture differs from the embedded thumbnail."
            found.append(self._finding("part_differs", text, "warning", {"share": share}))
        if shown.side_share < _CROPPED:
            text = f"The picture's sides are {shown.side_share:.0%} of what its thumbnail shows: cropped since."
            found.append(self._finding("cropped", text, "notice", {"side_share": shown.side_share}))
        if abs(shown.aspect - 1) > _ASPECT:
            text = f"The picture's shape differs from its thumbnail's by {abs(shown.aspect - 1):.1%}: cropped since."
            found.append(self._finding("aspect", text, "notice", {"ratio": shown.aspect}))
        if match.turn:
            text = f"The thumbnail lies turned by {90 * match.turn}° against the picture: one of them was turned."
            found.append(self._finding("turned", text, "notice", {"quarter_turns": match.turn}))
        return found

    def _finding(self, code: str, text: str, severity: Severity, values: dict[str, float]) -> Finding:
        return Finding(f"thumbnail.{code}", text, severity, values, self.name)


def _match(rgb: UInt8Array, thumbnail: UInt8Array) -> _Match:
    """Register, then choose the filter whose fitted picture correlates best."""
    reduced = preview.reduce(rgb, thumbnail)
    found = preview.register(reduced, thumbnail)
    turned = np.ascontiguousarray(np.rot90(thumbnail, found.turn))
    factor = (rgb.shape[1] / reduced.shape[1], rgb.shape[0] / reduced.shape[0])
    transform = preview.scaled(found.transform, factor)
    best: _Match | None = None
    for kernel in preview.KERNELS:
        picture, covered = preview.render(reduced, found.transform, turned.shape[:2], kernel)
        covered = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if covered.sum() < 64:
            raise NotApplicable("the thumbnail cannot be laid over the picture")
        fitted = tone.fitted(picture, turned.astype(np.float32), covered)
        correlation = preview.correlate(preview.luma_of(fitted), luma(turned), covered)
        if best is None or correlation > best.correlation:
            excess = _excess(fitted, turned, covered)
            best = _Match(found.turn, kernel, transform, turned, excess, covered, correlation)
    assert best is not None
    return best


def _excess(fitted: FloatArray, thumbnail: UInt8Array, covered: BoolArray) -> FloatArray:
    """Return the difference in units of what counts: above 1 is a difference."""
    gap = cv2.blur(fitted - thumbnail.astype(np.float32), (3, 3))
    size = np.sqrt((gap**2).mean(axis=2))
    noise = max(1.5, 1.4826 * float(np.median(size[covered])))
    plane = preview.luma_of(fitted)
    slope = np.hypot(*(cv2.Sobel(plane, cv2.CV_32F, x, 1 - x, scale=0.125) for x in (1, 0)))
    tolerance = noise + 0.25 * cv2.dilate(slope, np.ones((3, 3), np.uint8))
    excess = np.minimum(size / _DIFFERENCE, size / (_DEVIATION * tolerance))
    return np.asarray(np.where(covered, excess, 0.0), dtype=np.float32)


def _heatmap(match: _Match, parts: list[Region], size: tuple[int, int]) -> FloatArray:
    """Return the map on the picture: 0.5 where the difference counts; specks too small to count stay below."""
    strong = np.zeros(match.excess.shape, dtype=bool)
    for part in parts:
        x0, y0, x1, y1 = part.box
        strong[y0:y1, x0:x1] |= part.mask if part.mask is not None else True
    kept = np.where(strong, match.excess, np.minimum(match.excess, 0.95)).astype(np.float32)
    share = kept**2 / (1.0 + kept**2)
    return np.clip(preview.to_picture(share, match.transform, size), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Aspect ratio of what the thumbnail shows over the picture's, and the picture's side as a share of it."""

    aspect: float
    side_share: float


def _shown(match: _Match, size: tuple[int, int]) -> _Shown:
    """Measure what the thumbnail shows: the picture, and what is not black around it."""
    plane = luma(match.thumbnail)
    h, w = plane.shape
    box = preview.picture_box(match.transform, size)
    x0, y0, x1, y1 = max(0.0, box[0]), max(0.0, box[1]), min(float(w), box[2]), min(float(h), box[3])
    inside = max(0.0, x1 - x0) * max(0.0, y1 - y0)
    rows = np.flatnonzero((plane > _DARK).mean(axis=1) > 0.05)
    columns = np.flatnonzero((plane > _DARK).mean(axis=0) > 0.05)
    if inside <= 0:
        return _Shown(1.0, 1.0)
    if len(rows) and len(columns):
        x0, y0 = min(x0, float(columns[0])), min(y0, float(rows[0]))
        x1, y1 = max(x1, columns[-1] + 1.0), max(y1, rows[-1] + 1.0)
    aspect = (x1 - x0) / (y1 - y0) * size[0] / size[1]
    return _Shown(float(aspect), float(min(1.0, np.sqrt(inside / ((x1 - x0) * (y1 - y0))))))
