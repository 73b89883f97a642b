"""FaceForensics++: a thousand videos, each changed by five methods.

Rössler et al., "FaceForensics++: Learning to Detect Manipulated Facial Images", ICCV 2019.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from tamperscope.data.sources.base import Found, Source, Tree, stem
from tamperscope.data.sources.folders import frame, frames, linked

METHODS = {
    "Deepfakes": "identity_swap",
    "FaceSwap": "identity_swap",
    "FaceShifter": "identity_swap",
    "Face2Face": "reenactment",
    "NeuralTextures": "reenactment",
}
LAYOUT = (
    "original_sequences/youtube/COMPRESSION/frames/000/0000.png and manipulated_sequences/METHOD/COMPRESSION/frames/"
    "000_003/0000.png with COMPRESSION raw, c23 or c40; images, faces or crops may stand for frames; masks in "
    "manipulated_sequences/METHOD/[COMPRESSION/]masks/[frames/]000_003; train.json, val.json and test.json hold the "
    "makers' pairs"
)
SOURCE = Source(
    title="FaceForensics++",
    domain="face",
    licence="research only, on request",
    home="https://github.com/ondyari/FaceForensics",
    size="1 000 original and 5 000 changed videos",
    layout=LAYOUT,
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield the frames of original videos and of those of all five methods."""
    return sequences(tree, METHODS)


def sequences(tree: Tree, methods: Collection[str]) -> Iterator[Found]:
    """Yield the frames of original videos and of those that `methods` changed.

    A video is named in full, such as `Deepfakes/c23/000_003`, since every method has one of that number. Videos that
    are linked by a change, in the lists or in a name, share a group.
    """
    below = rf"(?:original_sequences/(?P<source>youtube)|manipulated_sequences/(?P<method>{'|'.join(methods)}))"
    found = list(frames(tree, rf"{below}/(?P<rate>raw|c0|c23|c40)/"))
    pairs = {
        tuple(map(str, pair)): split
        for split in ("train", "val", "test")
        for path in tree.files(f"{split}.json", f"*/{split}.json")
        for pair in tree.json(path)
        if isinstance(pair, list) and len(pair) == 2
    }
    splits = {video: split for pair, split in pairs.items() for video in pair}
    groups = linked([*pairs, *dict.fromkeys(tuple(match["video"].split("_")) for _, match in found)])
    for image, match in found:
        first = match["video"].split("_")[0]
        method = next((name for name in methods if name.lower() == (match["method"] or "").lower()), "")
        rate = match["rate"].lower()
        extra = {"kind": METHODS[method], "method": method} if method else {}
        mask = _mask(tree, image, match) if method else None
        video = f"{method or 'youtube'}/{rate}/{match['video']}"
        split, group = splits.get(first, ""), groups[first]
        yield frame(image, int(bool(method)), video, mask, split, group, compression=rate, **extra)


def _mask(tree: Tree, image: str, match: re.Match[str]) -> str | None:
    """Return the mask of a changed frame: masks are made once, whatever the compression."""
    top = f"{match['base']}manipulated_sequences/{match['method']}"
    levels = (f"{top}/{match['rate']}/masks", f"{top}/c23/masks", f"{top}/masks")
    below = f"{match['video']}/{stem(image)}.*"
    return tree.one_of(*(f"{level}/{deep}{below}" for level in levels for deep in ("", "frames/")))
