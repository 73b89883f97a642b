"""Proposed regions: what a network marks becomes an outline or a weak label, and says who proposed it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from grey_network import made
from tamperscope.cli import app
from tamperscope.data import masks, proposing
from tamperscope.data.manifest import Entry, Manifest, write
from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.forging import recipe
from tamperscope.forging.run import forge
from tamperscope.inference.artifact import Artifact


def pictures(folder: Path) -> Path:
    """Dark pictures with two bright squares; one without, one all bright; and one whose truth is known."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        rgb = rng.integers(0, 60, (96, 128, 3), np.uint8)
        rgb[20:60, 30:80] += 180
        rgb[70:80, 100:110] += 180
        cv2.imwrite(str(folder / f"{number}.png"), rgb)
    cv2.imwrite(str(folder / "dark.png"), rng.integers(0, 60, (96, 128, 3), np.uint8))
    cv2.imwrite(str(folder / "bright.png"), rng.integers(190, 250, (96, 128, 3), np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "known.png").write_bytes(masks.png(np.eye(96, 128, dtype=bool)))
    listed = [Entry(image=f"{n}.png", label=n % 2, group=f"g{n}") for n in range(4)]
    listed += [Entry(image=f"{name}.png", label=1) for name in ("dark", "bright", "broken")]
    listed.append(Entry(image="0.png", label=1, mask="known.png", object_mask="known.png"))
    write(folder / "manifest.jsonl", listed)
    return folder / "manifest.jsonl"


@pytest.fixture
def network(tmp_path: Path) -> Artifact:
    return made(tmp_path / "grey")


def test_the_largest_part_becomes_the_outline_of_an_object(tmp_path: Path, network: Artifact) -> None:
    listed, out = Manifest(pictures(tmp_path / "in")), tmp_path / "out"
    found = proposing.propose(listed, listed, network, out)
    assert (found.regions, found.known) == (4, 1)
    assert {name: why[:23] for name, why in found.refused.items() if name != "broken.png"} == {
        "dark.png": "expected a region of 1%",
        "bright.png": "expected a region of 1%",
    }
    assert "broken.png" in found.refused
    made_of = Manifest(out / "manifest.jsonl")
    square = np.zeros((96, 128), bool)
    square[20:60, 30:80] = True
    for entry in list(made_of)[:4]:
        assert entry.mask is None, "an outline is no truth of tampering"
        assert entry.object_mask is not None
        marked = masks.read(out / entry.object_mask)
        assert (marked & square).sum() / (marked | square).sum() > 0.9
        assert entry.extra["proposed_by"] == f"grey {network.sha256[:12]}"
        assert made_of.open(entry).size == (96, 128)
    last = list(made_of)[-1]
    assert "proposed_by" not in last.extra, "what people drew stays"


def test_a_weak_label_is_of_forged_pictures_alone_and_of_all_parts(tmp_path: Path, network: Artifact) -> None:
    listed, out = Manifest(pictures(tmp_path / "in")), tmp_path / "out"
    found = proposing.propose(listed, listed, network, out, "mask")
    assert (found.regions, found.known) == (2, 3)
    for entry in Manifest(out / "manifest.jsonl"):
        assert (entry.mask is not None) == (entry.label == 1)
        if entry.label == 1 and "proposed_by" in entry.extra:
            sample = Manifest(out / "manifest.jsonl").open(entry)
            assert sample.mask is not None
            assert sample.mask[72:78, 102:108].mean() > 0.9
            assert sample.mask[25:55, 35:75].all()


def test_a_forge_takes_proposed_outlines(tmp_path: Path, network: Artifact) -> None:
    listed, out = Manifest(pictures(tmp_path / "in")), tmp_path / "out"
    proposing.propose(listed, listed.where(), network, out)
    wanted = recipe.load(
        "object_jitter", ("hosts={min_side: 32, objects: 1.0, recompressed: 0.0}", 'deliveries={"": 1}')
    )
    assert forge(str(out / "manifest.jsonl"), wanted, 3, 0, tmp_path / "forged", 1).made
    square = np.zeros((96, 128), bool)
    square[14:66, 24:86] = True
    forged = Manifest(tmp_path / "forged/manifest.jsonl")
    for entry in (entry for entry in forged if entry.label == 1):
        sample = forged.open(entry)
        assert sample.mask is not None
        assert (sample.mask & square).sum() > 0.8 * sample.mask.sum()


def test_the_command_tells_what_was_refused(tmp_path: Path, network: Artifact) -> None:
    path = pictures(tmp_path / "in")
    told = CliRunner().invoke(
        app, ["data", "propose", str(path), "--network", str(tmp_path / "grey"), "--out", str(tmp_path / "out")]
    )
    assert told.exit_code == 0
    assert "4 regions in" in told.stdout
    assert "bright.png: expected a region of 1% to 60%" in told.stderr
    wrong = CliRunner().invoke(
        app, ["data", "propose", str(path), "--network", str(tmp_path / "grey"), "--out", "x", "--as", "masks"]
    )
    assert wrong.exit_code != 0
    assert "did you mean 'mask'" in wrong.output


def test_shares_and_uses_are_checked(tmp_path: Path, network: Artifact) -> None:
    with pytest.raises(UnknownNameError):
        proposing.use("objects!")
    with pytest.raises(InvalidValueError, match="rise from 0 to 1"):
        proposing.propose(Manifest(tmp_path / "m.jsonl"), [], network, tmp_path / "out", shares=(0.6, 0.1))
