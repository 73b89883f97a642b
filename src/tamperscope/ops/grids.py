"""Named grids of attacks: what a robustness curve is measured on.

IMDL-BenCo's three grids come in two meanings. Its own script hands its noise numbers to a library that takes them
for variances, and its JPEG qualities to one that draws from {q - 1, q}: `*_literal`. The papers that quote them
state standard deviations and qualities: the names without the suffix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tamperscope.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Point:
    """One attack of a grid.

    Attributes:
        label: Unique over all grids; what tables show.
        family: The curve that it belongs to.
        strength: Its place on that curve.
        op: Text form for `attack.parse`; "" = no attack.
    """

    label: str
    family: str
    strength: float
    op: str


@dataclass(frozen=True, slots=True)
class _Sweep:
    """One curve: a text form with a place for the strength, or a function that makes the text."""

    family: str
    op: str | Callable[[float], str]
    strengths: tuple[float, ...]

    def points(self) -> list[Point]:
        make = self.op.format if isinstance(self.op, str) else self.op
        return [Point(f"{self.family} {s:g}", self.family, float(s), make(s)) for s in self.strengths]


_NOISE = (3, 7, 11, 15, 19, 23)
_QUALITY = (50, 60, 70, 80, 90, 100)


def _benco_blur(kernel: float) -> str:
    return f"gaussian_blur:kernel={kernel:g}" if kernel else ""


def _benco_variance(variance: float) -> str:
    return f"gaussian_noise:sigma={math.sqrt(variance)!r}"


def _benco_quality(quality: float) -> str:
    return f"jpeg:quality={quality - 1:g}/{quality:g}"


_GRIDS: dict[str, tuple[_Sweep, ...]] = {
    "benco_blur": (_Sweep("benco_blur", _benco_blur, (0, 3, 7, 11, 15, 19, 23)),),
    "benco_noise_literal": (_Sweep("benco_noise_literal", _benco_variance, _NOISE),),
    "benco_noise": (_Sweep("benco_noise", "gaussian_noise:sigma={}", _NOISE),),
    "benco_jpeg_literal": (_Sweep("benco_jpeg_literal", _benco_quality, _QUALITY),),
    "benco_jpeg": (_Sweep("benco_jpeg", "jpeg:quality={}", _QUALITY),),
    "quick": (
        _Sweep("quick_jpeg", "jpeg:quality={}", (75,)),
        _Sweep("quick_resize_jpeg", "resize:factor={}|jpeg:quality=80", (0.5,)),
        _Sweep("quick_blur", "gaussian_blur:sigma={}", (1,)),
        _Sweep("quick_noise", "gaussian_noise:sigma={}", (5,)),
    ),
    "ours": (
        _Sweep("jpeg", "jpeg:quality={}", (95, 85, 75, 60, 40)),
        _Sweep("jpeg_444", "jpeg:quality={},subsampling=4:4:4", (95, 75)),
        _Sweep("double_jpeg", "double_jpeg:first=70,second={}", (95, 85, 75)),
        _Sweep("double_jpeg_shifted", "double_jpeg:first=70,second={},dy=3,dx=5", (95, 85, 75)),
        _Sweep("webp", "webp:quality={}", (90, 75, 50)),
        _Sweep("avif", "avif:quality={}", (80, 60, 40)),
        _Sweep("gaussian_blur", "gaussian_blur:sigma={}", (0.5, 1, 2, 4)),
        _Sweep("gaussian_noise", "gaussian_noise:sigma={}", (1, 3, 7, 15)),
        _Sweep("median", "median:kernel={}", (3, 5, 7)),
        _Sweep("sharpen", "sharpen:amount={}", (0.5, 1, 2)),
        _Sweep("gamma", "gamma:gamma={}", (0.5, 0.8, 1.25, 2)),
        _Sweep("contrast", "contrast:gain={}", (0.5, 0.8, 1.25, 1.6)),
        _Sweep("brightness", "brightness:shift={}", (-40, -20, 20, 40)),
        _Sweep("dropout", "dropout:share={}", (0.01, 0.05, 0.2)),
        _Sweep("dropout_blocks", "dropout:share={},block=16", (0.01, 0.05, 0.2)),
        _Sweep("resize", "resize:factor={}", (0.25, 0.5, 0.75, 1.5, 2)),
        _Sweep("resize_and_back", "resize_and_back:factor={}", (0.25, 0.5, 0.75, 1.5)),
        _Sweep("resize_jpeg", "resize:factor={}|jpeg:quality=80", (0.5, 0.75)),
        _Sweep("crop", "crop:keep={}", (0.95, 0.8, 0.6)),
        _Sweep("rotate", "rotate:angle={}", (1, 5, 15, 90)),
        _Sweep("rotate_inner", "rotate:angle={},border=inner", (1, 5, 15)),
        _Sweep("screenshot", "screenshot:scale={}", (1, 1.25, 2)),
    ),
}


def names() -> list[str]:
    """Return the names of all grids, sorted."""
    return sorted(_GRIDS)


def load(name: str) -> list[Point]:
    """Return the attacks of a grid, curve by curve.

    Raises:
        UnknownNameError: There is no such grid.
    """
    if name not in _GRIDS:
        raise unknown_name("grid", name, _GRIDS)
    found = [point for sweep in _GRIDS[name] for point in sweep.points()]
    if name != "ours":
        return found
    # Attacks whose strength is a word have no place on a curve.
    words = [("flip", "axis", ("horizontal", "vertical")), ("social", "profile", _services())]
    return found + [Point(f"{op} {w}", op, math.nan, f"{op}:{key}={w}") for op, key, ws in words for w in ws]


def _services() -> tuple[str, ...]:
    from tamperscope.ops.chains import PROFILES

    return tuple(PROFILES)
