"""Reading a published checkpoint that came from anywhere: tensors and nothing else, or an error that says what it is.

Nothing that a file names is imported or called. Of a pickle torch's own reader takes tensors and plain values; a few
harmless names that trainings leave beside the weights, such as their arguments, become empty stand-ins.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tamperscope.errors import InputError

MAX_BYTES = 4 << 30
"""Of a file, and of what its tensors claim to be."""
MAX_TENSORS, MAX_NAME = 20_000, 200
ROOTS = ("state_dict", "model_state_dict", "model", "network", "net", "params", "weights")
"""Under which of these a file may keep its weights; the first that holds some is taken."""
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
"""What wrappers put before every name."""
_DEPTH = 4
_NAME = re.compile(r"[A-Za-z0-9_.\-]+")
_FOREIGN = re.compile(r"GLOBAL ([^\s,]+)")
# What a file begins with, and what it then is.
_KINDS = (
    (b"PK\x03\x04", "zip"),
    (b"\x80", "pickle"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with `git lfs pull`"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"<", "a page of the web; download the file itself"),
)
# Trainings leave them beside the weights; nothing reads them here.
_HARMLESS = {
    "argparse": ("Namespace",),
    "numpy": ("dtype", "ndarray"),
    "numpy.core.multiarray": ("scalar", "_reconstruct"),
    "numpy._core.multiarray": ("scalar", "_reconstruct"),
    "yacs.config": ("CfgNode",),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was read.

    Attributes:
        weights: Tensors by name, as they are called in the file but for what wrappers put before all names.
        sha256: Of the file.
        name: Of the file, without its folder.
    """

    weights: dict[str, Tensor]
    sha256: str
    name: str


def read(path: str | Path, roots: Sequence[str] = ()) -> Checkpoint:
    """Return the weights of a safetensors file, or of what `torch.save` wrote; nothing in the file is run.

    Args:
        path: Of the file.
        roots: Names under which its weights may be kept, beside `ROOTS` and before them.

    Raises:
        InputError: There is no such file, it is none of weights, it holds anything but tensors and plain values, is too
            large, or is broken.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"'{path}': expected a file of weights, found a folder or a device")
        with path.open("rb") as stream:
            begin = stream.read(64)
    except OSError as error:
        raise InputError(f"'{path}': expected a file of weights, found none: {error}") from error
    if size > MAX_BYTES:
        raise InputError(f"'{path}': expected at most {MAX_BYTES} bytes, found {size}; keep its weights alone")
    held = _held(path, begin, size)
    found = _tensors(path, held, (*roots, *ROOTS))
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return Checkpoint(found, digest.hexdigest(), path.name)


def _held(path: Path, begin: bytes, size: int) -> Any:
    """Return what a file holds, by what it begins with, whatever it is called."""
    kind = next((kind for head, kind in _KINDS if begin.startswith(head)), "")
    if kind == "zip":
        _check_zip(path)
        return _unpickled(path, True)
    if kind == "pickle":
        return _unpickled(path, False)
    if not kind and len(begin) > 8 and begin[8:9] == b"{":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise InputError(f"'{path}': expected a whole safetensors file, found a broken one: {error}") from error
    found = kind or ("an empty file" if not size else "something else")
    raise InputError(f"'{path}': expected weights as safetensors or as `torch.save` writes them, found {found}")


def _check_zip(path: Path) -> None:
    """Refuse archives that torch does not write, and those that would unpack to more than they may."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"'{path}': expected a whole file of weights, found a broken archive: {error}") from error
    names = [entry.filename.rpartition("/")[2] for entry in entries]
    if "data.pkl" not in names:
        raise InputError(f"'{path}': expected weights, found an archive of other files; unpack it and give the weights")
    if "constants.pkl" in names:
        raise InputError(f"'{path}': expected weights, found a TorchScript program, which is code; save its weights")
    if len(entries) > 2 * MAX_TENSORS or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise InputError(f"'{path}': expected at most {MAX_BYTES} bytes in {2 * MAX_TENSORS} parts, found more")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InputError(f"'{path}': expected parts as `torch.save` stores them, found compressed ones")


def _unpickled(path: Path, mapped: bool) -> Any:
    """Return what `torch.save` wrote; torch's reader refuses every name that it does not know."""
    try:
        with torch.serialization.safe_globals(list(_stand_ins())), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        named = _FOREIGN.search(str(error))
        if named is None:
            raise InputError(f"'{path}': expected tensors and plain values, found a pickle of others") from error
        raise InputError(
            f"'{path}': expected tensors and plain values, found '{ascii(named[1])[1:-1][:100]}', which is code or an "
            "object; nothing of it was run. Only where you trust its source, save the weights alone with the system's "
            "own code and give that file"
        ) from error
    except Exception as error:  # Whatever torch makes of a broken file.
        line = str(error).partition("\n")[0][:200]
        raise InputError(f"'{path}': expected a whole file of weights, found a broken one: {line}") from error


class _Empty:
    """Stands for what is not read: takes any arguments, state or items, and keeps none."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Return one, whatever it is made of."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Take no state."""


def _stand_ins() -> Iterator[Any]:
    for module, names in _HARMLESS.items():
        for name in names:
            yield type(name, (_Empty,), {"__module__": module, "__qualname__": name})


def _tensors(path: Path, held: Any, roots: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors of a file, checked, without what wrappers put before all names."""
    found = _state(held, roots)
    if not found:
        seen = f"'{type(held).__name__}'" if not isinstance(held, Mapping) else f"{_listed(held)} alone"
        raise InputError(f"'{path}': expected tensors by name, also under {', '.join(roots)}, found {seen}")
    if len(found) > MAX_TENSORS:
        raise InputError(f"'{path}': expected at most {MAX_TENSORS} tensors, found {len(found)}")
    claimed = 0
    for name, value in found.items():
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise InputError(f"'{path}': expected names of letters, digits and points, found {ascii(name)[:100]}")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise InputError(f"'{path}': {name}: expected plain numbers, found a sparse, quantized or empty tensor")
        claimed += value.numel() * value.element_size()
    if claimed > MAX_BYTES:
        raise InputError(f"'{path}': expected tensors of at most {MAX_BYTES} bytes, found claims of {claimed}")
    for name, value in found.items():
        if value.is_complex() or (value.is_floating_point() and not value.isfinite().all()):
            raise InputError(f"'{path}': {name}: expected finite numbers, found others; the file is broken")
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in found)), ""):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _state(held: Any, roots: Sequence[str], depth: int = 0) -> dict[str, Tensor]:
    """Return the tensors of the first dictionary that has some: of `held` itself, or under one of the roots."""
    if not isinstance(held, Mapping) or depth > _DEPTH:
        return {}
    own = {k: v.detach() for k, v in held.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if own:
        return own
    return next((found for root in roots if (found := _state(held.get(root), roots, depth + 1))), {})


def _listed(held: Mapping[Any, Any]) -> str:
    names = [ascii(key)[:40] for key in list(held)[:5]]
    return ", ".join(names) or "nothing"
