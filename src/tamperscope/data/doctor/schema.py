"""What an examination found, as one versioned model; text, JSON and the page are made from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from tamperscope.types import Severity

SCHEMA_VERSION = "1"
KEPT_EXAMPLES = 1000
View = Literal["names", "pair", "mask"]
_ORDER = ("warning", "notice", "info")


def printable(text: str) -> str:
    """Return `text` with every character that draws nothing, steers a terminal or reorders text as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Example(_Model):
    """One picture, or two, that a problem shows on.

    Attributes:
        image: Path as the manifest has it, unprintable characters escaped.
        other: The second picture of a pair, or the mask.
        note: What was found there.
    """

    image: str
    other: str | None = None
    note: str = ""


class Problem(_Model):
    """One kind of defect.

    Attributes:
        code: Stable dotted name, such as `mask.size`.
        severity: `warning` spoils training or measuring, `notice` is worth a look, `info` is neutral.
        text: What is wrong.
        mend: How to mend it.
        count: How often it was found.
        examples: The first ones, at most `KEPT_EXAMPLES`.
        view: How the page shows the examples.
    """

    code: str
    severity: Severity
    text: str
    mend: str
    count: int
    examples: list[Example] = []
    view: View = "names"

    @property
    def title(self) -> str:
        """What is wrong and how often, as a heading."""
        return f"{self.text[:1].upper()}{self.text[1:]} ({self.count:,})"


class Leak(_Model):
    """How well one family of format features tells forged from pristine.

    Attributes:
        family: Stable name; `all` is every family together.
        title: The same for a person.
        auc: Area under the ROC curve of out-of-fold scores; None where too few pictures can tell.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        pictures: Pictures that have the features.
        forged: How many of those are forged.
        telling: The values that differ most between the classes, in words.
    """

    family: str
    title: str
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    pictures: int = 0
    forged: int = 0
    telling: list[str] = []

    @property
    def interval(self) -> str:
        """The AUC with its interval, or why there is none."""
        if self.auc is None or self.low is None or self.high is None:
            return "too few to tell"
        return f"{self.auc:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def severity(self) -> Severity:
        """`warning` where a detector could live on the leak, `notice` where there is a trace of one."""
        if self.auc is None or self.low is None or self.low <= 0.55:
            return "info"
        return "warning" if self.auc >= 0.7 and self.low > 0.6 else "notice"


class Balance(_Model):
    """How many pictures of each label a split and domain has."""

    split: str
    domain: str
    pristine: int = 0
    forged: int = 0
    unknown: int = 0


class Bar(_Model):
    """One bar of a histogram."""

    label: str
    count: int


class Findings(_Model):
    """Everything that an examination of a manifest found.

    Attributes:
        schema_version: Of this model; the second number grows with additions, the first with changes.
        manifest: Its file name.
        split: The only split that was examined; None for all.
        sampled: Whether only a random part was examined.
        seed: Of that part, of the folds and of the bootstrap.
        pictures: Lines examined.
        opened: Pictures among them that could be decoded.
        problems: The worst first.
        leaks: Of all format families together, then of each.
        balance: By split and domain.
        mask_areas: Histogram of the forged share of the masks of forged pictures.
        sizes: The most frequent sizes in pixels.
        megapixels: Histogram of picture sizes.
        file_types: By content.
    """

    schema_version: str = SCHEMA_VERSION
    manifest: str
    split: str | None = None
    sampled: bool = False
    seed: int = 0
    pictures: int = 0
    opened: int = 0
    problems: list[Problem] = []
    leaks: list[Leak] = []
    balance: list[Balance] = []
    mask_areas: list[Bar] = []
    sizes: list[Bar] = []
    megapixels: list[Bar] = []
    file_types: list[Bar] = []
    _files: dict[str, Path] = PrivateAttr(default_factory=dict)

    @property
    def worst(self) -> Severity:
        """The highest severity of a problem; `info` when there is none."""
        return min((p.severity for p in self.problems), key=_ORDER.index, default="info")

    def text(self, width: int = 100, color: bool = False) -> str:
        """Return the findings for a terminal of `width` characters, problems first."""
        from tamperscope.data.doctor.text import render

        return render(self, width, color)

    def to_json(self, indent: int | None = 2) -> str:
        """Return the findings as JSON; `Findings.model_validate_json` reads them back."""
        return self.model_dump_json(indent=indent)

    def html(self) -> str:
        """Return one self-contained page; it shows pictures where they can still be opened."""
        from tamperscope.data.doctor.page import render

        return render(self, self._files)


def sort_problems(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems with the worst first; equals keep their order."""
    return sorted(problems, key=lambda p: _ORDER.index(p.severity))
