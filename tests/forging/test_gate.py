"""Each reason for which a forgery is turned away, brought about by an intervention on a good one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tamperscope.errors import InvalidValueError
from tamperscope.forging import gate, making
from tamperscope.forging.making import Made
from tamperscope.forging.plan import Plan, Prepared, Step
from tamperscope.forging.pool import Pool
from tamperscope.forging.recipe import Gate, Recipe
from tamperscope.types import Sample


@pytest.fixture(scope="module")
def good(pool: Pool) -> Made:
    step = Step(operation="splice", settings={"share": [0.1, 0.2]}, donor=Prepared(photo="c0.jpg"))
    return making.make(
        Plan(seed=1, index=0, attempt=0, host=Prepared(photo="b0.jpg"), steps=(step,), delivery="jpeg:quality=90"),
        pool,
    )


def verdict(made: Made, limits: Gate | None = None) -> str:
    limits = limits or Gate()
    return gate.reason(gate.measure(made, limits.level), limits)


def test_a_good_one_passes(good: Made) -> None:
    assert verdict(good) == ""
    found = gate.measure(good, 8)
    assert found.alike
    assert found.spill == 0
    assert found.area == pytest.approx((good.turns > 0).mean(), abs=1e-6)


def test_numbers_against_their_definitions(good: Made) -> None:
    found = gate.measure(good, 8)
    difference = np.abs(good.sample.rgb.astype(int) - good.twin.rgb.astype(int))
    changed, mask = difference.max(axis=2) > 8, good.turns > 0
    assert np.array_equal(gate.changes(good, 8), changed)
    assert found.agreement == pytest.approx((changed & mask).sum() / (changed | mask).sum(), abs=1e-4)
    assert found.change == pytest.approx(difference[mask].mean(), abs=1e-3)


def test_without_a_change_it_is_invisible(good: Made) -> None:
    assert verdict(replace(good, sample=replace(good.sample, rgb=good.twin.rgb))) == "invisible"
    faint = good.twin.rgb.astype(int) + (good.turns > 0)[..., None]
    made = replace(good, sample=replace(good.sample, rgb=np.clip(faint, 0, 255).astype(np.uint8)))
    assert verdict(made) == "invisible"
    assert verdict(made, Gate(level=0, change=0.5)) == ""


def test_with_a_mask_elsewhere_the_two_disagree(good: Made) -> None:
    far = np.zeros_like(good.turns)
    away = cv2.dilate((good.turns > 0).astype(np.uint8), np.ones((41, 41), np.uint8)) == 0
    far[away] = 1
    made = replace(good, turns=far)
    assert gate.measure(made, 8).agreement < 0.05
    assert verdict(made, Gate(change=0, area=(0, 1))) == "disagreement"
    assert verdict(good, Gate(agreement=(0.0, 0.2))) == "disagreement"


def test_too_small_and_too_large(good: Made) -> None:
    share = gate.measure(good, 8).area
    assert verdict(good, Gate(area=(share + 0.01, 1))) == "area"
    assert verdict(good, Gate(area=(0, share - 0.01))) == "area"


def test_a_bright_rim_is_a_halo(good: Made) -> None:
    mask = (good.turns > 0).astype(np.uint8)
    inner = cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0
    rgb = good.twin.rgb.copy()
    rgb[(mask > 0) & ~inner] = (255, 0, 255)
    rgb[inner] = good.sample.rgb[inner]
    before, after = gate.measure(good, 8), gate.measure(replace(good, sample=replace(good.sample, rgb=rgb)), 8)
    assert after.halo > 1.3 * before.halo
    limits = Gate(halo=(before.halo + after.halo) / 2)
    assert verdict(good, limits) == ""
    assert verdict(replace(good, sample=replace(good.sample, rgb=rgb)), limits) == "halo"


@pytest.mark.parametrize("far", [2, 3])
def test_a_change_beyond_the_feather_is_a_spill(good: Made, far: int) -> None:
    """Two pixels from the mask is allowed, three is not."""
    assert good.after.mask is not None
    distance = cv2.distanceTransform((~good.after.mask).astype(np.uint8), cv2.DIST_C, 3)
    y, x = np.argwhere(np.rint(distance) == far)[0]
    rgb = good.after.rgb.copy()
    rgb[y, x] ^= 255
    made = replace(good, after=replace(good.after, rgb=rgb))
    assert (verdict(made) == "spill") == (far == 3)
    anew = replace(made, edits=({**made.edits[0], "reencoded": True},))
    assert verdict(anew) == ""


def test_files_that_differ_in_form_betray_themselves(good: Made, encode: Callable[..., bytes]) -> None:
    def as_twin(data: bytes, sample: Sample) -> Made:
        return replace(good, twin_data=data, twin=sample)

    from tamperscope import media

    for data in (
        encode(good.twin.rgb, "JPEG", quality=91, subsampling="4:2:0"),
        encode(good.twin.rgb, "JPEG", quality=90, subsampling="4:4:4"),
        encode(good.twin.rgb, "JPEG", quality=90, subsampling="4:2:0", progressive=True),
        encode(good.twin.rgb, "PNG"),
        encode(good.twin.rgb[8:], "JPEG", quality=90, subsampling="4:2:0"),
    ):
        assert verdict(as_twin(data, media.open(data).sample)) == "format"
    png, webp = encode(good.sample.rgb), encode(good.twin.rgb, "WEBP", lossless=True)
    lossless = replace(good, data=png, sample=replace(good.sample, jpeg=None))
    assert verdict(replace(lossless, twin_data=webp, twin=media.open(webp).sample)) == "format"
    assert verdict(replace(lossless, twin_data=png, twin=replace(good.twin, jpeg=None))) == ""
    same = encode(good.twin.rgb, "JPEG", quality=90, subsampling="4:2:0")
    assert verdict(as_twin(same, media.open(same).sample)) == ""


def test_rejected_draws_are_counted_and_the_next_one_is_taken(pool: Pool, quick: Recipe) -> None:
    never = quick.model_copy(update={"gate": Gate(change=250), "tries": 3})
    outcome = gate.pick(never, pool, 0, 0)
    assert outcome.made is None
    assert outcome.rejected.total() == 3
    assert outcome.rejected["invisible"] >= 1
    first = gate.pick(quick, pool, 0, 0)
    assert first.made is not None
    assert first.measured is not None
    strict = quick.model_copy(update={"gate": Gate(change=first.measured.change + 0.5), "tries": 50})
    later = gate.pick(strict, pool, 0, 0)
    assert later.made is not None
    assert later.measured is not None
    assert later.measured.change > first.measured.change
    assert later.made.plan.attempt == later.rejected.total() > first.made.plan.attempt


def test_causes_are_counted_without_the_names_of_pictures(quick: Recipe) -> None:
    names, plan = iter(["a.jpg", "folder/b.jpg", "c.jpg"]), Any

    def make(plan: Any) -> Any:
        raise InvalidValueError(f"'{next(names)}': expected a whole face, found none")

    thrice = quick.model_copy(update={"tries": 3})
    found: gate.Outcome[Any, Any] = gate.first(thrice, lambda attempt: plan, make, lambda made, limits: (None, ""))  # type: ignore[arg-type, return-value]
    assert found.rejected == {"impossible": 3}
    assert found.causes == {"expected a whole face": 3}


def test_photographs_that_cannot_be_opened_cost_a_draw(photos: Path, quick: Recipe) -> None:
    only = Pool.of(photos, {"image": "broken.jpg"})
    removal = quick.model_copy(update={"operations": {"removal": 1.0}, "tries": 4})
    outcome = gate.pick(removal, only, 0, 0)
    assert outcome.made is None
    assert outcome.rejected == {"unreadable": 4}
    assert set(outcome.unreadable) == {"broken.jpg"}
    alone = quick.model_copy(update={"operations": {"splice": 1.0}, "tries": 4})
    assert gate.pick(alone, only, 0, 0).rejected == {"donor": 4}


def test_certainty_is_the_quality_score_of_soft_masks() -> None:
    """A disc blurred at its edge: sharper is surer, and the score is the one of a brute-force count."""
    rows, columns = np.mgrid[:160, :160]
    disc = (np.hypot(rows - 80, columns - 80) < 50).astype(np.float32)
    twin = Sample(np.full((160, 160, 3), 100, np.uint8))
    scores = []
    for sigma in (0, 3, 8, 20):
        soft = cv2.GaussianBlur(disc, (0, 0), sigma) if sigma else disc
        sample = Sample((twin.rgb + np.rint(16 * soft)[..., None]).astype(np.uint8))
        near = cv2.blur(np.abs(sample.rgb.astype(np.float32) - twin.rgb), (5, 5)).max(axis=2)
        true = (np.rint(near) > 15).sum() / (np.rint(near) > 1).sum()
        scores.append(gate.certainty(sample, twin, 8))
        assert scores[-1] == pytest.approx(true, abs=0.02)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.8
    assert scores[-1] < 0.1
    assert gate.certainty(twin, twin, 8) == 0.0


def test_an_edit_that_fades_away_is_uncertain(good: Made) -> None:
    rows, columns = np.mgrid[: good.twin.size[0], : good.twin.size[1]]
    centre = np.argwhere(good.turns > 0).mean(0)
    glow = 40 * np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 60**2)
    faded = np.clip(good.twin.rgb.astype(float) + glow[..., None], 0, 255).astype(np.uint8)
    made = replace(good, sample=replace(good.sample, rgb=faded))
    assert verdict(made, Gate(certainty=0.9, agreement=(0, 1), halo=99)) == "uncertain"
    assert verdict(good, Gate(certainty=0.5)) == ""


def test_the_gate_is_that_of_the_first_edit(pool: Pool, quick: Recipe) -> None:
    only = quick.model_copy(update={"operations": {"removal": 1}, "steps": (1, 1), "tries": 3})
    strict = only.model_copy(update={"gates": {"removal": {"area": [0.9, 1.0], "level": 3}}})
    assert gate.pick(strict, pool, 1, 0).rejected["area"] > 0
    other = only.model_copy(update={"gates": {"splice": {"area": [0.9, 1.0]}, "removal": {"level": 3}}})
    outcome = gate.pick(other, pool, 1, 0)
    assert outcome.made is not None
    assert outcome.level == 3
