"""What the systems of each domain are trained and measured on for `comparison.py`: one budget a domain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

SEED = 20261201
PARTS = ["nose", "eye", "eyebrow", "lip", "hair"]

Forged = tuple[str, tuple[str, ...], int]
"""A recipe of forgeries, what differs from it, and how many, each with its twin."""


@dataclass(frozen=True)
class Contest:
    """One budget for all systems of a domain.

    Attributes:
        title: Of the page.
        told: What the forgeries are, for the page.
        folders: Of the `train` split whose authentic pictures are used.
        train: What is learned from.
        held: What is measured, from groups of photographs that nothing was learned from, by a name.
        systems: Names of networks, or names for one with settings.
        own: Of systems that learn from forgeries of their own, these.
        titles: What the measured sets are called.
        side: Of the windows in pixels.
        steps: Of 8 windows.
        data: Further fields of a recipe's `data`.
        out_of: One group of so many is held out.
        faces: Side of the aligned faces that are cut out of the photographs first, pixels; 0 takes whole photographs.
        asked: Pictures of each held-out set that are asked about; forgeries and twins take turns.
        pixels: Whether masks say where a picture is forged, so that maps can be measured.
        metric: Of `engine.recipe.METRICS`; it is printed in the run's log and chooses nothing.
    """

    title: str
    told: str
    folders: tuple[str, ...]
    train: Forged
    held: dict[str, Forged]
    systems: tuple[str, ...]
    titles: dict[str, str]
    own: dict[str, Forged] = field(default_factory=dict)
    side: int = 96
    steps: int = 800
    data: dict[str, Any] = field(default_factory=dict)
    out_of: int = 5
    faces: int = 0
    asked: int = 120
    pixels: bool = True
    metric: str = "pixel_f1"


FIRST = (*("convnext", "diffseg", "iml_vit", "mfpt", "mmfusion", "relayformer", "segformer", "unet", "webiml", "wscl"),)
BASELINES = (
    *("mvss_net", "cat_net", "mantra_net", "span", "pscc_net", "trufor", "object_former", "mesorch", "sparse_vit"),
    *("ncl_iml", "swin", "bas", "peekaboo"),
)
# Strong traces on small pictures: with `casia_like` forgeries no system found anything after as many steps.
PLANTED = (
    "operations={trace_noise: 1, trace_grid: 1, trace_quality: 1}",
    "ranges={trace_noise: {sigma: [4, 8]}, trace_grid: {quality: [50, 75]}}",
    "hosts={min_side: 96, max_side: 256, recompressed: 0.0}",
)
_CLEAN = 'deliveries={"": 1, "jpeg:quality=90..98,subsampling=4:4:4": 1}'
_SMALL = ("hosts.max_side=256", _CLEAN)
# Forged after they are cut out, or cutting would smooth the traces away; blends taught nothing in as many steps.
_FACES = (
    *('deliveries={"": 1}', "hosts={min_side: 64, recompressed: 0.0}"),
    "ranges.face_part={changes: [upsampled, sharpen, median], strength: [0.9, 1.0], least: 2.0}",
)
# Compressed before, as a scan is: what is put on it was not.
_PAGES = (
    _CLEAN,
    "hosts={max_side: 1024, recompressed: 1.0, qualities: [60, 80]}",
)

CONTESTS = {
    "manipulated": Contest(
        title="Manipulated photographs",
        told=(
            "in photographs of at most 256 pixels a region has stronger noise, or was compressed on another JPEG grid "
            "or with another quality; its content is unchanged, so that nothing but the trace tells"
        ),
        folders=("camera", "web", "objects", "people"),
        train=("trace_pairs", PLANTED, 900),
        held={"held": ("trace_pairs", PLANTED, 150)},
        systems=FIRST + BASELINES,
        titles={"held": "held-out forgeries"},
        data={"focus": 0.5, "augment": {"flip:axis=horizontal": 0.5, "rotate:angle=-90/90/180": 0.5}},
    ),
    "generated": Contest(
        title="Generated pictures",
        told=(
            "whole photographs of at most 256 pixels that passed a small auto-encoder or an up-sampler, lossless or "
            "JPEG 90 to 98 as their twins are"
        ),
        folders=("camera", "web", "objects", "people"),
        train=("generated", ("ranges.reencoded.model=tiny", *_SMALL), 600),
        held={
            "held": ("generated", ("ranges.reencoded.model=tiny", *_SMALL), 60),
            "unseen": ("generated", ("ranges.reencoded.model=taef2", "operations={reencoded: 1}", *_SMALL), 60),
        },
        systems=("npr", "patchcraft", "univfd", "freqnet", "aide", "hida_net", "diffseg"),
        titles={"held": "decoders of the training", "unseen": "TAEF2, never trained on"},
        pixels=False,
        side=128,
        steps=400,
        data={"focus": 0.0, "augment": {"flip:axis=horizontal": 0.5}},
        metric="image_auc",
    ),
    "faces": Contest(
        title="Faces",
        told=(
            "aligned faces of 128 pixels, of which one to five parts were remade by an up-sampler, sharpened or "
            "smoothed by a median, one after another; lossless as their twins are"
        ),
        folders=("people", "portraits"),
        train=("face_sequence", _FACES, 1500),
        held={"held": ("face_sequence", _FACES, 60)},
        systems=("fakelocator", "xception", "meso", "efficientnet", "sbi", "seqfakeformer", "tsom", "tsom_pp"),
        own={"sbi": ("self_blend", ('deliveries={"": 1}', "hosts={min_side: 64, recompressed: 0.0}"), 1500)},
        titles={"held": "faces never trained on"},
        faces=128,
        side=128,
        steps=800,
        data={"focus": 0.0, "change": True, "augment": {"flip:axis=horizontal": 0.5}},
        metric="image_auc",
    ),
    "documents": Contest(
        title="Documents",
        told=(
            "words of scanned pages of at most 1024 pixels, which were compressed with quality 60 to 80, copied over "
            "others, retyped or covered, one to three each; lossless or JPEG 90 to 98 as their twins are"
        ),
        folders=("documents",),
        train=("document", _PAGES, 300),
        held={"held": ("document", _PAGES, 60)},
        systems=("dtd", "ffdn", "caftb", "tifdm", "unet"),
        titles={"held": "pages never trained on"},
        side=128,
        steps=800,
        data={"focus": 0.5},
        out_of=2,  # they are few
        asked=40,  # and large
    ),
}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "diffseg": ("diffseg", {"editors": 1}),
    "mmfusion": ("mmfusion", {"phase": "both"}),
    # Its masks would have to be white all over.
    "hida_net": ("hida_net", {"tfl": 0}),
    "tsom_pp": ("tsom", {"contrast": 0.01}),
    "sbi": ("efficientnet", {}),
}
"""The network of a system, where that is not its name, and what it needs to take part."""


DATA: dict[str, dict[str, Any]] = {name: {"edits": PARTS} for name in ("seqfakeformer", "tsom", "tsom_pp")}
"""Further fields of a system's `data`: what its truth is, beyond label and mask."""


def network_of(system: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a system's network, and its settings."""
    return SETTINGS.get(system, (system, {}))


def part(group: str, out_of: int) -> str:
    """Return `held` for one group of so many; it follows from the name."""
    return "held" if int(hashlib.sha256(group.encode()).hexdigest(), 16) % out_of == 0 else "train"
