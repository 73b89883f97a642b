from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tamperscope import media
from tamperscope.errors import TamperscopeError
from tamperscope.media import isolate

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="the filter is for Linux"
)

SCRIPT = """
import os, socket, subprocess, sys, threading
from tamperscope.media.sandbox import confine
folder = sys.argv[1]
assert confine()
def refused(work):
    try:
        work()
    except PermissionError:
        return True
    return False
victim = os.path.join(folder, "victim")
print([name for name, work in {
    "socket": lambda: socket.socket(),
    "socketpair": lambda: socket.socketpair(),
    "write": lambda: open(victim, "w"),
    "append": lambda: open(victim, "a"),
    "create": lambda: open(os.path.join(folder, "new"), "x"),
    "truncate": lambda: os.truncate(victim, 0),
    "remove": lambda: os.remove(victim),
    "rename": lambda: os.rename(victim, victim + "2"),
    "mkdir": lambda: os.mkdir(os.path.join(folder, "d")),
    "rmdir": lambda: os.rmdir(os.path.join(folder, "kept")),
    "symlink": lambda: os.symlink(victim, victim + "3"),
    "link": lambda: os.link(victim, victim + "4"),
    "chmod": lambda: os.chmod(victim, 0),
    "fork": lambda: os.fork() or os._exit(0),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "spawn": lambda: subprocess.run(["/bin/true"]),
    "kill": lambda: os.kill(os.getppid(), 0),
}.items() if not refused(work)])
assert open(victim).read() == "precious"
thread = threading.Thread(target=lambda: print("thread")); thread.start(); thread.join()
memory = os.memfd_create("x"); os.write(memory, b"in memory")
print(open(f"/proc/self/fd/{memory}").read())
"""


def test_what_a_decoder_does_not_need_is_refused_and_the_rest_works(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "kept").mkdir()
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "thread", "in memory"]
    assert (tmp_path / "victim").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "victim"]


def test_the_decoder_process_is_confined() -> None:
    with pytest.raises(TamperscopeError):
        media.open(b"\xff\xd8\xff\xd9")
    status = Path(f"/proc/{isolate.pid()}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
