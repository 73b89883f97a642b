"""ConvNeXt with a pyramid: the plain convolutional localizer of today."""

from __future__ import annotations

from typing import Any

from tamperscope.networks.base import About, Size
from tamperscope.networks.plain import Pyramidal

ABOUT = About(
    title="ConvNeXt",
    source="Liu et al., CVPR 2022 (arXiv 2201.03545); as a localizer in ForensicHub (ConvNeXt-S)",
    departures=(
        "A feature pyramid, or UPerNet's with its pooled contexts, in place of ForensicHub's three convolutions on the "
        "coarsest map; so that no count of parameters is published. The backbone alone has 50.2 M with its classifier.",
        "Pooled contexts have no norm, so that single pictures can be trained on.",
        "Beside the map it gives a score, made of the map's statistics.",
        "What stands before the first layer is a setting.",
        "`tiny` has five blocks of 24, 48, 96 and 144 channels whose scales begin at 1, and sees SRM residuals beside "
        "the colours.",
    ),
)


class Convnext(Pyramidal):
    """ConvNeXt under a pyramid. It differs from the published network as `ABOUT.departures` tells.

    Args:
        backbone: Size of ConvNeXt: `tiny`, `t`, `s`, `b`, `l`.
        settings: Of `Pyramidal`.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    def __init__(self, backbone: str = "s", **settings: Any) -> None:
        super().__init__("convnext", backbone, **settings)


def build(size: Size = "tiny", **settings: Any) -> Convnext:
    """Return a ConvNeXt: S with a pyramid of 256 in full, our smallest with one of 48 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Convnext`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"backbone": "tiny", "width": 48, "stem": ("rgb", "srm")},
    }
    return Convnext(**(sizes[size] | settings))
