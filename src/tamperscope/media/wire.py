"""The messages between the parent and the decoder process: a length and JSON, and arrays as raw parts.

Nothing is ever unpickled. Readers bound every length before they allocate.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

MAX_MESSAGE = 64 * 2**20
_LENGTH = struct.Struct(">I")
_PART = struct.Struct(">Q")


class BrokenStreamError(Exception):
    """The other side closed the stream or sent what is no message."""


def send(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    """Write one message."""
    raw = json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii")
    if len(raw) > MAX_MESSAGE:
        raise BrokenStreamError(f"a message of {len(raw)} bytes; at most {MAX_MESSAGE} are allowed")
    send_bytes(stream, _LENGTH.pack(len(raw)) + raw)


def send_bytes(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of `data`; an unbuffered pipe takes it in parts."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[stream.write(view) or 0 :]


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Return the next message, or None when the stream has ended before it.

    Raises:
        BrokenStreamError: The stream ends inside a message, or the bytes are no JSON object.
    """
    prefix = bytearray(_LENGTH.size)
    if not fill(stream, memoryview(prefix), may_end=True):
        return None
    (size,) = _LENGTH.unpack(prefix)
    if size > MAX_MESSAGE:
        raise BrokenStreamError(f"a message of {size} bytes is announced; at most {MAX_MESSAGE} are allowed")
    raw = bytearray(size)
    fill(stream, memoryview(raw))
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BrokenStreamError(f"no JSON: {error}") from error
    if not isinstance(message, dict):
        raise BrokenStreamError(f"expected a JSON object, found {type(message).__name__}")
    return message


def fill(stream: BinaryIO, view: memoryview, may_end: bool = False) -> bool:
    """Read until `view` is full; return False when the stream ends at once and `may_end` allows it.

    Raises:
        BrokenStreamError: The stream ends early.
    """
    wanted = len(view)
    while len(view):
        got = stream.readinto(view)  # type: ignore[attr-defined]
        if not got:
            if may_end and len(view) == wanted:
                return False
            raise BrokenStreamError(f"the stream ended {len(view)} bytes early")
        view = view[got:]
    return True


def send_part(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write a part of an array; an empty one ends it."""
    view = memoryview(data).cast("B")
    send_bytes(stream, _PART.pack(len(view)))
    send_bytes(stream, view)


def receive_parts(stream: BinaryIO, view: memoryview) -> bool:
    """Read parts into `view` up to the empty one; return whether they filled it.

    Raises:
        BrokenStreamError: The parts are larger than `view`, or the stream ends early.
    """
    prefix = bytearray(_PART.size)
    while True:
        fill(stream, memoryview(prefix))
        (size,) = _PART.unpack(prefix)
        if size == 0:
            return len(view) == 0
        if size > len(view):
            raise BrokenStreamError(f"a part of {size} bytes where {len(view)} are left")
        fill(stream, view[:size])
        view = view[size:]
