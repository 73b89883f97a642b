"""What the HTML page shows beside the report's own fields: encoded pictures, marks on them, and the scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tamperscope.report import imaging
from tamperscope.report.schema import FUSED, PredictionModel, RegionModel, Report
from tamperscope.types import UInt8Array

LONG_SIDE = 4096
MAP_SIDE = 1024
PREVIEW_SIDE = 960
VIEW_SIDE = 900, 1280
PICTURE_BUDGET, FUSED_BUDGET, MAP_BUDGET = 6_000_000, 1_200_000, 220_000
MARK_LIMIT = 40
LABEL_GAP = 14.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A numbered box on the upright picture; x, y, width and height in percent of it."""

    label: str
    region: RegionModel
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its middle, in percent."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Pair:
    """Regions that are copies of each other."""

    label: str
    origin: str
    marks: list[Mark]
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one page, as data URIs.

    Attributes:
        picture: The picture itself, upright.
        preview: A small copy of it.
        fused: The fused map in colour, or None.
        maps: Map in colour by detector.
        size: (H, W) of `picture`.
        view_width: Width in CSS pixels at which it fits a screen.
        notes: What was reduced for the display.
        border: SVG path around the parts of the fused map above its level, in a unit square.
    """

    picture: Markup
    preview: Markup
    fused: Markup | None
    maps: dict[str, Markup]
    size: tuple[int, int]
    view_width: int
    notes: list[str]
    border: Markup


@dataclass(frozen=True, slots=True)
class Scale:
    """The weight-of-evidence axis, in percent of its length.

    Attributes:
        zero: Where 0 lies, and whether there is room for its label.
        value: Where the verdict lies.
        ticks: (place, level, llr, whether there is room for a label) of the thresholds, rising.
    """

    zero: float
    label_zero: bool
    value: float
    ticks: list[tuple[float, str, float, bool]]


def pictures(report: Report) -> Pictures | None:
    """Return the encoded pictures of a report, or None when it carries none."""
    if report.rgb is None:
        return None
    turned = imaging.upright(report.rgb, report.picture.orientation)
    shown = imaging.shrink(turned, LONG_SIDE)
    notes = []
    if shown.shape != turned.shape:
        notes.append(
            f"Shown at {shown.shape[1]} × {shown.shape[0]} of {turned.shape[1]} × {turned.shape[0]} pixels; "
            "all measurements used the full resolution."
        )
    if report.picture.orientation != 1:
        notes.append(
            f"Turned upright for display (EXIF orientation {report.picture.orientation}); "
            "positions in the text are given in pixels as stored."
        )
    size = (shown.shape[0], shown.shape[1])
    fused, border = _fused(report, size)
    return Pictures(
        picture=_uri(_bounded_jpeg(shown, notes), "jpeg"),
        preview=_uri(imaging.jpeg(imaging.shrink(shown, PREVIEW_SIDE), 82), "jpeg"),
        fused=fused,
        maps={name: _map(report, heat) for name, heat in report.maps.items() if name != FUSED},
        size=size,
        view_width=_view_width(size),
        notes=notes,
        border=border,
    )


def _uri(data: bytes, kind: str) -> Markup:
    # Base64 of bytes that this package encoded itself: nothing in it needs escaping.
    return Markup(imaging.data_uri(data, kind))


def _bounded_jpeg(shown: UInt8Array, notes: list[str]) -> bytes:
    data = imaging.jpeg(shown, 90)
    for quality in (80, 65):
        if len(data) <= PICTURE_BUDGET:
            return data
        data = imaging.jpeg(shown, quality)
    notes.append("The copy of the picture in this page is compressed more strongly to keep the page small.")
    return data


def _fused(report: Report, size: tuple[int, int]) -> tuple[Markup | None, Markup]:
    heat = report.maps.get(FUSED)
    if heat is None:
        return None, Markup("")
    heat = imaging.shrink(imaging.upright(heat, report.picture.orientation), max(size))
    data, _ = imaging.bounded_heat_png(heat, FUSED_BUDGET)
    return _uri(data, "png"), _path(imaging.outline(heat))


def _map(report: Report, heat: UInt8Array) -> Markup:
    small = imaging.shrink(imaging.upright(heat, report.picture.orientation), MAP_SIDE)
    return _uri(imaging.bounded_heat_png(small, MAP_BUDGET)[0], "png")


def _path(lines: Iterable[list[tuple[float, float]]]) -> Markup:
    return Markup("").join(Markup("M" + "L".join(f"{x:.4f} {y:.4f}" for x, y in line) + "Z") for line in lines)


def _view_width(size: tuple[int, int]) -> int:
    """Return the width at which the picture fits a screen; a small one is enlarged up to a readable size."""
    height, width = size
    factor = min(VIEW_SIDE[0] / height, VIEW_SIDE[1] / width)
    return max(1, round(width * min(factor, max(1.0, 640 / max(size)))))


def _mark(report: Report, label: str, region: RegionModel) -> Mark:
    size = report.picture.height, report.picture.width
    x0, y0, x1, y1 = imaging.upright_box(region.box, size, report.picture.orientation)
    height, width = size if report.picture.orientation < 5 else size[::-1]
    return Mark(
        label,
        region,
        *(round(100.0 * v, 3) for v in (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)),
    )


def marks(report: Report) -> list[Mark]:
    """Return the numbered regions of the verdict."""
    regions = report.verdict.regions[:MARK_LIMIT]
    return [_mark(report, str(number), region) for number, region in enumerate(regions, start=1)]


def pairs(report: Report) -> list[Pair]:
    """Return the regions that detectors found to be copies of each other, grouped by pair and lettered."""
    grouped: dict[tuple[str, str], list[RegionModel]] = {}
    for prediction in report.predictions:
        for region in prediction.regions:
            if region.values.get("pair") is not None:
                key = (prediction.detector, str(region.values["pair"]))
                grouped.setdefault(key, []).append(region)
    found = []
    for index, ((origin, _), regions) in enumerate(list(grouped.items())[: MARK_LIMIT // 2]):
        letter = chr(ord("A") + index) if index < 26 else f"A{index}"
        lettered = [_mark(report, f"{letter}{n}", r) for n, r in enumerate(regions[:8], start=1)]
        values = {k: v for r in regions for k, v in r.values.items() if k not in ("pair", "role")}
        found.append(Pair(letter, origin, lettered, values))
    return found


def scale(report: Report) -> Scale | None:
    """Return the weight-of-evidence axis, or None when nothing could be weighed."""
    value = report.verdict.llr
    if value is None:
        return None
    thresholds = sorted((t.llr, t.level) for t in report.verdict.thresholds if t.llr is not None)
    points = [0.0, value, *(llr for llr, _ in thresholds)]
    margin = max(1.0, 0.12 * (max(points) - min(points)))
    low, high = min(points) - margin, max(points) + margin

    def place(llr: float) -> float:
        return round(100.0 * (llr - low) / (high - low), 2)

    ticks: list[tuple[float, str, float, bool]] = []
    for llr, level in reversed(thresholds):
        labelled = not any(t[3] and abs(t[0] - place(llr)) < LABEL_GAP for t in ticks)
        ticks.insert(0, (place(llr), level, llr, labelled))
    label_zero = all(abs(t[0] - place(0.0)) >= LABEL_GAP / 2 for t in ticks)
    return Scale(place(0.0), label_zero, place(value), ticks)


def by_status(predictions: Iterable[PredictionModel]) -> dict[str, list[PredictionModel]]:
    """Return the predictions by status; those that ran come strongest first, the uncalibrated last."""

    def order(prediction: PredictionModel) -> tuple[bool, float, str]:
        llr = prediction.calibrated.llr if prediction.calibrated else None
        return not prediction.counts, -(llr if llr is not None else -99.0), prediction.detector

    grouped: dict[str, list[PredictionModel]] = {"ok": [], "failed": [], "not_applicable": []}
    for prediction in sorted(predictions, key=order):
        grouped[prediction.status].append(prediction)
    return grouped


def columns_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys of all records, in the order in which they first appear."""
    return list(dict.fromkeys(key for record in records for key in record))


def _is_flat(record: Any) -> bool:
    return isinstance(record, Mapping) and not any(isinstance(v, (Mapping, list)) for v in record.values())


def rows_of(values: list[Any]) -> list[Any]:
    """Return the rows of a matrix; 64 numbers are those of an 8 x 8 table."""
    return values if isinstance(values[0], list) else [values[i : i + 8] for i in range(0, len(values), 8)]


def kind_of(value: Any) -> str:
    """Return how a container fact is shown: `tree`, `records`, `list`, `matrix` or `line`."""
    if isinstance(value, Mapping):
        return "tree" if value else "line"
    if not isinstance(value, list) or not value:
        return "line"
    if len(value) == 64 and all(isinstance(n, (int, float)) for n in value):
        return "matrix"
    if all(_is_flat(item) for item in value) and len(columns_of(value)) <= 8:
        return "records"
    if all(isinstance(row, list) and row and all(isinstance(n, (int, float)) for n in row) for row in value):
        widths = {len(row) for row in value}
        return "matrix" if len(widths) == 1 and max(widths) <= 16 and len(value) <= 16 else "line"
    return "list" if any(isinstance(item, (Mapping, list)) for item in value) else "line"
