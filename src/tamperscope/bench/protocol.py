"""Protocols: which test sets, detectors, attacks and suites belong together; short YAML that can inherit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tamperscope.errors import InputError, unknown_name
from tamperscope.metrics.suites import named


class TestSet(BaseModel):
    """One test set of a protocol.

    Attributes:
        name: Shown in tables.
        set: A public set, found as DATA/<set>/manifest.jsonl, where `tamperscope data prepare` put it.
        manifest: Or the path of a manifest, relative to DATA.
        where: Fields that an entry must have, such as {"split": "test"}; `under` is a part of the picture's path.
        limit: Take at most so many pictures, spread evenly over the manifest; for a trial.
    """

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    set: str = ""
    manifest: str = ""
    where: dict[str, Any] = Field(default_factory=dict)
    limit: int | None = None

    def path(self, data: Path) -> Path:
        """Return where the manifest is expected."""
        return data / (self.manifest or f"{self.set or self.name}/manifest.jsonl")


class Protocol(BaseModel):
    """What a bench measures.

    Attributes:
        title: As people call it.
        source: Paper or benchmark that it follows, and where it departs.
        trained_on: What the protocol lets learned detectors train on; "" where it does not matter.
        tests: Test sets.
        detectors: Names; empty = all. `fused` is the whole scan.
        suites: Names of suites.
        attacks: Names of grids, or single attacks in text form; the untouched pictures always come first.
        category: Field of the manifest by which false alarms are broken down.
        seed: Of the attacks' draws and of the bootstrap.
        rounds: Draws of the bootstrap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str = ""
    trained_on: str = ""
    tests: tuple[TestSet, ...] = Field(min_length=1)
    detectors: tuple[str, ...] = ()
    suites: tuple[str, ...] = Field(default=("imdl",), min_length=1)
    attacks: tuple[str, ...] = ()
    category: str = "domain"
    seed: int = 0
    rounds: int = 500


def shipped() -> list[str]:
    """Return the names of the protocols inside the package."""
    folder = resources.files("tamperscope.bench").joinpath("protocols")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def load(name: str, overrides: Sequence[str] = ()) -> Protocol:
    """Return a protocol by name or path.

    Args:
        name: Of a shipped protocol, or the path of a YAML file. `inherits: NAME` takes another one's fields first.
        overrides: Dotted settings such as `rounds=100`, `tests.0.limit=20`; values are YAML.

    Raises:
        UnknownNameError: No protocol, suite or field of a name.
        InputError: The file is no YAML of the expected shape.
    """
    fields = _fields(name, ())
    for text in overrides:
        _override(fields, text)
    try:
        protocol = Protocol.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"protocol '{name}': {error}") from error
    for suite in protocol.suites:
        named.load(suite)
    return protocol


def _fields(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    if name in seen:
        raise InputError(f"protocol '{name}' inherits from itself: {' → '.join((*seen, name))}")
    try:
        fields = yaml.safe_load(_text(name))
    except yaml.YAMLError as error:
        raise InputError(f"protocol '{name}': expected YAML: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"protocol '{name}': expected fields such as `tests:`, found {type(fields).__name__}")
    parent = fields.pop("inherits", None)
    return {**(_fields(parent, (*seen, name)) if parent else {}), **fields}


def _text(name: str) -> str:
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise InputError(f"expected a protocol, found no file '{name}'")
        return path.read_text(encoding="utf-8")
    if name not in shipped():
        raise unknown_name("protocol", name, shipped())
    return resources.files("tamperscope.bench").joinpath(f"protocols/{name}.yaml").read_text(encoding="utf-8")


def _override(fields: dict[str, Any], text: str) -> None:
    import yaml

    path, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set: expected FIELD=VALUE, found '{text}'")
    *parents, last = path.split(".")
    place: Any = fields
    for part in parents:
        place = _child(place, part, path)
    parsed = yaml.safe_load(value)
    if isinstance(place, list):
        place[_index(place, last, path)] = parsed
    else:
        place[last] = parsed


def _child(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, path)]
    if isinstance(place, Mapping) and part in place:
        return place[part]
    known = place if isinstance(place, Mapping) else ()
    raise unknown_name(f"field in '{path}'", part, known)


def _index(place: list[Any], part: str, path: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise InputError(f"--set {path}: expected a number below {len(place)}, found '{part}'")
    return int(part)
