"""Takes the messages of the decoder process apart and believes none of them: every size is checked first."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tamperscope.errors import (
    BudgetError,
    DecodeError,
    InputError,
    InvalidValueError,
    TamperscopeError,
    UnsupportedFormatError,
)
from tamperscope.media.limits import Limits
from tamperscope.media.wire import BrokenStreamError, receive_parts
from tamperscope.types import Finding, Jpeg

_ERRORS: dict[str, type[TamperscopeError]] = {
    c.__name__: c for c in (BudgetError, DecodeError, InputError, InvalidValueError, UnsupportedFormatError)
}
_DTYPES: dict[str, type[np.generic]] = {
    "rgb": np.uint8,
    "thumbnail": np.uint8,
    "file": np.uint8,
    "qtables": np.uint16,
    **{f"coefficients{n}": np.int16 for n in range(4)},
}
_SEVERITIES = ("info", "notice", "warning")
_MAX_FINDINGS = 1000
_MAX_MESSAGES = 10_000
# A coefficient plane is padded to whole blocks, by some encoders to whole MCUs of up to 4 blocks.
_PADDING = 4


class Reply:
    """One answer of the decoder process.

    Attributes:
        arrays: By name: `rgb`, `thumbnail`, `file`, `qtables`, `coefficients0` …
        facts: By reader: `jpeg`, `container`, `metadata`, `c2pa`.
        findings: Of all readers.
        notes: Plain values.
        error: What was wrong with the file, when it cannot be opened.
        doing: What the process was doing last.
        ended: Whether the answer is whole.
        lost: Why readers after the pixels have no answer, when the process died; else "".
    """

    def __init__(self, limits: Limits) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.findings: list[Finding] = []
        self.notes: dict[str, Any] = {}
        self.error: TamperscopeError | None = None
        self.doing = "starting"
        self.ended = False
        self.lost = ""
        self._limits = limits
        self._messages = 0

    def take(self, message: dict[str, Any], stream: BinaryIO) -> None:
        """Take in one message, and from the stream the array that it announces.

        Raises:
            BrokenStreamError: The message is not what a sound decoder process sends.
        """
        self._messages += 1
        if self._messages > _MAX_MESSAGES:
            raise BrokenStreamError(f"more than {_MAX_MESSAGES} messages")
        if "stage" in message:
            self.doing = _text(message["stage"])
        elif "array" in message:
            self._take_array(message, stream)
        elif "findings" in message:
            self._take_findings(message["findings"])
        elif "facts" in message:
            self.facts[_text(message["facts"])] = _mapping(message.get("value"))
        elif "note" in message:
            self.notes.update(_mapping(message["note"]))
        elif "error" in message:
            self.error = _ERRORS.get(_text(message["error"]), DecodeError)(_text(message.get("text")))
        elif message.get("end") is True:
            self.ended = True
        else:
            raise BrokenStreamError(f"an unknown message with the keys {sorted(message)[:5]}")

    def _take_array(self, message: dict[str, Any], stream: BinaryIO) -> None:
        name, shape = message["array"], message.get("shape")
        if not isinstance(name, str) or name not in _DTYPES or name in self.arrays:
            raise BrokenStreamError(f"an array called {name!r}")
        dtype = np.dtype(_DTYPES[name])
        if message.get("dtype") != dtype.name:
            raise BrokenStreamError(f"{name}: expected {dtype.name}, found {message.get('dtype')!r}")
        if not isinstance(shape, list) or not all(type(n) is int and 0 < n < 2**31 for n in shape):
            raise BrokenStreamError(f"{name}: no shape: {shape!r}")
        if not self._allowed(name, shape):
            raise BrokenStreamError(f"{name}: the shape {shape} is not possible here")
        array = np.empty(shape, dtype)
        if receive_parts(stream, memoryview(array.data).cast("B")):
            self.arrays[name] = array

    def _allowed(self, name: str, shape: list[int]) -> bool:
        if name in ("rgb", "thumbnail"):
            return len(shape) == 3 and shape[2] == 3 and shape[0] * shape[1] <= self._limits.max_pixels
        if name == "file":
            return len(shape) == 1 and shape[0] <= self._limits.max_file_bytes
        if name == "qtables":
            return len(shape) == 3 and shape[0] <= 4 and shape[1:] == [8, 8]
        if "rgb" not in self.arrays or len(shape) != 4 or shape[2:] != [8, 8]:
            return False
        height, width, _ = self.arrays["rgb"].shape
        return bool(shape[0] <= height // 8 + _PADDING and shape[1] <= width // 8 + _PADDING)

    def _take_findings(self, rows: Any) -> None:
        if not isinstance(rows, list) or len(self.findings) + len(rows) > _MAX_FINDINGS:
            raise BrokenStreamError("too many findings, or none")
        for row in rows:
            row = _mapping(row)
            severity = row.get("severity")
            if severity not in _SEVERITIES:
                raise BrokenStreamError(f"a finding of the severity {severity!r}")
            code, text, origin = (_text(row.get(key)) for key in ("code", "text", "origin"))
            self.findings.append(Finding(code, text, severity, _mapping(row.get("values")), origin))

    def jpeg(self) -> Jpeg | None:
        """Return the coefficients, when all their parts arrived and fit together."""
        planes = [self.arrays[n] for n in sorted(self.arrays) if n.startswith("coefficients")]
        tables, sampling = self.arrays.get("qtables"), self.notes.get("sampling")
        if tables is None or not planes or not isinstance(sampling, list):
            return None
        pairs = [(s[0], s[1]) for s in sampling if isinstance(s, list) and len(s) == 2]
        sound = all(type(n) is int and 1 <= n <= 4 for pair in pairs for n in pair)
        if not sound or not len(planes) == len(tables) == len(pairs):
            return None
        return Jpeg(tuple(tables), tuple(planes), tuple(pairs), self.notes.get("progressive") is True)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BrokenStreamError(f"expected text, found {type(value).__name__}")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BrokenStreamError(f"expected an object, found {type(value).__name__}")
    return value
