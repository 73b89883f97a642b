"""Parts by group: what is together stays so, shares are met, pictures are found where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from tamperscope.cli.data import app
from tamperscope.data.manifest import Entry, Manifest, moved, write
from tamperscope.data.splitting import part_of, split
from tamperscope.errors import InvalidValueError

SHARES = {"train": 0.6, "val": 0.3}


def test_shares_are_met_and_what_is_left_is_in_no_part() -> None:
    found = [part_of(f"g{i}", SHARES, 3) for i in range(4000)]
    for name, share in (*SHARES.items(), (None, 0.1)):
        # Three standard deviations of a binomial draw.
        assert abs(found.count(name) / 4000 - share) < 3 * np.sqrt(share * (1 - share) / 4000)
    assert found != [part_of(f"g{i}", SHARES, 4) for i in range(4000)]


@given(st.text(), st.integers(0, 2**40))
def test_a_later_part_that_grows_leaves_the_earlier_alone(group: str, seed: int) -> None:
    before = part_of(group, SHARES, seed)
    after = part_of(group, SHARES | {"test": 0.1}, seed)
    assert after == (before or "test")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    entries = []
    for i in range(40):
        for kind in ("a", "b"):
            name = f"images/{i}{kind}.png"
            Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / name)
            entries.append(Entry(image=name, label=0, group=f"g{i}", split="train" if i < 30 else "dev", twin=name))
    write(folder / "manifest.jsonl", entries)
    return folder / "manifest.jsonl"


def test_groups_stay_together_and_pictures_open(listed: Path, tmp_path: Path) -> None:
    counts = split(Manifest(listed), tmp_path / "elsewhere" / "parts", {"train": 0.5, "val": 0.5}, 1)
    assert sum(counts.values()) == 80
    groups = []
    for name, count in counts.items():
        part = Manifest(tmp_path / "elsewhere" / "parts" / f"{name}.jsonl")
        entries = list(part)
        assert len(entries) == count > 0
        assert all(int(part.open(e).rgb[0, 0, 0]) == int(e.group[1:]) for e in entries)
        assert all(part.locate(e.extra["twin"]).samefile(part.locate(e.image)) for e in entries)
        groups.append({e.group for e in entries})
        assert 2 * len(groups[-1]) == count
    assert not groups[0] & groups[1]


def test_a_field_that_names_no_file_stays_as_it_is(listed: Path, tmp_path: Path) -> None:
    entry = Entry(image="images/0a.png", editor="a person", turn="images/1a.png", change=3)
    after = moved(entry, listed.parent, tmp_path / "elsewhere")
    assert (after.extra["editor"], after.extra["change"]) == ("a person", 3)
    assert (tmp_path / "elsewhere" / after.extra["turn"]).resolve() == (listed.parent / "images/1a.png").resolve()


@pytest.mark.parametrize("shares", [{}, {"a": 0.7, "b": 0.7}, {"a": -0.1}, {"../a": 0.5}])
def test_nonsense_is_refused(listed: Path, tmp_path: Path, shares: dict[str, float]) -> None:
    with pytest.raises(InvalidValueError, match="expected"):
        split(Manifest(listed), tmp_path / "parts", shares)


def test_the_command(listed: Path, tmp_path: Path) -> None:
    words = ["split", str(listed), "--out", str(tmp_path / "parts"), "--part", "train=0.8", "--part", "val=0.2"]
    done = CliRunner().invoke(app, [*words, "--of", "train"])
    assert done.exit_code == 0, done.output
    entries = [e for name in ("train", "val") for e in Manifest(tmp_path / "parts" / f"{name}.jsonl")]
    assert len(entries) == 60
    assert {e.split for e in entries} == {"train"}
    done = CliRunner().invoke(app, [*words[:5], "train"])
    assert done.exit_code == 1
    assert "NAME=SHARE" in done.output
