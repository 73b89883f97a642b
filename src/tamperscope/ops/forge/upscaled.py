"""Upscaled: a region, or the whole picture with it, is reduced and enlarged again by a learned upscaler."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.ops.forge import blending, shapes
from tamperscope.ops.forge.returns import Return, check_whole, choose
from tamperscope.ops.forge.traces.base import chosen
from tamperscope.ops.forge.upscalers import MARGIN, Upscaler, opened
from tamperscope.types import BoolArray, Sample, UInt8Array

NETWORKS = "TAMPERSCOPE_UPSCALERS"
"""Environment variable that names files, or folders of them, as `networks` does; `os.pathsep` parts them."""
_UNIT = 12  # pixels that all factors divide, so that a window's cells are those of the whole picture


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """Send a region through a learned upscaler; `mask` marks it.

    Attributes:
        networks: `.param` files of ncnn, or folders of them, to choose from; none asks the environment variable
            `TAMPERSCOPE_UPSCALERS`.
        whole: Whether all of the picture passes; then the record says `reencoded`, and the mask still marks the region
            that was meant. Or a list to choose from.
        share: Range of the region's area as a share of the picture, where no region is given.
        region: (H, W) bool, the region to change, or None for a random shape.
        noun: What the region is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A setting does not fit.
    """

    name = "upscaled"
    traces = ("upsampling",)
    networks: str | Path | Sequence[str | Path] = ()
    whole: bool | Sequence[bool] = False
    share: shapes.Span = (0.05, 0.2)
    region: BoolArray | None = None
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_whole(self.name, self.whole)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InputError: ncnn or the networks are not there.
            InvalidValueError: The given region does not fit the picture, or the share is out of range.
        """
        mask = chosen(self.region, self.share, sample.size, rng)
        files = found(self.networks)
        net = opened(files[int(rng.integers(len(files)))])
        back = Return(choose(self.whole, rng), blending.Look())
        relation = f"enlarged {net.factor} times by a learned upscaler after it was reduced" + back.suffix
        return shapes.forged(
            sample,
            _made(sample, mask, net, back),
            mask,
            self.name,
            network=net.name,
            weights=net.digest,
            factor=net.factor,
            reencoded=back.whole,
            trace=list(self.traces),
            words=shapes.words(mask, self.noun or "a region", relation, self.attributes),
        )

    def ready(self) -> None:
        """Check that all that it needs is there.

        Raises:
            InputError: ncnn or a network is not there, or a file is none.
        """
        for file in found(self.networks):
            opened(file)

    @classmethod
    def replay(
        cls, sample: Sample, mask: BoolArray, entry: Mapping[str, Any], networks: str | Path | Sequence[str | Path] = ()
    ) -> UInt8Array:
        """Return the pixels of a recorded forgery.

        Args:
            sample: As it was before.
            mask: (H, W) bool, the region, as the forged sample's mask has it.
            entry: Of `meta["ops"]`.
            networks: As the attribute.

        Raises:
            InputError: ncnn or the networks are not there.
            InvalidValueError: The entry is another operation's, or was made with a network that is not there.
        """
        if entry.get("op") != cls.name:
            raise InvalidValueError(f"expected a record of {cls.name}, found one of {entry.get('op')!r}")
        files = found(networks)
        for net in (opened(file) for file in files if Path(file).stem == entry["network"]):
            if net.digest == entry["weights"]:
                return _made(sample, mask, net, Return(bool(entry["reencoded"]), blending.Look()))
        told = f"{entry['network']} with sha256 {entry['weights']}"
        raise InvalidValueError(f"{cls.name}: expected the network {told}, found {', '.join(files)}")


def found(networks: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the files that the attribute `networks` of `Upscaled` stands for, sorted.

    Raises:
        InputError: There is none.
    """
    named = [networks] if isinstance(networks, str | Path) else networks
    told = [str(p) for p in named if str(p)] or os.environ.get(NETWORKS, "").split(os.pathsep)
    paths = [Path(p) for p in told if p]
    files = sorted(str(f) for p in paths for f in (p.glob("*.param") if p.is_dir() else [p]))
    if not files:
        raise InputError(
            f"upscaled: expected .param files of ncnn, or a folder of them, as `networks` or in {NETWORKS}, found none"
        )
    return files


def _made(sample: Sample, mask: BoolArray, net: Upscaler, back: Return) -> UInt8Array:
    window = back.window(mask, MARGIN * net.factor, _UNIT)
    return back.given(sample.rgb, net.passed(sample.rgb[window]), mask, window)
