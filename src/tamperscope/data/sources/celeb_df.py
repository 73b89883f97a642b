"""Celeb-DF, first and second version: interviews of celebrities with faces exchanged among them.

Li et al., "Celeb-DF: A Large-scale Challenging Dataset for DeepFake Forensics", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import frame, frames

LIST = "List_of_testing_videos.txt"
SOURCE = Source(
    title="Celeb-DF",
    domain="face",
    licence="research only, on request",
    home="https://github.com/yuezunli/celeb-deepfakeforensics",
    size="second version: 890 original and 5 639 changed videos",
    layout="Celeb-real/frames/id0_0000/000.png, YouTube-real/frames/00000/000.png, Celeb-synthesis/frames/"
    f"id0_id1_0000/000.png and {LIST} beside them; each version in a folder of its own",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield frames; the listed videos are the test set, and a changed video is grouped with its target's original."""
    lists = {path[: -len(LIST)].lower(): path for path in tree.files(LIST, f"*/{LIST}")}
    tests = {base + line.split()[-1] for base, path in lists.items() for line in tree.lines(path)}
    tests = {video.lower().removesuffix(".mp4") for video in tests}
    seen = set()
    for image, match in frames(tree, "(?P<part>Celeb-real|YouTube-real|Celeb-synthesis)/"):
        part, video = match["part"], match["video"]
        full = f"{match['base']}{part}/{video}"
        seen.add(full.lower())
        split = ("test" if full.lower() in tests else "train") if match["base"].lower() in lists else ""
        if part.lower() == "celeb-synthesis":
            group = f"Celeb-real/{video.split('_')[0]}_{video.split('_')[-1]}"
            yield frame(image, 1, full, split=split, group=group, kind="identity_swap", method="Celeb-DF")
        else:
            yield frame(image, 0, full, split=split, group=f"{part}/{video}")
    for video in sorted(tests - seen):
        folder, _, name = video.rpartition("/")
        if tree.one_of(f"{video}.mp4", f"{folder}/videos/{name}.mp4") is None:
            tree.note("missing", video, f"listed in {LIST}, but there is no such video")
