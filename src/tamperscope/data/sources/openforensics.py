"""OpenForensics: street pictures of many people in which a GAN replaced some of the faces.

Le et al., "OpenForensics: Large-Scale Challenging Dataset For Multi-Face Forgery Detection And Segmentation
In-The-Wild", ICCV 2021.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tamperscope.data.sources.base import Found, Source, Tree, stem
from tamperscope.data.sources.folders import left_out, split_of
from tamperscope.data.sources.listed import located
from tamperscope.data.sources.pairs import within
from tamperscope.errors import InputError

SOURCE = Source(
    title="OpenForensics",
    domain="manipulation",
    licence="CC BY 4.0",
    home="https://sites.google.com/view/ltnghia/research/openforensics",
    size="115 325 pictures with 334 136 faces",
    layout="Train_poly.json, Val_poly.json, Test-Dev_poly.json, Test-Challenge_poly.json (COCO's format, categories "
    "Real and Fake) and Images/Train, Images/Val, Images/Test-Dev, Images/Test-Challenge",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield the listed pictures: forged where a face is; `boxes` and `polygons` are of the forged faces."""
    seen = set()
    for path in tree.files("*_poly.json"):
        subset = stem(path).lower().removesuffix("_poly")
        for name, faces in _pictures(tree, path):
            image = located(tree, path, name) or located(tree, path, f"Images/{subset}/{name.rpartition('/')[2]}")
            if image is None:
                tree.note("missing", name, f"listed in {path}, but there is no such picture")
                continue
            seen.add(image)
            extra: dict[str, Any] = {"subset": subset}
            if faces:
                extra |= {"kind": "face_swap", "boxes": [_corners(face["bbox"]) for face in faces]}
                extra["polygons"] = [shape for face in faces for shape in _polygons(face)]
            yield Found(image, int(bool(faces)), split=split_of([subset]), extra=extra)
    images = within(tree, *(f"images/{part}" for part in ("train", "val", "test-dev", "test-challenge")))
    left_out(tree, (image for image in images if image not in seen), "no list names them")


def _corners(box: list[float]) -> list[int]:
    x, y, width, height = box
    return [round(x), round(y), round(x + width), round(y + height)]


def _polygons(face: dict[str, Any]) -> list[list[float]]:
    """Return outlines as x, y, x, y, …; none where the outline is packed as runs."""
    shapes = face.get("segmentation")
    return shapes if isinstance(shapes, list) else []


def _pictures(tree: Tree, path: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the name of each picture with the annotations of its forged faces."""
    document = tree.json(path)
    try:
        fake = {kind["id"] for kind in document["categories"] if "fake" in kind["name"].lower()}
        faces = defaultdict(list)
        for face in document["annotations"]:
            if face["category_id"] in fake:
                _corners(face["bbox"])
                faces[face["image_id"]].append(face)
        pictures = [(picture["file_name"], faces[picture["id"]]) for picture in document["images"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: expected COCO's images, categories and annotations with bbox: {error!r}") from error
    if not fake:
        raise InputError(f"{path}: expected a category named Fake, found none")
    yield from pictures
