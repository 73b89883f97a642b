"""Protocols: which test sets, detectors, attacks and suites belong together; short YAML that can inherit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tamperscope.metrics.suites import named
from tamperscope.settings import Shelf

_SHELF = Shelf("protocol", "tamperscope.bench", "protocols", "tests")


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
        made_by: How its sets are made, said where one is missing.
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
    made_by: str = "tamperscope data prepare"
    detectors: tuple[str, ...] = ()
    suites: tuple[str, ...] = Field(default=("imdl",), min_length=1)
    attacks: tuple[str, ...] = ()
    category: str = "domain"
    seed: int = 0
    rounds: int = 500


def shipped() -> list[str]:
    """Return the names of the protocols inside the package."""
    return _SHELF.names()


def load(name: str, overrides: Sequence[str] = ()) -> Protocol:
    """Return a protocol by name or path.

    Args:
        name: Of a shipped protocol, or the path of a YAML file. `inherits: NAME` takes another one's fields first.
        overrides: Dotted settings such as `rounds=100`, `tests.0.limit=20`; values are YAML.

    Raises:
        UnknownNameError: No protocol, suite or field of a name.
        InputError: The file is no YAML of the expected shape.
    """
    protocol = _SHELF.load(Protocol, name, overrides)
    for suite in protocol.suites:
        named.load(suite)
    return protocol
