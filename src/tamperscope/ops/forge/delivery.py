"""Delivery: how a finished picture reaches us, as a text: `CHAIN` or `CHAIN > CONTAINER`.

CHAIN is the text form of `ops.attack`; CONTAINER is `png`, a name of `CAMERAS` (JPEG with that camera's own tables), or
several of these to choose from, separated by `/`. Without one, the last compression of the chain is the file: JPEG
where the chain ends with JPEG coefficients, PNG elsewhere. Examples:

    ""                                              lossless
    "resize:factor=0.5..0.9|jpeg:quality=70..95"    shrunk, then JPEG
    "double_jpeg:first=60..90,second=95,dy=3,dx=5"  misaligned double JPEG
    "social:profile=whatsapp > png"                 sent, then saved without loss
    "> iphone_7/canon_ixus_430"                     as one of two cameras writes it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tamperscope import media
from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.media.recompress import Subsampling, encode_jpeg, encode_with_tables
from tamperscope.ops import attack, chains, codecs
from tamperscope.ops.forge.camera_tables import CAMERAS
from tamperscope.ops.record import record
from tamperscope.types import Sample, UInt8Array

CONTAINERS = ("png", *CAMERAS)

_SERVICES = "/".join(chains.PROFILES)
_FINAL = "jpeg:quality=75..98,subsampling=4:2:0/4:4:4"
# Assumed shares: how often a kind of delivery is met differs from place to place.
COMMON: Mapping[str, float] = {
    "": 0.12,
    "jpeg:quality=60..98,subsampling=4:2:0/4:2:2/4:4:4": 0.25,
    f"> {'/'.join(CAMERAS)}": 0.13,
    f"jpeg:quality=60..95|{_FINAL}": 0.1,
    "double_jpeg:first=60..95,second=75..98,dy=0..7,dx=0..7": 0.1,
    f"social:profile={_SERVICES}": 0.12,
    f"resize:factor=0.5..0.95,interpolation=area/bilinear/bicubic/lanczos|{_FINAL}": 0.1,
    "screenshot:scale=0.5..1.5": 0.03,
    f"screenshot:scale=0.5..1.5|{_FINAL}": 0.03,
    "jpeg:quality=60..95 > png": 0.02,
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A way in which finished pictures reach us.

    Attributes:
        route: A text as above, the quality of one JPEG compression, or None for lossless.
        subsampling: Of that one compression; a text says its own.

    Raises:
        InvalidValueError: The text cannot be read, or a setting does not fit.
        UnknownNameError: A step, parameter or container has no such name.
    """

    route: str | int | None = None
    subsampling: Subsampling = "4:2:0"

    def __post_init__(self) -> None:
        self._parsed()

    def __str__(self) -> str:
        """Return the delivery's text."""
        if isinstance(self.route, str):
            return self.route
        return "" if self.route is None else f"jpeg:quality={self.route},subsampling={self.subsampling}"

    def _parsed(self) -> tuple[attack.Chain, list[str]]:
        chain, arrow, container = str(self).partition(">")
        names = [name.strip() for name in container.split("/")] if arrow else []
        for name in names:
            if name not in CONTAINERS:
                raise unknown_name("container", name, CONTAINERS)
        return attack.parse(chain), names

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Return the delivery with every value drawn; no picture takes part in that."""
        chain, names = self._parsed()
        steps = tuple({"op": step.name, **step.draw(rng)} for step in chain.steps)
        return Drawn(steps, names[int(rng.integers(len(names)))] if names else "")

    def deliver(self, sample: Sample, rng: np.random.Generator) -> tuple[bytes, Sample]:
        """Return the bytes of the delivered file, and the sample as decoded from them; the mask follows the geometry.

        Raises:
            InvalidValueError: The picture is too small or too large for a step.
        """
        return self.draw(rng)(sample)

    def deliver_pair(
        self, forged: Sample, twin: Sample, rng: np.random.Generator
    ) -> tuple[tuple[bytes, Sample], tuple[bytes, Sample]]:
        """Deliver a forgery and its authentic twin in one and the same way, so that only the edit tells them apart.

        Raises:
            InvalidValueError: The two differ in size, or a step does not fit them.
        """
        if forged.size != twin.size:
            raise InvalidValueError(f"twin: expected the forgery's size {forged.size}, found {twin.size}")
        drawn = self.draw(rng)
        return drawn(forged), drawn(twin)

    def encode(self, rgb: UInt8Array) -> bytes:
        """Return the bytes of the delivered file; ranges and choices, if any, are drawn with seed 0."""
        return self.deliver(Sample(rgb), np.random.default_rng(0))[0]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A delivery without anything left to draw: it treats every picture alike.

    Attributes:
        steps: Of the chain, as `meta["ops"]` records them.
        container: One of `CONTAINERS`, or "" for what the steps end with.
    """

    steps: tuple[Mapping[str, Any], ...]
    container: str = ""

    def __call__(self, sample: Sample) -> tuple[bytes, Sample]:
        """Return the file's bytes and the sample as decoded from them, with every step recorded."""
        # A host that was opened from a JPEG file still has its coefficients, a forgery has not: both start without.
        before = attack.replay(sample.with_pixels(sample.rgb), self.steps[:-1])
        sent = attack.replay(before, self.steps[-1:])
        kind, after = "jpeg", sent
        if self.container in CAMERAS:
            camera = CAMERAS[self.container]
            data = encode_with_tables(sent.rgb, camera.arrays, camera.subsampling)
            # We made these bytes: a flat picture may take fewer bits than a stranger's file is allowed to.
            opened = media.open(data, media.Limits(min_bits_per_pixel=0.0, max_seconds=120.0)).sample
            after = sent.with_pixels(opened.rgb, jpeg=opened.jpeg)
        elif not self.container and sent.jpeg is not None:
            data = _last_file(before, **self.steps[-1])
        else:
            kind, data, after = "png", png_file(sent.rgb), sent.with_pixels(sent.rgb)
        anew = kind != "png" or bool(self.steps)
        return data, record(sent, after, "delivery", container=self.container, format=kind, reencoded=anew)


def choose(rng: np.random.Generator, weights: Mapping[str, float] = COMMON) -> Delivery:
    """Return a delivery drawn from texts with weights, which need not add up to one.

    Raises:
        InvalidValueError: A weight is negative, none is above 0, or a text cannot be read.
    """
    shares = np.array(list(weights.values()), np.float64)
    if not (shares >= 0).all() or not shares.sum() > 0:
        raise InvalidValueError(f"deliveries: expected weights from 0 with one above it, found {dict(weights)}")
    return Delivery(list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))])


def _last_file(sample: Sample, op: str, **values: Any) -> bytes:
    """Return the JPEG file that the attack `op` writes last."""
    if op == "jpeg":
        return codecs.jpeg_file(sample.rgb, **values)
    if op == "double_jpeg":
        subsampling = values["subsampling"]
        once = codecs.compressed_once(sample, values["first"], values["dy"], values["dx"], subsampling)
        return encode_jpeg(once.rgb, values["second"], subsampling)
    if op == "social":
        profile = chains.PROFILES[values["profile"]]
        return encode_jpeg(chains.uncompressed(sample, profile).rgb, profile.quality, profile.subsampling)
    raise InvalidValueError(f"delivery: the file of '{op}' is not kept; end the text with '> png' or '|jpeg'")


def png_file(rgb: UInt8Array) -> bytes:
    """Return a PNG file of (H, W, 3) uint8 pixels.

    Raises:
        InvalidValueError: They cannot be encoded.
    """
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise InvalidValueError(f"PNG encoding failed for a picture of {rgb.shape}")
    return bytes(data)
