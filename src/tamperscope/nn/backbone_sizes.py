"""What each family of backbones is called in the library, and the numbers of its published sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    Attributes:
        model: Class of the library.
        config: Of its settings.
        kind: Which adapter reads its maps.
        sizes: Settings of each size.
        fixed: Settings of all sizes.
        identity: Settings that a folder of weights must agree with.
        drop_path: Setting of the share of dropped paths, or None where there is none.
        arguments: Of the class beside its settings.
        new: Parts of names of what weights of a classifier do not have.
    """

    model: str
    config: str
    kind: Literal["stages", "pyramid", "tokens"]
    sizes: Mapping[str, Mapping[str, Any]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    identity: tuple[str, ...] = ("hidden_sizes", "depths")
    drop_path: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    new: tuple[str, ...] = ()


_FOUR = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
_PLAIN = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size")


def _mit(width: int, *depths: int) -> dict[str, Any]:
    return {
        "hidden_sizes": [width, 2 * width, 5 * width, 8 * width],
        "depths": list(depths),
        "num_attention_heads": [1, 2, 5, 8],
    }


def _vit(width: int, layers: int, heads: int, patch: int, image: int = 224) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "patch_size": patch,
        "image_size": image,
    }


def _dino(
    width: int, layers: int, heads: int, patch: int = 14, image: int = 518, gated: bool = False
) -> dict[str, Any]:
    settings = _vit(width, layers, heads, patch, image) | {"use_swiglu_ffn": gated}
    del settings["intermediate_size"]
    return settings


def _swin(width: int, depths: list[int], heads: list[int], window: int = 7, drop_path: float = 0.2) -> dict[str, Any]:
    return {
        "embed_dim": width,
        "depths": depths,
        "num_heads": heads,
        "window_size": window,
        "drop_path_rate": drop_path,
    }


def _swinv2(width: int, depths: list[int], heads: list[int], drop_path: float = 0.2) -> dict[str, Any]:
    return _swin(width, depths, heads, 8, drop_path) | {"image_size": 256}


def _conv(widths: list[int], depths: list[int]) -> dict[str, Any]:
    return {"hidden_sizes": widths, "depths": depths}


def _res(depths: list[int], widths: tuple[int, ...] = (256, 512, 1024, 2048), stem: int = 64) -> dict[str, Any]:
    kind = "bottleneck" if widths[0] > stem else "basic"
    return {"hidden_sizes": list(widths), "depths": depths, "embedding_size": stem, "layer_type": kind}


_BASIC = (64, 128, 256, 512)
_B, _L = (768, 12, 12), (1024, 24, 16)

FAMILIES: dict[str, Family] = {
    "mit": Family(
        "SegformerModel",
        "SegformerConfig",
        "stages",
        {
            "tiny": {
                "hidden_sizes": [16, 32, 64, 96],
                "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 2, 4, 6],
                "drop_path_rate": 0.0,
            },
            "b0": _mit(32, 2, 2, 2, 2),
            "b1": _mit(64, 2, 2, 2, 2),
            "b2": _mit(64, 3, 4, 6, 3),
            "b3": _mit(64, 3, 4, 18, 3),
            "b4": _mit(64, 3, 8, 27, 3),
            "b5": _mit(64, 3, 6, 40, 3),
        },
        drop_path="drop_path_rate",
    ),
    "vit": Family(
        "ViTModel",
        "ViTConfig",
        "tokens",
        {"tiny": _vit(96, 4, 3, 8, 128), "s16": _vit(384, 12, 6, 16), "b16": _vit(*_B, 16), "l16": _vit(*_L, 16)},
        identity=_PLAIN,
        arguments={"add_pooling_layer": False},
    ),
    "dinov2": Family(
        "Dinov2Model",
        "Dinov2Config",
        "tokens",
        {
            "tiny": _dino(96, 4, 3, image=140),
            "s14": _dino(384, 12, 6),
            "b14": _dino(*_B),
            "l14": _dino(*_L),
            "g14": _dino(1536, 40, 24, gated=True),
        },
        fixed={"use_mask_token": False},
        identity=_PLAIN,
        drop_path="drop_path_rate",
    ),
    "swin": Family(
        "SwinBackbone",
        "SwinConfig",
        "pyramid",
        {
            "tiny": _swin(24, [2, 2, 2, 2], [1, 2, 4, 8], 4, 0.0),
            "t": _swin(96, [2, 2, 6, 2], [3, 6, 12, 24]),
            "s": _swin(96, [2, 2, 18, 2], [3, 6, 12, 24], drop_path=0.3),
            "b": _swin(128, [2, 2, 18, 2], [4, 8, 16, 32], drop_path=0.5),
            "l": _swin(192, [2, 2, 18, 2], [6, 12, 24, 48]),
        },
        fixed=_FOUR,
        identity=("embed_dim", "depths", "num_heads"),
        drop_path="drop_path_rate",
        new=("hidden_states_norms", "swin.layernorm"),
    ),
    # What is no window wide where the picture has `image_size` has smaller windows, and none that are shifted.
    "swinv2": Family(
        "Swinv2Backbone",
        "Swinv2Config",
        "pyramid",
        {
            "tiny": _swin(24, [2, 2, 2, 1], [1, 2, 4, 8], 4, 0.0) | {"image_size": 128},
            "t": _swinv2(96, [2, 2, 6, 2], [3, 6, 12, 24]),
            "s": _swinv2(96, [2, 2, 18, 2], [3, 6, 12, 24], 0.3),
            "b": _swinv2(128, [2, 2, 18, 2], [4, 8, 16, 32], 0.5),
            "l": _swinv2(192, [2, 2, 18, 2], [6, 12, 24, 48]),
        },
        fixed=_FOUR,
        identity=("embed_dim", "depths", "num_heads"),
        drop_path="drop_path_rate",
    ),
    "convnext": Family(
        "ConvNextBackbone",
        "ConvNextConfig",
        "pyramid",
        {
            # Blocks that begin near 0, as in the large ones, take longer to learn than a CPU has.
            "tiny": _conv([24, 48, 96, 144], [1, 1, 2, 1]) | {"layer_scale_init_value": 1.0},
            "t": _conv([96, 192, 384, 768], [3, 3, 9, 3]) | {"drop_path_rate": 0.1},
            "s": _conv([96, 192, 384, 768], [3, 3, 27, 3]) | {"drop_path_rate": 0.4},
            "b": _conv([128, 256, 512, 1024], [3, 3, 27, 3]) | {"drop_path_rate": 0.5},
            "l": _conv([192, 384, 768, 1536], [3, 3, 27, 3]) | {"drop_path_rate": 0.5},
        },
        fixed=_FOUR,
        drop_path="drop_path_rate",
        new=("hidden_states_norms",),
    ),
    "resnet": Family(
        "ResNetBackbone",
        "ResNetConfig",
        "pyramid",
        {
            "tiny": _res([1, 1, 1, 1], (16, 32, 64, 128), 16),
            "18": _res([2, 2, 2, 2], _BASIC),
            "34": _res([3, 4, 6, 3], _BASIC),
            "50": _res([3, 4, 6, 3]),
            "101": _res([3, 4, 23, 3]),
            "152": _res([3, 8, 36, 3]),
        },
        fixed=_FOUR,
        identity=("hidden_sizes", "depths", "embedding_size", "layer_type"),
    ),
    "clip": Family(
        "CLIPVisionModel",
        "CLIPVisionConfig",
        "tokens",
        {"tiny": _vit(96, 4, 3, 8, 128), "b32": _vit(*_B, 32), "b16": _vit(*_B, 16), "l14": _vit(*_L, 14)},
        identity=_PLAIN,
    ),
}
