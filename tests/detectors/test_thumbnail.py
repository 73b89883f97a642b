"""`thumbnail` sees what was changed since the preview was made, and not what a camera does to every picture."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tamperscope import load
from tamperscope.media.recompress import recompress
from tamperscope.metrics.ranking import auc
from tamperscope.types import Prediction, Sample


def preview(rgb: np.ndarray, width: int = 160) -> np.ndarray:
    """Return the thumbnail that a camera would write: reduced, sharpened, JPEG-coded."""
    height = round(rgb.shape[0] * width / rgb.shape[1])
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), 1.0)
    sharp = cv2.addWeighted(small, 1.4, soft, -0.4, 0)
    return recompress(np.asarray(sharp, np.uint8), 75, "4:2:0")


def with_bars(thumb: np.ndarray, rows: int) -> np.ndarray:
    bar = np.zeros((rows, thumb.shape[1], 3), np.uint8)
    return recompress(np.concatenate([bar, thumb, bar]), 80)


def edited(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture with a part replaced by another, darker one, and where."""
    mask = np.zeros(rgb.shape[:2], bool)
    mask[60:150, 80:190] = True
    changed = rgb.copy()
    changed[60:150, 80:190] = rgb[180:270, 250:360][::-1] // 2
    return changed, mask


def answer(main: np.ndarray, thumb: np.ndarray) -> Prediction:
    return load("thumbnail").predict(replace(Sample(main), thumbnail=thumb))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_an_edit_after_the_preview_lights_up_and_its_absence_does_not(photo, name: str) -> None:  # type: ignore[no-untyped-def]
    rgb = photo(name)
    changed, mask = edited(rgb)
    found, quiet = answer(changed, preview(rgb)), answer(rgb, preview(rgb))
    assert auc(found.heatmap, mask) > 0.8
    assert found.score > 1
    assert any(r.code == "thumbnail.part_differs" for r in found.reasons)
    assert quiet.score < 0.2
    assert np.mean(quiet.heatmap > 0.5) < 0.002
    assert not quiet.reasons


def test_a_preview_made_after_the_edit_shows_nothing(photo) -> None:  # type: ignore[no-untyped-def]
    changed, _ = edited(photo("coffee"))
    assert answer(changed, preview(changed)).score < 0.2


@pytest.mark.parametrize("change", ["recompressed", "brighter", "contrast", "grey"])
def test_global_changes_are_no_local_difference(photo, change: str) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")
    main = {
        "recompressed": lambda: recompress(rgb, 50, "4:2:0"),
        "brighter": lambda: np.clip(rgb.astype(int) + 25, 0, 255).astype(np.uint8),
        "contrast": lambda: np.clip((rgb.astype(float) - 128) * 0.8 + 120, 0, 255).astype(np.uint8),
        "grey": lambda: np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, 2),
    }[change]()
    found = answer(main, preview(rgb))
    assert found.evidence["largest_difference_share"] < 0.01, found.evidence


def test_black_bars_are_cut_off(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")
    found = answer(rgb, with_bars(preview(rgb), 7))
    assert found.score < 0.3
    assert found.evidence["aspect_ratio_of_ratios"] == pytest.approx(1.0, abs=0.04)


def test_another_picture_is_called_so(photo) -> None:  # type: ignore[no-untyped-def]
    found = answer(photo("coffee"), preview(photo("astronaut")))
    assert any(r.code == "thumbnail.other_picture" and r.severity == "warning" for r in found.reasons)
    assert found.score > 5


def test_crops_and_turns_are_told(photo) -> None:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")
    turned = answer(np.ascontiguousarray(np.rot90(rgb)), preview(rgb))
    assert turned.evidence["quarter_turns"] == 1
    assert any(r.code == "thumbnail.turned" for r in turned.reasons)
    cropped = answer(np.ascontiguousarray(rgb[:, 90:]), preview(rgb))
    assert any(r.code == "thumbnail.aspect" for r in cropped.reasons)


def test_no_thumbnail_no_answer(photo) -> None:  # type: ignore[no-untyped-def]
    found = load("thumbnail").predict(Sample(photo("coffee")))
    assert found.status == "not_applicable"
    tiny = answer(photo("coffee"), np.zeros((4, 4, 3), np.uint8))
    assert tiny.status == "not_applicable"
