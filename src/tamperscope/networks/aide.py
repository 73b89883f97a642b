"""AIDE: whether a picture is generated, by noise in its flattest and busiest windows and by what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones, losses, towers
from tamperscope.nn.filters import srm30
from tamperscope.nn.grading import WINDOW, Grader
from tamperscope.nn.rectangles import cornered, resized

SMOOTHING = 0.1
BRANCHES = ("both", "patches", "semantic")
ABOUT = About(
    title="AIDE",
    source="Yan et al., ICLR 2025 (arXiv 2406.19435, 'A Sanity Check for AI-generated Image Detection'); "
    "github.com/shilinyan99/AIDE",
    departures=(
        "The semantic expert is a frozen CLIP ViT-L/14 that looks at 224 x 224 pixels, or another tower that the user "
        "has: the published one, an OpenCLIP ConvNeXt-XXL at 256 x 256, is none of our backbones. Without a folder of "
        "weights it is drawn, always the same, and knows nothing of pictures.",
        "Its linear layer learns. In the published code it lies where no gradient is kept, and stays as it was drawn.",
        "`score` is the second logit less the first: the softmax of two logits, and its cross-entropy with smoothed "
        "labels, depend on nothing else, so that this is exact.",
        "Both windows of a kind go through batch norm at once; in the published code each by itself.",
        "Grades are told apart in steps of 0.0001, so that their order is the same on every machine.",
        "A picture with a side below 32 pixels is mirrored along it. What fills a canvas up is in no window, and the "
        "small copy is made of the picture alone, with a filter that leaves no aliases.",
        "Windows are of the picture that is judged: of a tile or a training window where it is not told whole.",
        "`tiny` has ResNets of four blocks (16 to 128 channels) on windows enlarged to 128, a CLIP of four blocks that "
        "looks at 64 x 64 pixels, 64 channels of what it says, and 64 in the middle of the last part.",
    ),
)


class Aide(Network):
    """Two experts of noise, for the flattest windows of a picture and for its busiest, and a frozen one of content.

    Content tells what is generated only where the training's generators show something of their own; noise is what
    generators are bad at. Thresholds of one population do not hold for another: rankings may, so calibrate the score.

    Windows are padded by zeros before their residuals are taken, as published: along its edges a window shows how
    bright it is. The network differs from the published system as `ABOUT.departures` tells.

    Args:
        resnet: Size of both ResNets, see `nn.backbones.families`.
        enlarged: Side that windows are enlarged to, pixels.
        family: Of the tower, `clip`, `vit` or `dinov2`.
        backbone: Its size.
        view: Side of the small copy that the tower looks at.
        semantic: Channels of what it says.
        hidden: Channels in the middle of the last part.
        branch: `both`, or one kind of expert alone: `patches`, `semantic`.
        resnet_weights: Folder of a ResNet's weights, of which the first layer is not taken; None draws all.
        weights: Folder of the tower's weights, see `nn.towers.build`; None draws them, always the same ones.

    Raises:
        InvalidValueError: A setting is out of range, or weights do not fit.
        UnknownNameError: There is no such tower or ResNet.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(
        self,
        resnet: str = "50",
        enlarged: int = 256,
        family: str = "clip",
        backbone: str = "l14",
        view: int = 224,
        semantic: int = 256,
        hidden: int = 1024,
        branch: str = "both",
        resnet_weights: str | Path | None = None,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if min(view, semantic, hidden) < 1 or enlarged < WINDOW:
            wanted = f"view, semantic and hidden from 1 and enlarged from {WINDOW}"
            raise InvalidValueError(f"aide: expected {wanted}, found {view}, {semantic}, {hidden}, {enlarged}")
        if branch not in BRANCHES:
            raise InvalidValueError(f"aide.branch: expected one of {', '.join(BRANCHES)}, found '{branch}'")
        if family not in towers.COLOURS:
            raise unknown_name("family of towers", family, towers.COLOURS)
        channels = 0
        self.semantic = self.patches = None
        if branch != "patches":
            self.semantic = _Semantic(family, backbone, weights, view, semantic)
            channels += semantic
        if branch != "semantic":
            self.patches = _Patches(resnet, resnet_weights, enlarged)
            channels += self.patches.features
        self.last = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, 2))

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,): the picture is generated.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's, a rectangle; None = all.
            needs: Not looked at.
        """
        return {"score": self.judged(self.features(image, valid))}

    def features(self, image: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """Return what each kind of expert says, (B, channels) each: of content, then of windows; see `forward`."""
        found = [] if self.semantic is None else [self.semantic(*cornered(image, valid))]
        return found if self.patches is None else [*found, self.patches(image, valid, self.normalized)]

    def judged(self, features: list[Tensor]) -> Tensor:
        """Return the logit (B,) of what the experts say, in the order of `features`."""
        logits: Tensor = self.last(torch.cat(features, 1))
        return logits[:, 1] - logits[:, 0]

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `score`, the cross-entropy with smoothed labels: a mean over all pictures, of unknown (-1) ones 0."""
        return {"score": losses.label_bce(outputs["score"], batch["label"], SMOOTHING)}


class _Semantic(nn.Module):
    """A frozen tower on a small copy of the picture, and a linear layer.

    Args:
        family: Of the tower.
        size: Of the tower.
        weights: Its folder.
        view: Side of the copy.
        outputs: Channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, family: str, size: str, weights: str | Path | None, view: int, outputs: int) -> None:
        super().__init__()
        for name, values in zip(("mean", "std"), towers.COLOURS[family], strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.tower = towers.build(family, size, weights)
        self.view = view
        self.last = nn.Linear(self.tower.features, outputs)

    def forward(self, image: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
        """Return (B, outputs) of pictures (B, 3, H, W) in [0, 1] that lie in the corner, of these sizes."""
        small = resized(image, heights, widths, self.view)
        said: Tensor = self.last(self.tower((small - self.mean) / self.std))
        return said


class _Patches(nn.Module):
    """Graded windows, their residuals, and a ResNet for each kind of them.

    Args:
        size: Of both ResNets.
        weights: Folder of their weights.
        enlarged: Side that windows are enlarged to.
    """

    kernels: Tensor

    def __init__(self, size: str, weights: str | Path | None, enlarged: int) -> None:
        super().__init__()
        self.grader, self.enlarged = Grader(), enlarged
        self.register_buffer("kernels", srm30()[:, None], persistent=False)
        self.low, self.high = (_resnet(size, len(self.kernels), weights) for _ in range(2))
        self.features = self.low.channels[-1]

    def forward(self, image: Tensor, valid: Tensor | None, normalized: Any) -> Tensor:
        """Return the mean (B, features) over the four windows of a picture; `normalized` brings colours to range."""
        kinds = self.grader(image, valid)
        found = []
        for windows, expert in zip(kinds, (self.low, self.high), strict=True):
            maps = expert(self.residuals(normalized(windows.flatten(0, 1))))[-1]
            found.append(maps.mean((2, 3)).unflatten(0, windows.shape[:2]))
        return torch.cat(found, 1).mean(1)

    def residuals(self, windows: Tensor) -> Tensor:
        """Return the 30 residuals (N, 30, h, h) of windows (N, 3, 32, 32), enlarged to h; colours are added."""
        with torch.autocast(windows.device.type, enabled=False):
            # Half a grey level is what traces are made of; bfloat16 does not keep it.
            size = (self.enlarged, self.enlarged)
            large = F.interpolate(windows.float(), size, mode="bilinear", align_corners=False)
            # The same kernels for all colours: what is added before is added after.
            return F.conv2d(large.sum(1, keepdim=True), self.kernels, padding=2)


def _resnet(size: str, inputs: int, weights: str | Path | None) -> backbones.Backbone:
    """Return a ResNet whose first layer is drawn, whatever else comes from a folder."""
    made = backbones.build("resnet", size, inputs, weights)
    first = next(m for m in made.modules() if isinstance(m, nn.Conv2d))
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    return made


def build(size: Size = "tiny", **settings: Any) -> Aide:
    """Return AIDE: two ResNet-50 and a CLIP ViT-L/14 in full, our smallest ones in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Aide`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or weights do not fit.
        UnknownNameError: There is no such tower or ResNet.
    """
    tiny: dict[str, Any] = {"resnet": "tiny", "enlarged": 128, "backbone": "tiny", "view": 64}
    tiny |= {"semantic": 64, "hidden": 64}
    return Aide(**((tiny if size == "tiny" else {}) | settings))
