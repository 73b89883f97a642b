"""Attacks by a whole way of delivery: a screenshot, the upload to a social medium.

The profiles are approximations. Services change without notice, adapt to the picture, and use quantization tables
and kernels of their own; here are IJG tables and Pillow's kernels. `source` says where a number comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tamperscope.media.recompress import Subsampling
from tamperscope.ops.codecs import jpeg
from tamperscope.ops.params import Range
from tamperscope.ops.tones import sharpen
from tamperscope.ops.warps import Interpolation, limited, scaled, times
from tamperscope.types import Sample

_MEASURED = "long side measured by uploads (phototacopodcast.com, photo sharing dimensions); the rest assumed"
_ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a service does to a picture, approximately.

    Attributes:
        long_side: Longer side in pixels above which it is shrunk.
        interpolation: Kernel of the shrinking.
        sharpening: Amount of the unsharp mask (sigma 0.6) after it, 0 = none.
        quality: Of the JPEG, 1 to 100 on the IJG scale.
        subsampling: Of its chroma.
        source: Where the numbers come from.
    """

    long_side: int
    interpolation: Interpolation
    sharpening: float
    quality: int
    subsampling: Subsampling
    source: str


Service = Literal["facebook", "instagram", "twitter", "whatsapp", "telegram", "wechat"]
PROFILES: dict[Service, Profile] = {
    "facebook": Profile(1920, "lanczos", 0.3, 80, "4:2:0", _MEASURED),
    "instagram": Profile(1080, "lanczos", 0.3, 75, "4:2:0", _MEASURED),
    "twitter": Profile(4096, "bicubic", 0.0, 85, "4:2:0", _MEASURED),
    "whatsapp": Profile(1600, "bilinear", 0.0, 75, "4:2:0", _ASSUMED),
    "telegram": Profile(1280, "area", 0.0, 87, "4:2:0", _ASSUMED),
    "wechat": Profile(1080, "bilinear", 0.0, 65, "4:2:0", _ASSUMED),
}


def social(sample: Sample, profile: Service = "whatsapp") -> Sample:
    """Send through a social medium, approximately: shrink to its limit, sharpen where it did, compress as JPEG."""
    chosen = PROFILES[profile]
    return jpeg(uncompressed(sample, chosen), chosen.quality, chosen.subsampling)


def uncompressed(sample: Sample, profile: Profile) -> Sample:
    """Return what a social medium compresses: shrunk to its limit, sharpened where it was."""
    sent = limited(sample, profile.long_side, profile.interpolation)
    return sharpen(sent, profile.sharpening, 0.6) if profile.sharpening and sent.size != sample.size else sent


def screenshot(
    sample: Sample,
    long_side: Annotated[int, Range(16, 16384)] = 1280,
    scale: Annotated[float, Range(0.25, 4)] = 1.25,
    interpolation: Interpolation = "bilinear",
) -> Sample:
    """Show on a screen and capture it without loss, approximately; add a `jpeg` step for a phone that saves JPEG.

    Args:
        sample: The picture.
        long_side: Pixels of the screen that the longer side has room in.
        scale: Screen pixels per picture pixel where there is room, such as 1.25 on a dense screen.
        interpolation: Kernel of the viewer.
    """
    factor = min(scale, long_side / max(sample.size))
    return scaled(sample, times(sample.size, factor), interpolation)
