"""Trainable systems by name: the name of the file that each has in this folder."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

from tamperscope.errors import unknown_name
from tamperscope.networks.base import About, Network, Size

# What is no localization system.
_OTHERS = {"base", "catalog", "plain", "topnet"}


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
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such system or size.
    """
    module = _module(name)
    if size not in ("tiny", "full"):
        raise unknown_name("size", size, ["tiny", "full"])
    made: Network = module.build(size, **settings)
    return made


def _module(name: str) -> Any:
    if name not in names():
        raise unknown_name("network", name, names())
    return import_module(f"tamperscope.networks.{name}")
