"""Worker processes: started fresh, one thread of OpenCV each, gone when the process that started them is gone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from tamperscope.errors import BudgetError, TamperscopeError, WorkerLostError

Begin = Callable[..., Callable[[Any], Any]]
"""Called once in a worker process; returns what does each of its tasks."""


def prepare(modules: Sequence[str]) -> bool:
    """Start importing what workers need beside what this process does; return whether this system can.

    A server process imports the modules, and the workers of each `Crew` that is `prepared` are forked from it: none
    imports anything again. It ends with this process.

    Args:
        modules: Their names; none of them may start a thread when it is imported.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return False
    from multiprocessing import forkserver

    multiprocessing.get_context("forkserver").set_forkserver_preload(list(modules))
    forkserver.ensure_running()
    return True


def processes(count: int, start: Callable[..., object] | None = None, *args: Any) -> ProcessPoolExecutor:
    """Return a pool of processes.

    Args:
        count: Number of processes.
        start: Called with `args` in each of them, first of all; both must be picklable.
        args: Arguments of `start`.
    """
    # A fresh process: a fork of one that has threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(start, args))


def _begin(start: Callable[..., object] | None, args: tuple[Any, ...]) -> None:
    import cv2

    # A worker of a process that was killed would wait for its next task for ever.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    cv2.setNumThreads(1)
    if start is not None:
        start(*args)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


class Crew:
    """Worker processes that do one task after another; one that dies costs no more than its task, and is replaced.

    A task whose process died is tried once more by a fresh process, for the cause may have been a neighbour's hunger
    for memory. A thread of this process feeds each worker, so `submit` may be called from anywhere.
    """

    def __init__(
        self,
        begin: Begin,
        args: Sequence[Any] = (),
        count: int = 2,
        seconds: float = 1800.0,
        memory: int = 0,
        prepared: bool = False,
    ) -> None:
        """Start the feeding threads; each starts its process for its first task.

        Args:
            begin: Called with `args` in each process; all must be picklable.
            args: Arguments of `begin`.
            count: Number of processes.
            seconds: After so long a task's process is killed, and the task is not tried again.
            memory: Bytes of private memory that a process may have, 0 for no limit; Linux only.
            prepared: Whether `prepare` was called, and said that it can.
        """
        self._setup = (begin, tuple(args), memory, prepared)
        self._seconds = seconds
        self._tasks: queue.SimpleQueue[tuple[Any, Callable[[], object], Future[Any]] | None] = queue.SimpleQueue()
        self._workers: dict[int, _Worker] = {}
        self._lock = threading.Lock()
        self._closed = self._closing = False
        self._threads = [threading.Thread(target=self._feed, args=(n,), daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Any, started: Callable[[], object] = lambda: None) -> Future[Any]:
        """Return the future answer to a picklable task.

        The answer raises what the task raised; `WorkerLostError` where its process died twice; `BudgetError` where it
        took too long.

        Args:
            task: Given to what `begin` returned.
            started: Called when a worker takes the task.
        """
        answer: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise WorkerLostError("expected workers, found a crew that was closed")
            self._tasks.put((task, started, answer))
        return answer

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live."""
        return [worker.pid for worker in list(self._workers.values()) if worker.alive()]

    def close(self, now: bool = False) -> None:
        """Wait until all that was submitted is done and the workers are gone.

        Args:
            now: Do not wait: kill the workers, and cancel what they have not begun.
        """
        with self._lock:
            self._closing |= now
            ends = 0 if self._closed else len(self._threads)
            self._closed = True
        for _ in range(ends):
            self._tasks.put(None)
        for worker in list(self._workers.values()) if now else ():
            worker.kill()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Crew:
        """Return this crew."""
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        """Finish what was submitted; after an error, end at once."""
        self.close(now=kind is not None)

    def _feed(self, place: int) -> None:
        while (item := self._tasks.get()) is not None:
            task, started, answer = item
            if self._closing:
                answer.cancel()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                started()
                answer.set_result(self._ask(place, task))
            except Exception as error:  # a task's own error belongs to who asked for it
                answer.set_exception(error)
        if worker := self._workers.pop(place, None):
            worker.end()

    def _ask(self, place: int, task: Any) -> Any:
        try:
            return self._worker(place).ask(task, self._seconds)
        except WorkerLostError:
            if self._closing:
                raise
            return self._worker(place).ask(task, self._seconds)

    def _worker(self, place: int) -> _Worker:
        worker = self._workers.get(place)
        if worker is None or not worker.alive():
            worker = self._workers[place] = _Worker(*self._setup)
        return worker


class _Worker:
    """One process and the line to it."""

    def __init__(self, begin: Begin, args: tuple[Any, ...], memory: int, prepared: bool) -> None:
        # Both kinds begin without the threads of this process; see `prepare`.
        context: Any = multiprocessing.get_context("forkserver" if prepared else "spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, begin, args, memory), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def ask(self, task: Any, seconds: float) -> Any:
        """Return the answer to a task; errors are those of `Crew.submit`."""
        try:
            self._line.send(task)
            if not self._line.poll(seconds):
                self.kill()
                raise BudgetError(f"took longer than {seconds:g} s in its worker process, which was ended")
            answer, error = self._line.recv()
        except (EOFError, OSError) as broken:
            self._process.join(5.0)
            raise WorkerLostError(
                f"the worker process died ({_how(self._process.exitcode)}) at its task; with less memory in use, fewer "
                "workers or smaller pictures it may live"
            ) from broken
        if error is not None:
            raise error
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def end(self) -> None:
        self._line.close()
        self._process.join(5.0)
        self.kill()


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _work(line: Connection, begin: Begin, args: tuple[Any, ...], memory: int) -> None:
    """Do tasks until the line is closed: the life of a worker process."""
    # A terminal sends its interrupt to the whole group; the parent decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory:
        _limit(memory)
    _begin(None, ())
    work: Callable[[Any], Any] | None = None
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task = line.recv()
            answer: tuple[Any, Exception | None]
            try:
                work = work or begin(*args)
                answer = work(task), None
            except Exception as error:  # sent to who asked
                answer = None, error
            _send(line, answer)


def _send(line: Connection, answer: tuple[Any, Exception | None]) -> None:
    try:
        data = pickle.dumps(answer)
    except Exception as error:  # an answer that cannot travel is told in words
        data = pickle.dumps((None, TamperscopeError(f"{type(error).__name__}: {answer[1] or error}")))
    line.send_bytes(data)


def _limit(memory: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
