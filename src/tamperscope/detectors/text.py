"""Text: words of a page that stand, look or lie otherwise than the words around them.

How. Words are found, or given with the picture. Of each that looks like print, eight traces are measured: how low it
stands in its row, the height of its characters, the width of its strokes, darkness and colour of its ink, how sharp its
edges are, and noise and level of the paper around it. Each is set against the words of its row and those near to it,
in robust deviations of the page. How often words of untouched receipts deviate as far was counted once, and is the
background: the number of false alarms (NFA) of a word is that of its most deviant trace times words times traces.

Limits. It tells what differs, and not why: handwriting, stamps, numbers that an archive adds, and words in bold differ,
too. What is copied from the same page with care, or covered with paper, does not. Words of another height in a row are
common on receipts, so one trace alone has to be far off. Dark text in about level lines only, of a page that may lie on
its side or upside down.

Source. None published; robust deviations and an a-contrario test, see `signal.nfa` for that. The counts are of half of
36 receipts of ICDAR 2019 SROIE (Huang et al.), each at its own size and at 1280 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal import domains, text, word_traces
from tamperscope.signal.text import Finder, Page, Word
from tamperscope.signal.word_traces import TRACES, Floats
from tamperscope.types import Box, Finding, FloatArray, Prediction, Region, Sample

WORDS, ROWS = 20, 4
"""Fewest words and rows that are a page."""
BACKGROUND: Mapping[str, tuple[float, float, float]] = {
    "shift": (1.0, 0.013, 2.0),
    "size": (1.0, 0.004, 1.5),
    "stroke": (2.35, 0.03, 3.5),
    "ink": (2.2, 0.03, 2.3),
    "colour": (1.0, 0.026, 1.7),
    "edges": (2.1, 0.03, 3.5),
    "grain": (2.5, 0.03, 4.6),
    "paper": (2.4, 0.03, 2.8),
}
"""Of each trace: a deviation, the share of words of untouched receipts beyond it, and how fast that share falls: as the
deviation to the power of minus that."""
_WORDS: Mapping[str, tuple[str, str]] = {
    "shift": ("it stands higher than its row", "it stands lower than its row"),
    "size": ("its characters are smaller", "its characters are larger"),
    "stroke": ("its strokes are thinner", "its strokes are thicker"),
    "ink": ("its ink is paler", "its ink is darker"),
    "colour": ("its ink has another colour", "its ink has another colour"),
    "edges": ("its edges are softer", "its edges are sharper"),
    "grain": ("the paper around it is smoother", "the paper around it is noisier"),
    "paper": ("it lies on a darker patch", "it lies on a lighter patch"),
}
_MOST = 64_000_000  # pixels
_STEEPEST = 0.12
_MARGIN = 2  # pixels around a word that are marked with it
_SHOWN = 20


class Text(Detector):
    """Words that differ from those around them.

    Args:
        nfa: Number of false alarms below which a word is marked: the map's 0.5.
        finder: Who finds the words: `auto` (given ones where the sample has some, else found ones), `given`, `ocr` or
            `built_in`.
    """

    family = "text"
    domains: ClassVar[tuple[str, ...]] = ("document",)
    min_side = 128
    guide = Guide(
        looks_at="How each word of a page stands, and what its ink and paper look like, beside the words around it.",
        how_to_read="Bright words differ more than words of untouched receipts do; the reasons say in what.",
        when_it_lies="Handwriting, stamps, logos and words in bold differ, too; a careful copy from the page does not.",
    )

    def __init__(self, nfa: float = 0.1, finder: Finder = "auto") -> None:
        self.nfa = nfa
        self.finder = finder

    def predict(self, sample: Sample) -> Prediction:
        """Return what it says of a page; one that lies on its side is turned before, and what is found turned back."""
        found = super().predict(sample)
        if found.status == "ok" or not self._on_its_side(sample):
            return found
        # Whether it is upside down then makes no difference to how words differ from each other.
        turned = super().predict(Sample(np.ascontiguousarray(np.rot90(sample.rgb, -1)), id=sample.id))
        return _turned_back(turned, sample.size) if turned.status == "ok" else found

    def _on_its_side(self, sample: Sample) -> bool:
        """Return whether a page that was not judged may be when turned; given words are those of a page as it is."""
        given = self.finder == "given" or text.are_given(sample)
        fits = self.min_side <= min(sample.size) and math.prod(sample.size) <= _MOST
        return fits and not given and not sample.meta.get("damaged") and domains.sideways(sample.rgb)

    def analyze(self, sample: Sample) -> Prediction:
        """Return the words that differ, and in what; see `Detector.analyze`."""
        page, deviations = examined(sample, self.finder)
        tails = log10_tails(deviations)
        tests = int(np.isfinite(tails).sum())
        nfa = math.log10(max(1, tests)) + np.where(np.isfinite(tails), tails, 0).min(axis=1)
        level = math.log10(self.nfa)
        order = np.argsort(nfa, kind="stable")
        marked = [int(k) for k in order if nfa[k] < level]
        told = [_told(page.words[k], deviations[k], tails[k], float(nfa[k]), sample.size) for k in marked[:_SHOWN]]
        score = -float(nfa[order[0]])
        judged = int(np.isfinite(tails).any(axis=1).sum())
        counts = {"words": judged, "rows": page.rows, "finder": page.finder, "tests": tests}
        reasons = [Finding("text.word", region.words, "info", region.values, self.name) for region in told]
        if not reasons:
            quiet = f"None of {judged} words differs from those around it more than words of receipts do."
            reasons = [Finding("text.none", quiet, "info", counts, self.name)]
        return Prediction(
            self.name,
            sample.size,
            score,
            _heat(page, nfa - level, sample.size),
            told,
            reasons,
            evidence={**counts, "log10_nfa": -score, "marked": len(marked)},
        )


def examined(sample: Sample, finder: Finder = "auto") -> tuple[Page, Floats]:
    """Return the words of a page and their deviations (N, 8) in the order of `TRACES`; nan of what is not like print.

    Args:
        sample: The page.
        finder: Who finds the words, see `signal.text.find`.

    Raises:
        NotApplicable: There are too few words for a page, the page is turned, or it is too large.
    """
    if math.prod(sample.size) > _MOST:
        raise NotApplicable(f"the picture has over {_MOST // 1_000_000} megapixels")
    page = text.find(sample, finder)
    kept = word_traces.judged(page)
    printed = replace(page, words=[w for w, k in zip(page.words, kept, strict=True) if k], slopes=page.slopes[kept])
    if len(printed.words) < WORDS or printed.rows < ROWS:
        raise NotApplicable(
            f"no page of text: {len(printed.words)} printed words in {printed.rows} lines; needs {WORDS} in {ROWS}"
        )
    if abs(float(np.median(printed.slopes))) > _STEEPEST:
        raise NotApplicable("the lines of text are not level; turn the page upright")
    deviations = np.full((len(page.words), len(TRACES)), math.nan)
    deviations[kept] = word_traces.deviations(printed, word_traces.measures(sample.rgb, printed))
    return page, deviations


def _turned_back(found: Prediction, size: tuple[int, int]) -> Prediction:
    """Return what was found in a picture (H, W) after a quarter turn clockwise, where it lies in the picture itself."""

    def back(box: Sequence[int]) -> Box:
        x0, y0, x1, y1 = box
        return y0, size[0] - x1, y1, size[0] - x0

    def told(values: Mapping[str, Any]) -> dict[str, Any]:
        return {**values, **({"box": list(back(values["box"]))} if "box" in values else {})}

    assert found.heatmap is not None
    said = (
        "The page lies on its side, and was turned clockwise to be read; where that leaves it upside down, words that "
        "stand higher are told to stand lower."
    )
    return replace(
        found,
        size=size,
        heatmap=np.ascontiguousarray(np.rot90(found.heatmap)),
        regions=[replace(region, box=back(region.box), values=told(region.values)) for region in found.regions],
        reasons=[
            *(replace(reason, values=told(reason.values)) for reason in found.reasons),
            Finding("text.sideways", said, "info", {"turned": 90}, found.detector),
        ],
        evidence={**found.evidence, "turned": 90},
    )


def log10_tails(deviations: Floats) -> Floats:
    """Return the log10 of the share of words of untouched receipts that deviate as far; nan where a deviation is nan.

    Args:
        deviations: (N, 8), in the order of `TRACES`.
    """
    level, share, slope = np.array([BACKGROUND[name] for name in TRACES]).T
    ratio = np.abs(deviations) / level
    far = np.log10(share) - slope * np.log10(np.maximum(ratio, 1))
    return np.asarray(np.where(ratio < 1, ratio * np.log10(share), far), np.float64)


def _told(word: Word, deviations: Floats, tails: Floats, nfa: float, size: tuple[int, int]) -> Region:
    """Return a word that differs, with what differs, the most telling first."""
    far = [int(k) for k in np.argsort(np.where(np.isfinite(tails), tails, 0)) if _is_far(int(k), deviations[k])]
    clauses = [f"{_WORDS[TRACES[k]][int(deviations[k] > 0)]} ({abs(deviations[k]):.1f} deviations)" for k in far]
    listed = clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"
    said = f"The word '{word.text}'" if word.text else "A word"
    values = {
        "box": list(word.box),
        "row": word.row,
        "log10_nfa": round(nfa, 3),
        "deviations": {TRACES[k]: round(float(deviations[k]), 2) for k in range(len(TRACES)) if tails[k] == tails[k]},
        "differs": [TRACES[k] for k in far],
    }
    return Region(_grown(word, size), None, -nfa, "text", f"{said} differs from those around it: {listed}.", values)


def _is_far(trace: int, deviation: float) -> bool:
    """Return whether a deviation lies in the tail that was counted; nan does not."""
    return bool(abs(deviation) >= BACKGROUND[TRACES[trace]][0])


def _grown(word: Word, size: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = word.box
    return max(0, x0 - _MARGIN), max(0, y0 - _MARGIN), min(size[1], x1 + _MARGIN), min(size[0], y1 + _MARGIN)


def _heat(page: Page, beyond: Floats, size: tuple[int, int]) -> FloatArray:
    """Return the words painted by how far their log10 NFA is beyond the decision, which is 0.5; all else is 0.

    One step of heat is two powers of ten, so that words that are no alarm differ in eight bits, too.
    """
    heat = np.zeros(size, np.float32)
    for word, off in zip(page.words, beyond, strict=True):
        x0, y0, x1, y1 = _grown(word, size)
        part = heat[y0:y1, x0:x1]
        np.maximum(part, np.float32(1 / (1 + 10.0 ** (min(off, 30.0) / 2))), out=part)
    return heat
