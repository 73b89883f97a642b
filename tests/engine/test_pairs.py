"""Forgeries go with their twins: one after the other, augmented and cut alike, apart by nothing but the edit."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import png

from tamperscope.engine.canvas import Canvas
from tamperscope.engine.recipe import Data, Recipe
from tamperscope.engine.sources import build
from tamperscope.engine.stream import Preparation, Stream
from tamperscope.engine.train import train
from tamperscope.errors import InputError
from tamperscope.ops import augment

LOUD = {"flip:axis=horizontal": 0.5, "gaussian_noise:sigma=1..8": 0.7, "brightness:shift=-30..30": 0.5}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five forgeries, 20 grey levels brighter in a square, with their twins, and one that names none."""
    folder = tmp_path_factory.mktemp("pairs")
    lines: list[dict[str, Any]] = []
    for number in range(6):
        rgb = np.random.default_rng(number).integers(60, 180, (50, 64, 3), dtype=np.uint8)
        mask = np.zeros((50, 64), np.uint8)
        mask[10:30, 20:44] = 255
        forged = np.where(mask[..., None] > 0, rgb + 20, rgb).astype(np.uint8)
        files = {"forged": forged, "twin": rgb, "mask": mask}
        for name, array in files.items():
            (folder / f"{name}{number}.png").write_bytes(png(array))
        twin = {"twin": f"twin{number}.png"} if number < 5 else {}
        lines.append({"image": f"forged{number}.png", "mask": f"mask{number}.png", "label": 1, "split": "train"} | twin)
        lines.append({"image": f"twin{number}.png", "label": 0, "split": "train"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def stream(path: Path, chances: dict[str, float], mirror: float = 0.0, workers: int = 0) -> Stream:
    made = build([Data(manifest=str(path))], [0], 3, True, paired=True)
    prepare = Preparation(augment.parse(chances), augment.Window(32, 0.5), seed=3, mirror=mirror, paired=True)
    return Stream(made, [len(source.items()) for source in made], prepare, 4, seed=3, workers=workers)


def pairs(found: Stream, steps: int) -> list[tuple[Canvas, Canvas]]:
    canvases = [canvas for step in islice(found.steps(), steps) for canvas in step]
    return list(zip(canvases[::2], canvases[1::2], strict=True))


def test_each_forgery_is_followed_by_its_twin_and_what_has_none_is_left_out(pictures: Path) -> None:
    found = pairs(stream(pictures, {}), 5)
    assert all(twin.id == forged.id.replace("forged", "twin") for forged, twin in found)
    assert sorted(forged.id for forged, _ in found[:5]) == [f"forged{i}.png" for i in range(5)]
    assert {twin.label for _, twin in found} == {0}


@pytest.mark.parametrize("mirror", [0.0, 0.5])
def test_nothing_but_the_edit_tells_them_apart(pictures: Path, mirror: float) -> None:
    """Noise and flips are drawn once for both; shifts of brightness may clip, and noise is rounded."""
    found = pairs(stream(pictures, LOUD, mirror), 20)
    seen = []
    for forged, twin in found:
        assert forged.mask is not None
        apart = forged.image.astype(int) - twin.image
        assert not apart[~forged.mask].any()
        if forged.mask.any():
            assert abs(apart[forged.mask].mean() - 20) < 1
        assert forged.label == int(forged.mask.any())
        np.testing.assert_array_equal(forged.valid, twin.valid)
        seen.append(twin.image.tobytes())
    assert len(set(seen)) == len(seen), "each is drawn anew"


def test_workers_change_nothing(pictures: Path) -> None:
    one, two = (pairs(stream(pictures, LOUD, 0.5, workers), 3) for workers in (0, 2))
    for first, second in zip(one, two, strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a.image, b.image)


def test_a_manifest_without_twins_and_what_cannot_be_paired_is_refused(pictures: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "manifest.jsonl"
    lonely.write_text(pictures.read_text().replace('"twin"', '"other"'))
    with pytest.raises(InputError, match="whose `twin`"):
        build([Data(manifest=str(lonely))], [0], 3, True, paired=True)[0].items()
    stated: dict[str, Any] = {
        "title": "Pairs",
        "network": {"name": "npr"},
        "train_on": [{"manifest": str(pictures)}],
        "data": {"side": 32, "paired": True},
        "batch": 2,
        "steps": 1,
    }
    unpaired = {"data": {"side": 32, "swap": 0.5}}
    with pytest.raises(InputError, match=r"data\.swap"):
        train(Recipe.model_validate(stated | unpaired), tmp_path / "out")
    for wrong in ({"batch": 3}, {"data": stated["data"] | {"augment_pristine": {"jpeg:quality=90": 1.0}}}):
        with pytest.raises(InputError, match=r"data\.paired"):
            train(Recipe.model_validate(stated | wrong), tmp_path / "out")
    assert train(Recipe.model_validate(stated), tmp_path / "run").progress.step == 1
