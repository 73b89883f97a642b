"""`ela` keeps its probe away from the last quality, where it would be blind, and is a display layer only."""

from __future__ import annotations

import numpy as np
import pytest

from tamperscope import load, media
from tamperscope.media.recompress import encode_jpeg, recompress
from tamperscope.metrics.ranking import auc
from tamperscope.types import Sample


def forged(photo, name: str, last: int) -> tuple[Sample, np.ndarray]:  # type: ignore[no-untyped-def]
    """A host once saved at quality 50, with a part that never was, saved at `last`."""
    rgb = photo(name)
    host = recompress(rgb, 50)
    mask = np.zeros(rgb.shape[:2], bool)
    mask[96:224, 120:280] = True
    host[mask] = rgb[mask]
    return media.open(encode_jpeg(host, last)).sample, mask


@pytest.mark.parametrize("last", [70, 75, 85, 88, 90, 92, 95, 99])
def test_the_probe_keeps_its_distance_from_the_last_quality(photo, last: int) -> None:  # type: ignore[no-untyped-def]
    found = load("ela").predict(media.open(encode_jpeg(photo("coffee"), last)).sample)
    assert found.evidence["last_quality"] == last
    assert abs(found.evidence["probe_quality"] - last) >= 4


def test_a_part_with_another_history_is_brighter_than_the_same_part_without(photo) -> None:  # type: ignore[no-untyped-def]
    with_edit, without = [], []
    for name in ("astronaut", "coffee", "chelsea"):
        sample, mask = forged(photo, name, 90)
        with_edit.append(auc(load("ela").predict(sample).heatmap, mask))
        twin = media.open(encode_jpeg(recompress(photo(name), 50), 90)).sample
        without.append(auc(load("ela").predict(twin).heatmap, mask))
    assert np.mean(with_edit) > np.mean(without) + 0.1


def test_a_probe_at_the_last_quality_is_blind(photo) -> None:  # type: ignore[no-untyped-def]
    """The residual of a second save at the same quality is near zero everywhere, so nothing is left to compare."""
    sample, _ = forged(photo, "coffee", 90)
    ela = load("ela")
    assert ela._level(sample, 90).mean() < 0.4 * ela._level(sample, 85).mean()


def test_flat_pictures_have_no_error_levels() -> None:
    assert load("ela").predict(Sample(np.full((64, 64, 3), 90, np.uint8))).status == "not_applicable"


def test_the_shipped_card_never_weighs_it() -> None:
    from tamperscope.verdict.card import shipped_card

    assert not shipped_card().detectors["ela"].counts
