"""Crops of faces: what is cut, which label and mask it gets, what is told of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from typer.testing import CliRunner

from tamperscope import media
from tamperscope.cli import app
from tamperscope.data import masks
from tamperscope.data.manifest import Entry, Manifest, write

HERE = Path(__file__).parent


def pictures(folder: Path) -> Path:
    """The astronaut untouched, forged in her face, forged far from it; a cat; a file that is none."""
    rgb = media.open(HERE / "astronaut.png").sample.rgb
    folder.mkdir()
    for name, picture in (("person", rgb), ("cat", media.open(HERE / "chelsea.png").sample.rgb)):
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    (folder / "broken.png").write_bytes(b"no picture")
    scale = rgb.shape[0] / 512
    for name, box in (("face", (60, 180, 175, 275)), ("corner", (460, 512, 0, 60))):
        mask = np.zeros(rgb.shape[:2], bool)
        top, bottom, left, right = (round(n * scale) for n in box)
        mask[top:bottom, left:right] = True
        (folder / f"{name}.png").write_bytes(masks.png(mask))
    forged = [
        Entry(image="person.png", mask=f"{name}.png", label=1, group="g", video="v") for name in ("face", "corner")
    ]
    more = [Entry(image=f"{name}.png", label=0, group="g") for name in ("person", "cat", "broken")]
    write(folder / "manifest.jsonl", [*forged, *more])
    return folder / "manifest.jsonl"


def test_each_face_has_the_label_of_its_own_part(tmp_path: Path) -> None:
    out = tmp_path / "faces"
    told = CliRunner().invoke(app, ["data", "faces", str(pictures(tmp_path / "in")), "--out", str(out), "--side", "96"])
    assert told.exit_code == 1
    assert "broken.png" in told.stderr
    made = list(Manifest(out / "manifest.jsonl"))
    by_source = {(entry.extra["of"], entry.label) for entry in made}
    assert ("person.png", 1) in by_source, "forged in the face"
    assert [entry.label for entry in made if entry.extra["of"] == "person.png"].count(0) >= 2
    first = made[0]
    assert first.group == "g"
    assert first.extra["video"] == "v"
    sample = Manifest(out / "manifest.jsonl").open(first)
    assert sample.size == (96, 96)
    assert sample.mask is not None
    assert sample.mask[30:66, 30:66].mean() > 0.8
    assert json.loads((out / "manifest.jsonl").read_text().splitlines()[0])["face"]
    assert "4 pictures" in told.stdout


def test_pictures_without_a_face_are_no_success(tmp_path: Path) -> None:
    listed = pictures(tmp_path / "in")
    write(listed, [Entry(image="cat.png", label=0)])
    told = CliRunner().invoke(app, ["data", "faces", str(listed), "--out", str(tmp_path / "out")])
    assert told.exit_code == 1
    assert "no face was found" in told.stderr
    for other in ("in", "none.jsonl"):
        told = CliRunner().invoke(app, ["data", "faces", str(tmp_path / other), "--out", str(tmp_path / "out")])
        assert told.exit_code == 1
        assert "expected a manifest, found no file" in told.stderr
