"""Trainable systems by name: the name of the file that each has in this folder."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size

# What is no localization system.
_OTHERS = {"base", "catalog", "plain", "topnet"}
_GATHERED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def names() -> list[str]:
    """Return the names of all systems, sorted; none is imported."""
    return sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in _OTHERS)


def about(name: str) -> About:
    """Return what is known of a system.

    Raises:
        UnknownNameError: There is none of that name.
    """
    known: About = _module(name).ABOUT
    return known


def build(name: str, size: Size = "tiny", **settings: Any) -> Network:
    """Return a system with random weights, drawn from torch's generator.

    Args:
        name: Of the system.
        size: `full` is the published one, `tiny` trains on a CPU.
        settings: Of its own.

    Raises:
        InvalidValueError: A setting is out of range, or of another type.
        UnknownNameError: There is no such system, size or setting.
    """
    module = _module(name)
    if size not in ("tiny", "full"):
        raise unknown_name("size", size, ["tiny", "full"])
    known = _settings(module)
    for setting in settings:
        if setting not in known:
            raise unknown_name(f"setting of network '{name}'", setting, known)
    try:
        made: Network = module.build(size, **settings)
    except TypeError as error:
        if not settings:
            raise
        raise InvalidValueError(f"network '{name}': expected settings of its own, found {settings}: {error}") from error
    return made


def _settings(module: Any) -> set[str]:
    """Return what the builder of a system takes beside the size, and the classes that it hands the rest on to."""
    signature = inspect.signature(module.build)
    made: type = getattr(module, signature.return_annotation)
    found: set[str] = set()
    for taken in (signature, *(inspect.signature(vars(c)["__init__"]) for c in made.__mro__ if "__init__" in vars(c))):
        kinds = {p.name: p.kind for p in taken.parameters.values()}
        found |= {name for name, kind in kinds.items() if kind not in _GATHERED} - {"self", "size"}
        if inspect.Parameter.VAR_KEYWORD not in kinds.values():
            break
    return found


def _module(name: str) -> Any:
    if name not in names():
        raise unknown_name("network", name, names())
    return import_module(f"tamperscope.networks.{name}")
