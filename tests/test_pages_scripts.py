"""Scripts about pages: recipes that load for every set, and edits by other hands that stay in their box."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import documents
import domains
import other_pages

from tamperscope.data.manifest import Entry
from tamperscope.forging import recipe as forging
from typed_page import typed


def test_every_set_has_a_recipe() -> None:
    for counts in documents.COUNTS.values():
        assert set(counts) == set(documents.SETS)
    for changes in documents.SETS.values():
        assert "retype" in forging.load("document", changes).operations
    for stated, change, count, _ in domains.DOMAINS.values():
        assert forging.load(stated, change).operations
        assert count


def test_scans_onto_which_something_was_typed_are_no_untouched_pages() -> None:
    folder = f"data/{documents.PAGES}images"
    found = [documents.untouched(Entry(image=f"{folder}/{name}.jpg")) for name in ("005", *documents.OVERLAID)]
    assert found == [True] + [False] * len(documents.OVERLAID)
    assert not documents.untouched(Entry(image="data/train/people/images/005.jpg"))


@pytest.mark.parametrize("edit", other_pages.EDITS)
def test_other_hands_change_a_word_and_nothing_else(edit: str, tmp_path: Path) -> None:
    page = typed()
    with (tmp_path / "lines.csv").open("w", newline="") as stream:
        for (x0, y0, x1, y1), text in zip(page.boxes, page.texts, strict=True):
            csv.writer(stream).writerow([x0, y0, x1, y0, x1, y1, x0, y1, text])
    lines = other_pages.lines(tmp_path / "lines.csv", 1.0)
    assert 0 < len(lines) <= len(page.boxes)
    rng, tried = np.random.default_rng(3), 0
    for line in lines[20:40]:
        box = other_pages.part_of(line, rng)
        made = other_pages.changed(page.rgb, box, lines, edit, rng)
        if made is None:
            continue
        tried += 1
        x0, y0, x1, y1 = box
        outside = (made != page.rgb).any(2)
        assert outside[y0:y1, x0:x1].any()
        outside[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = False
        assert not outside.any()
    assert tried >= 5
