"""The findings as one self-contained page with the worst pictures; nothing is loaded, every string is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tamperscope.errors import TamperscopeError
from tamperscope.types import UInt8Array

if TYPE_CHECKING:
    from jinja2 import Environment

    from tamperscope.data.doctor.schema import Example, Findings, View

PICTURED, LISTED = 8, 100
_SIDE = 260
_MARK = np.array([255, 40, 90], np.float32)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tamperscope.data.doctor")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@lru_cache(maxsize=1)
def _style() -> dict[str, Any]:
    """Return the style of the page and the policy that admits nothing else."""
    from markupsafe import Markup

    file = resources.files("tamperscope.data.doctor").joinpath("templates").joinpath("page.css")
    css = "\n" + file.read_text(encoding="utf-8").replace("\r\n", "\n")
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return {"css": Markup(css), "policy": Markup(policy)}


def render(findings: Findings, files: Mapping[str, Path]) -> str:
    """Return the page.

    Args:
        findings: What to show.
        files: Where the pictures of the examples are, by their printed name; one that is not here or cannot be
            opened is named without a picture.
    """
    from tamperscope.data.doctor import text

    context = {
        "findings": findings,
        "summary": text.summary(findings),
        "example_line": text.example_line,
        "listed": LISTED,
        "charts": [
            ("Forged share of the masks", findings.mask_areas),
            ("Megapixels", findings.megapixels),
            ("Most frequent sizes", findings.sizes),
            ("File types", findings.file_types),
        ],
        "pictures": {
            p.code: [_pictures(e, p.view, files) for e in p.examples[:PICTURED]] if p.view != "names" else []
            for p in findings.problems
        },
    }
    return _environment().get_template("page.html.j2").render(context | _style())


def _pictures(example: Example, view: View, files: Mapping[str, Path]) -> list[dict[str, str]]:
    """Return what is shown of an example: two pictures side by side, or a picture and the same under its mask."""
    first = _pixels(files.get(example.image))
    second = _pixels(files.get(example.other or ""))
    sides = [(example.image, first), (example.other or "", second)]
    if view == "mask" and first is not None and second is not None:
        sides[1] = (example.other or "", overlay(first, second))
    return [{"name": name, "uri": "" if pixels is None else _uri(pixels)} for name, pixels in sides]


def _pixels(path: Path | None) -> UInt8Array | None:
    """Return a small copy of a picture, or None where it cannot be opened."""
    from tamperscope import media

    if path is None:
        return None
    try:
        return shrink(media.open(path).sample.rgb, _SIDE)
    except (TamperscopeError, OSError, MemoryError):
        return None


def shrink(rgb: UInt8Array, side: int) -> UInt8Array:
    """Return the (H, W, 3) picture with a longer side of at most `side` pixels."""
    import cv2

    height, width = rgb.shape[:2]
    factor = side / max(height, width)
    if factor >= 1.0:
        return rgb
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def overlay(rgb: UInt8Array, mask: UInt8Array) -> UInt8Array:
    """Return the picture with its mask in colour over it, as far as the mask is not black.

    Args:
        rgb: (H, W, 3) pixels.
        mask: (h, w, 3) grey values; brought to the picture's size and, where it is faint, made visible.
    """
    import cv2

    grey = cv2.resize(cv2.cvtColor(mask, cv2.COLOR_RGB2GRAY), (rgb.shape[1], rgb.shape[0]))
    alpha = (grey.astype(np.float32) / max(1, int(grey.max())))[..., None] * np.float32(0.6)
    return np.rint(rgb * (1.0 - alpha) + _MARK * alpha).astype(np.uint8)


def _uri(rgb: UInt8Array) -> str:
    import cv2

    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return f"data:image/jpeg;base64,{base64.b64encode(bytes(data)).decode('ascii')}" if done else ""
