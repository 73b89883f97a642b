"""DFDC: the Deepfake Detection Challenge, its preview, and their lists.

Dolhansky et al., "The DeepFake Detection Challenge (DFDC) Dataset", 2020.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, stem
from tamperscope.data.sources.folders import frame, frames, left_out, rows
from tamperscope.errors import InputError

SOURCE = Source(
    title="DFDC",
    domain="face",
    licence="terms of the challenge, research only",
    home="https://ai.meta.com/datasets/dfdc/",
    size="about 128 000 videos, 470 GB",
    layout="PART/metadata.json and PART/[frames/]VIDEO/0000.png, VIDEO being the file name without .mp4; dataset.json "
    "of the preview and labels.csv of the test set also serve",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield the frames of listed videos; a changed video is grouped with its original."""
    listed = _listed(tree)
    rest = []
    for image, match in frames(tree):
        video = match["video"].lower()
        row = listed.get(video)
        if row is None:
            rest.append(image)
            continue
        label = int(str(row["label"]).lower() in ("fake", "1"))
        split = row.get("split") or row.get("set") or ""
        extra = {"kind": "identity_swap", "method": "DFDC"} if label else {}
        yield frame(image, label, video, split=split, group=stem(row.get("original") or video).lower(), **extra)
    left_out(tree, rest, "no list names their video")


def _listed(tree: Tree) -> dict[str, dict[str, str]]:
    """Return what the lists say of each video, by its name in lower case without ending."""
    found: dict[str, dict[str, str]] = {}
    for path in tree.files(*(f"{start}{name}.json" for name in ("metadata", "dataset") for start in ("", "*/"))):
        listed = tree.json(path)
        if not isinstance(listed, dict) or not all(isinstance(row, dict) and "label" in row for row in listed.values()):
            raise InputError(f"{path}: expected an object with a label for each video, as the challenge gives it out")
        found |= {stem(video).lower(): row for video, row in listed.items()}
    for path in tree.files("labels.csv", "*/labels.csv"):
        found |= {
            stem(row["filename"]).lower(): {**row, "split": "test"} for row in rows(tree, path, "filename", "label")
        }
    return found
