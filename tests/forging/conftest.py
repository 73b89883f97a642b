"""A small folder of photographs with groups, splits, an object, a generated picture and a broken file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamperscope.data import masks
from tamperscope.forging import recipe as recipes
from tamperscope.forging.pool import Pool
from tamperscope.forging.recipe import Recipe

SIZE = (120, 160)


@pytest.fixture(scope="session")
def photos(
    tmp_path_factory: pytest.TempPathFactory, photo: Callable[[str], np.ndarray], encode: Callable[..., bytes]
) -> Path:
    """Folder with a manifest: two pictures of each group a, b, c in `train`, d in `dev`, one generated, one broken."""
    folder = tmp_path_factory.mktemp("photos")
    lines = []
    places = {"a": ("astronaut", 40), "b": ("coffee", 60), "c": ("chelsea", 20), "d": ("coffee", 200)}
    for group, (name, top) in places.items():
        for number in range(2 if group != "d" else 1):
            left = 30 + 90 * number
            rgb = photo(name)[top : top + SIZE[0], left : left + SIZE[1]]
            image = f"{group}{number}.jpg"
            (folder / image).write_bytes(encode(rgb, "JPEG", quality=90))
            lines.append({"image": image, "group": group, "split": "dev" if group == "d" else "train", "label": 0})
    outline = np.zeros(SIZE, np.bool_)
    outline[30:80, 50:100] = True
    (folder / "a0_object.png").write_bytes(masks.png(outline))
    lines[0] |= {"object_mask": "a0_object.png", "noun": "a person", "attributes": ["old"]}
    (folder / "made.jpg").write_bytes(encode(photo("chelsea")[:120, :160], "JPEG"))
    lines.append({"image": "made.jpg", "label": 1, "split": "train"})
    (folder / "broken.jpg").write_bytes((folder / "a0.jpg").read_bytes()[:300])
    lines.append({"image": "broken.jpg", "group": "e", "split": "train", "label": 0})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def pool(photos: Path) -> Pool:
    """The photographs of `train` that can be opened."""
    whole = Pool.of(photos, {"split": "train"})
    return Pool(whole.root, [photo for photo in whole.photos if photo.id != "broken.jpg"])


@pytest.fixture(scope="session")
def quick() -> Recipe:
    """A recipe whose operations take milliseconds."""
    return recipes.Recipe(
        title="Quick",
        operations={"splice": 2, "copy_move": 1, "removal": 1},
        ranges={"removal": {"fill": "telea"}, "splice": {"share": [0.03, 0.2]}},
        steps=(1, 2),
        deliveries={"": 1, "jpeg:quality=85..95": 2},
    )


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, str]]:
    """Return the SHA-256 of every file of a folder by its relative path."""

    def _tree(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    return _tree
