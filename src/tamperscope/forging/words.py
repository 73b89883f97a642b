"""Sentences about a forgery at four levels of detail: the bare noun, attributes, relations, and all objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tamperscope.forging import operations
from tamperscope.ops.forge import shapes
from tamperscope.types import UInt8Array

LEVELS = ("noun", "attributes", "relations", "objects")
_SIZES = ((0.02, "small"), (0.15, ""), (1.1, "large"))
_COUNTS = ("one edit was", *(f"{number} edits were" for number in ("two", "three", "four", "five")))
_PREPOSITIONS = {"with", "from", "in", "on", "at", "by", "to", "into", "under", "over"}


def sentences(names: Sequence[str], edits: Sequence[Mapping[str, Any]], turns: UInt8Array) -> dict[str, str]:
    """Return one sentence a level of detail, by the names of `LEVELS`; the first three are about the largest edit.

    Args:
        names: Of the operations, in order.
        edits: What each of them recorded; where there are no `words`, it is called a region.
        turns: (H, W), the number of the last edit of each pixel, from 1, as delivered.
    """
    parts = [_Part(*pair, turns == number) for number, pair in enumerate(zip(names, edits, strict=True), 1)]
    seen = [part for part in parts if part.area > 0]
    main = max(seen, key=lambda part: part.area)
    told = f"{_COUNTS[len(seen) - 1]} made: {'; '.join(part.relation for part in seen)}"
    return {
        "noun": _sentence(f"{main.noun} {main.was} {main.verb}"),
        "attributes": _sentence(f"{main.described} {main.was} {main.verb}"),
        "relations": _sentence(main.relation),
        "objects": _sentence(told),
    }


class _Part:
    """What is said of one edit."""

    def __init__(self, name: str, edit: Mapping[str, Any], mask: np.ndarray) -> None:
        words = edit.get("words", {})
        self.area = float(mask.mean())
        self.verb = operations.get(name).verb
        self.noun = str(words.get("noun") or "a region")
        self.was = "were" if _plural(self.noun) else "was"
        size = next(word for limit, word in _SIZES if self.area < limit)
        self.described = _with(self.noun, [*filter(None, [size]), *words.get("attributes", [])])
        place = _placed(shapes.place(mask)) if self.area > 0 else ""
        happened, relation = self.verb, str(words.get("relation") or "")
        if relation:
            # A relation is what happened, said more fully, unless it only adds how.
            happened = f"{self.verb} {relation}" if relation.split()[0] in _PREPOSITIONS else relation
        self.relation = f"{self.described} {place} {self.was} {happened}"


def _plural(noun: str) -> bool:
    """Return whether a noun is one of many things, such as `eyes` or `the clouds`; `hair` and `the grass` are not."""
    return not noun.lower().startswith(("a ", "an ")) and noun.endswith("s") and not noun.endswith(("ss", "us", "is"))


def _with(noun: str, attributes: Sequence[str]) -> str:
    """Return a noun with attributes after its article: `a person` becomes `an old person`."""
    article, _, rest = noun.partition(" ")
    if article.lower() not in ("a", "an", "the") or not rest:
        return " ".join([*attributes, noun])
    whole = " ".join([*attributes, rest])
    if article.lower() != "the" and attributes:
        article = "an" if whole[0].lower() in "aeiou" else "a"
    return f"{article} {whole}"


def _placed(place: str) -> str:
    return "in the middle" if place == "middle" else f"at the {place}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
