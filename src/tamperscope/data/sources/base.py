"""What a file of a public data set holds: a `SOURCE` that describes the set, and `read`, which finds its pictures.

A set's file is short:

    SOURCE = Source(title="Columbia", domain="manipulation", licence="research only", …)

    def read(tree: Tree) -> Iterator[Found]:
        for image in tree.pictures("4cam_splc/*.tif"):
            yield Found(image, 1, mask=tree.one_of(f"4cam_splc/edgemask/{stem(image)}_edgemask.jpg"), truth="edges")

`read` only pairs names; it opens no picture. `data.prepare` checks sizes, repairs masks and writes the manifest.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tamperscope.errors import InputError

Domain = Literal["manipulation", "generated", "face", "document"]
# How a truth file marks what is forged: bright, dark, any value above 0, an outline to be filled, the alpha channel's
# holes, a label image (one number an editor), or wherever it differs from the forged picture (it is the original then).
Truth = Literal["white", "black", "nonzero", "edges", "holes", "labels", "original"]
PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2"}


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a public data set.

    Attributes:
        title: As people write it.
        domain: What its pictures are about.
        licence: Terms of use, as its makers state them; "none stated" where they do not.
        home: Where it is described.
        size: Pictures and space, for a person.
        layout: The folders that `read` expects, for a person whose copy was not recognized.
        expected: Number of pictures of each part, such as {"forged": 180, "pristine": 183}; a part with a split is
            "train/forged". Empty where no count is certain.
        repairs: Known defects that reading mends, in words.
        mixed_polarity: Whether some of its masks are known to be inverted: those that mark more than half are turned.
    """

    title: str
    domain: Domain
    licence: str
    home: str
    size: str
    layout: str
    expected: Mapping[str, int] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    mixed_polarity: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """One picture of a set; paths are relative to the set's root, with forward slashes.

    Attributes:
        image: Path of the picture.
        label: 0 pristine, 1 forged or generated.
        mask: Path of its truth, or None where there is none.
        truth: How the truth file marks what is forged.
        split: Of the set's makers: `train`, `val`, `test`; "" where they made none.
        group: Name shared by pictures of one source; "" = the picture stands alone.
        extra: More fields of the manifest's line: kind, generator, editor, video, frame, boxes, text …
    """

    image: str
    label: int
    mask: str | None = None
    truth: Truth = "white"
    split: str = ""
    group: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that reading or preparing a set came across."""

    kind: Literal["repaired", "missing", "skipped", "unknown"]
    path: str
    text: str


class Tree:
    """The files of a user's copy of a set; names are compared without regard to case.

    Attributes:
        root: Folder of the copy.
        notes: What was repaired, missing or skipped so far.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"expected the folder of a data set, found nothing at '{self.root}'")
        self.notes: list[Note] = []
        found: list[str] = []
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            base = Path(folder).relative_to(self.root).as_posix()
            found += [name if base == "." else f"{base}/{name}" for name in files if not name.startswith("._")]
        self._paths = {path.lower(): path for path in sorted(found)}
        self._stems: dict[str, str] = {}
        for low, path in self._paths.items():
            if PurePosixPath(low).suffix in PICTURES:
                self._stems.setdefault(low.rpartition(".")[0], path)

    def pictures(self, *patterns: str) -> list[str]:
        """Return the pictures whose path matches a pattern (`*` also crosses folders), sorted, each once."""
        return [p for p in self.files(*patterns) if PurePosixPath(p).suffix.lower() in PICTURES]

    def files(self, *patterns: str) -> list[str]:
        """Return the files whose path matches a pattern (`*` also crosses folders), sorted, each once."""
        wanted = [p.lower() for p in patterns]
        return [path for low, path in self._paths.items() if any(fnmatch.fnmatchcase(low, p) for p in wanted)]

    def one_of(self, *candidates: str) -> str | None:
        """Return the first candidate that exists; one that ends in `.*` is a picture of any format."""
        for candidate in candidates:
            low = candidate.lower()
            path = self._stems.get(low[:-2]) if low.endswith(".*") else self._paths.get(low)
            if path is not None:
                return path
        return None

    def text(self, path: str) -> str:
        """Return a text file of the set."""
        return (self.root / path).read_text(encoding="utf-8-sig", errors="replace")

    def lines(self, path: str) -> list[str]:
        """Return the lines of a list, without blank ones."""
        return [line.strip() for line in self.text(path).splitlines() if line.strip()]

    def table(self, path: str, delimiter: str = ",") -> list[dict[str, str]]:
        """Return the rows of a table with a heading."""
        return list(csv.DictReader(io.StringIO(self.text(path)), delimiter=delimiter))

    def json(self, path: str) -> Any:
        """Return a JSON document of the set."""
        try:
            return json.loads(self.text(path))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: expected JSON: {error}") from error

    def note(self, kind: Literal["repaired", "missing", "skipped", "unknown"], path: str, text: str) -> None:
        """Put down what a person should know of a file."""
        self.notes.append(Note(kind, path, text))


def stem(path: str) -> str:
    """Return the file name without folder and ending."""
    return PurePosixPath(path).stem


def forged(
    tree: Tree, image: str, mask: str | None, truth: Truth = "white", split: str = "", group: str = "", **extra: Any
) -> Iterator[Found]:
    """Yield a forged picture with its mask; without the mask it is noted as missing and left out."""
    if mask is None:
        tree.note("missing", image, "no mask of its name; the picture is left out")
        return
    yield Found(image, 1, mask, truth, split, group, extra)


def pristine(tree: Tree, *patterns: str, split: str = "", **extra: Any) -> Iterator[Found]:
    """Yield the pictures that match as pristine ones, each its own group."""
    for image in tree.pictures(*patterns):
        yield Found(image, 0, split=split, extra=extra)
