"""Neutralise untrusted strings before a person, a terminal, a shell or a spreadsheet sees them."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence

LIMIT = 500
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Letters and marks that draw nothing, or join what they should not: fillers, braille blank, grapheme joiner.
_INVISIBLE = set("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MAX_MARKS = 4


def _visible(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if char not in _INVISIBLE and unicodedata.category(char) not in _INVISIBLE_CATEGORIES:
        return char
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def safe(text: str, limit: int = LIMIT) -> str:
    r"""Return `text` on one line with everything that steers a terminal or reorders text made visible.

    Control characters, ANSI escapes, bidirectional and zero-width marks, line breaks, lone surrogates and
    unassigned code points become escapes such as \x1b or \u202e. Stacked combining marks are cut, and a text
    longer than `limit` characters ends in an ellipsis.
    """
    out: list[str] = []
    length = marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks > _MAX_MARKS:
            continue
        shown = _visible(char)
        if length + len(shown) > limit:
            return "".join(out)[: max(0, limit - 1)] + "…"
        out.append(shown)
        length += len(shown)
    return "".join(out)


def formula_safe(cell: str) -> str:
    """Return a CSV cell that no spreadsheet takes for a formula (a leading apostrophe is added where needed)."""
    risky = cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA)
    return f"'{cell}" if risky else cell


def shell_quote(argument: str) -> str:
    """Return one argument quoted for a POSIX shell, printable whatever it holds.

    Plain arguments come from `shlex.quote`; one with invisible characters uses the `$'…'` form of bash and zsh,
    so that the command can be read, copied and still names the same bytes.
    """
    if safe(argument, limit=4 * len(argument) + 1) == argument:
        return shlex.quote(argument)
    out = []
    for char in argument:
        if char in "\\'":
            out.append("\\" + char)
        elif _visible(char) == char and not unicodedata.combining(char):
            out.append(char)
        else:
            out.extend(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
    return f"$'{''.join(out)}'"


def shell_command(arguments: Sequence[str]) -> str:
    """Return the arguments as one command line that a person can paste into a shell."""
    return " ".join(shell_quote(argument) for argument in arguments)
