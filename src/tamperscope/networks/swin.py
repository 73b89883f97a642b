"""Swin with a pyramid: windows of attention and no forensic module, which outranked many that have one."""

from __future__ import annotations

from typing import Any

from tamperscope.networks.base import About, Size
from tamperscope.networks.plain import Pyramidal

ABOUT = About(
    title="Swin",
    source="Liu et al., ICCV 2021 (arXiv 2103.14030); as a plain localizer in IMDL-BenCo (Swin-B) and ForensicHub "
    "(Swin-S)",
    departures=(
        "A feature pyramid, or UPerNet's with its pooled contexts, in place of the benchmarks' convolutions on the "
        "coarsest map; so that no count of parameters is published.",
        "Pooled contexts have no norm, so that single pictures can be trained on.",
        "Beside the map it gives a score, made of the map's statistics.",
        "What stands before the first layer is a setting.",
        "`tiny` has eight blocks of 24, 48, 96 and 192 channels with windows of 4, and sees SRM residuals beside the "
        "colours.",
    ),
)


class Swin(Pyramidal):
    """Swin under a pyramid. It differs from the published network as `ABOUT.departures` tells.

    Its graph has one size, for which of its windows are shifted and filled up follows from that.

    Args:
        backbone: Size of Swin: `tiny`, `t`, `s`, `b`, `l`.
        settings: Of `Pyramidal`.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """

    any_size = False

    def __init__(self, backbone: str = "b", **settings: Any) -> None:
        super().__init__("swin", backbone, **settings)


def build(size: Size = "tiny", **settings: Any) -> Swin:
    """Return a Swin: B with a pyramid of 256 in full, our smallest with one of 48 in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `Swin`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range, or the weights do not fit.
        UnknownNameError: A name is not known.
    """
    sizes: dict[str, dict[str, Any]] = {
        "full": {},
        "tiny": {"backbone": "tiny", "width": 48, "stem": ("rgb", "srm")},
    }
    return Swin(**(sizes[size] | settings))
