"""The network inside of the package: colours, noise residuals and quantized frequencies, against the whole picture.

How. See `networks.braid`. It was trained on forgeries that this project made; its card in `weights/localizer` tells of
the pictures, the licence, what it was measured on, and where it fails. It is asked without torch.

Where pixels are clipped to white or black no trace of any history is left, and the network takes the lack for one: such
places are not judged. The score is the mean heat of the hottest hundredth of what is judged.

Limits. What it knows are splices, copies, removals and repainted parts with a history that differs from the rest.
Strong compression, messengers and screenshots take that away; see `results/`.
"""

from __future__ import annotations

import cv2
import numpy as np

from tamperscope.detectors.base import Guide, NotApplicable
from tamperscope.detectors.network import Network, shipped
from tamperscope.types import BoolArray, Prediction, Sample, UInt8Array

_DARK, _BRIGHT = 4, 251
_REACH = 17  # pixels: two blocks of 8 and their middle
_HOTTEST = 0.01
_BAND = 1024  # rows


class Localizer(Network):
    """The exported network that the package ships.

    Raises:
        InputError: Its files are not those that its card was written for.
    """

    guide = Guide(
        looks_at="What it was taught to tell edited from untouched pixels by: compression, noise and colour together.",
        how_to_read="Bright parts differ from the rest of the picture as edited parts did in its training.",
        when_it_lies="Pasted logos, texts and frames of a layout, screens and heavy compression can mislead it.",
    )

    def __init__(self) -> None:
        super().__init__(shipped("localizer"))

    def ask(self, sample: Sample) -> Prediction:
        """Return the network's answer, cold where nothing can be judged, with the score of its map."""
        answer = super().ask(sample)
        assert answer.heatmap is not None
        lost = clipped(sample.rgb)
        if lost.all():
            raise NotApplicable("all of the picture is clipped to white or black, where no trace is left")
        answer.heatmap[lost] = 0
        hot = answer.heatmap[:: max(1, sample.size[0] // 1024), :: max(1, sample.size[1] // 1024)].ravel()
        count = max(1, round(_HOTTEST * hot.size))
        answer.score = float(np.partition(hot, -count)[-count:].mean())
        return answer


def clipped(rgb: UInt8Array) -> BoolArray:
    """Return (H, W): where most pixels around are clipped to white or to black in every channel.

    Args:
        rgb: (H, W, 3).
    """
    height, reach = rgb.shape[0], _REACH // 2
    found = np.empty(rgb.shape[:2], np.bool_)
    for top in range(0, height, _BAND):
        # Bands see their neighbours, so that the answer is that of the whole picture.
        first, last = max(top - reach, 0), min(top + _BAND + reach, height)
        band = rgb[first:last]
        lost = cv2.bitwise_or(cv2.inRange(band, (_BRIGHT,) * 3, (255,) * 3), cv2.inRange(band, (0,) * 3, (_DARK,) * 3))
        found[top : top + _BAND] = (cv2.blur(lost, (_REACH, _REACH)) > 127)[top - first :][:_BAND]
    return found
