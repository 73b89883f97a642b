"""What an operation leaves behind in a sample's record."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tamperscope.ops import attack
from tamperscope.ops.forge.removal import Removal
from tamperscope.ops.record import record
from tamperscope.types import Sample


@pytest.fixture
def sample() -> Sample:
    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    preview = np.zeros((12, 16, 3), np.uint8)
    return Sample(
        rgb, mask=np.zeros((96, 128), bool), id="a", thumbnail=preview, meta={"format": "PNG", "split": "dev"}
    )


def test_entries_are_appended_and_the_old_sample_is_left_alone(sample: Sample) -> None:
    once = record(sample, sample, "first", strength=1)
    twice = record(once, once, "second", place=[2, 3])
    assert twice.meta["ops"] == [{"op": "first", "strength": 1}, {"op": "second", "place": [2, 3]}]
    assert once.meta["ops"] == [{"op": "first", "strength": 1}]
    assert "ops" not in sample.meta
    assert sample.thumbnail is not None


def test_what_only_the_old_file_had_is_dropped_and_the_rest_kept(sample: Sample) -> None:
    read = replace(sample, meta={**sample.meta, "quality_by_tables": 30})
    after = record(read, read, "any")
    assert after.thumbnail is None
    assert not {"format", "quality_by_tables"} & set(after.meta)
    assert after.meta["split"] == "dev"
    assert after.id == "a"
    # The operation may have told of something anew.
    assert record(sample, replace(sample, meta={"split": "test"}), "any").meta["split"] == "test"


def test_forgeries_and_attacks_share_one_record(sample: Sample) -> None:
    rng = np.random.default_rng(4)
    done = attack.parse("gamma|jpeg:quality=80")(Removal(share=(0.02, 0.05))(sample, rng), rng)
    assert [entry["op"] for entry in done.meta["ops"]] == ["removal", "gamma", "jpeg"]
    assert json.loads(json.dumps(done.meta["ops"])) == done.meta["ops"]
    assert done.label == 1
