"""Public data sets: one file each, file name = name; all that a set needs is what its files look like on disk."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from tamperscope.data.sources.base import Source
from tamperscope.errors import unknown_name

_FOLDER = Path(__file__).parent
# What tells the file of a set from one that several sets share.
_STATED = re.compile(r"^SOURCE\b", re.MULTILINE)


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Return the names of all sets, sorted, without importing them."""
    return tuple(sorted(p.stem for p in _FOLDER.glob("*.py") if _STATED.search(p.read_text(encoding="utf-8"))))


def load(name: str) -> ModuleType:
    """Return the module of a set; it has `SOURCE` and `read`.

    Raises:
        UnknownNameError: No set has that name; the nearest one is offered.
    """
    if name not in names():
        raise unknown_name("data set", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def describe(name: str) -> Source:
    """Return what is known of a set.

    Raises:
        UnknownNameError: No set has that name; the nearest one is offered.
    """
    source: Source = load(name).SOURCE
    return source
