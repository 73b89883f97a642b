"""Layouts that several sets share: folders named for their class, frames of videos, pictures beside their masks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

from tamperscope.data.sources.base import Found, Tree, forged, stem
from tamperscope.errors import InputError

# Real folder, generated folder; the first pair that a path has decides, since `ai` or `real` may also name a wrapper.
CLASSES = (("0_real", "1_fake"), ("nature", "ai"), ("real", "fake"))
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
# Folder of a set: the one name that a generator has in all manifests.
GENERATORS = {
    **{
        name: name
        for name in ("progan", "stylegan", "stylegan2", "biggan", "cyclegan", "stargan", "gaugan", "deepfake")
    },
    **{
        name: name
        for name in ("san", "crn", "imle", "adm", "glide", "midjourney", "vqdm", "wukong", "dalle2", "dalle3")
    },
    "firefly": "firefly",
    "progan_train": "progan",
    "seeingdark": "sitd",
    "whichfaceisreal": "wfir",
    "imagenet_midjourney": "midjourney",
    "imagenet_glide": "glide",
    "imagenet_ai_0508_adm": "adm",
    "imagenet_ai_0419_biggan": "biggan",
    "imagenet_ai_0419_vqdm": "vqdm",
    "imagenet_ai_0424_wukong": "wukong",
    "imagenet_ai_0419_sdv4": "sd1.4",
    "imagenet_ai_0424_sdv5": "sd1.5",
    "stable_diffusion_v_1_4": "sd1.4",
    "stable_diffusion_v_1_5": "sd1.5",
    "stable-diffusion-1-3": "sd1.3",
    "stable-diffusion-1-4": "sd1.4",
    "stable-diffusion-2": "sd2",
    "stable-diffusion-xl": "sdxl",
    "midjourney-v5": "midjourney5",
    "sdv1": "sd1",
    "sdv2": "sd2",
    "vqdiffusion": "vqdm",
}
VIDEOS = ("*.mp4", "*.avi", "*.mov", "*.mkv")
# Folders that may stand between a class and the folder of one video.
HOLDERS = ("frames", "images", "faces", "crops", "videos")


def split_of(folders: Iterable[str]) -> str:
    """Return the split that a word of the folders' names states, "" where none does."""
    words = (word for folder in folders for word in re.split(r"[\W_]+", folder.lower()))
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def left_out(tree: Tree, paths: Iterable[str], text: str, kind: Literal["skipped", "unknown"] = "unknown") -> None:
    """Note once a folder how many of its files were left out, and why."""
    for folder, count in sorted(Counter(str(PurePosixPath(path).parent) for path in paths).items()):
        tree.note(kind, folder, f"{count} left out: {text}")


def _class_at(folders: Sequence[str]) -> tuple[int, int] | None:
    """Return the place of the folder that names a class, and the label it states."""
    for pair in CLASSES:
        for place, folder in enumerate(folders):
            if folder.lower() in pair:
                return place, pair.index(folder.lower())
    return None


def labelled(tree: Tree, otherwise: str = "", split: str = "") -> Iterator[Found]:
    """Yield pictures that lie below folders named for a class, such as `progan/cat/0_real` or `ADM/train/ai`.

    The folders above state split, generator (`GENERATORS`) and category. Real pictures carry the generator that they
    stand against as `subset`.

    Args:
        tree: Files of the set.
        otherwise: Generator where no folder names a known one; "" = unknown.
        split: Split where no folder names one.
    """
    rest = []
    for image in tree.pictures("*"):
        folders = image.split("/")[:-1]
        found = _class_at(folders)
        if found is None:
            rest.append(image)
            continue
        place, label = found
        above = folders[:place]
        known = max((i for i, folder in enumerate(above) if folder.lower() in GENERATORS), default=-1)
        generator = GENERATORS[above[known].lower()] if known >= 0 else otherwise
        # Below a generator, `train` of a 0_real/1_fake layout is a category: ProGAN draws trains.
        stop = known if known >= 0 and folders[place].lower() in CLASSES[0] else place
        parted = next((i for i in range(stop) if split_of([above[i]])), -1)
        inner = [folder for i, folder in enumerate(above) if i > known and i != parted]
        extra = {"kind": "generated", "generator": generator} if label else {}
        extra |= {"subset": generator, "category": inner[-1] if inner else ""}
        where = split_of([above[parted]]) if parted >= 0 else split
        yield Found(image, label, split=where, extra={name: value for name, value in extra.items() if value})
    left_out(tree, rest, "no folder above is named for real or generated pictures")


def frames(tree: Tree, folders: str = "") -> Iterator[tuple[str, re.Match[str]]]:
    """Yield extracted frames with the match of their folder; videos without frames are noted.

    A frame lies in a folder named for its video, below `folders` or below one of `HOLDERS` in there.

    Args:
        tree: Files of the set.
        folders: Regular expression of the folders above, each with its slash, without regard to case. The match also
            has the groups `base` (what comes before) and `video`.
    """
    holder = "|".join(HOLDERS)
    above = rf"(?P<base>(?:.*/)?){folders}"
    line = re.compile(rf"{above}(?:(?:{holder})/)?(?P<video>(?!(?:{holder}|masks)$)[^/]+)", re.I)
    stray = re.compile(rf"{above}(?!.*\bmasks/)", re.I)
    taken, rest = set(), []
    for image in tree.pictures("*"):
        if match := line.fullmatch(image.rpartition("/")[0]):
            taken.add(_clip(match[0]))
            yield image, match
        elif stray.match(image):
            rest.append(image)
    left_out(tree, rest, "expected each frame in a folder named for its video")
    videos = [video for video in tree.files(*VIDEOS) if line.fullmatch(video.rpartition(".")[0])]
    left_out(
        tree,
        [video for video in videos if _clip(video.rpartition(".")[0]) not in taken],
        "videos; extract their frames first, as frames/VIDEO/NUMBER.png beside or instead of the folder of videos",
        "skipped",
    )


def _clip(path: str) -> str:
    """Return the path of a video or of its frames without the folder that only holds such."""
    parts = path.lower().split("/")
    return "/".join(part for place, part in enumerate(parts) if place != len(parts) - 2 or part not in HOLDERS)


def frame(
    image: str, label: int, video: str, mask: str | None = None, split: str = "", group: str = "", **extra: Any
) -> Found:
    """Return one frame; `video` is its full name in the set, and its group unless one is given."""
    number = stem(image)
    where = {"video": video, "frame": int(number) if number.isdigit() else number}
    return Found(image, label, mask, split=split, group=group or video, extra={**where, **extra})


def paired(tree: Tree, images: Sequence[str], masks: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the pictures of folders named as in `images` with the mask of the same name in a sibling folder.

    `a/images/x/1.jpg` pairs with `a/masks/x/1.png`, `1_mask.png`, and `image-1.jpg` with `label-1.png`. Masks that no
    picture claims are noted.
    """
    used = set()
    for image in tree.pictures("*"):
        folders = image.split("/")[:-1]
        lower = [folder.lower() for folder in folders]
        place = next((i for i in reversed(range(len(folders))) if lower[i] in images), None)
        if place is None or set(lower) & set(masks):
            continue
        name = stem(image)
        names = [name, f"{name}_mask", re.sub("^image-", "label-", name, flags=re.I)]
        around = ["/".join([*folders[:place], mask, *folders[place + 1 :]]) for mask in masks]
        mask = tree.one_of(*(f"{folder}/{name}.*" for folder in around for name in names))
        used.add(mask)
        yield image, mask
    for mask in tree.pictures(*(f"{start}{folder}/*" for folder in masks for start in ("", "*/"))):
        if mask not in used:
            tree.note("missing", mask, "no picture of its name")


def masked(tree: Tree) -> Iterator[Found]:
    """Yield the tampered pictures of folders `images` with the masks of folders `masks` beside them."""
    for image, mask in paired(tree, ("images",), ("masks",)):
        yield from forged(tree, image, mask, "nonzero", split_of(image.split("/")[:-1]), kind="tampered")


def rows(tree: Tree, path: str, *columns: str) -> list[dict[str, str]]:
    """Return the rows of a table.

    Raises:
        InputError: The table lacks one of the columns.
    """
    found = tree.table(path)
    if found and (lacking := set(columns) - found[0].keys()):
        raise InputError(f"{path}: expected the columns {', '.join(columns)}; missing: {', '.join(sorted(lacking))}")
    return found


def boxed(image: str, boxes: Sequence[Sequence[int]], split: str = "", **extra: Any) -> Found:
    """Return a picture whose truth is a list of (x0, y0, x1, y1) boxes in pixels; without any it is pristine."""
    if not boxes:
        return Found(image, 0, split=split)
    return Found(image, 1, split=split, extra={"kind": "tampered", "boxes": [list(box) for box in boxes], **extra})


def linked(sets: Collection[tuple[str, ...]]) -> dict[str, str]:
    """Return for each name the least name that it is linked with, when names that occur in one set are linked."""
    least: dict[str, str] = {}

    def root(name: str) -> str:
        while least.setdefault(name, name) != name:
            name = least[name]
        return name

    for names in sets:
        roots = sorted({root(name) for name in names})
        least.update(dict.fromkeys(roots, roots[0]))
    return {name: root(name) for name in list(least)}
