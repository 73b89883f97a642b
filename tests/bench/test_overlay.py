"""The small pictures of a page show the right picture, map and outline."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tamperscope.bench import overlay
from tamperscope.bench.results import Worst
from tamperscope.bench.subjects import Panel
from tamperscope.data.manifest import Entry
from tamperscope.errors import InputError
from tamperscope.report import imaging
from tamperscope.types import Prediction, Sample

SIZE = (300, 600)


def decoded(data: bytes | None) -> np.ndarray:
    assert data is not None
    assert data.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def worst(image: str = "a.png", subject: str = "centre_blob") -> Worst:
    return Worst(test="t", subject=subject, image=image, label=1, metric="pixel_f1", value=0.0)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of a manifest that stays in memory."""
    rgb = np.zeros((*SIZE, 3), np.uint8)
    rgb[:, :300], rgb[:, 300:] = (200, 40, 10), (10, 40, 200)
    mask = np.zeros(SIZE, bool)
    mask[100:200, 400:500] = True
    held = {
        "a.png": Sample(rgb, mask, id="a.png"),
        "real.png": Sample(rgb, np.zeros(SIZE, bool), id="real.png"),
        "turned.png": Sample(rgb, mask, id="turned.png", meta={"orientation": 6}),
    }

    class Memory:
        def __init__(self, path: object) -> None:
            assert path == "m.jsonl"

        def __iter__(self):
            return iter(Entry(image=name) for name in held)

        def open(self, entry: Entry) -> Sample:
            return held[entry.image]

    monkeypatch.setattr(overlay, "Manifest", Memory)


@pytest.mark.usefixtures("samples")
def test_three_small_pictures() -> None:
    picture, heat, truth = (decoded(p) for p in overlay.panels(worst(), "m.jsonl", Panel(["random", "centre_blob"])))
    assert picture.shape == heat.shape == truth.shape == (160, 320, 3)
    assert tuple(picture[5, 5]) == (200, 40, 10)
    assert tuple(picture[5, -5]) == (10, 40, 200)
    assert (heat[0, 0] == picture[0, 0]).all(), "the blob is silent in the corner"
    changed = np.abs(heat.astype(int) - picture).sum(2)
    assert changed[70:90, 150:170].min() > 100, "and loud in the middle"
    line = np.argwhere((truth != picture).any(2)) * (300 / 160)
    assert line[:, 0].min() == pytest.approx(100, abs=6)
    assert line[:, 0].max() == pytest.approx(200, abs=6)
    assert line[:, 1].min() == pytest.approx(400, abs=6)
    assert line[:, 1].max() == pytest.approx(500, abs=6)
    assert (truth[80, 240] == picture[80, 240]).all(), "the inside stays visible"


@pytest.mark.usefixtures("samples")
def test_a_pristine_picture_has_no_outline() -> None:
    assert overlay.panels(worst("real.png"), "m.jsonl", Panel(["centre_blob"]))[2] is None


@pytest.mark.usefixtures("samples")
def test_a_subject_without_map_gives_none() -> None:
    class Mute(Panel):
        def predict(self, sample: Sample):
            yield Prediction("centre_blob", sample.size, 0.5)

    assert overlay.panels(worst(), "m.jsonl", Mute(["centre_blob"]))[1] is None


@pytest.mark.usefixtures("samples")
def test_pictures_stand_upright() -> None:
    turned = [decoded(p) for p in overlay.panels(worst("turned.png"), "m.jsonl", Panel(["centre_blob"]))]
    plain = [decoded(p) for p in overlay.panels(worst(), "m.jsonl", Panel(["centre_blob"]))]
    for one, other in zip(turned, plain, strict=True):
        assert one.shape == (320, 160, 3)
        assert np.abs(one.astype(int) - imaging.upright(other, 6)).mean() < 3


def test_a_tiny_forgery_keeps_its_outline() -> None:
    mask = np.zeros((2000, 2000), bool)
    mask[1000:1003, 500:503] = True
    small = imaging.shrink(mask.astype(np.uint8) * 255, overlay.SIDE) > 0
    assert (overlay.outlined(np.zeros((320, 320, 3), np.uint8), small) != 0).any()


@pytest.mark.usefixtures("samples")
def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"picture 'b\.png'"):
        overlay.panels(worst("b.png"), "m.jsonl", Panel(["random"]))
    with pytest.raises(InputError, match="subject 'fused', found random"):
        overlay.panels(worst(subject="fused"), "m.jsonl", Panel(["random"]))


def test_a_prepared_set_on_disk(tmp_path: Path) -> None:
    rgb = np.full((64, 96, 3), 90, np.uint8)
    mask = np.zeros((64, 96), np.uint8)
    mask[20:40, 30:60] = 255
    Image.fromarray(rgb).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "gt.png")
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"image": "a.png", "mask": "gt.png", "label": 1}\n', encoding="utf-8")
    picture, heat, truth = (decoded(p) for p in overlay.panels(worst(), manifest, Panel(["centre_blob"])))
    assert (picture == rgb).all()
    assert (heat[32, 48] != picture[32, 48]).any()
    changed = np.argwhere((truth != picture).any(2))
    assert (changed.min(0) >= [18, 28]).all()
    assert (changed.max(0) <= [41, 61]).all()
    assert len(changed) > 90
