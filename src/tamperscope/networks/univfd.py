"""UnivFD: pictures of generators, known by one linear layer on what a frozen tower says of any picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from tamperscope.errors import unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import losses, towers

ABOUT = About(
    title="UnivFD",
    source="Ojha et al., CVPR 2023 (arXiv 2302.10174); as in ForensicHub: a frozen CLIP ViT-L/14 and a linear layer",
    departures=(
        "Windows of 224 pixels are judged, and the mean of their logits is the picture's, so that all of it is looked "
        "at and nothing resized: how pictures are brought to that size is not known to us; ForensicHub resizes them.",
        "What fills a window up has the mean colour, whatever is there.",
        "The tower's weights come from a folder that the user names. Without one they are drawn, always the same ones, "
        "and know nothing of pictures.",
        "The tower may be another one: a CLIP of another size, a ViT, or DINOv2, whose class token is not projected; "
        "or EfficientNet-Lite0, which takes windows of any size and tells mean and deviation of its channels, each "
        "brought to mean 0 and deviation 1 as the training's batches have them.",
        "`tiny` has a CLIP of four blocks of 96 channels and patches of 8 pixels, and 64 features.",
    ),
)


class UnivFd(Network):
    """A frozen tower whose features were made for something else, and a linear layer: all that learns.

    What learns this little has no room for the traces of the generators of its training alone; it knows what the tower
    lets through. It differs from the published system as `ABOUT.departures` tells.

    Args:
        family: Of the tower, `clip`, `vit`, `dinov2` or `lite`.
        backbone: Its size, see `nn.backbones.families`; `lite` has one.
        weights: Where its weights are, see `nn.towers.build`; None draws them, always the same ones.

    Raises:
        InputError: The weights of `lite` cannot be read.
        InvalidValueError: The weights do not fit.
        UnknownNameError: There is no such tower.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"

    def __init__(self, family: str = "clip", backbone: str = "l14", weights: str | Path | None = None) -> None:
        if family not in towers.COLOURS:
            raise unknown_name("family of towers", family, towers.COLOURS)
        super().__init__(*towers.COLOURS[family])
        self.tower = towers.build(family, backbone, weights)
        self.multiple = self.tower.multiple
        # Channels of many stages have scales of their own, unlike those of a token.
        many = family == "lite"
        self.any_size = many
        self.alike = nn.BatchNorm1d(self.tower.features, momentum=0.01, affine=False) if many else nn.Identity()
        self.last = nn.Linear(self.tower.features, 1)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        seen = self.normalized(image)
        return {"score": self.last(self.alike(self.tower(seen if valid is None else seen * valid)))[:, 0]}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `label`: the cross-entropy of the score; no truth but `label` is read, of which -1 teaches nothing."""
        return {"label": losses.label_bce(outputs["score"], batch["label"])}


def build(size: Size = "tiny", **settings: Any) -> UnivFd:
    """Return UnivFD: on CLIP ViT-L/14 in full, on our smallest tower in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `UnivFd`; they replace those of the size.

    Raises:
        InvalidValueError: The weights do not fit.
        UnknownNameError: There is no such tower.
    """
    return UnivFd(**({"backbone": "l14" if size == "full" else "tiny"} | settings))
