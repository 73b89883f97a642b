"""The photographs that forgeries are made of: hosts and donors, by the names that records use."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tamperscope.data import manifest
from tamperscope.data.manifest import Entry
from tamperscope.data.sources.base import Tree
from tamperscope.errors import InputError, unknown_name

if TYPE_CHECKING:
    import numpy as np

    from tamperscope.media import Opened
    from tamperscope.types import BoolArray, Box


_Kind = tuple[str, str]


class UnreadableError(InputError):
    """A photograph that cannot be opened."""

    def __init__(self, photo: str, cause: Exception) -> None:
        super().__init__(f"'{photo}': {cause}")
        self.photo = photo


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph.

    Attributes:
        id: Its path, relative to the folder or the manifest.
        group: Name shared by photographs of one source: none of them gives a piece to another.
        split: Hosts and donors are of one split.
        domain: What it shows, as its manifest states it, such as `document`; hosts and donors are of one domain.
        object_mask: Path of the outline of an object, or None.
        text_boxes: Path of the boxes of its lines of text, or None.
        noun: What the object is called, such as `a person`; "" where that is not known.
        attributes: What else is known of it.
    """

    id: str
    group: str
    split: str = ""
    domain: str = ""
    object_mask: str | None = None
    text_boxes: str | None = None
    noun: str = ""
    attributes: tuple[str, ...] = ()


def _kind(photo: Photo) -> _Kind:
    """Return what hosts and donors share."""
    return photo.split, photo.domain


@dataclass(frozen=True, slots=True)
class Pool:
    """Photographs to draw from.

    Attributes:
        root: Folder that their names are relative to.
        photos: In a fixed order.
    """

    root: Path
    photos: Sequence[Photo]
    _by_id: dict[str, Photo] = field(init=False, default_factory=dict, compare=False)
    _alike: dict[_Kind, list[Photo]] = field(init=False, default_factory=lambda: defaultdict(list), compare=False)
    _groups: dict[_Kind, set[str]] = field(init=False, default_factory=lambda: defaultdict(set), compare=False)

    def __post_init__(self) -> None:
        for photo in self.photos:
            self._by_id[photo.id] = photo
            self._alike[_kind(photo)].append(photo)
            self._groups[_kind(photo)].add(photo.group)

    @classmethod
    def of(cls, source: str | Path, where: Mapping[str, str | int] | None = None) -> Pool:
        """Return the photographs of a manifest, of a folder with a `manifest.jsonl`, or all pictures of a folder.

        Pictures that a manifest labels forged or generated are left out.

        Args:
            source: Manifest or folder.
            where: Fields that an entry must have; `under` is a part of the picture's path.

        Raises:
            InputError: There is no photograph, or a manifest cannot be read.
        """
        path = Path(source)
        listed = path / "manifest.jsonl" if path.is_dir() else path
        entries = manifest.read(listed) if listed.is_file() else map(_unlabelled, Tree(path).pictures("*"))
        photos = [_photo(e) for e in entries if e.label != 1 and _fits(e, where or {})]
        root = listed.parent if listed.is_file() else path
        if not photos:
            stated = f" with {dict(where)}" if where else ""
            raise InputError(f"'{source}': expected authentic photographs{stated}, found none")
        return cls(root, photos)

    def get(self, name: str) -> Photo:
        """Return a photograph by name.

        Raises:
            UnknownNameError: There is none.
        """
        if name not in self._by_id:
            raise unknown_name("photograph", name, list(self._by_id)[:20])
        return self._by_id[name]

    def has_donors(self) -> bool:
        """Return whether any photograph has one of another group in its split and domain."""
        return any(len(groups) > 1 for groups in self._groups.values())

    def host(self, rng: np.random.Generator) -> Photo:
        """Return a photograph drawn evenly."""
        return self.photos[int(rng.integers(len(self.photos)))]

    def donor(self, host: Photo, rng: np.random.Generator) -> Photo | None:
        """Return a photograph of another group, the same split and domain, drawn evenly; None where there is none."""
        if len(self._groups[_kind(host)]) < 2:
            return None
        candidates = self._alike[_kind(host)]
        while True:
            photo = candidates[int(rng.integers(len(candidates)))]
            if photo.group != host.group:
                return photo

    def digest(self) -> str:
        """Return the SHA-256 of what is known of the photographs, their pixels left aside."""
        state = hashlib.sha256()
        for photo in self.photos:
            state.update(f"{photo!r}\n".encode())
        return state.hexdigest()

    def lines(self, photo: Photo) -> list[tuple[Box, str]]:
        """Return the boxes and texts of a page's lines, where they are known, in the pixels of its file.

        Raises:
            UnreadableError: They cannot be read.
        """
        from tamperscope.data import text_boxes

        if photo.text_boxes is None:
            return []
        try:
            return text_boxes.read(manifest.inside(self.root, photo.text_boxes))
        except InputError as error:
            raise UnreadableError(photo.id, error) from error

    def open(self, photo: Photo, outline: bool = True) -> tuple[Opened, BoolArray | None]:
        """Return a photograph and the mask of its object, (H, W) bool, or None where it has none.

        Args:
            photo: Which.
            outline: Whether its object is asked for; else the mask is None.

        Raises:
            UnreadableError: A file cannot be opened or is damaged, or the mask has another size.
        """
        from tamperscope import media
        from tamperscope.data import masks

        try:
            opened = media.open(manifest.inside(self.root, photo.id))
            if opened.sample.meta.get("damaged"):
                raise InputError(f"the picture data are damaged: {opened.sample.meta['damaged']}")
            if photo.object_mask is None or not outline:
                return opened, None
            mask = masks.read(manifest.inside(self.root, photo.object_mask))
            if mask.shape != opened.sample.size:
                raise InputError(f"expected an object mask of {opened.sample.size}, found {mask.shape}")
        except (InputError, OSError) as error:
            raise UnreadableError(photo.id, error) from error
        return opened, mask


def _unlabelled(name: str) -> Entry:
    return Entry(image=name)


def _photo(entry: Entry) -> Photo:
    extra = entry.extra
    attributes = extra.get("attributes")
    return Photo(
        entry.image,
        entry.source_group,
        entry.split,
        entry.domain,
        entry.object_mask,
        str(extra["text_boxes"]) if extra.get("text_boxes") else None,
        str(extra.get("noun") or ""),
        tuple(map(str, attributes)) if isinstance(attributes, list) else (),
    )


def _fits(entry: Entry, where: Mapping[str, str | int]) -> bool:
    fields = entry.model_dump()
    return all(str(v) in entry.image if k == "under" else fields.get(k) == v for k, v in where.items())
