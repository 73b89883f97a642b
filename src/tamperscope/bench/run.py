"""Run a protocol: every picture, under every attack, before every subject; what the cache holds is not done again."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tamperscope import registry
from tamperscope.bench import baselines, subjects
from tamperscope.bench.cache import Cache, key_of
from tamperscope.bench.protocol import Protocol, TestSet
from tamperscope.bench.subjects import SavedMaps
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.errors import InputError, InvalidValueError, TamperscopeError
from tamperscope.inference.artifact import open_artifact
from tamperscope.metrics.suites import named
from tamperscope.metrics.suites.base import Row
from tamperscope.metrics.suites.observe import observe
from tamperscope.ops import attack, grids
from tamperscope.types import Sample
from tamperscope.workers import processes

UNTOUCHED = grids.Point("untouched", "untouched", 0.0, "")


@dataclass(frozen=True, slots=True)
class Job:
    """One picture under one attack, and the subjects whose answer the cache lacks: (name, key)."""

    manifest: str
    entry: Entry
    op: str
    seed: int
    suites: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]
    folder: str


@dataclass(slots=True)
class Measured:
    """What came of one test set.

    Attributes:
        test: Which.
        rows: By (attack label, subject).
        failed: Pictures that could not be read, with the reason: counted, not scored.
        missing: Why the whole set is absent, or "".
        entries: Pictures in the manifest's part.
    """

    test: TestSet
    rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    missing: str = ""
    entries: int = 0


def points(protocol: Protocol) -> list[grids.Point]:
    """Return the attacks of a protocol, the untouched pictures first.

    Raises:
        UnknownNameError: No grid or attack of a name.
    """
    found = [UNTOUCHED]
    for text in protocol.attacks:
        if text in grids.names():
            found += grids.load(text)
        else:
            attack.parse(text)
            found.append(grids.Point(text, text.partition(":")[0], math.nan, text))
    return list({point.label: point for point in found}.values())


def run(
    protocol: Protocol,
    data: str | Path,
    cache: Cache,
    workers: int = 1,
    folder: SavedMaps | None = None,
    advance: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[Measured]:
    """Measure a protocol and return its rows; a picture that cannot be read is counted, the rest is scored.

    Args:
        protocol: What to measure.
        data: Where manifests are looked up.
        cache: Of earlier runs; filled.
        workers: Processes.
        folder: Saved predictions of another tool, scored beside the protocol's detectors.
        advance: Called with the test's name, pictures done and in all.

    Raises:
        InvalidValueError: A network's card bears the name of a classical detector.
        UnknownNameError: No subject of a name.
    """
    names = subjects.resolve(protocol.detectors)
    _refuse_namesakes(names)
    if folder is not None:
        names = [folder.name, *(n for n in names if n not in (folder.name, *protocol.detectors))]
    found = []
    for test in protocol.tests:
        path = test.path(Path(data))
        if not path.is_file():
            why = f"no manifest at {test.manifest or test.set or test.name}: prepare it with `{protocol.made_by}`"
            found.append(Measured(test, missing=why))
            continue
        entries = chosen(test, Manifest(path))
        plan = _Plan(protocol, path, names, cache, folder)
        measured = Measured(test, entries=len(entries))
        total = len(entries) * len(plan.points)
        for done, error in enumerate(_work(plan.jobs(entries), cache, workers), 1):
            advance(test.name, done, total)
            measured.failed |= error
        _collect(plan, entries, measured)
        found.append(measured)
    return found


def _refuse_namesakes(names: Sequence[str]) -> None:
    # A row is named by the folder, but a score is weighed by the name on the card: it would be another one's worth.
    classical = set(registry.names()) - set(registry.SHIPPED)
    for folder in filter(registry.is_network, names):
        if (name := open_artifact(folder).card.name) in classical:
            raise InvalidValueError(f"'{folder}': '{name}' is the name of another detector; export it under its own")


def chosen(test: TestSet, manifest: Manifest) -> list[Entry]:
    """Return the entries of a test set; with a limit, spread evenly over the manifest."""
    wanted = dict(test.where)
    under = str(wanted.pop("under", ""))
    entries = [
        e for e in manifest if under in e.image and all(getattr(e, k, e.extra.get(k)) == v for k, v in wanted.items())
    ]
    if test.limit is not None and len(entries) > test.limit:
        entries = [entries[int(i)] for i in np.linspace(0, len(entries) - 1, test.limit).round()]
    return entries


@dataclass(slots=True)
class _Plan:
    """What is common to the jobs of one test set."""

    protocol: Protocol
    path: Path
    names: Sequence[str]
    cache: Cache
    folder: SavedMaps | None
    points: list[grids.Point] = field(default_factory=list)
    _digests: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.points = points(self.protocol)

    def jobs(self, entries: Sequence[Entry]) -> Iterator[Job | None]:
        """Yield one job a picture and attack, None where the cache holds every answer."""
        for entry in entries:
            for point in self.points:
                missing = [(n, k) for n in self.names if (k := self.key(entry, point, n)) not in self.cache]
                if not missing:
                    yield None
                    continue
                folder = "" if self.folder is None else str(self.folder.folder)
                suites = self.protocol.suites
                yield Job(str(self.path), entry, point.op, self.protocol.seed, suites, tuple(missing), folder)

    def key(self, entry: Entry, point: grids.Point, name: str) -> str:
        """Return the digest of picture, truth, attack, suites and code."""
        own = self.folder is not None and name == self.folder.name
        code = self.folder.fingerprint(entry.image) if own and self.folder else subjects.fingerprint(name)
        seed = str(self.protocol.seed) if point.op else ""
        line = entry.model_dump_json()
        return key_of(self._digest(entry), line, point.op, seed, ",".join(self.protocol.suites), name, code)

    def _digest(self, entry: Entry) -> str:
        if entry.image not in self._digests:
            state = hashlib.sha256()
            for name in (entry.image, entry.mask):
                path = self.path.parent / name if name else None
                state.update(path.read_bytes() if path is not None and path.is_file() else b"\0")
            self._digests[entry.image] = state.hexdigest()
        return self._digests[entry.image]


def _work(jobs: Iterator[Job | None], cache: Cache, workers: int) -> Iterator[dict[str, str]]:
    """Do the jobs, store each answer as it comes, and yield {picture: error} (mostly empty) for each."""
    if workers <= 1:
        for job in jobs:
            yield {} if job is None else _store(measure(job), cache)
        return
    with processes(workers) as executor:
        waiting: set[Future[Any]] = set()
        for job in jobs:
            if job is None:
                yield {}
                continue
            waiting.add(executor.submit(measure, job))
            if len(waiting) >= 4 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (_store(f.result(), cache) for f in done)
        yield from (_store(f.result(), cache) for f in waiting)


def _store(answer: tuple[str, list[tuple[str, dict[str, Any]]], str], cache: Cache) -> dict[str, str]:
    image, rows, error = answer
    cache.put(rows)
    return {image: error} if error else {}


_panels: dict[tuple[tuple[str, ...], str], subjects.Panel] = {}


def measure(job: Job) -> tuple[str, list[tuple[str, dict[str, Any]]], str]:
    """Return (picture, (key, row) of each missing subject, error or ""); what raises costs this picture only."""
    try:
        sample = attacked(Manifest(job.manifest).open(job.entry), job.op, job.seed)
        names = tuple(name for name, _ in job.missing)
        if (names, job.folder) not in _panels:
            _panels[(names, job.folder)] = subjects.Panel(names, SavedMaps(job.folder) if job.folder else None)
        fields = subjects.fields_of(job.entry, sample)
        found = _panels[(names, job.folder)].predict(sample)
        rows = [(key, _row(job, p, sample, fields)) for (_, key), p in zip(job.missing, found, strict=True)]
    except (TamperscopeError, OSError, MemoryError) as error:
        return job.entry.image, [], f"{type(error).__name__}: {error}"
    return job.entry.image, rows, ""


def attacked(sample: Sample, op: str, seed: int) -> Sample:
    """Return the sample after an attack in text form; draws follow from the seed, the picture's id and the attack."""
    if not op:
        return sample
    rng = np.random.default_rng([seed, zlib.crc32(sample.id.encode()), zlib.crc32(op.encode())])
    return attack.parse(op)(sample, rng)


def _row(job: Job, prediction: Any, sample: Sample, fields: dict[str, Any]) -> dict[str, Any]:
    score = None if math.isnan(prediction.score) else prediction.score
    if score is not None and math.isinf(score):
        raise InputError(f"{prediction.detector}: expected a finite score or nan, found {score}")
    values = {name: observe(named.load(name), prediction, sample) for name in job.suites}
    row = {"label": sample.label, "score": score, "status": prediction.status, "cause": prediction.cause}
    return {**row, "values": values, "fields": fields}


def _collect(plan: _Plan, entries: Sequence[Entry], measured: Measured) -> None:
    """Read every row back from the cache, so that a resumed run and an uninterrupted one are the same."""
    for point in plan.points:
        for name in plan.names:
            rows = []
            for entry in entries:
                held = plan.cache.get(plan.key(entry, point, name))
                if held is not None:
                    rows.append(_as_row(name, entry, held))
            measured.rows[(point.label, name)] = rows
        if rows_of_any := measured.rows.get((point.label, baselines.CENTRE_BLOB)):
            measured.rows[(point.label, baselines.TABLE_LOOKUP)] = baselines.table_lookup(rows_of_any)


def _as_row(name: str, entry: Entry, held: dict[str, Any]) -> Row:
    score = math.nan if held["score"] is None else float(held["score"])
    fields = {**held["fields"], "status": held["status"], "cause": held["cause"]}
    worth = subjects.probability(name, score)
    return Row(entry.image, entry.source_group, held["label"], score, worth, held["values"], fields)


def of_suite(rows: Sequence[Row], suite: str) -> list[Row]:
    """Return the rows with the values of one suite only, as `summarize` takes them."""
    return [Row(r.key, r.group, r.label, r.score, r.probability, r.values.get(suite, {}), r.fields) for r in rows]
