"""Pages: words of a scanned page that were copied, retyped or covered, told by a small network inside of the package.

How. `networks.braid`, which went on from the localizer's weights to learn pages alone: compression, noise and colour of
each place against the rest of the page. White paper is judged, too. Its card in `weights/pages` tells of the pictures,
the licence, what it was measured on, and where it fails. It is asked without torch.

Limits. It learned from words that our own forge changed on two dozen receipts of one collection, and knows no other
hands, printers or scanners. What a page looks like is decided first (`signal.domains`); on anything else it abstains.
After messengers, screenshots and strong compression it misses most. See `results/`.
"""

from __future__ import annotations

from typing import ClassVar

from tamperscope.detectors.base import Guide
from tamperscope.detectors.network import Network, shipped
from tamperscope.types import Finding, Prediction, Sample

_LEAST = 5e-5  # of the page's pixels


class Pages(Network):
    """The exported network of edited pages that the package ships.

    Raises:
        InputError: Its files are not those that its card was written for.
    """

    domains: ClassVar[tuple[str, ...]] = ("document",)
    min_side = 128
    guide = Guide(
        looks_at="Compression, noise and colour of each word and its paper, against the rest of the page.",
        how_to_read="Bright words differ as words did that were copied, retyped or covered in its training.",
        when_it_lies="Stamps, logos, handwriting and pages put together by a program can mislead it.",
    )

    def __init__(self) -> None:
        super().__init__(shipped("pages"))

    def analyze(self, sample: Sample) -> Prediction:
        """Return what it says of a page; see `Detector.analyze`."""
        answer = super().analyze(sample)
        share = answer.evidence["share"]
        text = f"Words of the page differ from the rest of it as edited ones do: {share:.2%} of its pixels."
        if share < _LEAST:
            text = "No word of the page differs from the rest of it as edited ones do."
        told = {"share": share, "score": answer.score}
        answer.reasons = [Finding("pages.none" if share < _LEAST else "pages.share", text, "info", told, self.name)]
        return answer
