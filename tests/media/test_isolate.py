"""The decoder process: whatever happens to it, the parent gets an answer or a typed error, and the next file works."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tamperscope import media
from tamperscope.errors import BudgetError, DecodeError, TamperscopeError
from tamperscope.media import isolate
from tamperscope.media.isolate import Decoder
from tamperscope.media.limits import Limits
from tamperscope.media.reply import Reply

posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
linux = pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    rgb = np.random.default_rng(3).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG")
    return buffer.getvalue()


PRELUDE = """
    import os, sys, time, ctypes, struct, json
    from tamperscope.media.wire import receive, send, send_bytes, send_part
    def answer(message): send(out, message)
    out = os.fdopen(1, "wb", buffering=0)
    answer({"ready": True})
    incoming = os.fdopen(0, "rb")
    request = receive(incoming)
    incoming.read(request["bytes"])
"""


@pytest.fixture
def fake() -> Iterator[Callable[[str], Decoder]]:
    """Start a decoder process that behaves as a script says."""
    started: list[Decoder] = []

    def start(script: str) -> Decoder:
        code = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
        path = f"import sys; sys.path[:] = {sys.path!r}\n"
        started.append(Decoder(2**30, [sys.executable, "-c", path + code]))
        return started[-1]

    yield start
    for decoder in started:
        decoder.kill()


def ask(decoder: Decoder, seconds: float = 20.0) -> Reply:
    return decoder.ask({"do": "open", "format": "JPEG"}, 3, [b"abc"], Limits(max_seconds=seconds))


@posix
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("os.abort()", "SIGABRT"),
        ("os._exit(3)", "exit code 3"),
        ("answer({'stage': 'walking the dog'}); os._exit(1)", "while walking the dog"),
        ("os._exit(0)", "exit code 0"),
        ("out.write(b'\\xff' * 100); time.sleep(60)", "nonsense"),
        ("out.write(b'\\0\\0\\0\\4nope'); time.sleep(60)", "nonsense"),
        ("out.write(b'\\0\\0\\0\\2[]'); time.sleep(60)", "nonsense"),
        ("raw = b'[' * 10**6; out.write(struct.pack('>I', len(raw)) + raw); time.sleep(60)", "nonsense"),
        ("answer({'surprise': 1}); time.sleep(60)", "nonsense"),
        ("answer({'array': 'rgb', 'dtype': 'uint8', 'shape': [10**9, 10**9, 3]}); time.sleep(60)", "not possible"),
        ("answer({'array': 'rgb', 'dtype': 'uint8', 'shape': [20000, 20000, 3]}); time.sleep(60)", "not possible"),
        ("answer({'array': 'rgb', 'dtype': 'object', 'shape': [1, 1, 3]}); time.sleep(60)", "expected uint8"),
        ("answer({'array': 'rgb', 'dtype': 'uint8', 'shape': [-1, 1, 3]}); time.sleep(60)", "no shape"),
        ("answer({'array': 'rgb', 'dtype': 'uint8', 'shape': [1.0, 1, 3]}); time.sleep(60)", "no shape"),
        ("answer({'array': 'evil', 'dtype': 'uint8', 'shape': [1, 1, 3]}); time.sleep(60)", "evil"),
        ("answer({'array': 'coefficients0', 'dtype': 'int16', 'shape': [9, 9, 8, 8]}); time.sleep(60)", "not possible"),
        (
            "answer({'array': 'rgb', 'dtype': 'uint8', 'shape': [1, 1, 3]}); send_part(out, b'1234'); time.sleep(60)",
            "4 bytes",
        ),
        ("answer({'findings': [{'code': 'a', 'text': 'b', 'severity': 'deadly'}]}); time.sleep(60)", "deadly"),
        ("answer({'findings': [{'code': 1, 'text': 'b', 'severity': 'info'}]}); time.sleep(60)", "nonsense"),
        ("answer({'facts': 'jpeg', 'value': [1]}); time.sleep(60)", "nonsense"),
        ("[answer({'stage': 'x'}) for _ in range(20000)]; time.sleep(60)", "messages"),
    ],
)
def test_a_process_that_dies_or_lies_gives_a_typed_error(
    fake: Callable[[str], Decoder], script: str, words: str
) -> None:
    decoder = fake(script)
    with pytest.raises(DecodeError, match=words):
        ask(decoder)
    assert not decoder.alive()


def test_a_process_that_hangs_is_killed_at_the_deadline(fake: Callable[[str], Decoder]) -> None:
    decoder = fake("answer({'stage': 'dreaming'}); time.sleep(60)")
    started = time.perf_counter()
    with pytest.raises(BudgetError, match=r"longer than 0.5 s while dreaming.*max_seconds"):
        ask(decoder, seconds=0.5)
    assert time.perf_counter() - started < 5
    assert not decoder.alive()


def test_a_process_that_does_not_take_the_file_is_killed_too(fake: Callable[[str], Decoder]) -> None:
    decoder = fake("time.sleep(60)")
    chunks = [b"x" * 2**20] * 64  # more than any pipe holds; the script reads only the first three bytes
    with pytest.raises(BudgetError, match="longer than"):
        decoder.ask({"do": "open"}, 3, chunks, Limits(max_seconds=0.5))


def test_what_was_delivered_before_the_death_is_kept(fake: Callable[[str], Decoder]) -> None:
    decoder = fake("""
        answer({"array": "rgb", "dtype": "uint8", "shape": [2, 2, 3]})
        send_part(out, bytes(range(12)))
        send_part(out, b"")
        answer({"note": {"decoder": "x"}})
        answer({"stage": "reading the tea leaves"})
        os._exit(7)
    """)
    reply = ask(decoder)
    assert reply.arrays["rgb"].ravel().tolist() == list(range(12))
    assert "tea leaves" in reply.lost
    assert "exit code 7" in reply.lost


def test_half_an_array_is_no_array(fake: Callable[[str], Decoder]) -> None:
    decoder = fake("""
        answer({"array": "rgb", "dtype": "uint8", "shape": [2, 2, 3]})
        send_part(out, bytes(6))
        send_part(out, b"")
        answer({"error": "BudgetError", "text": "no memory"})
        answer({"end": True})
    """)
    reply = ask(decoder)
    assert isinstance(reply.error, BudgetError)
    assert "rgb" not in reply.arrays


def test_an_error_of_a_foreign_type_becomes_a_decode_error(fake: Callable[[str], Decoder]) -> None:
    reply = ask(fake('answer({"error": "SystemExit", "text": "x"}); answer({"end": True})'))
    assert type(reply.error) is DecodeError


def test_a_process_that_does_not_start_says_why() -> None:
    with pytest.raises(TamperscopeError, match=r"did not start.*no such luck"):
        ask(Decoder(2**30, [sys.executable, "-c", "raise RuntimeError('no such luck')"]))


def test_a_process_that_was_started_before_is_the_one_that_answers(jpeg: bytes) -> None:
    isolate.shutdown()
    isolate.start(Limits())
    started = isolate.pid()
    isolate.start(Limits())
    media.open(jpeg)
    assert started is not None
    assert isolate.pid() == started


def test_one_warm_process_serves_many_files_and_is_replaced(jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate.shutdown()
    media.open(jpeg)
    first = isolate.pid()
    media.open(jpeg)
    with pytest.raises(DecodeError):
        media.open(jpeg[:100])
    assert isolate.pid() == first
    media.open(jpeg, Limits(max_memory_bytes=2**30))
    assert isolate.pid() != first
    monkeypatch.setattr(isolate, "FILES_PER_PROCESS", 1)
    second = isolate.pid()
    media.open(jpeg, Limits(max_memory_bytes=2**30))
    assert isolate.pid() != second


@posix
def test_a_process_killed_while_idle_is_replaced_unnoticed(jpeg: bytes) -> None:
    media.open(jpeg)
    first = isolate.pid()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    time.sleep(0.05)
    assert media.open(jpeg).sample.rgb.shape == (64, 80, 3)
    assert isolate.pid() != first


@posix
def test_a_process_killed_at_work_fails_one_file_only(jpeg: bytes) -> None:
    big = io.BytesIO()
    Image.new("RGB", (9000, 9000), (1, 2, 3)).save(big, "PNG")
    media.open(jpeg)
    victim = isolate.pid()
    assert victim is not None
    threading.Timer(0.15, os.kill, (victim, signal.SIGKILL)).start()
    with pytest.raises(DecodeError, match="SIGKILL"):
        media.open(big.getvalue())
    assert media.open(jpeg).sample.rgb.shape == (64, 80, 3)


@posix
def test_memory_is_limited() -> None:
    big = io.BytesIO()
    Image.new("RGB", (7000, 7000), (1, 2, 3)).save(big, "PNG")
    with pytest.raises(BudgetError, match=r"256 MiB.*max_memory_bytes"):
        media.open(big.getvalue(), Limits(max_memory_bytes=256 * 2**20))
    assert media.open(big.getvalue()).sample.size == (7000, 7000)


@linux
def test_the_process_is_locked_down(jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    isolate.shutdown()
    media.open(jpeg)
    proc = Path(f"/proc/{isolate.pid()}")
    assert b"hunter2" not in (proc / "environ").read_bytes()
    limits = {line[:26].strip(): line[26:].split() for line in (proc / "limits").read_text().splitlines()[1:]}
    assert limits["Max address space"][0] == str(Limits().max_memory_bytes)
    assert limits["Max address space"][1] == str(Limits().max_memory_bytes)
    assert limits["Max core file size"][:2] == ["0", "0"]
    assert limits["Max file size"][0] == "0"
    assert int(limits["Max open files"][1]) <= 64
    assert 0 < int(limits["Max cpu time"][0]) < 120
    open_files = [str(link.readlink()) for link in (proc / "fd").iterdir()]
    assert all(name.startswith(("pipe:", "/dev/null")) for name in open_files)


def test_threads_take_turns(jpeg: bytes) -> None:
    results: list[int] = []

    def work(seed: int) -> None:
        colour = (seed * 20, 100, 200)
        buffer = io.BytesIO()
        Image.new("RGB", (300 + seed, 200), colour).save(buffer, "PNG")
        for _ in range(5):
            opened = media.open(buffer.getvalue())
            assert opened.sample.size == (200, 300 + seed)
            assert (opened.sample.rgb == colour).all()
            results.append(seed)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_a_decoder_of_its_own(jpeg: bytes) -> None:
    media.open(jpeg)
    mine = isolate.pid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            media.open(jpeg)
            code = 0 if isolate.pid() not in (None, mine) else 2
            isolate.shutdown()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert isolate.pid() == mine
    assert media.open(jpeg).sample.size == (64, 80)


def test_an_interrupt_leaves_no_half_read_answer(jpeg: bytes) -> None:
    class Interrupted(BaseException):
        pass

    def chunks() -> Iterator[bytes]:
        yield jpeg[:10]
        raise Interrupted

    media.open(jpeg)
    with pytest.raises(Interrupted):
        isolate.ask({"do": "open", "format": "JPEG"}, len(jpeg), chunks(), Limits())
    assert media.open(jpeg).sample.size == (64, 80)


def test_the_process_ends_with_its_parent(jpeg: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    script = (
        "import sys; from tamperscope import media; from tamperscope.media import isolate;"
        "media.open(sys.argv[1]); print(isolate.pid())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(int(done.stdout), 0)


def test_a_folder_with_a_false_numpy_is_not_imported_from(jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "a.jpg").write_bytes(jpeg)
    script = (
        "import numpy, os, sys; os.chdir(sys.argv[1]); sys.path.insert(0, '');"
        "os.environ['PYTHONPATH'] = sys.argv[1];"
        "from tamperscope import media; print(media.open('a.jpg').sample.size)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(64, 80)", done.stderr


def test_messages_are_bounded() -> None:
    from tamperscope.media.wire import BrokenStreamError, receive

    with pytest.raises(BrokenStreamError, match="announced"):
        receive(io.BytesIO(struct.pack(">I", 2**32 - 1)))
    with pytest.raises(BrokenStreamError, match="early"):
        receive(io.BytesIO(struct.pack(">I", 10) + b"{}"))
    assert receive(io.BytesIO(b"")) is None
