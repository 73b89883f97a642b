"""The fixed words of a report: what each level means, and numbers as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tamperscope.report.schema import Stability, Threshold, Verdict
from tamperscope.verdict.card import Level
from tamperscope.verdict.fusion import NEGLIGIBLE, by_looks


@dataclass(frozen=True, slots=True)
class LevelWords:
    """How a level is shown: its title, a sign that works without colour, a colour of terminals, its meaning."""

    title: str
    sign: str
    colour: str
    meaning: str


LEVELS: Mapping[Level, LevelWords] = {
    "no_evidence": LevelWords(
        "No evidence found",
        "○",
        "cyan",
        "The checks that apply to this file found nothing that stands out. That is not proof that nothing was "
        "done: many edits leave no trace that these checks can read, above all after resizing or re-saving. Nor does "
        "it say whether a generator made the whole picture.",
    ),
    "inconclusive": LevelWords(
        "Inconclusive",
        "◐",
        "yellow",
        "There is too little to decide either way: the traces are weak, contradict each other, or could not be "
        "read. Treat the picture as unverified and look for another source of it.",
    ),
    "suspicious": LevelWords(
        "Suspicious",
        "▲",
        "dark_orange",
        "Traces of alteration stand out that untouched pictures seldom show. Look at the marked areas and the "
        "reasons below, and ask for the original file before you rely on the picture.",
    ),
    "strong_evidence": LevelWords(
        "Strong evidence of alteration",
        "◆",
        "red",
        "Traces of alteration stand out that untouched pictures very seldom show. It says that the file was "
        "changed, not why or by whom: a harmless edit leaves the same traces as a harmful one.",
    ),
}

DECLARED_MEANING = (
    "The level rests on a mark inside the file, not on traces in its pixels: those alone would not reach it. Marks can "
    "be forged or removed, so check who set this one."
)
LOOKS_MEANING: Mapping[str, str] = {
    "inconclusive": "The picture as a whole looks like what image generators make, though too little to decide. Some "
    "photographs do, above all staged and graded ones. Look for another source of it.",
    "suspicious": "The picture as a whole looks like what image generators make, as few photographs do. Looks are no "
    "proof: a network judged light, colours and surfaces, not traces of an alteration, and staged or graded "
    "photographs come close. Ask where the picture is from before you rely on it.",
}
"""Of the levels that looks can reach; said where they are the strongest reason and no area is marked."""
UNMARKED_MEANING = (
    "Traces of alteration stand out that untouched pictures seldom show. Look at the reasons below, and ask for the "
    "original file before you rely on the picture."
)
"""Of the level `suspicious` where no area is marked."""
VIDEO_MEANING = (
    "The calibration of this version is of photographs; how often frames of untouched videos reach a score is not "
    "known. So nothing was weighed. What stands out below does so within this video only: look at it, and ask for the "
    "original file."
)
UNNAMED = "unnamed picture"
_ALARMS = ("suspicious", "strong_evidence")
SEVERITY_SIGNS = {"warning": "▲", "notice": "●", "info": "·"}
STATUS_WORDS = {"ok": "ran", "not_applicable": "not applicable", "failed": "failed"}
STABILITY_WORDS = {
    "stable": "Stable: “no evidence” became something else on no re-delivered copy, nor the reverse; other levels can "
    "change.",
    "unstable": "Unstable: “no evidence” became something else on a re-delivered copy, or the reverse, so lean on this "
    "verdict less.",
    "not_run": "Not tested: no re-delivered copies were scanned.",
}


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with `digits` decimals at most, large and tiny ones in powers of ten; a dash for None."""
    if value is None:
        return "–"
    if value and not 10.0**-digits <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"


def signed(value: float | None) -> str:
    """Return a number with its sign and two decimals; a dash for None."""
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def percent(share: float | None) -> str:
    """Return a share as a percentage with two significant digits; a dash for None."""
    if share is None:
        return "–"
    value = 100.0 * share
    if 99.0 < value < 100.0:
        return f"{value:.1f} %" if value < 99.95 else "over 99.9 %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def size(count: int | None) -> str:
    """Return a number of bytes in the unit that suits it; `no file` for None."""
    if count is None:
        return "no file"
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def weight_words(llr: float | None) -> str:
    """Return what a log-likelihood ratio means, such as `about 12 times more likely if altered`."""
    if llr is None:
        return "could not be weighed"
    if abs(llr) < math.log(1.1):
        return "says nothing either way"
    ratio = math.exp(min(abs(llr), 20.0))
    side = "altered" if llr > 0 else "untouched"
    if ratio >= 10_000:
        return f"over 10,000 times more likely if {side}"
    shown = f"{ratio:.1f}" if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}"
    return f"about {shown} times more likely if {side}"


def is_declared(verdict: Verdict) -> bool:
    """Return whether the level rests on what the file says of itself, as its traces alone do not reach it."""
    threshold = alarm_threshold(verdict)
    if verdict.level not in _ALARMS or threshold is None or threshold.llr is None:
        return False
    return verdict.llr is None or verdict.llr < threshold.llr


def meaning(verdict: Verdict) -> str:
    """Return what the verdict means in plain words."""
    if is_declared(verdict):
        return DECLARED_MEANING
    if verdict.regions:
        return LEVELS[verdict.level].meaning
    usual = UNMARKED_MEANING if verdict.level == "suspicious" else LEVELS[verdict.level].meaning
    looks = by_looks([reason.origin for reason in verdict.reasons_for])
    return LOOKS_MEANING.get(verdict.level, usual) if looks else usual


def video_meaning(verdict: Verdict) -> str:
    """Return what the verdict on a video means, which only a mark inside the file can lift above inconclusive."""
    return VIDEO_MEANING if verdict.level == "inconclusive" else DECLARED_MEANING


def start_sentence(verdict: Verdict) -> str:
    """Return what the weights of the reasons add to, in one line; "" where nothing was weighed."""
    if verdict.start is None or verdict.llr is None:
        return ""
    return (
        f"Start {signed(verdict.start)}: what a picture has before any detector is asked. Start and weights add up to "
        f"the weight of evidence; weights below {NEGLIGIBLE} are not listed."
    )


def alarm_threshold(verdict: Verdict) -> Threshold | None:
    """Return the threshold behind the level, or the lowest alarm when the level is below all alarms."""
    wanted = verdict.level if verdict.level in _ALARMS else "suspicious"
    return next((t for t in verdict.thresholds if t.level == wanted), None)


def alarm_sentence(verdict: Verdict) -> str:
    """Return the false-alarm rate behind the verdict in one sentence, or that none is known."""
    threshold = alarm_threshold(verdict)
    if threshold is None or threshold.false_alarm_rate is None:
        return "No false-alarm rate is known for this verdict."
    if is_declared(verdict):
        return "No false-alarm rate applies: the level rests on what the file says of itself."
    if verdict.llr is None:
        return "No false-alarm rate applies: nothing was weighed."
    interval = ""
    if threshold.low is not None and threshold.high is not None:
        interval = f" (95 % interval {percent(threshold.low)} to {percent(threshold.high)})"
    title = LEVELS[threshold.level].title
    return (
        f"False alarms: {percent(threshold.false_alarm_rate)} of untouched pictures of the reference population "
        f"reach “{title}”{interval}."
    )


def populations(verdict: Verdict) -> list[str]:
    """Return the distinct populations that the thresholds were measured on."""
    return list(dict.fromkeys(t.population for t in verdict.thresholds if t.population))


def stability_sentence(stability: Stability) -> str:
    """Return whether the verdict survives delivery, in one sentence."""
    return STABILITY_WORDS[stability.status]


def box_words(box: Sequence[int]) -> str:
    """Return a box as its size and corner, such as `120 × 80 px at (30, 40)`."""
    x0, y0, x1, y1 = box
    return f"{x1 - x0} × {y1 - y0} px at ({x0}, {y0})"


def step_words(step: str) -> str:
    """Return a transformation of the intake in words, where `media` explains it."""
    from tamperscope.media.pixels import STEPS

    return STEPS.get(step, step)


def value_words(value: Any) -> str:
    """Return a JSON value as one short line: numbers rounded, lists in brackets, mappings as `key value`."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 3)
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(key)} {value_words(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(value_words(item) for item in value)}]"
    return str(value)


def _plain(key: Any) -> str:
    return str(key).replace("_", " ")
