"""Takes from the decoder process what no decoder needs: the network, other programs, and writing to the file system.

A seccomp filter (Linux, kernel/Documentation/userspace-api/seccomp_filter.rst) answers such system calls with an
error. On other systems and processors nothing happens: resource limits and the parent's clock remain. System call
numbers are those of the kernel's tables for each processor.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2
# O_WRONLY, O_RDWR, O_CREAT and O_TRUNC have these values on both processors.
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000
_THREAD = 0x10000  # CLONE_THREAD
_X32 = 0x40000000  # calls of the x32 interface carry this bit and would slip through
_INSTRUCTION = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class _Table:
    """System call numbers of one processor: refused always, and those whose flags decide (number: argument)."""

    architecture: int
    clone: int
    refused: tuple[int, ...]
    opening: dict[int, int]


_TABLES = {
    "x86_64": _Table(
        0xC000003E,
        56,
        (
            *(41, 42, 43, 44, 46, 49, 50, 53, 288),  # socket, connect, accept, send*, bind, listen
            *(57, 58, 59, 322),  # fork, vfork, execve, execveat
            *(62, 101, 310, 311, 424, 425),  # kill, ptrace, process_vm_*, pidfd_send_signal, io_uring_setup
            *(76, 82, 83, 84, 85, 86, 87, 88),  # truncate, rename, mkdir, rmdir, creat, link, unlink, symlink
            *(90, 91, 92, 93, 94, 133),  # chmod, chown, mknod
            *(258, 259, 260, 263, 264, 265, 266, 268, 316),  # the same relative to a folder
        ),
        {2: 1, 257: 2},  # open, openat
    ),
    "aarch64": _Table(
        0xC00000B7,
        220,
        (
            *(198, 199, 200, 201, 202, 203, 206, 211, 242),
            *(221, 281),
            *(129, 117, 270, 271, 424, 425),
            *(33, 34, 35, 36, 37, 38, 45, 52, 53, 54, 55, 276),
        ),
        {56: 2},
    ),
}
# clone3 and openat2 hide their flags behind a pointer; callers fall back to clone and openat.
_HIDDEN = (435, 437)


def confine() -> bool:
    """Apply the filter to this process for good; return whether it is in force."""
    table = _TABLES.get(platform.machine())
    if sys.platform != "linux" or table is None or sys.maxsize < 2**32:
        return False
    code = _program(table)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=H6xQ", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]
    steps = ((_SET_NO_NEW_PRIVILEGES, 1, 0), (_SET_SECCOMP, _FILTER_MODE, program))
    return all(prctl(option, mode, pointer, 0, 0) == 0 for option, mode, pointer in steps)


def _program(table: _Table) -> bytes:
    """Return the filter: each test jumps to one of the three answers at the end."""
    tests: list[tuple[int, str, str, int]] = [
        (_LOAD, "", "", _ARCHITECTURE),
        (_EQUAL, "", "refuse", table.architecture),
        (_LOAD, "", "", _NUMBER),
        (_AT_LEAST, "refuse", "", _X32),
        *((_EQUAL, "refuse", "", number) for number in table.refused),
        *((_EQUAL, "unknown", "", number) for number in _HIDDEN),
    ]
    for number, argument in table.opening.items():
        tests += [
            (_EQUAL, "", "skip", number),
            (_LOAD, "", "", _ARGUMENTS + 8 * argument),
            (_ANY_BIT, "refuse", "allow", _WRITING),
        ]
    tests += [
        (_EQUAL, "", "allow", table.clone),
        (_LOAD, "", "", _ARGUMENTS),
        (_ANY_BIT, "allow", "refuse", _THREAD),
    ]
    answers = {"allow": _ALLOW, "refuse": _ERRNO | errno.EPERM, "unknown": _ERRNO | errno.ENOSYS}
    goals = {name: len(tests) + index for index, name in enumerate(answers)}
    code = b""
    for at, (kind, then, otherwise, value) in enumerate(tests):
        # A jump counts from the next instruction; "skip" passes over the two that belong to this test.
        jumps = [2 if goal == "skip" else goals[goal] - at - 1 if goal else 0 for goal in (then, otherwise)]
        code += _INSTRUCTION.pack(kind, *jumps, value)
    return code + b"".join(_INSTRUCTION.pack(_RETURN, 0, 0, value) for value in answers.values())
