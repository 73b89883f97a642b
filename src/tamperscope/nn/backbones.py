"""Known backbones behind one interface: a picture in, feature maps out, finest first; any size, any number of channels.

SegFormer's MiT, ViT, DINOv2, Swin, SwinV2, ConvNeXt, ResNet and CLIP's picture tower are those of the library
`transformers`, which nothing else in this package imports. Weights are random, or come from a folder that the user
names: nothing is ever fetched.
"""

from __future__ import annotations

import json
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InputError, InvalidValueError, unknown_name
from tamperscope.nn.backbone_sizes import FAMILIES, Family

Extra = Literal["kaiming", "mean", "zeros"]


class Backbone(nn.Module):
    """A picture (B, inputs, H, W) of any size to maps (B, channels[i], ceil(H / strides[i]), ...), finest first.

    Attributes:
        inputs: Channels of the picture.
        channels: Of each map.
        strides: Pixels of the picture to a step of each map.
        multiple: Inside, the picture's right and lower edges are repeated until its sides are multiples of it.
        body: The network of the library.
    """

    inputs: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int

    def __init__(self, body: nn.Module, inputs: int) -> None:
        super().__init__()
        self.body: Any = body
        self.inputs = inputs

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the maps.

        Raises:
            InvalidValueError: The picture has another number of channels.
        """
        if image.ndim != 4 or image.shape[1] != self.inputs:
            raise InvalidValueError(f"image: expected (B, {self.inputs}, H, W), found {tuple(image.shape)}")
        found = self.maps(self.padded(image))
        height, width = image.shape[-2:]
        return [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(found, self.strides, strict=True)]

    def padded(self, image: Tensor) -> Tensor:
        """Return the picture with its right and lower edges repeated to the next multiples."""
        down, right = (-n % self.multiple for n in image.shape[-2:])
        return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image

    @abstractmethod
    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps of a picture whose sides are multiples."""


class Stages(Backbone):
    """MiT: four stages, each from the map of the one before it."""

    def __init__(self, body: nn.Module, inputs: int) -> None:
        super().__init__(body, inputs)
        self.channels = tuple(self.body.config.hidden_sizes)
        self.strides, self.multiple = (4, 8, 16, 32), 32

    def stages(self) -> list[nn.Module]:
        """Return the stages, map (B, C, h, w) to map: what goes between them is the caller's.

        The first one takes the picture; none pads, so `padded` goes before the first.
        """
        return list(self.body.stages)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps after each stage."""
        found = []
        for stage in self.stages():
            image = stage(image)
            found.append(image)
        return found


class Pyramid(Backbone):
    """Swin, SwinV2, ConvNeXt, ResNet: a map of each of four stages; those of Swin and ConvNeXt pass a layer norm.

    Windows of Swin never shrink to a small map: the library's classifier shrinks them for good, so that what came
    before would count. Those of SwinV2 are as its settings say, whatever the picture's size.
    """

    def __init__(self, body: nn.Module, inputs: int) -> None:
        super().__init__(body, inputs)
        self.channels = tuple(self.body.channels)
        self.strides, self.multiple = (4, 8, 16, 32), 32
        if hasattr(self.body, "swin"):
            # Of no map that is returned.
            self.body.swin.layernorm = nn.Identity()

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps of the stages."""
        return list(self.body(image).feature_maps)


class Tokens(Backbone):
    """ViT, DINOv2, CLIP: four maps of one stride, at every fourth of the depth; all pass the last layer norm."""

    def __init__(self, body: nn.Module, inputs: int) -> None:
        super().__init__(body, inputs)
        config = self.body.config
        self.multiple, depth = config.patch_size, config.num_hidden_layers
        self.depths = [max(1, depth * part // 4) for part in range(1, 5)]
        self.channels, self.strides = (config.hidden_size,) * 4, (config.patch_size,) * 4
        self.norm = "post_layernorm" if hasattr(body, "post_layernorm") else "layernorm"
        self.told = {} if config.model_type == "dinov2" else {"interpolate_pos_encoding": True}

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the maps of the patches' tokens; places that the weights do not know are interpolated."""
        norm, size = getattr(self.body, self.norm), [n // self.multiple for n in image.shape[-2:]]
        hidden = self.body(image, output_hidden_states=True, **self.told).hidden_states
        return [norm(hidden[depth])[:, 1:].transpose(1, 2).unflatten(2, size) for depth in self.depths]


_KINDS: dict[str, type[Backbone]] = {"stages": Stages, "pyramid": Pyramid, "tokens": Tokens}


def families() -> dict[str, list[str]]:
    """Return the names of the sizes of every family; `tiny` is ours, for a CPU, the others are published."""
    return {name: list(family.sizes) for name, family in FAMILIES.items()}


def build(
    family: str,
    size: str = "tiny",
    inputs: int = 3,
    weights: str | Path | None = None,
    extra: Extra = "kaiming",
    drop_path: float | None = None,
) -> Backbone:
    """Return a backbone with random weights drawn from torch's generator, or with the user's.

    Args:
        family: `mit`, `vit`, `dinov2`, `swin`, `swinv2`, `convnext`, `resnet` or `clip`.
        size: One of `families()[family]`.
        inputs: Channels of the picture.
        weights: Folder with `config.json` and `*.safetensors` as `transformers` saves them, for 3 channels.
        extra: What the first layer does with channels beyond the 3 that such weights know: `kaiming` draws (He et al.,
            2015; fan-in of all channels), `mean` takes the mean of the three, `zeros` begins by not looking at them.
        drop_path: Share of residual paths that are dropped in training; None leaves the family's (0 where `tiny`).

    Raises:
        InvalidValueError: The folder is none of the kind, or holds another network; or a value is out of range.
        UnknownNameError: There is no such family, size, or way to begin.
    """
    if family not in FAMILIES:
        raise unknown_name("family of backbones", family, FAMILIES)
    known = FAMILIES[family]
    if size not in known.sizes:
        raise unknown_name(f"size of {family}", size, known.sizes)
    if extra not in ("kaiming", "mean", "zeros"):
        raise unknown_name("way to begin extra channels", extra, ["kaiming", "mean", "zeros"])
    if inputs < 1 or (weights is not None and inputs < 3):
        raise InvalidValueError(f"inputs: expected at least {1 if weights is None else 3}, found {inputs}")
    told = dict(known.fixed)
    if drop_path is not None:
        if known.drop_path is None or not 0 <= drop_path < 1:
            raise InvalidValueError(f"drop_path: expected a share that {family} can drop, found {drop_path}")
        told[known.drop_path] = drop_path
    with _quiet():
        if weights is None:
            body = _random(known, dict(known.sizes[size]) | told | {"num_channels": inputs})
        else:
            body = _widened(_loaded(known, size, told, Path(weights)), inputs, extra)
    return _KINDS[known.kind](body, inputs)


def _library(module: str = "transformers") -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError('backbones need transformers: pip install "tamperscope[train]"') from error


def _random(family: Family, settings: Mapping[str, Any]) -> nn.Module:
    library = _library()
    made: nn.Module = getattr(library, family.model)(getattr(library, family.config)(**settings), **family.arguments)
    return made


def _loaded(family: Family, size: str, told: Mapping[str, Any], folder: Path) -> nn.Module:
    """Return the network of a folder; every number of it comes from there but for norms that only backbones have."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise InvalidValueError(f"weights: expected a folder with config.json and *.safetensors, found '{folder}'")
    library, wanted = _library(), f"weights: expected those of a {family.model} of size {size}"
    try:
        config = _config(getattr(library, family.config), family, size, folder)
        for name, value in told.items():
            setattr(config, name, value)
        body, report = getattr(library, family.model).from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
            **family.arguments,
        )
    except InvalidValueError:
        raise
    except Exception as error:  # Whatever the library makes of a broken file.
        raise InvalidValueError(f"{wanted}, found '{folder}': {error}") from error
    missing = [key for key in report["missing_keys"] if not any(part in key for part in family.new)]
    if missing:
        raise InvalidValueError(f"{wanted}, '{folder}' lacks {', '.join(missing[:3])}")
    made: nn.Module = body.train()
    return made


def _config(kind: Any, family: Family, size: str, folder: Path) -> Any:
    """Return the settings of a folder; another architecture than the one that was named is refused."""
    found = json.loads((folder / "config.json").read_bytes()).get("model_type")
    # A picture tower also comes with the tower of texts.
    if found not in (kind.model_type, kind.model_type.removesuffix("_vision_model")):
        raise InvalidValueError(f"weights: expected model_type {kind.model_type}, found {found}")
    config = kind.from_pretrained(folder, local_files_only=True)
    for name in family.identity:
        wanted, value = family.sizes[size][name], getattr(config, name)
        if (list(value) if isinstance(value, tuple) else value) != wanted:
            raise InvalidValueError(f"weights: expected {name} {wanted}, found {value}")
    return config


def _widened(body: nn.Module, inputs: int, extra: Extra) -> nn.Module:
    """Return the network with a first layer for more channels: the first three are as they were."""
    if inputs == 3:
        return body
    first = next(m for m in body.modules() if isinstance(m, nn.Conv2d))
    old = first.weight.detach()
    weight = nn.init.kaiming_normal_(old.new_empty(len(old), inputs, *first.kernel_size))
    if extra != "kaiming":
        weight[:, 3:] = old.mean(1, keepdim=True) if extra == "mean" else 0
    weight[:, :3] = old
    first.weight, first.in_channels = nn.Parameter(weight), inputs
    for part in (body.config, *body.modules()):
        # The library compares the picture's channels with this.
        if hasattr(part, "num_channels"):
            part.num_channels = inputs
    return body


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from logging, warning and drawing bars, and leave its settings as they were."""
    logging = _library("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
