"""Starts, feeds and supervises the one decoder process; survives whatever happens to it.

The process is kept warm between files, replaced when it dies or has served many files, and closed at exit. Every
request has a deadline on the wall clock after which the process is killed. Calls from several threads take turns;
a forked process starts a decoder of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from tamperscope.errors import BudgetError, DecodeError, TamperscopeError
from tamperscope.media.limits import Limits
from tamperscope.media.reply import Reply
from tamperscope.media.wire import BrokenStreamError, receive, send, send_bytes

START_SECONDS = 60.0
FILES_PER_PROCESS = 500
_PIPE_BYTES = 2**20
_BOOT = (
    "import sys, json; settings = json.loads(sys.argv[1]); sys.path[:] = settings['path']\n"
    "from tamperscope.imports import uncollected\n"
    "with uncollected(): from tamperscope.media.child import main\n"
    "main(settings)"
)


class Decoder:
    """One decoder process; whether it started shows with the first request, so that nobody waits for it before.

    Args:
        memory: Bytes of address space that it may use.
        command: What to start instead, for tests.
    """

    def __init__(self, memory: int, command: Sequence[str] | None = None) -> None:
        self.memory = memory
        self.served = 0
        self._command = list(command or _command(memory))
        self._expired = self._greeted = False
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=_environment(),
            **_platform_options(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._stdout: BinaryIO = self._process.stdout  # type: ignore[assignment]
        for pipe in (self._stdin, self._stdout):
            _widen(pipe)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def _greet(self) -> None:
        self._greeted = True
        with self._deadline(START_SECONDS):
            try:
                ready = receive(self._stdout)
            except (BrokenStreamError, OSError):
                ready = None
        if ready is None:
            self.close()
            raise TamperscopeError(f"the decoder process did not start: {_startup_complaint(self._command)}")

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def ask(self, message: Mapping[str, Any], size: int, chunks: Iterable[bytes | memoryview], limits: Limits) -> Reply:
        """Return the answer to one request.

        Args:
            message: `do` and its arguments.
            size: Bytes of the file.
            chunks: The file, `size` bytes in all.
            limits: Sent along, and applied to the answer.

        Returns:
            The answer; `Reply.error` is set where the file cannot be opened, `Reply.lost` where the process died
            after it had delivered the pixels.

        Raises:
            BudgetError: The process took too long.
            DecodeError: The process died.
            TamperscopeError: The process did not start.
        """
        if not self._greeted:
            self._greet()
        reply = Reply(limits)
        self.served += 1
        with self._deadline(limits.max_seconds):
            try:
                send(self._stdin, {**message, "bytes": size, "limits": asdict(limits)})
                for chunk in chunks:
                    send_bytes(self._stdin, chunk)
                while not reply.ended:
                    answer = receive(self._stdout)
                    if answer is None:
                        raise BrokenStreamError("the stream ended")
                    reply.take(answer, self._stdout)
            except (BrokenStreamError, BrokenPipeError) as broken:
                error = self._autopsy(broken, reply.doing, limits)
                if "rgb" not in reply.arrays or "decoder" not in reply.notes:
                    raise error from broken
                reply.lost = str(error)
        return reply

    def _autopsy(self, broken: Exception, doing: str, limits: Limits) -> TamperscopeError:
        """Return the error that says how the process died; it is dead afterwards."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # The stream ends a moment before the process does.
            self._process.wait(1.0)
        code = self._process.poll()
        self.close()
        if self._expired:
            return BudgetError(
                f"took longer than {limits.max_seconds:g} s while {doing}; raise max_seconds to allow it"
            )
        if code is None:
            return DecodeError(f"the decoder process answered nonsense while {doing}: {broken}")
        if code == -getattr(signal, "SIGXCPU", 0) != 0:
            return BudgetError(f"used up its processor time while {doing}; raise max_seconds to allow it")
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        return DecodeError(f"the decoder process died ({how}) while {doing}; the file is damaged or hostile")

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the process, by force when it does not end by itself."""
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
            return
        self._process.kill()
        self._process.wait()

    def abandon(self) -> None:
        """Let go of a process that belongs to the parent of this forked one."""
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.returncode = 0


def _command(memory: int) -> list[str]:
    """Return the command line: isolated from environment, user site and working directory."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [p for p in sys.path if os.path.isabs(p)]  # noqa: PTH117 - strings, not files
    if package not in paths:
        paths.append(package)
    settings = json.dumps({"path": paths, "memory": memory})
    return [sys.executable, "-I", "-S", "-c", _BOOT, settings]


def _environment() -> dict[str, str]:
    kept = ("SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    environment = {key: os.environ[key] for key in kept if key in os.environ}
    # Threads of linear algebra and arenas of the allocator would use up the address space.
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**environment, **threads, "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}


def _platform_options() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _widen(pipe: BinaryIO) -> None:
    """Enlarge a pipe where the system can: fewer switches between the two processes."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[attr-defined,unused-ignore]


def _startup_complaint(command: list[str]) -> str:
    """Return the last line that the process prints when it fails to start."""
    try:
        again = subprocess.run(
            command, input=b"", capture_output=True, timeout=START_SECONDS, env=_environment(), check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = again.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {again.returncode}"


_lock = threading.Lock()
_decoder: Decoder | None = None


def start(limits: Limits) -> None:
    """Start the warm process, if none runs, without waiting: it imports beside what is done before the first file."""
    with _lock:
        _warm(limits)


def _warm(limits: Limits) -> Decoder:
    global _decoder
    if _decoder is not None and not _usable(_decoder, limits):
        _decoder.close()
        _decoder = None
    if _decoder is None:
        _decoder = Decoder(limits.max_memory_bytes)
    return _decoder


def ask(message: Mapping[str, Any], size: int, chunks: Iterable[bytes | memoryview], limits: Limits) -> Reply:
    """Return the warm process's answer to one request; see `Decoder.ask`.

    Raises:
        TamperscopeError: The file's own error, or how the process died.
    """
    global _decoder
    with _lock:
        decoder, clean = _warm(limits), False
        try:
            reply = decoder.ask(message, size, chunks, limits)
            clean = not reply.lost
        finally:
            if not clean:
                # A half-read answer must not be taken for the next file's.
                decoder.kill()
                _decoder = None
    if reply.error is not None:
        raise reply.error
    return reply


def _usable(decoder: Decoder, limits: Limits) -> bool:
    return decoder.alive() and decoder.memory == limits.max_memory_bytes and decoder.served < FILES_PER_PROCESS


def pid() -> int | None:
    """Return the process id of the warm decoder process, or None when none runs."""
    with _lock:
        return _decoder.pid if _decoder is not None and _decoder.alive() else None


def shutdown() -> None:
    """End the decoder process, if one runs; the next file starts another."""
    global _decoder
    with _lock:
        if _decoder is not None:
            _decoder.close()
        _decoder = None


def _after_fork() -> None:
    global _decoder, _lock
    _lock = threading.Lock()
    if _decoder is not None:
        _decoder.abandon()
    _decoder = None


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
