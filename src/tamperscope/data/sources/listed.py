"""What several sets share: COCO's numbers in the names of pictures, and the files that a list names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from posixpath import join, normpath

from tamperscope.data.sources.base import Tree, stem

_COCO = re.compile(r"(?<!\d)\d{12}(?!\d)")


def coco_ids(path: str) -> tuple[str, ...]:
    """Return the numbers of the COCO pictures that a file name holds as 12 digits, without leading zeros."""
    return tuple(str(int(number)) for number in _COCO.findall(stem(path)))


def coco(path: str) -> str:
    """Return the number of the first COCO picture that a file name holds, "" where it holds none."""
    return next(iter(coco_ids(path)), "")


def located(tree: Tree, listing: str, name: str) -> str | None:
    """Return the file that a list names, below any folder around the list.

    The first folder of the name may be missing, since it is often the set itself.
    """
    name = name.replace("\\", "/")
    names = [name, name.partition("/")[2]] if "/" in name else [name]
    return tree.one_of(*(normpath(join(folder, n)) for n in names for folder in PurePosixPath(listing).parents))
