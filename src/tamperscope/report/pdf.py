"""The report as PDF, printed by WeasyPrint without access to anything but the page itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import ImageFile

from tamperscope.errors import InputError, UnsupportedFormatError
from tamperscope.files import write_atomic
from tamperscope.report import imaging
from tamperscope.report.html import environment, own_text, words_of
from tamperscope.report.schema import FUSED, Report

PICTURE, OVERLAY = "picture.jpg", "overlay.jpg"
LARGE, SMALL = 1400, 300
"""Longest sides of the pictures, and of the maps of single detectors."""


def render_pdf(report: Report) -> bytes:
    """Return the report as PDF for paper: everything but the complete container facts, which the JSON has.

    Raises:
        UnsupportedFormatError: WeasyPrint, or the Pango library that it needs, is not installed.
    """
    return compose(report, materials(report))


def materials(report: Report) -> dict[str, bytes]:
    """Return the pictures that are printed, small enough to keep: by name, as files."""
    names = {prediction.detector for prediction in report.predictions}
    maps = {name: heat for name, heat in report.maps.items() if name in names}
    found = {f"{name}.png": imaging.heat_png(imaging.shrink(heat, SMALL)) for name, heat in maps.items()}
    if report.rgb is None:
        return found
    plain = imaging.shrink(report.rgb, LARGE)
    shown = {PICTURE: plain}
    if (fused := report.maps.get(FUSED)) is not None:
        shown[OVERLAY] = imaging.overlay(plain, imaging.shrink(fused, LARGE))
    turned = {name: imaging.upright(rgb, report.picture.orientation) for name, rgb in shown.items()}
    return found | {name: imaging.jpeg(rgb, 88) for name, rgb in turned.items()}


def compose(report: Report, pictures: Mapping[str, bytes]) -> bytes:
    """Return a report as PDF with the pictures that `materials` gave for it; errors are those of `render_pdf`."""
    titles = {PICTURE: "The picture", OVERLAY: "With the fused map of all detectors that count"}
    shown = [(title, _uri(pictures[name], "jpeg")) for name, title in titles.items() if name in pictures]
    maps = {name.removesuffix(".png"): _uri(data, "png") for name, data in pictures.items() if name not in titles}
    told = {"css": Markup(own_text("print.css")), "shown": shown, "maps": maps}
    return printed(environment().get_template("print.html.j2").render(words_of(report) | told))


def save_pdf(report: Report, path: str | Path) -> Path:
    """Write the report as PDF atomically and return its path; errors are those of `render_pdf`."""
    return write_atomic(path, render_pdf(report))


def printed(page: str) -> bytes:
    """Return a page of our own as PDF; nothing that is not inside the page is loaded, asking for it is an error.

    Raises:
        UnsupportedFormatError: WeasyPrint, or the Pango library that it needs, is not installed.
        InputError: The page asks for something from outside.
    """
    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        from weasyprint import HTML
        from weasyprint.urls import FatalURLFetchingError, URLFetcher
    except (ImportError, OSError) as missing:
        raise UnsupportedFormatError(
            "PDF reports need the extra `pdf` and the Pango library: pip install 'tamperscope[pdf]', and for example "
            f"apt install libpango-1.0-0 libpangoft2-1.0-0 ({missing})"
        ) from missing
    finally:
        # WeasyPrint lets Pillow pass over damage, in the whole process; a decoder must see it.
        ImageFile.LOAD_TRUNCATED_IMAGES = strict

    class Closed(URLFetcher):  # type: ignore[misc]
        def fetch(self, url: str, headers: Any = None) -> Any:
            if not url.startswith("data:"):
                raise FatalURLFetchingError(f"a report loads nothing from outside, found {url[:80]!r}")
            return super().fetch(url, headers)

    fetcher = Closed(allowed_protocols={"data"}, allow_redirects=False)
    try:
        data: bytes = HTML(string=page, url_fetcher=fetcher).write_pdf()
    except FatalURLFetchingError as error:  # it is no Exception, so that WeasyPrint itself cannot pass over it
        raise InputError(str(error)) from error
    return data


def _uri(data: bytes, kind: str) -> Markup:
    return Markup(imaging.data_uri(data, kind))
