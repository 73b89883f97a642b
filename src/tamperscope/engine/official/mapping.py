"""From names and shapes of a published checkpoint to those of a network here: rules as data, then a strict check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from tamperscope.errors import InputError, UnknownNameError, unknown_name
from tamperscope.networks import catalog
from tamperscope.settings import Shelf

SHOWN = 10
"""Names of a kind that an error lists."""
_SHELF = Shelf("map of published weights", "tamperscope.engine.official", "maps", "source")
# Counts batches where a mean over all of them is asked for, which is nowhere.
_COUNTERS = "num_batches_tracked"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Edit(_Model):
    """What is done with the tensors of some names before all are renamed. The first edit that fits a name is its own.

    Attributes:
        key: Pattern of the whole published name.
        do: Steps, one after another, each `{name: arguments}` of `STEPS`.
        to: Names, still published-like, of the equal parts along the first axis that it is cut into.
        part: Which place, of how many, it has along the first axis of the tensor that `to` names: so are parts joined.
        less: The published tensor that it is subtracted from; it has no place of its own. A bias in front of a batch
            norm is so taken from the norm's mean.
        count: How many such tensors there are to subtract; none may lack.
    """

    key: str
    do: tuple[dict[str, Any], ...] = ()
    to: tuple[str, ...] = ()
    part: tuple[NonNegativeInt, PositiveInt] | None = None
    less: str = ""
    count: PositiveInt = 1

    @model_validator(mode="after")
    def _one_thing(self) -> Edit:
        if self.less and (self.do or self.to or self.part):
            raise ValueError(f"{self.key}: expected `less` alone")
        if self.part and (len(self.to) != 1 or self.part[0] >= self.part[1]):
            raise ValueError(f"{self.key}: expected `part` to be below its number, and one name in `to`")
        for step in self.do:
            if len(step) != 1 or next(iter(step)) not in STEPS:
                raise ValueError(f"{self.key}: expected one of {', '.join(STEPS)} a step, found {step}")
        return self


class Sheet(_Model):
    """What is known of the published weights of one system.

    Attributes:
        source: Which definitions names and shapes were read from.
        file: What is published, for messages.
        misfit: Why they cannot be used; empty = they can.
        remaining: What still differs when they are used here.
        settings: Of the network that they fit.
        asks: Settings that the user has to give, with what they are.
        elsewhere: Patterns of our names whose values come with these settings, not from the file.
        extractor: Layers and width of a DnCNN that takes the place of the network's `residual`; empty = none.
        levels: By what grey levels are divided before the mean is taken off.
        roots: Names under which the file may keep its weights, beside the usual ones.
        unused: Patterns of published names that nothing is made of, with the reason.
        edits: See `Edit`.
        renames: Patterns and what stands for them, all applied one after another, as `re.sub` does.
        how: How pictures are shown when it is exported, see `inference.predictor.View`.
        side: Of its canvases then, pixels.
        overlap: Of tiles then, pixels.
    """

    source: str
    file: str = ""
    misfit: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    asks: dict[str, str] = Field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    extractor: dict[str, int] = Field(default_factory=dict)
    levels: PositiveInt = 255
    roots: tuple[str, ...] = ()
    unused: dict[str, str] = Field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    how: str = "tile"
    side: PositiveInt = 512
    overlap: NonNegativeInt = 64


def names() -> list[str]:
    """Return the systems of which it is known whether their published weights fit."""
    return _SHELF.names()


def sheet(name: str) -> Sheet:
    """Return what is known of the published weights of a system.

    Raises:
        UnknownNameError: Nothing is.
    """
    if name in catalog.names() and name not in names():
        raise UnknownNameError(
            f"'{name}': nothing is known here of published weights: there are none that we know of, or nobody compared "
            f"ours with them; train it (`tamperscope train {name}`), or take one of {', '.join(names())}"
        )
    if name not in names():
        raise unknown_name("system with a map of its published weights", name, names())
    return _SHELF.load(Sheet, name)


def _narrow(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    return x.narrow(axis, start, length)


def _ordered(x: Tensor, axis: int, *places: int) -> Tensor:
    """Return a tensor whose groups of so many places along an axis are each in a new order."""
    order = torch.tensor(places, device=x.device)
    return x.unflatten(axis, (-1, len(places))).index_select(axis + 1, order).flatten(axis, axis + 1)


def _difference(x: Tensor, axis: int) -> Tensor:
    """Return the second of two places less the first: one logit for two."""
    first, second = x.split(1, axis)
    return second - first


def _swapped(x: Tensor, axis: int) -> Tensor:
    first, second = x.chunk(2, axis)
    return torch.cat([second, first], axis)


STEPS: dict[str, Callable[..., Tensor]] = {
    "narrow": _narrow,
    "shape": lambda x, *sizes: x.reshape(sizes),
    "transpose": lambda x, a, b: x.transpose(a, b),
    "order": _ordered,
    "difference": _difference,
    "swap": _swapped,
    "plus": lambda x, number: x + number,
    "times": lambda x, number: x * number,
}
"""What may be done with a tensor: `narrow: [axis, start, length]`, `shape: [sizes]`, `transpose: [axis, axis]`, `order:
[axis, places]`, `difference: [axis]`, `swap: [axis]` of halves, `plus: [number]`, `times: [number]`."""


class _Faults:
    """What does not fit, by kind, in the order in which it was found."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def add(self, kind: str, what: str) -> None:
        self.found.setdefault(kind, []).append(what)

    def text(self) -> str:
        parts = []
        for kind, each in self.found.items():
            shown = ", ".join(each[:SHOWN]) + (f" and {len(each) - SHOWN} more" if len(each) > SHOWN else "")
            parts.append(f"{len(each)} {kind}: {shown}")
        return "; ".join(parts)


def mapped(known: Sheet, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by our names, each exactly once and in our shape.

    Counters of batches are left out on both sides: nothing reads them.

    Args:
        known: How they are renamed.
        found: Published tensors by name.
        wanted: Ours by name, of which shapes are looked at.
        name: Of the system, for messages.

    Raises:
        InputError: One is missing, unexpected, doubled or of another shape; the first of each kind are listed.
    """
    faults = _Faults()
    given = {k: v for k, v in found.items() if not k.endswith(_COUNTERS)}
    ours = {k: v for k, v in wanted.items() if not k.endswith(_COUNTERS)}
    renames = [(re.compile(pattern).sub, replacement) for pattern, replacement in known.renames]
    made: dict[str, Tensor] = {}
    for key, value in _edited(known, given, faults).items():
        target = key
        for renamed, replacement in renames:
            target = renamed(replacement, target)
        here = "" if target == key else f" (here {target})"
        if target in made:
            faults.add("doubled", key + here)
        elif target not in ours or any(re.fullmatch(p, target) for p in known.elsewhere):
            faults.add("unexpected", key + here)
        elif value.shape != ours[target].shape:
            faults.add("of another shape", f"{key}{here} {_shapes(ours[target], value)}")
        made[target] = value
    for key in ours:
        if key not in made and not any(re.fullmatch(p, key) for p in known.elsewhere):
            faults.add("missing", f"{key} {tuple(ours[key].shape)}")
    if faults.found:
        raise InputError(
            f"expected the published weights of '{name}' ({known.file or known.source}), found {len(found)} tensors "
            f"that do not fit: {faults.text()}"
        )
    return made


def _edited(known: Sheet, given: Mapping[str, Tensor], faults: _Faults) -> dict[str, Tensor]:
    """Return the tensors after all edits, still by published-like names, without those that nothing is made of."""
    edits = [(re.compile(edit.key), edit) for edit in known.edits]
    kept = {k: v for k, v in given.items() if not any(re.fullmatch(p, k) for p in known.unused)}
    fitting = {k: next(((m, e) for p, e in edits if (m := p.fullmatch(k))), None) for k in kept}
    for key, fit in fitting.items():
        if fit is not None and fit[1].less:
            _subtract(kept, key, fit[0].expand(fit[1].less), faults)
    for edit in known.edits:
        lacking = edit.count - sum(fit is not None and fit[1] is edit for fit in fitting.values())
        if edit.less and lacking > 0:
            faults.add("missing", f"{lacking} of {edit.count} as {edit.key}")
    result: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    numbers: dict[str, int] = {}
    for key, fit in fitting.items():
        if fit is None or not (fit[1].less or fit[1].do or fit[1].to):
            result[key] = kept[key]
            continue
        match, edit = fit
        if edit.less:
            continue
        value, targets = _stepped(key, kept[key], edit, faults), [match.expand(to) for to in edit.to] or [key]
        if value is None:
            continue
        if edit.part is not None:
            parts.setdefault(targets[0], {})[edit.part[0]] = value
            numbers[targets[0]] = edit.part[1]
        elif value.ndim < 1 or len(value) % len(targets):
            faults.add("of another shape", f"{key} expected {len(targets)} equal parts, found {tuple(value.shape)}")
        else:
            result |= dict(zip(targets, value.chunk(len(targets)) if len(targets) > 1 else (value,), strict=True))
    return result | _joined(parts, numbers, faults)


def _subtract(kept: dict[str, Tensor], key: str, other: str, faults: _Faults) -> None:
    if other not in kept:
        faults.add("missing", other)
    elif kept[other].shape != kept[key].shape:
        faults.add("of another shape", f"{key} {_shapes(kept[other], kept[key])}")
    else:
        kept[other] = kept[other] - kept[key]


def _stepped(key: str, value: Tensor, edit: Edit, faults: _Faults) -> Tensor | None:
    """Return a tensor after the steps of its edit; None where its shape does not allow one."""
    before = tuple(value.shape)
    for step in edit.do:
        (name, told), *_ = step.items()
        arguments: Sequence[Any] = told if isinstance(told, list) else [told]
        try:
            value = STEPS[name](value, *arguments)
        except (RuntimeError, IndexError, ValueError):
            faults.add("of another shape", f"{key} {before} cannot take the step {name} {list(arguments)[:4]}")
            return None
    return value


def _joined(
    parts: Mapping[str, Mapping[int, Tensor]], numbers: Mapping[str, int], faults: _Faults
) -> dict[str, Tensor]:
    """Return the tensors that are joined of several, along the first axis."""
    result = {}
    for name, each in parts.items():
        rows = [each[i] for i in sorted(each)]
        if len(each) < numbers[name]:
            faults.add("missing", f"{numbers[name] - len(each)} of {numbers[name]} parts of {name}")
        elif len({row.shape[1:] for row in rows}) > 1 or not rows[0].ndim:
            faults.add("of another shape", f"parts of {name}: {[tuple(row.shape) for row in rows][:4]}")
        else:
            result[name] = torch.cat(rows)
    return result


def _shapes(wanted: Tensor, found: Tensor) -> str:
    return f"expected {tuple(wanted.shape)}, found {tuple(found.shape)}"
