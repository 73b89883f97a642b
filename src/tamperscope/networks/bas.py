"""BAS: where a class is, learned from labels alone: what is left when the place is erased must not look like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import backbones
from tamperscope.nn.averages import valid_mean
from tamperscope.nn.erasing import frozen, suppression
from tamperscope.nn.heads import resized
from tamperscope.nn.stems import Stem

ABOUT = About(
    title="BAS",
    source="Wu et al., CVPR 2022, 'Background Activation Suppression for Weakly Supervised Object Localization' (arXiv "
    "2112.00580), and the extension of 2023 (arXiv 2309.12943); github.com/wpy1999/BAS, ResNet-50 variant",
    departures=(
        "No class at all is a class, too, with a logit of 0 and no map: the sign by which authentic pictures are told "
        "apart is the one that the suppression's ReLU looks at; published pictures hold an object each.",
        "The map of an authentic picture is that of its likeliest class; it has an area, and nothing to suppress.",
        "No second copy of the classifier is held: it is called with its weights detached, and its norms take their "
        "running statistics there, so that pictures know not of each other; which ones the released copy takes is not "
        "known to us.",
        "The map is the logit of the likeliest classes' mean; the published thresholds of .1 to .5 are up to whoever "
        "asks, and boxes are `metrics.regions.boxes_of`.",
        "The score is that of any class, from the first of the classifier's two answers.",
        "Means over places leave padding out.",
        "One label a picture; the extension draws one of several.",
        "`tiny` has three convolutions for the features, one and the head for the classifier, no norms there, and sees "
        "SRM residuals beside the colours: labels of forgeries are told by traces.",
    ),
)
_EPS = 1e-6


class Bas(Network):
    """A classifier, and a generator of one map a class beside it that covers whatever the classifier needs.

    Features times one less the map pass the classifier once more, with its weights as they are: the map learns to leave
    nothing of the class, and to be small; the classifier learns from labels, and never to be blind to what is erased.
    It differs from the published system as `ABOUT.departures` tells.

    Args:
        features: From (B, stem, H, W) to (B, channels, H / stride, W / stride).
        deep: From (B, channels, h, w) to (B, deep_channels, h, w), the first part of the classifier.
        channels: Of the features.
        deep_channels: Of what `deep` makes of them.
        stride: Of the features, pixels.
        hidden: Width of the classifier.
        stem: Maps that it sees, see `nn.stems.Stem`.
        classes: Number of classes that have a map; label 0 has none, label k the k-th.
        again: Weight of the cross-entropy of the map's own evidence.
        area: Weight of the map's mean.
        top: Number of likeliest classes whose maps are averaged for the answer.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: A map of the stem is not known.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(
        self,
        features: nn.Module,
        deep: nn.Module,
        channels: int,
        deep_channels: int,
        stride: int,
        hidden: int = 1024,
        stem: Sequence[str] = ("rgb",),
        classes: int = 1,
        again: float = 0.5,
        area: float = 1.5,
        top: int = 1,
    ) -> None:
        super().__init__()
        if min(again, area) < 0:
            raise InvalidValueError(f"bas: expected weights again and area of at least 0, found {again}, {area}")
        if not 1 <= top <= classes:
            raise InvalidValueError(f"bas: expected classes from 1 and top up to them, found {classes}, {top}")
        self.multiple, self.stride, self.again, self.area, self.top = 2 * stride, stride, again, area, top
        self.stem, self.features = Stem(stem), features
        self.generator = nn.Conv2d(channels, classes, 3, padding=1)
        self.classifier = nn.Sequential(
            nn.MaxPool2d(2),
            deep,
            nn.Conv2d(deep_channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, classes, 1),
        )

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return logits, and what the loss is made of.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all. The score is of these alone.
            needs: Not looked at.

        Returns:
            `mask` (B, 1, H, W), of the likeliest classes; `score` (B,), of any class; `features` (B, C, h, w), `maps`
            (B, classes, h, w), and `evidence` (B, classes, h / 2, w / 2), whose mean is each class's logit.
        """
        features = self.features(self.stem(image))
        maps, evidence = self.generator(features), self.classifier(features)
        logits = valid_mean(evidence.float(), valid)
        likely = logits.topk(self.top, 1).indices[..., None, None].expand(-1, -1, *maps.shape[-2:])
        found = maps.float().sigmoid().gather(1, likely).mean(1, keepdim=True)
        mask = torch.logit(resized(found, image.shape[-2:]), _EPS)
        return {
            "mask": mask,
            "score": logits.logsumexp(1),
            "features": features,
            "maps": maps,
            "evidence": evidence,
        }

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the weighted terms `label`, `again`, `background` and `area`; no truth but `label` is read.

        Each is a mean over all pictures. A picture of unknown label (-1) has none of them, one of label 0 no
        `background`; its map is that of its likeliest class.
        """
        label, valid = batch["label"], batch.get("valid")
        known, named = (label >= 0).float(), (label > 0).float()
        evidence = outputs["evidence"]
        logits = valid_mean(evidence, valid)
        chosen = torch.where(label > 0, label - 1, logits.detach().argmax(1))
        maps = outputs["maps"].sigmoid()
        found = maps[torch.arange(len(maps), device=maps.device), chosen][:, None]
        own = valid_mean(evidence * F.avg_pool2d(found, 2), valid)
        left = self.left(outputs["features"], found, valid).gather(1, chosen[:, None])[:, 0]
        rest = suppression(left, logits.gather(1, chosen[:, None])[:, 0])
        truth = label.clamp(min=0)
        return {
            "label": (known * _cross_entropy(logits, truth)).mean(),
            "again": self.again * (known * _cross_entropy(own, truth)).mean(),
            "background": (named * rest).mean(),
            "area": self.area * (known * valid_mean(found, valid)[:, 0]).mean(),
        }

    def left(self, features: Tensor, found: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the classes' logits (B, classes) of features (B, C, h, w) without what a map (B, 1, h, w) covers.

        Gradient reaches the map alone.
        """
        return valid_mean(frozen(self.classifier, features.detach() * (1 - found)), valid)


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return that of each picture (B,): no class is the first one, with a logit of 0."""
    return F.cross_entropy(F.pad(logits, (1, 0)), label.long(), reduction="none")


def _convolutions(inputs: int, widths: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after, stride in zip((inputs, *widths), widths, strides, strict=False):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def build(size: Size = "tiny", weights: str | Path | None = None, **settings: Any) -> Bas:
    """Return BAS: ResNet-50 with features at 1/8 in full, three convolutions and features at 1/4 in tiny.

    Args:
        size: `full` or `tiny`.
        weights: Folder of a ResNet-50 to begin with, as `backbones.build` reads it; None draws them.
        settings: Of `Bas`, but for the parts of the network: `hidden`, `stem`, `classes`, `again`, `area`, `top`.

    Raises:
        InvalidValueError: A setting is out of range, `tiny` is given a folder, or the folder holds another network.
        UnknownNameError: A map of the stem is not known.
    """
    if size == "full":
        stem = settings.get("stem", ("rgb",))
        body = backbones.build("resnet", "50", Stem(stem).channels, weights).body
        stages = list(body.encoder.stages)
        for layer in (m for stage in stages[2:] for m in stage.modules() if isinstance(m, nn.Conv2d)):
            layer.stride = (1, 1)
        return Bas(nn.Sequential(body.embedder, *stages[:3]), stages[3], 1024, 2048, 8, **settings)
    if weights is not None:
        raise InvalidValueError(f"bas.weights: expected none for tiny, found '{weights}'; use size full")
    told: dict[str, Any] = {"stem": ("rgb", "srm"), "hidden": 128} | settings
    features = _convolutions(Stem(told["stem"]).channels, (32, 64, 128), (2, 2, 1))
    deep = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), nn.ReLU())
    return Bas(features, deep, 128, 128, 4, **told)
