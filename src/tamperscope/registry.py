"""Find, list and load detectors by name: that of a file, or for an exported network its folder."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_origin

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.inference.artifact import CARD

GROUP = _PACKAGE = "tamperscope.detectors"
SHIPPED_NETWORK = "localizer"
"""The network inside of the package that the card of a scan was calibrated with."""
SHIPPED = ("generated", "invented", SHIPPED_NETWORK, "pages")
"""The detectors that are networks inside of the package; all others are classical, or come from elsewhere."""
_FOLDER = Path(__file__).parent / "detectors"
# `network` is the kind of all exported networks; which one is said by its folder.
_NOT_DETECTORS = {"__init__", "base", "network"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A detector that can be loaded: name, one line on it, and the module or entry point that holds it."""

    name: str
    summary: str
    source: str


@lru_cache(maxsize=1)
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _summary(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0].strip()


def _builtin_names() -> list[str]:
    return sorted(p.stem for p in _FOLDER.glob("*.py") if p.stem not in _NOT_DETECTORS)


def names() -> list[str]:
    """Return the names of all detectors, built in and from other packages, without importing them."""
    return sorted({*_builtin_names(), *_plugins()})


def entries() -> list[Entry]:
    """Return all detectors with their first docstring line, without importing them."""
    found = {n: Entry(n, _summary(_FOLDER / f"{n}.py"), f"tamperscope.detectors.{n}") for n in _builtin_names()}
    for name, point in _plugins().items():
        found.setdefault(name, Entry(name, f"from package {point.dist.name if point.dist else '?'}", point.value))
    return [found[n] for n in sorted(found)]


def is_network(name: str | Path) -> bool:
    """Return whether a name is the folder of an exported network; a detector's name never is, whatever lies here."""
    return str(name) not in names() and Path(name, CARD).is_file()


def _is_detector(thing: Any) -> bool:
    from tamperscope.detectors.base import Detector

    # Python 3.10 takes a generic alias, such as NDArray[np.uint8], for a class.
    return inspect.isclass(thing) and get_origin(thing) is None and issubclass(thing, Detector)


def detector_class(name: str) -> Any:
    """Return the class of the detector called `name`, importing it.

    Raises:
        InvalidValueError: What is called so is no detector.
        UnknownNameError: There is none; the nearest is offered.
    """
    if name in (*_builtin_names(), "network"):
        module = importlib.import_module(f"{_PACKAGE}.{name}")
        classes = [c for c in vars(module).values() if _is_detector(c) and c.__module__ == module.__name__]
        if len(classes) != 1:
            raise InvalidValueError(f"{module.__name__}: expected one Detector subclass, found {len(classes)}")
        return classes[0]
    if name in _plugins():
        loaded = _plugins()[name].load()
        if not _is_detector(loaded):
            raise InvalidValueError(f"entry point '{name}': expected a Detector subclass, found {loaded!r}")
        return loaded
    raise unknown_name("detector", name, names())


def load(name: str, **options: Any) -> Any:
    """Return the detector called `name`, built with `options`; a folder names the exported network in it.

    Raises:
        InputError: The folder's files are not those of the network that its card tells of.
        UnknownNameError: No detector or no option of that name; the nearest one is offered.
    """
    if is_network(name):
        return detector_class("network")(name, **options)
    cls = detector_class(name)
    known = [p for p in inspect.signature(cls.__init__).parameters if p != "self"]
    known = [] if cls.__init__ is object.__init__ else known
    for option in options:
        if option not in known:
            raise unknown_name(f"option of detector '{name}'", option, known)
    return cls(**options)
