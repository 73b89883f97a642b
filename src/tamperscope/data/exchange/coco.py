"""COCO JSON: polygons and run lengths to and from masks.

Run lengths go down the columns and begin with a run of 0; a compressed string holds them in groups of 5 bits, from the
third run on as the difference from the run before the last (COCO API, maskApi).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamperscope.data import masks
from tamperscope.data.checking import look
from tamperscope.data.manifest import Entry, Manifest, relative
from tamperscope.errors import InputError, InvalidValueError, TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.media import Limits
from tamperscope.types import BoolArray


def rle_encode(mask: BoolArray) -> list[int]:
    """Return the run lengths of a (H, W) mask."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], edges, [mask.size]])
    runs = np.diff(ends)
    return [int(n) for n in (runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs)]


def rle_decode(counts: Sequence[int] | str | bytes, size: tuple[int, int]) -> BoolArray:
    """Return the (H, W) mask of run lengths, plain or compressed.

    Raises:
        InvalidValueError: They are negative or do not add up to the size.
    """
    runs = _unpacked(counts) if isinstance(counts, str | bytes) else list(counts)
    height, width = size
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise InvalidValueError(f"run lengths: expected a sum of {height} × {width}, found {sum(runs)} in {len(runs)}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _unpacked(packed: str | bytes) -> list[int]:
    data = packed.encode("latin-1", "replace") if isinstance(packed, str) else packed
    runs: list[int] = []
    value = shift = 0
    for byte in data:
        code = byte - 48
        if not 0 <= code < 64 or shift > 60:
            raise InvalidValueError(f"run lengths: expected a compressed string, found the byte {byte} in it")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def read_coco(path: Path, folder: Path) -> Iterator[Entry]:
    """Yield the pictures of a COCO file; what is annotated counts as forged, a picture without annotation as pristine.

    Masks are written as PNG below `folder`/masks, in a folder named for the file; pictures are looked for beside the
    file.

    Raises:
        InputError: The file is not COCO JSON, or an annotation in it is broken.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        pictures, annotations = list(document["images"]), defaultdict(list)
        for annotation in document.get("annotations", []):
            annotations[annotation["image_id"]].append(annotation)
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"'{path}': expected COCO JSON with images and annotations: {error!r}") from error
    for number, picture in enumerate(pictures, 1):
        try:
            drawn = _drawn(picture, annotations.pop(picture["id"], []))
            image = relative(path.parent / picture["file_name"], folder)
        except (KeyError, TypeError, ValueError, TamperscopeError) as error:
            raise InputError(f"'{path}', picture {number}: {error!r}") from error
        mask = f"masks/{path.stem}/{number:06d}.png"
        if drawn is not None:
            write_atomic(folder / mask, masks.png(drawn))
        more = {name: picture[name] for name in ("split", "domain", "group") if isinstance(picture.get(name), str)}
        yield Entry(image=image, mask=None if drawn is None else mask, label=int(drawn is not None), **more)


def _drawn(picture: dict[str, Any], annotations: list[dict[str, Any]]) -> BoolArray | None:
    """Return all annotations of a picture as one mask, None where there is none."""
    if not annotations:
        return None
    size = int(picture["height"]), int(picture["width"])
    if min(size) < 1:
        raise InvalidValueError(f"expected a height and width of at least 1, found {size}")
    Limits().check_size(size[1], size[0])
    mask = np.zeros(size, np.bool_)
    for annotation in annotations:
        shape = annotation["segmentation"]
        if isinstance(shape, dict):
            if tuple(shape["size"]) != size:
                raise InvalidValueError(f"expected run lengths of size {size}, found {shape['size']}")
            mask |= rle_decode(shape["counts"], size)
        else:
            for polygon in shape:
                mask |= masks.polygon(polygon, size)
    return mask


def write_coco(manifest: Manifest, path: Path) -> int:
    """Write a manifest as COCO JSON with one annotation, of category "forged", a forged picture; return their number.

    Picture names are relative to the file. Split, domain and group go along as fields of the picture.

    Raises:
        InputError: A picture is missing, or forged without a mask.
    """
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(manifest, 1):
        located = manifest.locate(entry.image)
        height, width = look(located).size
        more = {name: value for name in ("split", "domain", "group") if (value := getattr(entry, name))}
        name = relative(located, path.parent)
        pictures.append({"id": number, "file_name": name, "width": width, "height": height, **more})
        if entry.label != 0:
            if entry.mask is None:
                raise InputError(f"'{entry.image}': expected a mask, which COCO needs of a forged picture; found none")
            mask = masks.read(manifest.locate(entry.mask), size=(height, width))
            annotations.append(_annotation(len(annotations) + 1, number, mask))
    categories = [{"id": 1, "name": "forged"}]
    document = {"images": pictures, "annotations": annotations, "categories": categories}
    write_atomic(path, json.dumps(document, ensure_ascii=False).encode())
    return len(pictures)


def _annotation(number: int, picture: int, mask: BoolArray) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [0, 0, 0, 0]
    if len(rows):
        box = [int(n) for n in (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)]
    shape = {"size": list(mask.shape), "counts": rle_encode(mask)}
    own = {"id": number, "image_id": picture, "category_id": 1, "iscrowd": 1}
    return own | {"area": int(mask.sum()), "bbox": box, "segmentation": shape}
