"""Attacks: what happens to a whole picture before a detector sees it, by name, from text, recorded and replayable.

Every attack is a function `(sample, **values) -> Sample` that draws nothing, of `codecs`, `tones`, `warps` or
`chains`. An `Attack` draws the values from settings and records them in `meta["ops"]`; `replay` needs no generator:

    attack.parse("resize:factor=0.5..0.9|jpeg:quality=75,subsampling=4:2:0")(sample, rng)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.ops import chains, codecs, tones, warps
from tamperscope.ops.params import Parameter, Setting, Value, default_setting, text_of
from tamperscope.ops.params import parameters as _parameters
from tamperscope.ops.record import record
from tamperscope.types import Sample

_FUNCTIONS: dict[str, Callable[..., Sample]] = {
    function.__name__: function
    for function in (
        codecs.jpeg,
        codecs.double_jpeg,
        codecs.webp,
        codecs.avif,
        tones.gaussian_blur,
        tones.gaussian_noise,
        tones.gamma,
        tones.contrast,
        tones.brightness,
        tones.median,
        tones.sharpen,
        tones.dropout,
        warps.resize,
        warps.resize_and_back,
        warps.crop,
        warps.rotate,
        warps.flip,
        chains.screenshot,
        chains.social,
    )
}


def names() -> list[str]:
    """Return the names of all attacks, sorted."""
    return sorted(_FUNCTIONS)


def about(name: str) -> str:
    """Return the first line of what an attack does.

    Raises:
        UnknownNameError: There is no such attack.
    """
    return (_function(name).__doc__ or "").partition("\n")[0]


def parameters(name: str) -> Mapping[str, Parameter]:
    """Return the parameters of an attack by name.

    Raises:
        UnknownNameError: There is no such attack.
    """
    return _parameters(_function(name))


def _function(name: str) -> Callable[..., Sample]:
    if name not in _FUNCTIONS:
        raise unknown_name("attack", name, _FUNCTIONS)
    return _FUNCTIONS[name]


@dataclass(frozen=True)
class Attack:
    """One attack with its settings; called with a sample and a generator, it draws, applies and records.

    Attributes:
        name: Of the attack.
        settings: By parameter: a value, a range `(low, high)` or a list to choose from. What is not set is the
            parameter's default; places and seeds are drawn.

    Raises:
        InvalidValueError: A setting does not fit its parameter.
        UnknownNameError: There is no such attack or parameter.
    """

    name: str
    settings: Mapping[str, Setting]

    def __post_init__(self) -> None:
        known = parameters(self.name)
        checked = {key: _known(self.name, key).setting(value) for key, value in self.settings.items()}
        object.__setattr__(self, "settings", {key: checked[key] for key in known if key in checked})

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the attacked sample."""
        return _apply(sample, self.name, self.draw(rng))

    def draw(self, rng: np.random.Generator) -> dict[str, Value]:
        """Return one value of every parameter, drawn in the order of the attack's signature."""
        known = parameters(self.name)
        return {key: p.draw(self.settings.get(key, default_setting(p)), rng) for key, p in known.items()}

    def __str__(self) -> str:
        """Return the text that `parse` reads as this attack."""
        values = ",".join(f"{key}={text_of(setting)}" for key, setting in self.settings.items())
        return f"{self.name}:{values}" if values else self.name


@dataclass(frozen=True)
class Chain:
    """Attacks one after another; an empty chain leaves the sample as it is."""

    steps: tuple[Attack, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample after all steps."""
        for step in self.steps:
            sample = step(sample, rng)
        return sample

    def __str__(self) -> str:
        """Return the text that `parse` reads as this chain."""
        return "|".join(map(str, self.steps))


def by_name(name: str, **settings: Setting) -> Attack:
    """Return an attack by name, such as `by_name("jpeg", quality=(50, 95))`.

    Raises:
        InvalidValueError: A setting does not fit its parameter.
        UnknownNameError: There is no such attack or parameter.
    """
    return Attack(name, settings)


def parse(text: str) -> Chain:
    """Return the chain that a text stands for: `NAME:KEY=SETTING,…`, steps separated by `|`.

    A setting is `75`, a range `50..95` or a choice `4:2:0/4:4:4`. An empty text is a chain without steps.

    Raises:
        InvalidValueError: A step has no name, or a setting does not fit its parameter.
        UnknownNameError: There is no such attack or parameter.
    """
    return Chain(tuple(_step(part.strip(), text) for part in text.split("|")) if text.strip() else ())


def _step(text: str, whole: str) -> Attack:
    name, _, rest = text.partition(":")
    if not name:
        raise InvalidValueError(f"attack: expected NAME or NAME:KEY=VALUE between '|', found '{whole}'")
    settings = {}
    for pair in rest.split(",") if rest else ():
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or key in settings:
            raise InvalidValueError(f"{name}: expected KEY=VALUE, each key once, found '{pair}' in '{text}'")
        settings[key] = _known(name, key).parse(value)
    return Attack(name, settings)


def _known(name: str, key: str) -> Parameter:
    known = parameters(name)
    if key not in known:
        raise unknown_name(f"parameter of {name}", key, known)
    return known[key]


def replay(sample: Sample, ops: Iterable[Mapping[str, Any]]) -> Sample:
    """Return a sample after recorded attacks, with the recorded values: the same pixels, mask and record.

    Args:
        sample: As it was before the first of `ops`.
        ops: Entries of `meta["ops"]`, attacks only: a forgery cannot be replayed without its donor.

    Raises:
        InvalidValueError: An entry lacks a value, or a value does not fit.
        UnknownNameError: An entry names no attack or an unknown parameter.
    """
    for entry in ops:
        values = dict(entry)
        name = str(values.pop("op", ""))
        checked = {key: _known(name, key).check(value) for key, value in values.items()}
        if lacking := parameters(name).keys() - checked.keys():
            raise InvalidValueError(f"{name}: expected a recorded value of {', '.join(sorted(lacking))}, found none")
        sample = _apply(sample, name, checked)
    return sample


def _apply(sample: Sample, name: str, values: Mapping[str, Value]) -> Sample:
    after = _FUNCTIONS[name](sample, **values)
    if sample.mask is not None and sample.mask.any() and after.mask is not None and not after.mask.any():
        # All that was forged has been cut off: what is left is pristine.
        after = replace(after, label=0)
    return record(sample, after, name, **values)
