"""A long run on many machines by Ray Data: the same rows in the same order as on one.

Every machine needs this package, and must reach the files under the names that they are given by: a shared folder, or
a store of objects. A machine that is lost costs nothing: Ray does its share again elsewhere.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tamperscope.errors import InputError, TamperscopeError
from tamperscope.media import Limits
from tamperscope.report.schema import ROW, Row
from tamperscope.scanning.ledger import Recent
from tamperscope.scanning.many import Content, Memory, Pictures, Task, begin, failure, renamed
from tamperscope.scanning.places import Place, digest, place_of

HASHED, SCANNED = 64, 4
"""Files that one task of the cluster takes at a time."""
REPEATED = 1000


@dataclass(slots=True)
class ClusterRun:
    """Scans files on a cluster of Ray.

    Attributes:
        settings: Arguments of `Scanner`.
        memory: What earlier runs hold; those files are passed over.
        workers: Processes of the whole cluster that scan.
        pictures: What is written of each report; where anything is, copies are scanned, too.
    """

    settings: Mapping[str, Any]
    memory: Memory
    workers: int
    pictures: Pictures = field(default_factory=Pictures)
    _latest: OrderedDict[Content, Row] = field(default_factory=OrderedDict)

    def rows(self, places: Iterable[Place], advance: Callable[[], None] = lambda: None) -> Iterator[Row]:
        """Yield one row a file that is not done yet, in the order of the files; see `many.Run.rows`.

        Raises:
            InputError: The extra `cluster` is missing.
        """
        data = _library()
        asked = list(places)
        limits: Limits = self.settings["limits"]
        sums = list(self._hashed(data, asked, limits.max_file_bytes))
        firsts, first = [], set[Content]()
        for place, (sha256, error) in zip(asked, sums, strict=True):
            content = (sha256, place.suffix)
            done = self.memory.holds(place.name, sha256 or None)
            if error or done or (not self.pictures and (content in first or self.memory.recall(content) is not None)):
                continue
            first.add(content)
            firsts.append(place.name)
        yield from self._joined(asked, sums, self._scanned(data, firsts), set(firsts), advance)

    def _joined(
        self,
        places: Sequence[Place],
        sums: Sequence[tuple[str, str]],
        scanned: Iterator[Row],
        firsts: set[str],
        advance: Callable[[], None],
    ) -> Iterator[Row]:
        left = Counter((sha256, place.suffix) for place, (sha256, _) in zip(places, sums, strict=True))
        for place, (sha256, error) in zip(places, sums, strict=True):
            content = (sha256, place.suffix)
            left[content] -= 1
            if not self.memory.holds(place.name, sha256 or None):
                if error:
                    kind, _, message = error.partition(": ")
                    yield failure(place.name, InputError(message)).model_copy(update={"error": kind})
                elif place.name in firsts:
                    row = next(scanned)
                    if left[content]:
                        self._keep(content, row)
                    yield row
                else:
                    known = self._latest.get(content) or self.memory.recall(content)
                    assert known is not None
                    yield renamed(known, place.name)
            if not left[content]:
                self._latest.pop(content, None)
            advance()

    def _keep(self, content: Content, row: Row) -> None:
        """Keep a row that has copies to come, until the output can be asked for it: sheets recall nothing."""
        self._latest[content] = row
        # What is recalled without an output may be forgotten later.
        while len(self._latest) > REPEATED and not isinstance(self.memory, Recent):
            oldest = next(iter(self._latest))
            if self.memory.recall(oldest) is None:
                break
            self._latest.popitem(last=False)

    def _hashed(self, data: Any, places: Sequence[Place], limit: int) -> Iterator[tuple[str, str]]:
        listed = data.from_items([{"name": place.name} for place in places])
        found = listed.map_batches(_hashes, batch_size=HASHED, fn_kwargs={"limit": limit}, num_cpus=1)
        for row in found.iter_rows():
            yield str(row["sha256"]), str(row["error"])

    def _scanned(self, data: Any, names: Sequence[str]) -> Iterator[Row]:
        if not names:
            return
        listed = data.from_items([{"name": name} for name in names], override_num_blocks=_blocks(len(names)))
        args = {"settings": dict(self.settings), "pictures": self.pictures}
        pool = data.ActorPoolStrategy(min_size=1, max_size=self.workers)
        found = listed.map_batches(_Scans, batch_size=SCANNED, fn_constructor_kwargs=args, compute=pool, num_cpus=1)
        for row in found.iter_rows():
            yield ROW.validate_json(row["row"])


def _blocks(count: int) -> int:
    return max(1, -(-count // SCANNED))


def _library() -> Any:
    try:
        import ray
        from ray import data
    except ImportError as missing:
        raise InputError("--engine ray needs the extra `cluster`: pip install 'tamperscope[cluster]'") from missing
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    context = data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    return data


def _hashes(batch: Mapping[str, Any], limit: int) -> dict[str, list[str]]:
    """Return the SHA-256 of files, or why there is none."""
    sums, errors = [], []
    for name in batch["name"]:
        try:
            with place_of(str(name)).local(limit) as path:
                sums.append(digest(path))
                errors.append("")
        except (TamperscopeError, OSError) as error:
            sums.append("")
            errors.append(f"{type(error).__name__}: {error}")
    return {"sha256": sums, "error": errors}


class _Scans:
    """A process of the cluster that scans."""

    def __init__(self, settings: Mapping[str, Any], pictures: Pictures) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._desk = begin(settings, pictures)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return the rows of files as JSON."""
        return {"row": [self._row(str(name)).to_json(indent=None) for name in batch["name"]]}

    def _row(self, name: str) -> Row:
        sha256, place = None, place_of(name)
        try:
            with place.local(self._desk.scanner.limits.max_file_bytes) as path:
                sha256 = digest(path)
                return self._desk(Task(str(path), name, place.page))
        except (TamperscopeError, OSError, MemoryError) as error:
            return failure(name, error, sha256)
