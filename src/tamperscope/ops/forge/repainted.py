"""Repainted: a region is painted anew by an editor that the user brings, such as a diffusion pipeline of `diffusers`.

What is drawn is up to the pipeline. Here it is decided what it sees (the region's surroundings, at the size that it
works at), and what is done with its answer: pasted back into the region, or kept as a whole new picture.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.ops.forge import blending, shapes
from tamperscope.ops.forge.returns import Return, check_return
from tamperscope.ops.forge.traces.base import chosen
from tamperscope.types import BoolArray, Sample, UInt8Array

_CELL = 8
"""Sides that a pipeline sees are multiples of it, pixels."""


class Pipeline(Protocol):
    """What paints: the call of the in-painting pipelines of `diffusers`.

    `height` and `width` are given too where it takes them.
    """

    def __call__(
        self,
        *,
        prompt: str,
        image: Image.Image,
        mask_image: Image.Image,
        generator: Any,
        strength: float,
        num_inference_steps: int,
    ) -> Any:
        """Return something whose `images` holds the new picture; the mask is white where it is painted."""


@dataclass(frozen=True, kw_only=True)
class Repainted:
    """Let a pipeline paint a region anew; `mask` marks it.

    The record names the pipeline, so that the same one can be brought again: without it there is no replay.

    Attributes:
        pipeline: A local folder as `diffusers` saves pipelines, weights as safetensors; or any such callable.
        prompt: What is to be seen, or texts to choose from; "" asks for no object, only for ground.
        strength: Range of how much of what was there is given up, in [0, 1].
        steps: Number of denoising steps.
        side: Longer side of what the pipeline sees, pixels, a multiple of 8.
        around: Surroundings of the region that it sees, as a share of the region's longer side.
        whole: Whether the pipeline's whole answer is kept, for which it sees all of the picture; then the record says
            `reencoded`, and the mask still marks the region. Or a list to choose from.
        blends: Edges of a region that is pasted back, to choose from.
        feathers: Widths of a feathered edge to choose from, pixels.
        share: Range of the region's area as a share of the picture, where no region is given.
        region: (H, W) bool, the region to change, or None for a random shape.
        noun: What the region is called, such as `a person`.
        attributes: What else is known of it.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such blend.
    """

    pipeline: str | Path | Pipeline
    prompt: str | Sequence[str] = ""
    strength: shapes.Span = (1.0, 1.0)
    steps: int = 30
    side: int = 512
    around: float = 0.5
    whole: bool | Sequence[bool] = False
    blends: Sequence[blending.Blend] = ("feathered",)
    feathers: Sequence[float] = (0.7, 1.5)
    share: shapes.Span = (0.03, 0.2)
    region: BoolArray | None = None
    noun: str = ""
    attributes: Sequence[str] = ()

    name = "repainted"

    def __post_init__(self) -> None:
        shapes.check_span("repainted.strength", self.strength, 0, 1)
        if self.side < _CELL or self.side % _CELL or self.steps < 1 or not 0 <= self.around <= 10:
            raise InvalidValueError(
                f"repainted: expected a side of whole {_CELL}s, steps from 1 and around in [0, 10], "
                f"found {self.side}, {self.steps}, {self.around}"
            )
        if not isinstance(self.prompt, str) and not self.prompt:
            raise InvalidValueError("repainted.prompt: expected a text or texts to choose from, found none")
        check_return(self.name, self.whole, self.blends, self.feathers)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the forged sample.

        Raises:
            InputError: The folder holds no pipeline, or `diffusers` or PyTorch is not installed.
            InvalidValueError: The given region does not fit, or the pipeline returns no picture.
        """
        mask = chosen(self.region, self.share, sample.size, rng)
        prompts = (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt)
        prompt = prompts[int(rng.integers(len(prompts)))]
        back = Return.draw(self.whole, self.blends, self.feathers, rng)
        pipe, known = opened(self.pipeline)
        entry = {
            **known,
            "prompt": prompt,
            "strength": shapes.drawn(self.strength, rng),
            "steps": self.steps,
            "side": self.side,
            "around": self.around,
            "seed": int(rng.integers(2**32)),
            **back.values,
        }
        rgb = self.replay(sample, mask, {**entry, "op": self.name}, pipe)
        relation = (f'painted anew as "{prompt}"' if prompt else "painted over by a generator") + back.suffix
        return shapes.forged(
            sample,
            rgb,
            mask,
            self.name,
            **entry,
            trace=["upsampling", "statistics", *back.look.traces],
            words=shapes.words(mask, self.noun or "a region", relation, self.attributes),
        )

    def ready(self) -> None:
        """Check that all that it needs is there.

        Raises:
            InputError: The folder holds no pipeline, or `diffusers` or PyTorch is not installed.
        """
        opened(self.pipeline)

    @classmethod
    def replay(
        cls, sample: Sample, mask: BoolArray, entry: Mapping[str, Any], pipeline: str | Path | Pipeline
    ) -> UInt8Array:
        """Return the pixels of a recorded forgery, as far as the pipeline paints the same again.

        Args:
            sample: As it was before.
            mask: (H, W) bool, the region, as the forged sample's mask has it.
            entry: Of `meta["ops"]`.
            pipeline: The one that the record names.

        Raises:
            InputError: The folder holds no pipeline, or `diffusers` or PyTorch is not installed.
            InvalidValueError: The entry is another operation's or pipeline's, or the pipeline returns no picture.
        """
        if entry.get("op") != cls.name:
            raise InvalidValueError(f"expected a record of {cls.name}, found one of {entry.get('op')!r}")
        pipe, known = opened(pipeline)
        if lacking := {key: entry[key] for key in known if known[key] and entry[key] != known[key]}:
            raise InvalidValueError(f"{cls.name}: expected the pipeline {lacking}, found {known}")
        back = Return.recorded(entry)
        rows, columns = shapes.box(mask)
        reach = max(rows.stop - rows.start, columns.stop - columns.start)
        window = back.window(mask, max(_CELL, round(entry["around"] * reach)), 1)
        part = _painted(pipe, sample.rgb[window], mask[window], entry)
        return back.given(sample.rgb, part, mask, window)


def opened(pipeline: str | Path | Pipeline) -> tuple[Pipeline, dict[str, str]]:
    """Return a pipeline, and what a record says of it: the name of its class, and the SHA-256 of its folder or "".

    Raises:
        InputError: The folder holds no pipeline, or `diffusers` is not installed.
    """
    if isinstance(pipeline, str | Path):
        pipe, digest = _loaded(str(pipeline))
    else:
        pipe, digest = pipeline, getattr(pipeline, "_tamperscope_digest", "")
    return pipe, {"pipeline": getattr(pipe, "__qualname__", type(pipe).__qualname__), "weights": digest}


@lru_cache(maxsize=1)
def _loaded(folder: str) -> tuple[Pipeline, str]:
    root = Path(folder)
    if not (root / "model_index.json").is_file():
        raise InputError(f"'{folder}': expected the folder of a diffusers pipeline, found no model_index.json in it")
    try:
        auto = import_module("diffusers").AutoPipelineForInpainting
    except ImportError as error:
        raise InputError("repainting needs diffusers: pip install diffusers transformers") from error
    try:
        # Other weights than safetensors are programs that would be run.
        pipe = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, ImportError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"'{folder}': expected a pipeline that diffusers can open: {error}") from error
    pipe.set_progress_bar_config(disable=True)
    state = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        state.update(path.relative_to(root).as_posix().encode())
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                state.update(block)
    return pipe, state.hexdigest()


def _painted(pipe: Pipeline, rgb: UInt8Array, mask: BoolArray, entry: Mapping[str, Any]) -> UInt8Array:
    """Return what the pipeline makes of a part of the picture, at the part's own size."""
    try:
        import torch
    except ImportError as error:
        raise InputError('repainting needs PyTorch: pip install "tamperscope[train]"') from error
    height, width = rgb.shape[:2]
    factor = entry["side"] / max(height, width)
    side = tuple(max(_CELL, round(n * factor / _CELL) * _CELL) for n in (width, height))
    seen = cv2.resize(rgb, side, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    soft = cv2.resize(mask.astype(np.float32), side, interpolation=cv2.INTER_LINEAR)
    given: dict[str, Any] = {
        "prompt": entry["prompt"],
        "image": Image.fromarray(np.asarray(seen, np.uint8)),
        "mask_image": Image.fromarray((soft > 0).astype(np.uint8) * 255),
        "generator": torch.Generator("cpu").manual_seed(entry["seed"]),
        "strength": entry["strength"],
        "num_inference_steps": entry["steps"],
    }
    taken = inspect.signature(pipe).parameters
    given |= {key: n for key, n in zip(("width", "height"), side, strict=True) if key in taken}
    images = getattr(pipe(**given), "images", None)
    if images is None or len(images) == 0 or not isinstance(images[0], Image.Image):
        raise InvalidValueError(
            f"repainted: expected `images` with a picture from {type(pipe).__name__}, found {images}"
        )
    new = np.asarray(images[0].convert("RGB"))
    if new.shape == rgb.shape:
        return new
    shrinks = new.shape[0] * new.shape[1] > height * width
    back = cv2.resize(new, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(back, np.uint8)
