"""What the page says, in several languages: one JSON file each, English being the one that is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

DEFAULT = "en"


@lru_cache(maxsize=1)
def catalogues() -> Mapping[str, Mapping[str, str]]:
    """Return all languages; what one lacks is said in English."""
    folder = resources.files("tamperscope.serve.words")
    found = {
        file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".json")
    }
    return {name: {**found[DEFAULT], **texts} for name, texts in sorted(found.items())}


def choose(asked: str, accepted: str) -> str:
    """Return the language to use.

    Args:
        asked: Of the user's own choice, or empty.
        accepted: Header `Accept-Language`, such as `de-AT,de;q=0.9,en;q=0.8`.
    """
    known = catalogues()
    if asked in known:
        return asked
    weighed = []
    for place, part in enumerate(accepted.split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        try:
            weighed.append((-float(weight or 1), place, tag.partition("-")[0].lower()))
        except ValueError:
            continue
    return next((name for weight, _, name in sorted(weighed) if name in known and weight < 0), DEFAULT)
