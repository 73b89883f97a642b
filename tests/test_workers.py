"""Worker processes end with the process that started them, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tamperscope.errors import BudgetError, InputError, WorkerLostError
from tamperscope.workers import Crew, prepare, processes

CODE = """
import os, time
from tamperscope.workers import processes

if __name__ == "__main__":
    with processes(2) as executor:
        print(*{executor.submit(os.getpid).result() for _ in range(20)}, flush=True)
        time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process whose parent is gone may stay in the table until it is reaped.
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_parents_leave_none_behind(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(CODE)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        assert all(map(alive, pids))
        parent.send_signal(how)
        parent.wait(timeout=20)
    end = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, pids))


def test_each_begins_with_what_it_is_given(tmp_path: Path) -> None:
    with processes(1, os.chdir, tmp_path) as executor:
        assert Path(executor.submit(os.getcwd).result()) == tmp_path.resolve()
        assert executor.submit(os.getpid).result() != os.getpid()
    assert Path.cwd() != tmp_path.resolve()


def begin(word: str):  # type: ignore[no-untyped-def]
    """Return what the workers of these tests do with a task."""
    if word == "broken":
        raise InputError("cannot begin")

    def work(task: str):  # type: ignore[no-untyped-def]
        if task.startswith("die"):
            _, _, mark = task.partition(" ")
            if not mark or not Path(mark).exists():
                if mark:
                    Path(mark).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if task == "raise":
            raise InputError("no such thing")
        if task == "sleep":
            time.sleep(60)
        if task == "grow":
            return len(bytes(3 << 30))
        if task == "lambda":
            return lambda: 0
        return f"{word} {task}"

    return work


posix = pytest.mark.skipif(os.name != "posix", reason="signals")


@posix
@pytest.mark.parametrize("prepared", [False, True])
def test_a_crew_answers_whatever_happens_to_its_workers(tmp_path: Path, prepared: bool) -> None:
    with Crew(begin, ("did",), 2, prepared=prepared and prepare(("tamperscope.errors",))) as crew:
        answers = [crew.submit(task) for task in ("a", "die", "raise", f"die {tmp_path / 'mark'}", "lambda", "b")]
        assert answers[0].result() == "did a"
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            answers[1].result()
        with pytest.raises(InputError, match="no such thing"):
            answers[2].result()
        assert answers[3].result().startswith("did die"), "a task whose worker died is tried once more"
        with pytest.raises(Exception, match=r"lambda|pickle|local"):
            answers[4].result()
        assert answers[5].result() == "did b"
        assert 1 <= len(crew.pids) <= 2
    assert crew.pids == []
    with pytest.raises(WorkerLostError, match="closed"):
        crew.submit("late")


def test_what_cannot_begin_is_told_at_every_task() -> None:
    with Crew(begin, ("broken",), 1) as crew:
        for _ in range(2):
            with pytest.raises(InputError, match="cannot begin"):
                crew.submit("a").result()


def test_a_task_has_its_time(tmp_path: Path) -> None:
    with Crew(begin, ("did",), 1, seconds=3.0) as crew:
        assert crew.submit("a").result() == "did a"
        with pytest.raises(BudgetError, match="longer than 3 s"):
            crew.submit("sleep").result()
        assert crew.submit("b").result() == "did b"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts private memory")
def test_a_worker_has_its_memory() -> None:
    with Crew(begin, ("did",), 1, memory=1 << 30) as crew:
        with pytest.raises(MemoryError):
            crew.submit("grow").result()
        assert crew.submit("b").result() == "did b"


PREPARED = """
import os, sys
from tamperscope.workers import Crew, prepare
import look
if __name__ == "__main__":
    assert prepare(("look",))
    with Crew(look.begin, (), 1, prepared=True) as crew:
        print(*crew.submit(0).result(), os.getpid(), flush=True)
        crew.submit(1)
        sys.stdin.read()
"""
LOOK = """
import os, time
imported = os.getpid()
def begin():
    def work(task):
        time.sleep(60 * task)
        return imported, os.getpid()
    return work
"""


@posix
def test_prepared_workers_import_nothing_again_and_end_with_who_started_them(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    (tmp_path / "main.py").write_text(PREPARED)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py")],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    server, worker, parent = map(int, process.stdout.readline().split())
    assert len({server, worker, parent}) == 3
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while any(map(alive, (server, worker))) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(alive, (server, worker)))


def test_a_crew_that_is_closed_at_once_waits_for_nothing() -> None:
    crew = Crew(begin, ("did",), 1)
    crew.submit("a").result()
    answers = [crew.submit("sleep") for _ in range(3)]
    start = time.monotonic()
    crew.close(now=True)
    assert time.monotonic() - start < 20
    assert all(answer.done() for answer in answers)
