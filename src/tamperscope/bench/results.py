"""Results: every number of a bench with its interval, count and origin, as one document that tables and pages read."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tamperscope import __version__
from tamperscope.bench import baselines, run, subjects
from tamperscope.bench.protocol import Protocol
from tamperscope.errors import InputError
from tamperscope.metrics.intervals import bootstrap
from tamperscope.metrics.suites import named
from tamperscope.metrics.suites.base import Row, Suite
from tamperscope.metrics.suites.summarize import RANK_METRICS, compare, summarize
from tamperscope.settings import wrong
from tamperscope.verdict.card import LEVELS

ALARM = 0.5
MEAN = "mean over sets"
ANSWERED = 0.5
"""Least share of a set's pictures that a subject has to answer for its mean to be told."""
_WORST = 8
# Numbers that are compared with the bar: maps with the centre blob, pictures with the table look-up.
_COMPARED = {"pixel_auc": baselines.CENTRE_BLOB, "pixel_f1": baselines.CENTRE_BLOB, "image_auc": baselines.TABLE_LOOKUP}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(_Model):
    """One number: where it was measured, its value (None = undefined), interval, count and pictures left out."""

    test: str
    attack: str
    subject: str
    suite: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    undefined: int = 0


class Comparison(_Model):
    """A subject against a bar on the same pictures; `clear` when the interval of the difference leaves out 0."""

    test: str
    attack: str
    subject: str
    bar: str
    suite: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    clear: bool


class Alarms(_Model):
    """How often a subject calls the pristine pictures of one kind forged: calibrated probability above one half."""

    test: str
    attack: str
    subject: str
    category: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class LevelShare(_Model):
    """Share of the forged (label 1) or pristine (0) pictures on which the scan's verdict reaches a level."""

    test: str
    attack: str
    level: str
    label: int
    value: float
    low: float | None
    high: float | None
    n: int


class Worst(_Model):
    """A picture on which a subject does badly: a forged one by its map, or a pristine one by its score."""

    test: str
    subject: str
    image: str
    label: int
    metric: str
    value: float


class Point(_Model):
    """One attack: its label, the curve it belongs to, its place on it (None = no scale) and its text form."""

    label: str
    family: str
    strength: float | None
    op: str


class Tested(_Model):
    """A test set as it was found."""

    name: str
    manifest: str
    pictures: int
    forged: int
    pristine: int
    licences: list[str]
    failed: dict[str, str]
    missing: str = ""


class Subject(_Model):
    """What was scored, and where its decision threshold comes from."""

    name: str
    about: str
    threshold: str
    answered: dict[str, int]


class Results(_Model):
    """A whole bench; it holds no time and no machine, so that two runs of the same code are equal."""

    format: str = "tamperscope-bench-1"
    version: str = __version__
    title: str
    source: str
    trained_on: str
    command: str
    seed: int
    rounds: int
    tests: list[Tested]
    attacks: list[Point]
    subjects: list[Subject]
    numbers: list[Number]
    comparisons: list[Comparison] = Field(default_factory=list)
    alarms: list[Alarms] = Field(default_factory=list)
    levels: list[LevelShare] = Field(default_factory=list)
    worst: list[Worst] = Field(default_factory=list)

    def number(self, **fields: str) -> Number | None:
        """Return the number with these fields, or None."""
        return next((n for n in self.numbers if all(getattr(n, k) == v for k, v in fields.items())), None)


def load(path: str | Path) -> Results:
    """Return the results in a JSON file.

    Raises:
        InputError: It is missing, or holds something else.
    """
    try:
        return Results.model_validate_json(Path(path).read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"expected the results.json of a bench at '{path}': {wrong(error)}; run the bench again"
        ) from error


def build(
    protocol: Protocol,
    measured: Sequence[run.Measured],
    command: str,
    tell: Callable[[str], None] = lambda step: None,
) -> Results:
    """Return the results of what was measured.

    Args:
        protocol: What was run.
        measured: From `run.run`.
        command: That makes them again.
        tell: Called with each step.
    """
    numbers, comparisons, alarms, levels, worst = [], [], [], [], []
    for found in measured:
        for (label, subject), rows in found.rows.items():
            tell(f"{found.test.name} · {label} · {subject}")
            for name in protocol.suites:
                numbers += _numbers(protocol, found, label, subject, named.load(name), rows)
                comparisons += _comparisons(protocol, found, label, subject, named.load(name))
            alarms += _alarms(protocol, found, label, subject, rows)
            if subject == subjects.FUSED:
                levels += _levels(protocol, found, label, rows)
        worst += _worst(found, protocol)
    return Results(
        title=protocol.title,
        source=protocol.source,
        trained_on=protocol.trained_on,
        command=command,
        seed=protocol.seed,
        rounds=protocol.rounds,
        tests=[_tested(found) for found in measured],
        attacks=[
            Point(label=p.label, family=p.family, strength=_finite(p.strength), op=p.op) for p in run.points(protocol)
        ],
        subjects=_subjects(measured),
        numbers=numbers + _means(numbers),
        comparisons=comparisons,
        alarms=alarms,
        levels=levels,
        worst=worst,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _where(found: run.Measured, label: str, subject: str) -> dict[str, Any]:
    return {"test": found.test.name, "attack": label, "subject": subject}


def _numbers(
    protocol: Protocol, found: run.Measured, label: str, subject: str, suite: Suite, rows: Sequence[Row]
) -> list[Number]:
    if subject == baselines.TABLE_LOOKUP:
        suite = Suite(suite.name, suite.about, image=tuple(m for m in suite.image if m in RANK_METRICS))
    made = []
    for m in summarize(suite, run.of_suite(rows, suite.name), protocol.rounds, protocol.seed):
        i = m.interval
        values: dict[str, Any] = {"value": _finite(i.value), "low": _finite(i.low), "high": _finite(i.high)}
        where = _where(found, label, subject)
        made.append(Number(**where, suite=suite.name, metric=m.metric, n=i.n, undefined=i.undefined, **values))
    return made


def _means(numbers: Sequence[Number]) -> list[Number]:
    """Return the mean of each number over the test sets that define it, as published tables have it; n counts sets.

    A subject that lacks a number on a set that others have it on gets no mean, and neither does one that has it there
    of less than `ANSWERED` of the pictures that another has it of: means over different pictures mislead.
    """
    held: dict[tuple[str, str, str, str], list[Number]] = defaultdict(list)
    most: dict[tuple[str, str, str], int] = defaultdict(int)
    sets: dict[tuple[str, str], set[str]] = defaultdict(set)
    for n in numbers:
        if n.value is not None and "@" not in n.metric:
            held[(n.attack, n.subject, n.suite, n.metric)].append(n)
            most[(n.suite, n.metric, n.test)] = max(most[(n.suite, n.metric, n.test)], n.n)
            sets[(n.suite, n.metric)].add(n.test)
    made = []
    for (attack, subject, suite, metric), found in held.items():
        answered = all(n.n >= ANSWERED * most[(suite, metric, n.test)] for n in found)
        if answered and len(found) == len(sets[(suite, metric)]) > 1:
            where: dict[str, Any] = {
                "test": MEAN,
                "attack": attack,
                "subject": subject,
                "suite": suite,
                "metric": metric,
            }
            value = float(np.mean([n.value for n in found]))
            made.append(Number(**where, value=value, low=None, high=None, n=len(found)))
    return made


def _comparisons(protocol: Protocol, found: run.Measured, label: str, subject: str, suite: Suite) -> list[Comparison]:
    has = {r.name for r in suite.pixel} | {f"image_{name}" for name in suite.image}
    made = []
    for metric, bar in _COMPARED.items():
        if metric not in has or subject in (bar, *baselines.MAPS, baselines.TABLE_LOOKUP):
            continue
        rows, other = (run.of_suite(found.rows.get((label, s), []), suite.name) for s in (subject, bar))
        gain = compare(suite, metric, rows, other, protocol.rounds, protocol.seed)
        values: dict[str, Any] = {k: _finite(getattr(gain, k)) for k in ("value", "low", "high", "p")}
        where = _where(found, label, subject)
        clear = bool(gain.n and gain.low > 0)
        made.append(Comparison(**where, bar=bar, suite=suite.name, metric=metric, n=gain.n, clear=clear, **values))
    return made


def _alarms(protocol: Protocol, found: run.Measured, label: str, subject: str, rows: Sequence[Row]) -> list[Alarms]:
    if subject in (*baselines.MAPS, baselines.TABLE_LOOKUP):
        return []
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.label == 0 and not math.isnan(row.probability):
            kinds[str(row.fields.get(protocol.category) or "all")].append(row)
    made = []
    for kind, part in sorted(kinds.items()):
        called = [float(r.probability > ALARM) for r in part]
        i = bootstrap(called, [r.group for r in part], seed=protocol.seed, rounds=protocol.rounds)
        where = _where(found, label, subject)
        made.append(Alarms(**where, category=kind, value=i.value, low=_finite(i.low), high=_finite(i.high), n=i.n))
    return made


def _levels(protocol: Protocol, found: run.Measured, label: str, rows: Sequence[Row]) -> list[LevelShare]:
    made = []
    for level in LEVELS[1:]:
        for truth in (0, 1):
            part = [r for r in rows if r.label == truth]
            reached = [float(LEVELS.index(subjects.level(r.score)) >= LEVELS.index(level)) for r in part]
            i = bootstrap(reached, [r.group for r in part], seed=protocol.seed, rounds=protocol.rounds)
            if i.n:
                ends: dict[str, Any] = {"low": _finite(i.low), "high": _finite(i.high)}
                where: dict[str, Any] = {"test": found.test.name, "attack": label, "level": level}
                made.append(LevelShare(**where, label=truth, value=i.value, n=i.n, **ends))
    return made


def _worst(found: run.Measured, protocol: Protocol) -> list[Worst]:
    """Pick the forged pictures with the lowest F1 and the loudest pristine ones, of the fused scan or first subject."""
    names = [s for label, s in found.rows if label == run.UNTOUCHED.label]
    subject = subjects.FUSED if subjects.FUSED in names else next(iter(names), "")
    rows = found.rows.get((run.UNTOUCHED.label, subject), [])
    suite = next((s for s in protocol.suites if any(r.name == "pixel_f1" for r in named.load(s).pixel)), "")
    forged = [(r, r.values.get(suite, {}).get("pixel_f1")) for r in rows if r.label == 1]
    low = sorted(((v, r.key, r) for r, v in forged if v is not None), key=lambda t: t[:2])[:_WORST]
    quiet = [r for r in rows if r.label == 0 and not math.isnan(r.score)]
    loud = sorted(((-r.score, r.key, r) for r in quiet), key=lambda t: t[:2])[:_WORST]
    place = {"test": found.test.name, "subject": subject}
    made = [Worst(**place, image=r.key, label=1, metric="pixel_f1", value=v) for v, _, r in low]
    return made + [Worst(**place, image=r.key, label=0, metric="score", value=-v) for v, _, r in loud]


def _tested(found: run.Measured) -> Tested:
    rows: Sequence[Row] = next(iter(found.rows.values()), [])
    licences = sorted({str(r.fields["licence"]) for r in rows if r.fields.get("licence")})
    return Tested(
        name=found.test.name,
        manifest=found.test.manifest or found.test.set or found.test.name,
        pictures=found.entries,
        forged=sum(r.label == 1 for r in rows),
        pristine=sum(r.label == 0 for r in rows),
        licences=licences or ["none stated in the manifest"],
        failed=dict(sorted(found.failed.items())),
        missing=found.missing,
    )


def _subjects(measured: Sequence[run.Measured]) -> list[Subject]:
    answered: dict[str, dict[str, int]] = {}
    for found in measured:
        for (label, name), rows in found.rows.items():
            if label == run.UNTOUCHED.label:
                ok = int(np.sum([r.fields.get("status", "ok") == "ok" for r in rows]))
                answered.setdefault(name, {})[found.test.name] = ok
    return [Subject(name=n, about=subjects.about(n), threshold=_threshold(n), answered=a) for n, a in answered.items()]


def _threshold(name: str) -> Any:
    if name in (baselines.RANDOM, baselines.CENTRE_BLOB):
        return "0.5 of the map, chosen by nobody"
    if name == baselines.TABLE_LOOKUP:
        return "none: rank metrics only"
    whose = "the shipped" if name in subjects.calibrated() else "its own" if subjects.own_curve(name) else ""
    return f"map 0.5; picture: probability 0.5 on {whose} card" if whose else "0.5 of its own map and score"
