"""Jobs from acceptance to their end: none is lost, however workers or the service itself die.

A job is accepted when its file and its row are stored. At the start, jobs that have no end are begun again; one that
was begun three times without an end is given up, with that as its stated cause.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamperscope.errors import TamperscopeError
from tamperscope.media import Limits
from tamperscope.scanning.places import digest
from tamperscope.serve.keys import Limiter
from tamperscope.serve.meters import Meters
from tamperscope.serve.problems import Problem
from tamperscope.serve.scans import PRINT, Options, Print, Scan, begin
from tamperscope.serve.settings import Key, Settings
from tamperscope.serve.store import Files, Job, Jobs, TakenError, deadline
from tamperscope.workers import Crew

ATTEMPTS = 3
UPLOAD, PAPER = "upload", "report.pdf"
LOG = logging.getLogger("tamperscope.serve")


@dataclass(slots=True)
class Slot:
    """A place for one scan: taken before its body is read, given back when the job ends or was never made."""

    key: Key
    handed: bool = False


@dataclass(slots=True)
class _Open:
    """A job without an end in this process."""

    ended: Future[None]
    scan: Future[str]
    folder: Path


@dataclass(slots=True)
class Dispatcher:
    """Takes jobs in, gives them to the workers, and stores how they end.

    Attributes:
        settings: Of the service.
        jobs: Table of jobs.
        files: Their files.
        meters: Numbers that are counted.
        on_end: Called with every job that ended, from a thread of a worker.
        limits: What a file may ask for.
    """

    settings: Settings
    jobs: Jobs
    files: Files
    meters: Meters
    on_end: Callable[[Job], None] = lambda job: None
    limits: Limits = field(init=False)
    limiter: Limiter = field(init=False)
    crew: Crew = field(init=False)
    _spool: Path = field(init=False)
    _open: dict[str, _Open] = field(default_factory=dict)
    _taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _lost: dict[str, Job] = field(default_factory=dict)
    _draining: bool = False
    _closing: bool = False

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.settings)
        self.limits = Limits(max_pixels=self.settings.max_pixels, max_file_bytes=self.settings.body_bytes)
        count, memory = self.settings.workers, self.settings.worker_memory
        self.crew = Crew(begin, (self.limits,), count, self.settings.scan_seconds, memory)
        self._spool = Path(tempfile.mkdtemp(prefix="tamperscope-serve-"))

    def restore(self) -> int:
        """Begin again what an earlier service accepted and did not end; return how many."""
        left = self.jobs.unfinished()
        for job in left:
            self._taken += 1
            self._start(job)
        return len(left)

    @contextmanager
    def slot(self, key: Key) -> Iterator[Slot]:
        """Give a place for one scan of a key, before anything of it is read.

        Raises:
            Problem: 429 for the key's own limits, 503 while the service is full or ends.
        """
        try:
            self._take(key)
        except Problem as problem:
            self.meters.refused.labels("full" if problem.status == 503 else "key").inc()
            raise
        slot = Slot(key)
        try:
            yield slot
        finally:
            if not slot.handed:
                self._give_back(key.name)

    def _take(self, key: Key) -> None:
        with self._lock:
            if self._draining:
                raise Problem(503, "the service is ending; try again when it is back", retry=10)
            if self._taken >= self.settings.queue:
                raise Problem(503, f"expected at most {self.settings.queue} jobs at a time", retry=5)
            self._taken += 1
        try:
            self.limiter.enter(key)
        except Problem:
            with self._lock:
                self._taken -= 1
            raise

    def _give_back(self, name: str) -> None:
        with self._lock:
            self._taken -= 1
        self.limiter.leave(name)

    def spool(self) -> Path:
        """Return a new path for an upload on this machine."""
        return self._spool / uuid.uuid4().hex

    def accept(
        self, slot: Slot, upload: Path, name: str, options: Mapping[str, Any], idempotency: str | None = None
    ) -> Job:
        """Store a job and give it to the workers; one that was made with the same key before is returned instead.

        Args:
            slot: A place for it.
            upload: The file, which is taken from where it lies.
            name: What the file is called; untrusted text.
            options: Fields of `scans.Options`, and what the service adds to them.
            idempotency: Repeated requests with it are the same job.

        Raises:
            Problem: 422, the idempotency key was used for something else.
        """
        job = Job(
            id=uuid.uuid4().hex, owner=slot.key.name, state="queued", name=name[:1000], bytes=upload.stat().st_size,
            sha256=digest(upload), options=dict(options), idempotency=idempotency, created=time.time(), attempts=0,
        )  # fmt: skip
        if idempotency and (earlier := self.jobs.repeated(job.owner, idempotency)):
            return _same(earlier, job)
        self.files.put(job.id, UPLOAD, upload)
        try:
            self.jobs.add(job)
        except TakenError:
            self.files.remove(job.id)
            earlier = self.jobs.repeated(job.owner, idempotency or "")
            if earlier is None:
                raise
            return _same(earlier, job)
        slot.handed = True
        self._start(job)
        return job

    def _start(self, job: Job) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._spool))
        entry = self._open[job.id] = _Open(Future(), Future(), folder)
        self.meters.open.set(len(self._open))
        self.jobs.change(job.id, state="queued", attempts=job.attempts + 1)
        try:
            if job.attempts >= ATTEMPTS:
                raise TamperscopeError(f"begun {ATTEMPTS} times without an end; the file may be hostile")
            path = self.files.get(job.id, UPLOAD, folder / UPLOAD)
            out = str(folder / "out") if job.options.get("artifacts") else None
            asked = {k: v for k, v in job.options.items() if k in Options.model_fields}
            scan = Scan(str(path), job.name, asked, out)
            entry.scan = self.crew.submit(scan, lambda: self.jobs.change(job.id, state="running"))
        except (TamperscopeError, OSError) as error:
            entry.scan.set_exception(error)
        entry.scan.add_done_callback(lambda done: self._ended(job, done))

    def _ended(self, job: Job, done: Future[str]) -> None:
        entry = self._open[job.id]
        try:
            if not done.cancelled() and not self._closing:
                self._store(job, done, entry.folder)
        except Exception:
            LOG.exception("job %s: its end could not be stored", job.id)
            self._give_up(job)
        finally:
            shutil.rmtree(entry.folder, ignore_errors=True)
            del self._open[job.id]
            self.meters.open.set(len(self._open))
            self._give_back(job.owner)
            entry.ended.set_result(None)

    def _store(self, job: Job, done: Future[str], folder: Path) -> None:
        error = done.exception()
        fields: dict[str, Any] = {"ended": time.time(), "expires": self._expires(job)}
        if error is None:
            self.files.put_all(job.id, folder / "out")
            fields |= {"state": "done", "result": done.result()}
        else:
            fields |= {"state": "failed", "problem": {"error": type(error).__name__, "detail": str(error)}}
        self.files.remove(job.id, UPLOAD)
        self.meters.scans.labels(fields["state"]).inc()
        self.meters.seconds.observe(fields["ended"] - job.created)
        self._conclude(job, fields)

    def _conclude(self, job: Job, fields: Mapping[str, Any]) -> None:
        if not self.jobs.change(job.id, **fields):
            self.files.remove(job.id)  # it was deleted while it ran
        elif (found := self.jobs.find(job.id)) is not None:
            self.on_end(found)

    def _give_up(self, job: Job) -> None:
        """Say of a job whose end could not be stored that it failed; where that cannot be stored either, later."""
        fields: dict[str, Any] = {"state": "failed", "ended": time.time(), "expires": self._expires(job)}
        fields["problem"] = {"error": "StoreError", "detail": "the result could not be stored; scan the picture again"}
        try:
            self._conclude(job, fields)
            self._lost.pop(job.id, None)
        except Exception:  # every driver has errors of its own
            self._lost[job.id] = job

    def _expires(self, job: Job) -> float | None:
        # What somebody put into a case stays until it is deleted.
        kept = max(self.settings.keep_seconds, self.settings.fetch_seconds)
        return None if job.options.get("case") else deadline(kept)

    def ended(self, job: str) -> Future[None] | None:
        """Return what is done when a job has its end in the table; None where it has, or is unknown."""
        entry = self._open.get(job)
        return None if entry is None else entry.ended

    def printed(self, job: Job) -> bytes:
        """Return the report of a job as PDF, made at the first time of asking.

        Raises:
            UnsupportedFormatError: What prints it is not installed.
            WorkerLostError: Its process died.
        """
        data = self.files.read(job.id, PAPER)
        if data is None:
            inside = {n.removeprefix(f"{PRINT}/"): n for n in self.files.names(job.id) if n.startswith(f"{PRINT}/")}
            pictures = {name: self.files.read(job.id, path) or b"" for name, path in inside.items()}
            data = bytes(self.crew.submit(Print(job.result or "", pictures)).result())
            path = self.spool()
            path.write_bytes(data)
            self.files.put(job.id, PAPER, path)
        return data

    def remove(self, job: str) -> None:
        """Forget a job, whether it has an end or not."""
        self.jobs.remove(job)
        entry = self._open.get(job)
        if entry is not None and entry.scan.cancel():
            LOG.info("job %s was deleted before it began", job)
        if job not in self._open:
            self.files.remove(job)

    def ready(self) -> bool:
        """Return whether a scan would be taken now, as far as the service itself can tell."""
        return not self._draining and self._taken < self.settings.queue and self.jobs.alive()

    def sweep(self) -> int:
        """Remove what has been kept long enough, and end what could not be ended; return how many were removed."""
        for lost in list(self._lost.values()):
            self._give_up(lost)
        expired = self.jobs.expired(time.time())
        for job in expired:
            self.remove(job)
        return len(expired)

    def close(self) -> None:
        """Wait for running scans as long as the settings say; what has no end then is begun again at the next start."""
        self._draining = True
        end = time.monotonic() + self.settings.grace_seconds
        while self._open and time.monotonic() < end:
            time.sleep(0.05)
        self._closing = True
        self.crew.close(now=True)
        shutil.rmtree(self._spool, ignore_errors=True)
        self.jobs.close()


def _same(earlier: Job, job: Job) -> Job:
    if (earlier.sha256, earlier.options) != (job.sha256, job.options):
        raise Problem(422, "this Idempotency-Key was used for another picture or other options")
    return earlier
