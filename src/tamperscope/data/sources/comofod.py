"""CoMoFoD, small pictures: copy-move forgeries and their originals, each also after 24 ways of processing.

Tralic et al., "CoMoFoD – New database for copy-move forgery detection", ELMAR 2013.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out
from tamperscope.data.sources.pairs import beside

# Code in a name: how the picture was processed; the digit after it is the strength, JC1 the strongest compression.
ATTACKS = {
    "JC": "jpeg",
    "BC": "brightness",
    "CA": "contrast",
    "CR": "colour_reduction",
    "IB": "blur",
    "NA": "noise",
}
NAME = re.compile(rf"(\d+)_([OFBM])(?:_({'|'.join(ATTACKS)})(\d))?", re.I)
SOURCE = Source(
    title="CoMoFoD (small)",
    domain="manipulation",
    licence="research only",
    home="https://www.vcl.fer.hr/comofod/",
    size="10 400 files of 512×512",
    layout="001_O.png (original), 001_F.png (forged), 001_B.png (mask, source and copy), 001_F_JC1.jpg (processed); "
    "001_M.png, a coloured mask, is not used",
    expected={"forged": 5000, "pristine": 5000},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield originals and forgeries with `attack` and `level` where processed; pictures of one number are one group."""
    named = {image: match for image in tree.pictures("*") if (match := NAME.fullmatch(stem(image)))}
    left_out(tree, (p for p in tree.pictures("*") if p not in named), "expected names such as 001_O, 001_F_JC1, 001_B")
    of = {letter: [image for image, match in named.items() if match[2].upper() == letter] for letter in "OFB"}
    for image in of["O"]:
        yield Found(image, 0, group=_number(image), extra=_attack(named[image]))
    for image, mask in beside(tree, of["F"], of["B"], "{}_B.*", name=_number):
        yield from forged(tree, image, mask, group=_number(image), kind="copy_move", **_attack(named[image]))


def _number(image: str) -> str:
    return stem(image).partition("_")[0]


def _attack(name: re.Match[str]) -> dict[str, Any]:
    return {"attack": ATTACKS[name[3].upper()], "level": int(name[4])} if name[3] else {}
