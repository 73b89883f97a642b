"""Generated: what a generator's decoder leaves in all of a picture, judged by a small network inside of the package.

How. `networks.npr`: how the pixels of each 2 x 2 cell relate to its first one, and half a ResNet. It was trained on
photographs that passed a decoder (auto-encoders, up-samplers, learned upscalers) and on the same ones that did not,
some of which plain filters had changed, so that neither content nor format nor resampling tells them apart; its card
in `weights/generated` has the pictures, the licence, what it was measured on, and where it fails. It is asked without
torch.

Limits. It finds most of what a small auto-encoder leaves, half of what up-samplers and learned upscalers do, and is
clear of chance on upscalers that it never saw and on a good decoder (TAEF2); strong compression hides most. Of
pictures that a generator invented it knows nothing: on portraits of Stable Diffusion 3 it is right or wrong as they
were delivered (`results/generated_shipped`). So it is shown and never weighed, and its silence says nothing. A
photograph that a learned upscaler enlarged is called generated, and one that was made smaller and never compressed can
be. Below a JPEG quality of 75 it abstains.
"""

from __future__ import annotations

from tamperscope.detectors.base import Guide, NotApplicable
from tamperscope.detectors.network import Network, shipped
from tamperscope.media.quantization import nearest_quality
from tamperscope.types import Prediction, Sample

LEAST_QUALITY = 75
"""JPEG quality below which nothing was trained, and nothing is judged."""


class Generated(Network):
    """The exported judge of whole pictures that the package ships.

    Raises:
        InputError: Its files are not those that its card was written for.
    """

    family = "upsampling"
    min_side = 128
    localizes = False
    guide = Guide(
        looks_at="How neighbouring pixels relate, which decoders and upscalers leave otherwise than cameras do.",
        how_to_read="It has no map: the score tells how much the whole picture looks like a decoder's work.",
        when_it_lies="Enlarged, denoised and freshly shrunk photographs can look generated; compression hides it.",
    )

    def __init__(self) -> None:
        super().__init__(shipped("generated"))

    def analyze(self, sample: Sample) -> Prediction:
        """Return the score, and whether it reaches the threshold of the card; see `Detector.analyze`."""
        known = sample.jpeg and nearest_quality(sample.jpeg.qtables).quality
        quality = known or sample.meta.get("quality_by_tables", 100)  # of CMYK, whose coefficients are not read
        if quality < LEAST_QUALITY:
            raise NotApplicable(f"JPEG quality {quality}: below {LEAST_QUALITY} no trace of a decoder is left")
        return self.scored(
            super().analyze(sample),
            "Neighbouring pixels relate as after a decoder or an upscaler: {told}.",
            "Neighbouring pixels are not as after a decoder that it knows: {told}. New generators leave less.",
            "twenty",
        )
