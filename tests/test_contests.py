"""The comparisons of `scripts/contests.py`: what they name exists, and parts of the photographs never meet."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import comparison
import contests
import measured
import pages

from tamperscope.forging import recipe as forging
from tamperscope.networks import catalog

every = pytest.mark.parametrize("domain", contests.CONTESTS)


@every
def test_systems_and_recipes_exist(domain: str) -> None:
    contest = contests.CONTESTS[domain]
    assert len(set(contest.systems)) == len(contest.systems)
    for system in contest.systems:
        run = comparison.stated(contest, system, 0, Path("pictures.jsonl"))
        network = catalog.build(run.network.name, **run.network.settings)
        assert contest.side % network.multiple == 0, system
        assert run.steps == contest.steps
    for stated, change, count in (contest.train, *contest.held.values()):
        forging.load(stated, change)
        assert count
    assert contest.titles.keys() == contest.held.keys()


@every
def test_about_the_share_that_is_asked_for_is_held_out(domain: str) -> None:
    out_of = contests.CONTESTS[domain].out_of
    held = [contests.part(f"group {i}", out_of) == "held" for i in range(2000)]
    assert abs(sum(held) / len(held) - 1 / out_of) < 0.03


def test_a_page_has_the_numbers_of_the_rows() -> None:
    """Two groups, two seeds: F1 .5 and .7 in the mean, every forged picture above every pristine one."""
    rows = [
        [[0, 1, 0.9, 0.4 + s, 0.8], [0, 0, 0.2, None, None], [1, 1, 0.8, 0.6 + s, 0.9], [1, 0, 0.6, None, None]]
        for s in (0, 0.2)
    ]
    found = measured.summary(rows)
    assert found["pixel_f1"]["seeds"] == [0.5, 0.7]
    assert found["image_auc"]["mean"] == 1
    assert found["alarms"]["mean"] == 0.5
    assert (found["forged"], found["pristine"]) == (2, 2)
    page = pages.domain(contests.CONTESTS["documents"], {"held": "pages"}, {"unet": {"held": found}}, {})
    assert "| unet | 2 |" in page
    assert "0.600" in page
    assert all(len(line) <= 120 for line in page.splitlines() if not line.startswith("|"))
