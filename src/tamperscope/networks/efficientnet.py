"""EfficientNet: a plain judge of faces, which learns from self-blended pictures what is wrong with any blend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from tamperscope.errors import InvalidValueError
from tamperscope.networks.base import About, Network, Size
from tamperscope.nn import efficientnet, losses
from tamperscope.nn.inside import mean, told

ABOUT = About(
    title="EfficientNet-B4",
    source="Tan & Le, ICML 2019 (arXiv 1905.11946); the network of SBI (Shiohara & Yamasaki, CVPR 2022, arXiv "
    "2204.08376; github.com/mapooon/SelfBlendedImages) and a baseline of DeepfakeBench",
    parameters=17.55e6,
    departures=(
        "There is one logit for two; weights are drawn, where the published ones began from AdvProp's on ImageNet.",
        "Strides are padded alike on both sides, not as TensorFlow does.",
        "What is not the picture's is neither seen nor averaged.",
        "Colours are brought to ImageNet's mean and deviation; SBI's code only divides by 255.",
        "`tiny` has half of the width and of the depth.",
    ),
    whole=("Whole pictures or windows of them are judged, not crops of faces brought to 380 pixels.",),
)


class EfficientNetJudge(Network):
    """Inverted bottlenecks with gates, a mean, dropout, and one logit a picture.

    It knows nothing of faces or blends: what it finds is what its pictures taught. It differs from the published
    systems as `ABOUT.departures` tells.

    Args:
        width: Factor of the channels of B0.
        depth: Factor of its blocks.
        dropout: Before the last layer.
        drop_path: See `nn.efficientnet.EfficientNet`.

    Raises:
        InvalidValueError: A setting is out of range.
    """

    multiple = 32
    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    any_size = True

    def __init__(self, width: float = 1.4, depth: float = 1.8, dropout: float = 0.4, drop_path: float = 0.2) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InvalidValueError(f"efficientnet: expected dropout in [0, 1), found {dropout}")
        self.body = efficientnet.EfficientNet(width, depth, drop_path)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(self.body.channels, 1)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return the logit `score` (B,).

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        inside = told(valid, image)
        x, inside = self.body(self.normalized(image) * inside, inside)
        return {"score": self.last(self.dropout(mean(x, inside)))[:, 0]}

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `label`: the cross-entropy of the score; no truth but `label` is read, of which -1 teaches nothing."""
        return {"label": losses.label_bce(outputs["score"], batch["label"])}


def build(size: Size = "tiny", **settings: Any) -> EfficientNetJudge:
    """Return the judge: EfficientNet-B4 in full, half of B0 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `EfficientNetJudge`; they replace those of the size. Factors of other sizes are in
            `nn.efficientnet.SCALES`.

    Raises:
        InvalidValueError: A setting is out of range.
    """
    tiny = {"width": 0.5, "depth": 0.5, "dropout": 0.2, "drop_path": 0.0}
    return EfficientNetJudge(**(({} if size == "full" else tiny) | settings))
