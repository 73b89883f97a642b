"""The report as one self-contained HTML page: no network, no untrusted markup, useful without JavaScript.

Every printed string passes `safe` and then Jinja's autoescape; the only raw parts are this package's own style,
script and base64. The content security policy allows nothing but data URIs and the two hashed blocks.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tamperscope.report import film_view, imaging, view, words
from tamperscope.report.schema import CONFIDENCE, Report
from tamperscope.report.text import safe
from tamperscope.report.timeline import clock

_TEXT_LIMIT = 2000


def _shown(value: Any) -> Any:
    """Return what is printed for an expression of the template: every plain string is made harmless."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return safe(value, _TEXT_LIMIT)
    return "–" if value is None else value


def own_text(name: str) -> str:
    """Return a file of the page's own, such as its style."""
    folder = resources.files("tamperscope.report").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def policy_source(block: str) -> str:
    """Return what a content security policy calls a block of style or script."""
    digest = hashlib.sha256(block.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@lru_cache(maxsize=1)
def _blocks() -> dict[str, Markup]:
    """Return the style and the script of the page and the policy that admits only them."""
    css, js = f"\n{own_text('report.css')}", f"\n{own_text('report.js')}"
    policy = (
        f"default-src 'none'; img-src data:; style-src {policy_source(css)}; script-src {policy_source(js)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"css": Markup(css), "js": Markup(js), "policy": Markup(policy)}


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates' environment: strict, escaping, with the filters of the reports."""
    environment = Environment(
        loader=PackageLoader("tamperscope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "signed": words.signed,
        "percent": words.percent,
        "size": words.size,
        "weight": words.weight_words,
        "box": words.box_words,
        "value": words.value_words,
        "step": words.step_words,
        "kind": view.kind_of,
        "columns": view.columns_of,
        "rows": view.rows_of,
        "clock": clock,
        "title_of": lambda key: str(key).replace("_", " "),
        "paragraphs": lambda text: [part for part in text.split("\n\n") if part.strip()],
        "cut": safe,
    }
    environment.globals |= {"words": words, "legend": _legend(), "CONFIDENCE": CONFIDENCE}
    return environment


def _legend() -> Markup:
    import numpy as np

    ramp = np.tile(np.arange(256, dtype=np.uint8), (2, 1))
    return Markup(imaging.data_uri(imaging.heat_png(ramp), "png"))


def render_html(report: Report) -> str:
    """Return the report as one HTML page that needs nothing else.

    The picture and its fused map are shown upright at their own resolution up to a longer side of 4096 pixels; a
    report that carries no picture (read back from JSON) gives a page without. A video's shows a timeline instead.
    """
    drawn = {
        "pictures": view.pictures(report),
        "marks": view.marks(report),
        "pairs": view.pairs(report),
        "scale": view.scale(report),
        "grouped": view.by_status(report.predictions),
    }
    return environment().get_template("report.html.j2").render(words_of(report) | drawn | _blocks())


def words_of(report: Report) -> dict[str, Any]:
    """Return what every form of a report says, for its template."""
    film = film_view.film(report)
    return {
        "film": film,
        "kind": "picture" if film is None else "video",
        "meaning": words.meaning(report.verdict) if film is None else words.video_meaning(report.verdict),
        "report": report,
        "name": report.intake.name or words.UNNAMED,
        "file_name": PurePath(report.intake.name).name or words.UNNAMED,
        "verdict": report.verdict,
        "level": words.LEVELS[report.verdict.level],
        "stated": sorted(report.findings, key=lambda f: ("warning", "notice", "info").index(f.severity)),
    }
