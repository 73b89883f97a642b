"""The clips that forgeries are made of: frames of a pool that belong together, in the order of their numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from tamperscope import media
from tamperscope.data import manifest
from tamperscope.data.manifest import Entry
from tamperscope.errors import InputError, unknown_name
from tamperscope.files import write_atomic
from tamperscope.forging.making import Source, prepare
from tamperscope.forging.plan import Prepared
from tamperscope.forging.pool import Photo, Pool
from tamperscope.media import video
from tamperscope.ops.forge.delivery import Delivery
from tamperscope.ops.forge.video.clip import Clip

RngOf: TypeAlias = Callable[[], np.random.Generator]
_NUMBERED = re.compile(r"(.*?)(\d+)$")


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips to draw from.

    Attributes:
        pool: All of their frames; those of one clip share a group.
        keys: Their first frames, each standing for its clip.
        frames: Of each clip, in order, by the name of its first frame.
        fps: Frames a second of those whose manifest states them as `fps`, by the name of the first frame.
    """

    pool: Pool
    keys: Pool
    frames: Mapping[str, Sequence[Photo]]
    fps: Mapping[str, float]

    @classmethod
    def of(cls, source: str | Path, where: Mapping[str, str | int] | None = None) -> Clips:
        """Return the clips of a manifest, or of a folder of folders of frames.

        Frames of one clip are in one folder, share a `group` where the manifest states one, and have names that differ
        in the number at their end only. What is a single picture is left out.

        Args:
            source: Manifest or folder.
            where: Fields that an entry must have, as for `Pool.of`.

        Raises:
            InputError: There is no clip, or a manifest cannot be read.
        """
        pool = Pool.of(source, where)
        runs: dict[tuple[str, str], list[tuple[int, Photo]]] = defaultdict(list)
        for photo in pool.photos:
            path = PurePosixPath(photo.id)
            if numbered := _NUMBERED.match(path.stem):
                stated = "" if photo.group == photo.id else photo.group
                runs[f"{path.parent}/{numbered[1]}", stated].append((int(numbered[2]), photo))
        found = {}
        for (name, stated), frames in runs.items():
            if len(frames) > 1:
                frames.sort(key=lambda pair: (pair[0], pair[1].id))
                group = stated or name
                found[frames[0][1].id] = [replace(photo, group=group) for _, photo in frames]
        if not found:
            raise InputError(f"'{source}': expected clips, frames whose names end in a number; found none")
        whole = Pool(pool.root, [photo for frames in found.values() for photo in frames])
        return cls(whole, Pool(pool.root, [frames[0] for frames in found.values()]), found, _rates(Path(source), found))

    def get(self, name: str) -> Sequence[Photo]:
        """Return the frames of a clip by the name of its first frame.

        Raises:
            UnknownNameError: There is none.
        """
        if name not in self.frames:
            raise unknown_name("clip", name, list(self.frames)[:20])
        return self.frames[name]

    def open(self, wanted: Prepared, part: tuple[int, int], rng_of: RngOf, fps: float) -> tuple[Clip, list[Source]]:
        """Return frames of a clip, each prepared in the same way, and what they came from.

        Args:
            wanted: The clip, by its first frame, and how its frames are prepared.
            part: Number of the first frame, and of the one after the last.
            rng_of: Returns the generator of the preparation, a fresh one at each call.
            fps: Frames a second.

        Raises:
            InputError: A frame cannot be opened.
            InvalidValueError: Frames differ in size or are too small.
        """
        photos = self.get(wanted.photo)[slice(*part)]
        sources = [
            prepare(wanted.model_copy(update={"photo": p.id, "object": True}), self.pool, rng_of()) for p in photos
        ]
        outlines = [source.object for source in sources]
        objects = None
        if any(outline is not None for outline in outlines):
            blank = np.zeros(sources[0].sample.size, np.bool_)
            objects = tuple(blank if outline is None else outline for outline in outlines)
        name = f"{wanted.photo}#{part[0]}-{part[1]}"
        return Clip(tuple(source.sample for source in sources), objects, None, fps, name), sources


def _rates(source: Path, known: Container[str]) -> dict[str, float]:
    """Return the frames a second that a manifest states of clips, by the name of the first frame."""
    listed = source / "manifest.jsonl" if source.is_dir() else source
    if not listed.is_file():
        return {}
    stated = {entry.image: entry.extra.get("fps") for entry in manifest.read(listed) if entry.image in known}
    return {name: float(fps) for name, fps in stated.items() if isinstance(fps, int | float) and fps > 0}


def unpacked(source: str | Path, folder: Path, limits: media.Limits | None = None) -> Path:
    """Write the frames of a video file, or of those in a folder, as PNG files; return where their manifest is.

    What was written before is kept. Where there is no video file, nothing is written and `source` is returned.

    Args:
        source: A video file, or a folder.
        folder: Where to write; `manifest.jsonl` last.
        limits: Of each file.

    Raises:
        InputError: A file is damaged, over a limit, or PyAV is not installed (see `media.video.read`).
    """
    path, listed = Path(source), folder / "manifest.jsonl"
    files = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    files = [file for file in files if file.suffix.lower() in video.SUFFIXES]
    if not files or (path.is_dir() and (path / "manifest.jsonl").is_file()):
        return path
    if listed.is_file():
        return listed
    entries = []
    for number, file in enumerate(files):
        decoded = video.read(file, limits)
        group = file.name if path.is_file() else manifest.relative(file, path)
        for frame, rgb in enumerate(decoded.frames):
            name = f"{number:04d}/{frame:05d}.png"
            write_atomic(folder / name, Delivery().encode(rgb))
            entries.append(Entry.model_validate({"image": name, "label": 0, "group": group, "fps": decoded.fps}))
    manifest.write(listed, entries)
    return listed
