"""Pairing by name that several manipulation sets share: masks at a known place, names of CASIA, names of MICC."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import PurePosixPath
from posixpath import join, normpath

from tamperscope.data.sources.base import Found, Tree, forged, stem
from tamperscope.data.sources.folders import left_out, linked
from tamperscope.errors import InputError

_TRUTH_FOLDER = re.compile(r"(?<![a-z])(ground.?truth|gt|masks?)(?![a-z])")
_SOURCE_ID = re.compile(r"(?<![a-z])([a-z]{3})_?(\d{4,5})(?!\d)")


def within(tree: Tree, *folders: str) -> list[str]:
    """Return the pictures that lie directly in folders of these names (`image`, `a/b`), whatever is around them."""
    ends = tuple(f"/{folder.lower()}" for folder in folders)
    return [path for path in tree.pictures("*") if f"/{path.rpartition('/')[0].lower()}".endswith(ends)]


def beside(
    tree: Tree, images: Iterable[str], masks: Iterable[str], *places: str, name: Callable[[str], str] = stem
) -> Iterator[tuple[str, str | None]]:
    """Yield each picture with the first mask that exists at a place; note the masks that no picture claims.

    Args:
        tree: Files of the set.
        images: Forged pictures.
        masks: All masks, to find those without a picture.
        places: Of the mask relative to the picture's folder, `{}` for its name: `../mask/{}_gt.*`.
        name: Gives the part of a picture's path that its mask shares.
    """
    used = set()
    for image in images:
        folder = image.rpartition("/")[0]
        mask = tree.one_of(*(normpath(join(folder, place.format(name(image)))) for place in places))
        used.add(mask)
        yield image, mask
    unclaimed(tree, masks, used)


def unclaimed(tree: Tree, masks: Iterable[str], used: Collection[str | None]) -> None:
    """Note the masks that were not used."""
    for mask in masks:
        if mask not in used:
            tree.note("missing", mask, "no picture of its name")


def casia(tree: Tree) -> Iterator[Found]:
    """Yield the pictures of a CASIA set; whatever shares a source picture, even by way of others, is one group.

    Names: `Au_ani_00001`, `Tp_D_NRN_S_N_ani10171_ani00001_12458` (D from another picture, S from the same one; last
    its number). All other pictures in a folder Au are pristine too.
    """
    truths: list[str] = []
    authentic: list[str] = []
    tampered: list[str] = []
    rest: list[str] = []
    for image in tree.pictures("*"):
        folders = [folder for folder in image.lower().split("/")[:-1] if folder not in ("sp", "cm")]
        name = stem(image).lower()
        if name.endswith("_gt") or _TRUTH_FOLDER.search("".join(folders[-1:])):
            truths.append(image)
        elif re.match(r"(tp|sp|cm)_[ds]_", name):
            tampered.append(image)
        else:
            (authentic if name.startswith("au_") or "au" in folders else rest).append(image)
    left_out(tree, rest, "expected names that begin with Au_, Tp_, Sp_ or CM_, or a folder Au")
    groups = linked([tuple(ids) for image in [*authentic, *tampered] if (ids := _sources(image))])
    for image in authentic:
        yield Found(image, 0, group=_group(image, groups))
    for image, mask in _casia_masks(tree, tampered, truths):
        same = len(set(_sources(image))) == 1 or stem(image)[3].lower() == "s"
        kind = "copy_move" if same else "splicing"
        yield from forged(tree, image, mask, group=_group(image, groups), kind=kind)


def _sources(path: str) -> list[str]:
    """Return the ids of the pictures that a CASIA picture is made from, or is."""
    return [kind + number for kind, number in _SOURCE_ID.findall(stem(path).lower())]


def _group(image: str, groups: dict[str, str]) -> str:
    return next((groups[source] for source in _sources(image)), "")


def _casia_masks(tree: Tree, images: list[str], truths: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield tampered pictures with their masks; one misnamed alone is known by its number and a source it shares."""
    named: dict[str, str] = {}
    for truth in truths:
        first = named.setdefault(stem(truth).lower().removesuffix("_gt"), truth)
        if first != truth:
            tree.note("skipped", truth, "a second mask of its name; the first is used")
    pairs = {image: named.get(stem(image).lower()) for image in images}
    used = set(pairs.values())
    spare = defaultdict(list)
    for name, mask in named.items():
        if mask not in used:
            spare[name.rpartition("_")[2]].append(mask)
    for image in (image for image, mask in pairs.items() if mask is None):
        number = stem(image).rpartition("_")[2]
        alike = [m for m in spare[number] if m not in used and set(_sources(m)) & set(_sources(image))]
        if len(alike) == 1:
            pairs[image] = alike[0]
            used.add(alike[0])
            tree.note("repaired", image, "its mask has another spelling of the name, the same number and source")
    yield from pairs.items()
    unclaimed(tree, named.values(), used)


def micc(tree: Tree, *, masks: bool) -> Iterator[Found]:
    """Yield the pictures of a MICC set: forged where the list groundtruthDB says so, or the name says `tamp`.

    Args:
        tree: Files of the set.
        masks: Whether forged pictures have masks (`NAME_gt.png`).

    Raises:
        InputError: A line of the list does not end in 0 or 1.
    """
    labels = dict(line for path in tree.files("*groundtruthdb*.txt") for line in _micc_list(tree, path))
    truths = [path for path in tree.pictures("*") if stem(path).lower().endswith("_gt")]
    images, changed = {*tree.pictures("*")} - {*truths}, []
    for image in sorted(images):
        name = PurePosixPath(image).name.lower()
        if labels.pop(name, "tamp" in name):
            changed.append(image)
        else:
            yield Found(image, 0, group=_micc_source(image))
    for name in sorted(labels):
        tree.note("missing", name, "listed, but there is no such picture")
    for image, mask in beside(tree, changed, truths, "{}_gt.*"):
        if masks:
            yield from forged(tree, image, mask, group=_micc_source(image), kind="copy_move")
        else:
            yield Found(image, 1, group=_micc_source(image), extra={"kind": "copy_move"})


def _micc_source(image: str) -> str:
    """Return the name of the original: `DSC_0535tamp1`, `DSC_0535_scale` are of `dsc_0535`."""
    return re.sub(r"_?(tamp|scale).*", "", stem(image).lower())


def _micc_list(tree: Tree, path: str) -> Iterator[tuple[str, bool]]:
    for line in tree.lines(path):
        name, _, label = line.replace("\t", " ").rpartition(" ")
        if label not in ("0", "1") or not name.strip():
            raise InputError(f"{path}: expected lines such as 'NAME.jpg 1', found '{line}'")
        yield PurePosixPath(name.strip().replace("\\", "/")).name.lower(), label == "1"
