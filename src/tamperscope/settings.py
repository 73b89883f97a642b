"""Settings in YAML: files shipped with the package or a user's own, which can inherit, with dotted overrides."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tamperscope.errors import InputError, unknown_name

if TYPE_CHECKING:
    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)

_TOLD = 5
"""Fields that one message tells of."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the settings of one kind lie.

    Attributes:
        kind: What one of them is called, such as `protocol`.
        package: Whose resources hold the shipped ones.
        folder: Of the package, with one `NAME.yaml` each.
        example: A field that every one has, for messages.
    """

    kind: str
    package: str
    folder: str
    example: str

    def names(self) -> list[str]:
        """Return the names of the shipped ones."""
        found = resources.files(self.package).joinpath(self.folder).iterdir()
        return sorted(f.name.removesuffix(".yaml") for f in found if f.name.endswith(".yaml"))

    def load(self, model: type[Model], name: str, overrides: Sequence[str] = ()) -> Model:
        """Return the settings of a name or path, checked.

        Args:
            model: What they must be.
            name: Of a shipped one, or the path of a YAML file. `inherits: NAME` takes another one's fields first.
            overrides: Dotted settings such as `rounds=100`, `tests.0.limit=20`; values are YAML. They may reach into
                fields that only the model states.

        Raises:
            UnknownNameError: No settings or field of a name.
            InputError: The file is no YAML of the expected shape.
        """
        from pydantic import ValidationError

        fields = self._fields(name, ())
        # What a file lacks an override may state, so a file that is not whole is no error yet.
        with contextlib.suppress(ValidationError):
            fields = model.model_validate(fields).model_dump(mode="json") if overrides else fields
        for text in overrides:
            _override(fields, text)
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise InputError(f"{self.kind} '{name}': {wrong(error)}") from error

    def _fields(self, name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        import yaml

        if name in seen:
            raise InputError(f"{self.kind} '{name}' inherits from itself: {' → '.join((*seen, name))}")
        try:
            fields = yaml.safe_load(self._text(name))
        except yaml.YAMLError as error:
            raise InputError(f"{self.kind} '{name}': expected YAML: {error}") from error
        if not isinstance(fields, dict):
            found = type(fields).__name__
            raise InputError(f"{self.kind} '{name}': expected fields such as `{self.example}:`, found {found}")
        parent = fields.pop("inherits", None)
        return {**(self._fields(parent, (*seen, name)) if parent else {}), **fields}

    def _text(self, name: str) -> str:
        path = Path(name)
        if path.suffix in (".yaml", ".yml") or path.is_file():
            if not path.is_file():
                raise InputError(f"expected a {self.kind}, found no file '{name}'")
            return path.read_text(encoding="utf-8")
        if name not in self.names():
            raise unknown_name(self.kind, name, self.names())
        return resources.files(self.package).joinpath(f"{self.folder}/{name}.yaml").read_text(encoding="utf-8")


def wrong(error: Exception) -> str:
    """Return in one line which fields are not as expected, and what was found there; of another error, what it says."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    details = error.errors(include_url=False)
    # A list with a wrong item is told to be too short, too.
    above = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
    told = [_wrong(detail) for detail in details if detail["loc"] not in above]
    more = [f"and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
    return "; ".join(told[:_TOLD] + more)


def _wrong(detail: Mapping[str, Any]) -> str:
    field = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{field}: no field of that name is known"
    text = f"{field}: {detail['msg']}" if field else str(detail["msg"])
    # Of what lacks a field, and of a whole document, the beginning says nothing.
    silent = detail["type"] == "missing" or not (field or detail["type"] == "model_type")
    return text if silent else f"{text}, found {detail['input']!r:.100}"


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
    elif isinstance(place, dict):
        place[last] = parsed
    else:
        raise InputError(f"--set {path}: expected fields or a list above '{last}', found {type(place).__name__}")


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
