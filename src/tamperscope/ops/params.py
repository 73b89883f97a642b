"""Parameters of attacks: read from a function's signature, checked, drawn, and written as text.

A setting is one value, a range `(low, high)` to draw from, or a list of values to choose from. As text: `75`,
`50..95`, `4:2:0/4:4:4`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from tamperscope.errors import InvalidValueError

Value: TypeAlias = "int | float | str"
Setting: TypeAlias = "Value | tuple[Value, Value] | list[Value]"


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a parameter may be, for `Annotated`.

    Attributes:
        low: Least value.
        high: Greatest value.
        odd: Whether it must be odd (0 is allowed where `low` is 0).
        drawn: Whether it is drawn from the whole range unless it is set.
    """

    low: float
    high: float
    odd: bool = False
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an attack.

    Attributes:
        name: Function and parameter, such as `jpeg.quality`, for messages.
        kind: int, float or str.
        default: Taken when it is neither set nor drawn.
        range: Of a number.
        options: Of a word.
    """

    name: str
    kind: type
    default: Value
    range: Range | None = None
    options: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.range is None:
            return f"one of {', '.join(self.options)}"
        kind = "a whole number" if self.kind is int else "a number"
        kind = "an odd number" if self.range.odd else kind
        return f"{kind} from {self.range.low:g} to {self.range.high:g}"

    def check(self, value: Any) -> Value:
        """Return one value in the parameter's own type.

        Raises:
            InvalidValueError: It has another type or is out of range.
        """
        if self.range is None:
            if value in self.options:
                return str(value)
        elif isinstance(value, int | np.integer | (float if self.kind is float else int)) and type(value) is not bool:
            fits = self.range.low <= value <= self.range.high
            if fits and not (self.range.odd and value and value % 2 == 0):
                return self.kind(value)  # type: ignore[no-any-return]
        raise InvalidValueError(f"{self.name}: expected {self.expected}, found {value!r}")

    def setting(self, setting: Any) -> Setting:
        """Return a checked setting: one value, a range or a list.

        Raises:
            InvalidValueError: It holds a value that does not fit, or a range is upside down.
        """
        if isinstance(setting, list) and setting:
            return [self.check(v) for v in setting]
        if isinstance(setting, tuple) and len(setting) == 2 and self.range is not None:
            low, high = (self.check(v) for v in setting)
            if low > high:  # type: ignore[operator]
                raise InvalidValueError(f"{self.name}: expected a range from low to high, found {low}..{high}")
            return low, high
        return self.check(setting)

    def parse(self, text: str) -> Setting:
        """Return the setting that a text such as `75`, `50..95` or `70/80` stands for.

        Raises:
            InvalidValueError: It holds a value that does not fit.
        """
        low, dots, high = text.partition("..")
        if dots and self.range is not None:
            return self.setting((self._value(low), self._value(high)))
        values = [self._value(part) for part in text.split("/")]
        return self.setting(values if len(values) > 1 else values[0])

    def _value(self, text: str) -> Value:
        try:
            return self.kind(text.strip())  # type: ignore[no-any-return]
        except ValueError as error:
            raise InvalidValueError(f"{self.name}: expected {self.expected}, found '{text}'") from error

    def draw(self, setting: Setting, rng: np.random.Generator) -> Value:
        """Return one value of a checked setting: uniform over a range (both ends included) or a list."""
        if isinstance(setting, list):
            return setting[int(rng.integers(len(setting)))]
        if not isinstance(setting, tuple):
            return setting
        low, high = float(setting[0]), float(setting[1])
        if self.kind is float:
            return float(rng.uniform(low, high))
        if self.range is not None and self.range.odd:
            first = int(low) | 1
            return first + 2 * int(rng.integers((int(high) - first) // 2 + 1)) if first <= high else int(low)
        return int(rng.integers(int(low), int(high) + 1))


def text_of(setting: Setting) -> str:
    """Return the text that `Parameter.parse` reads as this setting."""
    if isinstance(setting, list):
        return "/".join(text_of(v) for v in setting)
    if isinstance(setting, tuple):
        return "..".join(text_of(v) for v in setting)
    short = f"{setting:g}" if isinstance(setting, float) else str(setting)
    return repr(setting) if isinstance(setting, float) and float(short) != setting else short


@cache
def parameters(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """Return the parameters of a function by name, all but the first, which is the sample.

    Numbers are annotated as `Annotated[int, Range(1, 100)]`, words as `Literal["a", "b"]`.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    found = {}
    for name, spec in list(inspect.signature(function).parameters.items())[1:]:
        args, shown = typing.get_args(hints[name]), f"{function.__name__}.{name}"
        if isinstance(args[-1], Range):
            found[name] = Parameter(shown, args[0], spec.default, args[1])
        else:
            found[name] = Parameter(shown, str, spec.default, options=args)
    return found


def default_setting(parameter: Parameter) -> Setting:
    """Return what a parameter is when it is not set: its default, or its whole range when it is always drawn."""
    limits = parameter.range
    if limits is None or not limits.drawn:
        return parameter.default
    return parameter.kind(limits.low), parameter.kind(limits.high)
