"""Errors that say what was expected, what was found and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TamperscopeError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(TamperscopeError):
    """A file or argument that cannot be scanned."""


class UnsupportedFormatError(InputError):
    """The bytes are not a picture of an allowed format."""


class BudgetError(InputError):
    """The file asks for more pixels, frames, metadata or time than it may have."""


class DecodeError(InputError):
    """The bytes claim an allowed format but no pixel of them can be decoded."""


class WorkerLostError(TamperscopeError):
    """A worker process died at its task, twice."""


class InvalidValueError(TamperscopeError, ValueError):
    """A value handed to this package has the wrong shape, type or range."""


class UnknownNameError(TamperscopeError, KeyError):
    """A name that is in no registry."""

    def __str__(self) -> str:
        """Return the message without the quotes that KeyError adds."""
        return str(self.args[0])


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return an error for `name` that offers the nearest of the `known` names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UnknownNameError(f"unknown {kind} '{name}': {hint}known: {', '.join(names) or 'none'}")
