"""The comparisons of `scripts/contests.py`: what they name exists, and parts of the photographs never meet."""

from __future__ import annotations

import json
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
    assert set(contest.own) <= set(contest.systems)
    for stated, change, count in (contest.train, *contest.own.values(), *contest.held.values()):
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
    assert "never sees these" not in page
    page = pages.domain(contests.CONTESTS["faces"], {"held": "faces"}, {"sbi": {"held": found}}, {})
    assert "`sbi` learns from other forgeries" in " ".join(page.split())
    assert all(len(line) <= 120 for line in page.splitlines() if not line.startswith("|"))


def test_the_page_across_domains_tells_what_is_the_wrong_way_round() -> None:
    aucs = {"manipulated": [0.9, 0.8], "generated": [0.2, 0.3], "faces": [0.44, 0.46], "documents": [0.5, 0.5]}
    found = {key: {"image_auc": {"mean": sum(seeds) / 2, "seeds": seeds}} for key, seeds in aucs.items()}
    page = pages.cross({"manipulated/unet": found}, 30)
    assert "| unet | manipulated | **0.850; 0.800–0.900** | 0.250; 0.200–0.300 |" in page
    assert "| 0.512 | generated 0.750 |" in page


def test_known_rows_across_domains_stay_when_others_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aucs = {key: {"image_auc": {"mean": 0.6, "seeds": [0.6]}} for key in contests.CONTESTS}
    known = {"generated/npr": aucs, "manipulated/unet": aucs}
    (tmp_path / "table.json").write_text(json.dumps(known))
    monkeypatch.setattr(
        "sys.argv", ["comparison.py", "cross", "--work", str(tmp_path), "--out", str(tmp_path / "table")]
    )
    comparison.main()
    assert list(json.loads((tmp_path / "table.json").read_text())) == ["manipulated/unet", "generated/npr"]
    assert "| npr | generated |" in (tmp_path / "table.md").read_text()
