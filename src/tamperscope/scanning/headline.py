"""The verdict on a picture in one plain sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tamperscope.types import Region
from tamperscope.verdict.fusion import Verdict, by_looks

_LOOKS: Mapping[str, str] = {
    "inconclusive": "It looks like what image generators make; not enough to tell either way.",
    "suspicious": "It looks like what image generators make, more than most photographs do; looks are no proof.",
}
"""Said where looks are the strongest reason, for they are no sign of manipulation."""


def headline(verdict: Verdict, found: Sequence[Region]) -> str:
    """Return the verdict in one plain sentence."""
    where = f" in {len(found)} region{'s' * (len(found) != 1)}" if found else ""
    if verdict.declared:
        return "The file itself states that it was generated or edited by an AI tool."
    if math.isnan(verdict.llr):
        return "No detector could weigh this picture, so nothing can be said of its pixels."
    if verdict.level == "inconclusive" and not (verdict.llr > 0 and any(r.weight > 0 for r in verdict.reasons_for)):
        return "The checks that apply do not settle it."
    if not found and verdict.level in _LOOKS and by_looks([reason.origin for reason in verdict.reasons_for]):
        return _LOOKS[verdict.level]
    return {
        "no_evidence": "No evidence of manipulation was found by the checks that apply.",
        "inconclusive": f"Weak signs of manipulation{where}; not enough to tell either way.",
        "suspicious": f"Signs of manipulation{where}, more than most untouched pictures show.",
        "strong_evidence": f"Strong evidence of manipulation{where}.",
    }[verdict.level]
