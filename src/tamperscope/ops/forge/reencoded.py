"""Re-encoded: a region, or the whole picture, passes the auto-encoder of a diffusion editor, but no diffusion."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.ops import tones
from tamperscope.ops.forge import blending, shapes
from tamperscope.ops.forge.returns import Return, check_return
from tamperscope.ops.forge.traces.base import Trace, chosen
from tamperscope.ops.params import Range, Setting
from tamperscope.types import BoolArray, Sample, UInt8Array

if TYPE_CHECKING:
    from tamperscope.nn.autoencoders import AutoEncoder

Model = Literal["tiny", "taef2"]
WEIGHTS = "TAMPERSCOPE_TAEF2"
"""Environment variable that names the folder with the weights of TAEF2."""


def reencoded(
    sample: Sample,
    model: Model = "tiny",
    latent_noise: Annotated[float, Range(0, 1)] = 0.0,
    seed: tones.Seed = 0,
) -> Sample:
    """Encode a picture and decode it again; the content keeps its place.

    Args:
        sample: The picture.
        model: `tiny`, which is built in, or `taef2`, whose weights the folder named by `TAMPERSCOPE_TAEF2` holds.
        latent_noise: Noise in latent space, as a share of the latents' spread: above 0, content is drawn anew a little.
        seed: Of the noise.

    Raises:
        InputError: The weights are not there, or PyTorch is not.
    """
    return sample.with_pixels(network(model).passed(sample.rgb, latent_noise, seed))


def network(model: Model, weights: str | Path = "") -> AutoEncoder:
    """Return an auto-encoder, read once.

    Args:
        model: Its name.
        weights: Folder with the weights of `taef2`; "" asks the environment variable `TAMPERSCOPE_TAEF2`.

    Raises:
        InputError: The weights are not there or damaged, or PyTorch is not installed.
        InvalidValueError: The weights are another network's.
    """
    try:
        from tamperscope.nn import autoencoders
    except ImportError as error:
        raise InputError('auto-encoders need PyTorch: pip install "tamperscope[train]"') from error
    if model == "tiny":
        return autoencoders.shipped()
    folder = str(weights or os.environ.get(WEIGHTS, ""))
    if not folder:
        raise InputError(f"model taef2: expected a folder of weights as `weights` or in {WEIGHTS}, found none")
    return autoencoders.taef2(folder)


@dataclass(frozen=True, kw_only=True)
class Reencoded(Trace):
    """Send a region through an auto-encoder; `mask` marks it.

    Attributes:
        weights: Folder with the weights of `taef2`; "" asks the environment variable `TAMPERSCOPE_TAEF2`.
        whole: Whether all of the picture passes, as when an editor returns a whole picture for an edit of a region;
            then the record says `reencoded`, and the mask still marks the region. Or a list to choose from.
        blends: Edges of a region that is pasted back, to choose from.
        feathers: Widths of a feathered edge to choose from, pixels.
        noun: What the region is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A setting does not fit its parameter.
        UnknownNameError: There is no such blend.
    """

    name = "reencoded"
    traces = ("upsampling",)
    pipeline = staticmethod(reencoded)
    model: Setting = "tiny"
    latent_noise: Setting = 0.0
    weights: str | Path = ""
    whole: bool | Sequence[bool] = False
    blends: Sequence[blending.Blend] = ("hard",)
    feathers: Sequence[float] = (0.7, 1.5)
    noun: str = ""
    attributes: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_return(self.name, self.whole, self.blends, self.feathers)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InputError: The weights are not there, or PyTorch is not.
            InvalidValueError: The given region does not fit the picture, or the share is out of range.
        """
        mask = chosen(self.region, self.share, sample.size, rng)
        values = self.draw(rng)
        back = Return.draw(self.whole, self.blends, self.feathers, rng)
        net = network(values["model"], self.weights)  # type: ignore[arg-type]
        entry = {**values, "weights": net.digest, **back.values}
        rgb = self.replay(sample, mask, {**entry, "op": self.name}, self.weights)
        relation = "encoded anew" + back.suffix
        return shapes.forged(
            sample,
            rgb,
            mask,
            self.name,
            **entry,
            trace=[*self.traces, *back.look.traces],
            words=shapes.words(mask, self.noun or "a region", relation, self.attributes),
        )

    def ready(self) -> None:
        """Check that all that it needs is there.

        Raises:
            InputError: The weights are not there, or PyTorch is not.
        """
        for model in self.model if isinstance(self.model, list) else [self.model]:
            network(model, self.weights)  # type: ignore[arg-type]

    @classmethod
    def replay(cls, sample: Sample, mask: BoolArray, entry: Mapping[str, Any], weights: str | Path = "") -> UInt8Array:
        """Return the pixels of a recorded forgery.

        Only what lies near the region is encoded where the rest stays.

        Args:
            sample: As it was before.
            mask: (H, W) bool, the region, as the forged sample's mask has it.
            entry: Of `meta["ops"]`.
            weights: As for `network`.

        Raises:
            InputError: The weights are not there, or PyTorch is not.
            InvalidValueError: The entry is another operation's, lacks a value, or was made with other weights.
        """
        if entry.get("op") != cls.name:
            raise InvalidValueError(f"expected a record of {cls.name}, found one of {entry.get('op')!r}")
        net, back = network(entry["model"], weights), Return.recorded(entry)
        if net.digest != entry["weights"]:
            raise InvalidValueError(f"{cls.name}: expected weights of sha256 {entry['weights']}, found {net.digest}")
        window = back.window(mask, net.margin, net.factor)
        part = net.passed(sample.rgb[window], entry["latent_noise"], entry["seed"])
        return back.given(sample.rgb, part, mask, window)
