"""What every detector is: `Sample` in, `Prediction` out, and a guide for the person who reads its map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from tamperscope.signal import texture
from tamperscope.types import Prediction, Sample

Family = Literal[
    "jpeg_grid", "jpeg_history", "noise", "duplication", "container", "network", "upsampling", "text", "content"
]
Need = Literal["jpeg", "thumbnail"]


@dataclass(frozen=True, slots=True)
class Guide:
    """Three short sentences for the person who looks at a map."""

    looks_at: str
    how_to_read: str
    when_it_lies: str


class NotApplicable(Exception):  # noqa: N818 - an answer, not an error
    """Raised by `analyze` when the trace cannot exist or cannot be read in this picture; says why."""


class Detector(ABC):
    """A detector; one concrete class per module, options are keyword arguments of `__init__`.

    Attributes:
        family: The trace that it reads; correlated detectors share one and count once.
        needs: What the sample must carry beside pixels.
        min_side: Smallest side, in pixels, on which the statistic means anything.
        localizes: Whether it shows where, in a map; else it judges the picture as a whole.
        domains: What a picture must look like, one of `signal.domains.NAMES` at least; anything where there are none.
        guide: Shown beside its map.
    """

    family: ClassVar[Family]
    needs: ClassVar[frozenset[Need]] = frozenset()
    min_side: ClassVar[int] = 64
    localizes: ClassVar[bool] = True
    domains: ClassVar[tuple[str, ...]] = ()
    guide: ClassVar[Guide]

    @property
    def name(self) -> str:
        """Registry name: the module's file name."""
        return type(self).__module__.rpartition(".")[2]

    def predict(self, sample: Sample) -> Prediction:
        """Return what this detector says of `sample`; abstains with a cause where it does not apply."""
        try:
            self._check(sample)
            return self.analyze(sample)
        except NotApplicable as reason:
            return Prediction(self.name, sample.size, status="not_applicable", cause=str(reason))

    def _check(self, sample: Sample) -> None:
        if sample.meta.get("damaged"):
            raise NotApplicable(f"the file is damaged: {sample.meta['damaged']}")
        if min(sample.size) < self.min_side:
            raise NotApplicable(f"the shorter side is {min(sample.size)} px; needs {self.min_side}")
        if "jpeg" in self.needs and sample.jpeg is None:
            raise NotApplicable("the file carries no JPEG coefficients")
        if "thumbnail" in self.needs and sample.thumbnail is None:
            raise NotApplicable("the file embeds no thumbnail")
        # A thumbnail can differ from a flat picture, too.
        if "thumbnail" not in self.needs and texture.bare(sample.rgb):
            raise NotApplicable("the picture is flat or a smooth ramp throughout, so no trace can lie in it")
        if self.domains:
            self._check_domain(sample)

    def _check_domain(self, sample: Sample) -> None:
        from tamperscope.signal import domains

        found = domains.of(sample)
        if not set(self.domains) & set(found.names):
            raise NotApplicable(f"the picture looks like {found.words}; needs {domains.phrase(self.domains)}")

    @abstractmethod
    def analyze(self, sample: Sample) -> Prediction:
        """Return the prediction for a sample that meets `needs` and `min_side`.

        Raises:
            NotApplicable: The trace cannot exist or cannot be read in this picture.
        """
