"""The forging operations that recipes may name: what each is made of and what it needs. A new one is one entry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tamperscope.errors import InputError, unknown_name

if TYPE_CHECKING:
    from tamperscope.ops.record import Op
    from tamperscope.types import BoolArray, Sample


@dataclass(frozen=True, slots=True)
class Operation:
    """How an operation is built; names of parameters are those of the class or function that `at` names.

    Attributes:
        at: `module:name` of what returns the `Op`; imported when it is first used.
        verb: What happens to the region, for sentences: "was ...".
        object: Parameter that takes the mask of a known object of the host, or "".
        donor: Parameter that takes the donor, or "" where none is needed.
        donor_object: Parameter that takes the mask of a known object of the donor, or "".
        domain: Of its forgeries, as manifests state it.
        hosts: Domain of the only pictures that it is for, or "" where any will do.
    """

    at: str
    verb: str
    object: str = ""
    donor: str = ""
    donor_object: str = ""
    domain: str = "manipulation"
    hosts: str = ""


_FORGE = "tamperscope.ops.forge."
_TRACE = "reprocessed"
_PAGE = {"domain": "document", "hosts": "document"}
# Numbers in maps of editors are places in this table: new entries go to its end.
OPERATIONS: dict[str, Operation] = {
    "splice": Operation(f"{_FORGE}splice:Splice", "pasted in", donor="donor", donor_object="donor_mask"),
    "copy_move": Operation(f"{_FORGE}copy_move:CopyMove", "copied", object="source"),
    "removal": Operation(f"{_FORGE}removal:Removal", "removed", object="mask"),
    "jitter": Operation(f"{_FORGE}jitter:Jitter", "changed in its place", object="source"),
    "trace_noise": Operation(f"{_FORGE}traces.noise:Noise", _TRACE, object="region"),
    "trace_cfa": Operation(f"{_FORGE}traces.cfa:Cfa", _TRACE, object="region"),
    "trace_grid": Operation(f"{_FORGE}traces.grid:Grid", _TRACE, object="region"),
    "trace_quality": Operation(f"{_FORGE}traces.quality:Quality", _TRACE, object="region"),
    "trace_resampling": Operation(f"{_FORGE}traces.resampling:Resampling", _TRACE, object="region"),
    "trace_median": Operation(f"{_FORGE}traces.median:Median", _TRACE, object="region"),
    "trace_sharpening": Operation(f"{_FORGE}traces.sharpening:Sharpening", _TRACE, object="region"),
    "trace_blur": Operation(f"{_FORGE}traces.blur:Blur", _TRACE, object="region"),
    "trace_mixed": Operation("tamperscope.forging.operations:mixed", _TRACE, object="region"),
    "cut_paste": Operation(f"{_FORGE}document.cut_paste:CutPaste", "overwritten", **_PAGE),
    "retype": Operation(f"{_FORGE}document.retype:Retype", "retyped", **_PAGE),
    "white_out": Operation(f"{_FORGE}document.white_out:WhiteOut", "covered", **_PAGE),
    "upsampled": Operation(f"{_FORGE}upsampled:Upsampled", "made anew", object="region"),
    "reencoded": Operation(f"{_FORGE}reencoded:Reencoded", "made anew", object="region"),
    "repainted": Operation(f"{_FORGE}repainted:Repainted", "painted anew", object="region"),
    "face_blend": Operation(f"{_FORGE}faces.self_blend:SelfBlend", "blended with a copy of itself", domain="face"),
    "face_warp": Operation(f"{_FORGE}faces.warp:Warp", "reshaped", domain="face"),
    "face_part": Operation(f"{_FORGE}faces.part:Part", "changed", domain="face"),
    "face_swap": Operation(f"{_FORGE}faces.swap:Swap", "replaced", donor="donor", domain="face"),
    "clip_removal": Operation(f"{_FORGE}video.removal:ClipRemoval", "removed"),
    "clip_paste": Operation(f"{_FORGE}video.paste:ClipPaste", "pasted in", donor="donor"),
    "upscaled": Operation(f"{_FORGE}upscaled:Upscaled", "made anew", object="region"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What an operation works with.

    Attributes:
        object: (H, W) bool, a known object of the host, or None.
        donor: Another picture, or None.
        donor_object: A known object of it, or None.
        noun: What the object is called, or "".
        attributes: What else is known of it.
    """

    object: BoolArray | None = None
    donor: Sample | None = None
    donor_object: BoolArray | None = None
    noun: str = ""
    attributes: tuple[str, ...] = ()


def classes() -> list[str]:
    """Return what the numbers in a map of editors mean, by place in the list."""
    return ["authentic", *OPERATIONS]


def get(name: str) -> Operation:
    """Return an operation by name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in OPERATIONS:
        raise unknown_name("operation", name, OPERATIONS)
    return OPERATIONS[name]


def check(name: str, settings: Mapping[str, Any]) -> None:
    """Check that an operation has parameters of the names of `settings`.

    Raises:
        UnknownNameError: It has not, or there is no such operation.
    """
    chosen = get(name)
    own = {chosen.object, chosen.donor, chosen.donor_object}
    for key in settings:
        if key in own or key not in _parameters(name):
            raise unknown_name(f"setting of {name}", key, _parameters(name) - own)


def ready(name: str, settings: Mapping[str, Any]) -> None:
    """Check that what an operation needs beside pictures is there: weights, a library, a pipeline.

    Raises:
        InputError: Something is missing; it says what.
    """
    maker = _maker(name)
    if hasattr(maker, "ready"):
        try:
            maker(**{key: _value(value) for key, value in settings.items()}).ready()
        except InputError as error:
            raise InputError(f"operation {name}: {error} (or leave it out: --set operations.{name}=0)") from error
        except TypeError as error:
            raise InputError(f"operation {name}: its settings lack something: {error}") from error


def build(name: str, settings: Mapping[str, Any], material: Material) -> Op:
    """Return an operation with its settings and material.

    Args:
        name: Of the operation.
        settings: Parameters by name, JSON-ready; a text `LOW..HIGH` is a range of numbers.
        material: What it works with; what it has no parameter for is not used.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such operation or setting.
    """
    check(name, settings)
    chosen = get(name)
    given = {
        chosen.object: material.object,
        chosen.donor: material.donor,
        chosen.donor_object: material.donor_object,
        "noun": material.noun,
        "attributes": material.attributes,
    }
    known = {key: value for key, value in given.items() if key in _parameters(name)}
    made: Op = _maker(name)(**known, **{key: _value(value) for key, value in settings.items()})
    return made


def mixed(
    steps: Sequence[str] = ("trace_noise", "trace_cfa"),
    share: tuple[float, float] = (0.05, 0.2),
    region: BoolArray | None = None,
) -> Op:
    """Return the operation that sends one region through several traces, which are named as operations.

    Raises:
        UnknownNameError: There is no such trace.
    """
    from tamperscope.ops.forge.traces.mixed import Mixed

    traces = [name for name in OPERATIONS if name.startswith("trace_") and name != "trace_mixed"]
    for name in steps:
        if name not in traces:
            raise unknown_name("trace", name, traces)
    return Mixed(steps=tuple(_maker(name)() for name in steps), share=share, region=region)


@cache
def _maker(name: str) -> Callable[..., Any]:
    module, _, attribute = get(name).at.partition(":")
    maker: Callable[..., Any] = getattr(import_module(module), attribute)
    return maker


@cache
def _parameters(name: str) -> frozenset[str]:
    return frozenset(inspect.signature(_maker(name)).parameters)


def _value(setting: Any) -> Any:
    """Return a setting as operations take it."""
    if isinstance(setting, str) and ".." in setting:
        low, _, high = setting.partition("..")
        whole = "." not in low + high
        return tuple(int(n) if whole else float(n) for n in (low, high))
    return setting
