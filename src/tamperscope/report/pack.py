"""Evidence packs: one file with reports, maps and a manifest of hashes, signed with Ed25519 (RFC 8032).

A pack is a ZIP file. `manifest.json` names every other file with its size and SHA-256; `manifest.sig` holds a signature
of the manifest's bytes and the public key that checks it. Packs are read in memory, never unpacked to disk.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

import tamperscope
from tamperscope.errors import DecodeError, InputError
from tamperscope.files import replacing

KIND = "tamperscope-pack/1"
MANIFEST, SIGNATURE, README = "manifest.json", "manifest.sig", "README.txt"
EPOCH = (1980, 1, 1, 0, 0, 0)
MAX_FILES, MAX_BYTES, MAX_MANIFEST = 200_000, 64 * 2**30, 2**28
# What reading a damaged archive raises; a RuntimeError asks for a password, or says that a manifest is nested too deep.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError)
_WORDS = """This pack holds reports of image forensics and what they rest on.

manifest.json names every file with its SHA-256; manifest.sig signs the bytes of manifest.json (Ed25519).
Check all of it with:   tamperscope report verify PACK.zip --fingerprint FINGERPRINT
The fingerprint is the SHA-256 of the signer's public key; ask the signer for it by another way than this pack.
By hand: sha256sum each file and compare; the public key in manifest.sig is the 32 raw bytes, hexadecimal.
"""


def new_key(path: Path) -> str:
    """Make a private key, readable by its owner alone, and return the fingerprint of its public half.

    Raises:
        InputError: There is a file of that name.
        OSError: The folder cannot be written to.
    """
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise InputError(f"expected a new name for the key, found a file at '{path}'") from error
    path.write_bytes(data)
    return fingerprint(public_bytes(key))


def load_key(path: Path) -> Ed25519PrivateKey:
    """Return a private key.

    Raises:
        InputError: The file holds none of Ed25519.
        OSError: It cannot be read.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"'{path}': expected a private key in PEM without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"'{path}': expected a key of Ed25519, found {type(key).__name__}")
    return key


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the 32 bytes of a key's public half."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(public: bytes) -> str:
    """Return the SHA-256 of a public key, hexadecimal."""
    return hashlib.sha256(public).hexdigest()


class Pack:
    """Writes a pack; the file takes its name when the block ends well."""

    def __init__(self, path: Path, title: str, key: Ed25519PrivateKey) -> None:
        """Begin a pack.

        Args:
            path: Of the finished file.
            title: What the pack is about.
            key: Signs it.
        """
        self._replacing = replacing(path)
        self._key = key
        self._title = title
        self._files: list[dict[str, Any]] = []
        self._pictures: list[dict[str, Any]] = []
        self._zip: zipfile.ZipFile

    def __enter__(self) -> Pack:
        """Open the file."""
        self._zip = zipfile.ZipFile(self._replacing.__enter__(), "w", zipfile.ZIP_DEFLATED, strict_timestamps=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sign and close; after an error, leave nothing."""
        with self._zip:
            if kind is None:
                self._finish()
        self._replacing.__exit__(kind, error, trace)

    def add(self, told: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Add a picture: what the manifest tells of it, and its files by name.

        Args:
            told: JSON-ready, such as name, SHA-256 and verdict of the picture, and notes on it.
            files: Such as `report.html`, `report.json`, `maps/ela.png`.

        Raises:
            InputError: A name leads out of the pack.
        """
        folder = f"pictures/{len(self._pictures) + 1:04d}"
        for name, data in files.items():
            self._write(f"{folder}/{name}", data)
        self._pictures.append({"folder": folder, **told})

    def _write(self, name: str, data: bytes) -> None:
        _check(name)
        self._put(name, data)
        self._files.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})

    def _put(self, name: str, data: bytes) -> None:
        # Equal content gives equal packs, so nothing of the clock or the machine goes into the archive's own fields.
        entry = zipfile.ZipInfo(name, EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        self._zip.writestr(entry, data)

    def _finish(self) -> None:
        self._write(README, _WORDS.encode())
        manifest = {
            "kind": KIND,
            "title": self._title,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "tool": f"tamperscope {tamperscope.__version__}",
            "pictures": self._pictures,
            "files": self._files,
        }
        data = json.dumps(manifest, indent=1, ensure_ascii=False).encode("utf-8")
        signed = {"algorithm": "Ed25519", "public_key": public_bytes(self._key).hex()}
        self._put(MANIFEST, data)
        self._put(SIGNATURE, json.dumps(signed | {"signature": self._key.sign(data).hex()}, indent=1).encode())


def _check(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name or "\0" in name:
        raise InputError(f"expected a plain name inside the pack, found {name!r}")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of a pack found.

    Attributes:
        title: Of the pack.
        created: When, as the pack itself says.
        fingerprint: SHA-256 of the key that signed it.
        trusted: Whether that is the one that was expected; None where none was named.
        pictures: What the manifest tells of each picture.
        faults: Everything that is not as signed; none means that the pack is whole.
    """

    title: str = ""
    created: str = ""
    fingerprint: str = ""
    trusted: bool | None = None
    pictures: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether it is whole, and of the expected signer where one was named."""
        return not self.faults and self.trusted is not False


def verify(path: Path, expected: str = "") -> Verified:
    """Check signature and hashes of a pack.

    Args:
        path: The pack.
        expected: Fingerprint of the signer, or empty.

    Raises:
        DecodeError: It is no pack.
        OSError: It cannot be read.
    """
    with _opened(path) as archive:
        try:
            data = archive.read(MANIFEST)
            manifest, signed = json.loads(data), json.loads(archive.read(SIGNATURE))
            public, signature = (bytes.fromhex(signed[name]) for name in ("public_key", "signature"))
            if manifest["kind"] != KIND:
                raise DecodeError(f"expected a pack of kind {KIND}, found {str(manifest['kind'])[:40]!r}")
            files = {str(f["name"]): (int(f["bytes"]), str(f["sha256"])) for f in manifest["files"]}
            told = [picture for picture in manifest.get("pictures", []) if isinstance(picture, dict)]
            title, created = str(manifest.get("title", "")), str(manifest.get("created", ""))
        except (KeyError, TypeError, AttributeError, OverflowError, *_DAMAGE) as error:
            raise DecodeError(f"expected an evidence pack, found none: {type(error).__name__}: {error}") from error
        faults = list(_faults(archive, files))
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        faults.insert(0, "the signature is not that of the manifest")
    mark = fingerprint(public)
    trusted = mark == expected.strip().lower() if expected else None
    return Verified(title, created, mark, trusted, told, faults)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            large = any(e.file_size > MAX_MANIFEST for e in entries if e.filename in (MANIFEST, SIGNATURE))
            if large or len(entries) > MAX_FILES or sum(e.file_size for e in entries) > MAX_BYTES:
                raise DecodeError("the pack has more or larger files than may be read")
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error) as error:
        raise DecodeError(f"expected a ZIP file: {error}") from error


def _faults(archive: zipfile.ZipFile, files: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    names = Counter(entry.filename for entry in archive.infolist())
    for name in sorted(name for name, count in names.items() if count > 1):
        yield f"{name}: is there more than once"
    for name in sorted(names.keys() - files.keys() - {MANIFEST, SIGNATURE}):
        yield f"{name}: is not in the manifest"
    for name, (size, sha256) in sorted(files.items()):
        if name not in names:
            yield f"{name}: is missing"
        elif _digest(archive, name, size) != sha256:
            yield f"{name}: is not as it was signed"


def _digest(archive: zipfile.ZipFile, name: str, size: int) -> str:
    """Return the SHA-256 of a file of an archive; of one that is longer than stated or damaged, nothing."""
    state, read = hashlib.sha256(), 0
    try:
        with archive.open(name) as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                read += len(chunk)
                if read > size:
                    return ""
                state.update(chunk)
    except _DAMAGE:
        return ""
    return state.hexdigest()
