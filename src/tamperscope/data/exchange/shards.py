"""Webdataset shards: tar files in which picture, mask.png and json of one sample share a key."""

from __future__ import annotations

import glob
import io
import json
import re
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest
from tamperscope.data.sources.base import PICTURES
from tamperscope.errors import InputError
from tamperscope.files import replacing, write_atomic
from tamperscope.media import Limits
from tamperscope.settings import wrong

PER_SHARD = 1000
_KEY = re.compile(r"[\w.-]+(?:/[\w.-]+)*")


def write_shards(manifest: Manifest, path: Path, per_shard: int = PER_SHARD) -> int:
    """Write a manifest as shards of at most `per_shard` pictures, `NAME-000000.tar` and on; return the pictures.

    Keys are running numbers, since names may hold dots and blanks; the JSON keeps the entry's fields, with its path as
    `name`. Pictures go in byte for byte.

    Raises:
        InputError: A file of the manifest is missing or no mask, or there already are shards of that name.
    """
    stem = path.name.removesuffix(".tar")
    if any(path.parent.glob(f"{glob.escape(stem)}-[0-9]*.tar")):
        raise InputError(f"'{path}': expected no shards of that name, found some, which would mix; remove them first")
    entries = enumerate(manifest)
    total = 0
    for shard in range(10**6):
        batch = list(islice(entries, per_shard))
        if not batch and shard:
            break
        with replacing(path.parent / f"{stem}-{shard:06d}.tar") as part, tarfile.open(part, "w") as archive:
            for number, entry in batch:
                for suffix, data in _members(manifest, entry).items():
                    member = tarfile.TarInfo(f"{number:09d}{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        total += len(batch)
    return total


def _members(manifest: Manifest, entry: Entry) -> dict[str, bytes]:
    fields = entry.model_dump(exclude_defaults=True, exclude={"image", "mask", "object_mask"}) | {"name": entry.image}
    try:
        picture = manifest.locate(entry.image).read_bytes()
    except OSError as error:
        raise InputError(f"'{entry.image}': cannot be read: {error.strerror or error}") from error
    found = {PurePosixPath(entry.image).suffix.lower() or ".jpg": picture}
    if entry.mask is not None:
        found[".mask.png"] = masks.png(masks.read(manifest.locate(entry.mask)))
    return found | {".json": json.dumps(fields, ensure_ascii=False).encode()}


def read_shards(path: Path, folder: Path) -> Iterator[Entry]:
    """Yield the pictures of one shard, or of all shards of a folder, after writing them below `folder`.

    Only plain files with simple names are taken; everything else in an archive is ignored.

    Raises:
        InputError: There is no shard, it is no tar file, or a sample in it is broken.
    """
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not shards:
        raise InputError(f"'{path}': expected shards (*.tar), found none")
    for shard in shards:
        try:
            with tarfile.open(shard, "r:*") as archive:
                for key, members in _samples(archive):
                    yield _unpacked(shard.name.removesuffix(".tar"), key, members, folder)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(f"'{shard}': expected a whole tar file: {error}") from error


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the members of each sample by suffix; members of one sample follow one another."""
    current, members = "", dict[str, bytes]()
    for member in archive:
        name = member.name.removeprefix("./")
        if not member.isfile() or not _KEY.fullmatch(name) or ".." in name.split("/"):
            continue
        above, _, last = name.rpartition("/")
        stem, _, suffix = last.partition(".")
        if not stem:
            continue
        key = f"{above}/{stem}" if above else stem
        if key != current and members:
            yield current, members
            members = {}
        current = key
        Limits().check("max_file_bytes", member.size, f"{member.size:,} bytes in member {name}")
        stream = archive.extractfile(member)
        members[f".{suffix.lower()}"] = stream.read() if stream else b""
    if members:
        yield current, members


def _unpacked(shard: str, key: str, members: dict[str, bytes], folder: Path) -> Entry:
    """Write picture and mask of a sample; return its entry."""
    suffix = next((s for s in members if s in PICTURES), None)
    if suffix is None:
        raise InputError(f"shard {shard}, sample {key}: expected a picture, found {', '.join(members) or 'nothing'}")
    fields = _fields(members.get(".json", b"{}"), f"shard {shard}, sample {key}")
    image, mask = f"images/{shard}/{key}{suffix}", f"masks/{shard}/{key}.png"
    write_atomic(folder / image, members[suffix])
    if ".mask.png" in members:
        write_atomic(folder / mask, members[".mask.png"])
        fields["mask"] = mask
    if (label := _label(members.get(".cls"))) is not None:
        fields.setdefault("label", label)
    try:
        return Entry.model_validate({**fields, "image": image})
    except ValidationError as error:
        raise InputError(
            f"shard {shard}, sample {key}: expected fields of a manifest's line in its .json: {wrong(error)}; "
            "mend it and write the shard again"
        ) from error


def _fields(data: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: expected JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(fields).__name__}")
    # Paths of the machine that wrote the shard mean nothing here.
    return {name: value for name, value in fields.items() if name not in ("image", "mask", "object_mask")}


def _label(text: bytes | None) -> int | None:
    return int(text) if text is not None and text.strip() in (b"0", b"1") else None
