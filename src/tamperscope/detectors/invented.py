"""Invented: whether a photo looks like what generators invent, judged by a small network inside of the package.

How. `networks.univfd`: a linear layer on what EfficientNet-Lite0, which knows ImageNet's objects and never learned from
any of this, tells of the whole picture, brought to one size. It learned from pictures of two dozen generators and from
photographs, all shrunk, compressed and cut alike, so that neither format nor size nor compression tells them apart. Its
card in `weights/invented` has the sources, the licence, what it was measured on, and where it fails. It is asked
without torch.

Limits. It judges what a picture looks like, not how it was made: light, colours and surfaces as generators like them.
Compression and resizing change little, and pictures of generators that it never saw are clear of chance
(`results/invented_shipped`). But it speaks up for a third of them only, for from its threshold on one photograph in a
hundred would be accused, of staged or graded ones more; portraits and others that look like plain photographs it
misses. It says nothing of a part that was edited. Looks are no proof: a score is worth twenty to one at most. On pages,
drawings and screens it abstains.
"""

from __future__ import annotations

from typing import ClassVar

from tamperscope.detectors.base import Guide
from tamperscope.detectors.network import Network, shipped
from tamperscope.types import Prediction, Sample


class Invented(Network):
    """The exported judge of invented pictures that the package ships.

    Raises:
        InputError: Its files are not those that its card was written for.
    """

    family = "content"
    domains: ClassVar[tuple[str, ...]] = ("photo",)
    min_side = 256
    localizes = False
    guide = Guide(
        looks_at="What the picture looks like as a whole: light, colours and surfaces as generators like them.",
        how_to_read="It has no map: the score tells how much the picture looks like those of generators.",
        when_it_lies="Staged, graded or retouched photographs can look invented; generated snapshots look real.",
    )

    def __init__(self) -> None:
        super().__init__(shipped("invented"))

    def analyze(self, sample: Sample) -> Prediction:
        """Return the score, and whether it reaches the threshold of the card; see `Detector.analyze`."""
        return self.scored(
            super().analyze(sample),
            "The picture looks like those that generators invent: {told}.",
            "The picture does not look like those that generators invent: {told}. Some of these do not, either.",
            "a hundred",
        )
