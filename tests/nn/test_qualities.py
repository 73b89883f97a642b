"""Qualities of luma tables: the same as those of one file."""

from __future__ import annotations

import numpy as np
import torch

from tamperscope.media.quantization import ijg_table, nearest_quality
from tamperscope.nn.qualities import luma_quality


def test_every_table_is_known_again_and_ones_tell_nothing() -> None:
    tables = torch.from_numpy(np.stack([ijg_table(q) for q in range(1, 101)]).astype(np.float32))
    found, known = luma_quality(tables.view(10, 10, 8, 8))
    assert found.flatten().tolist() == list(range(1, 101))
    assert known.flatten().tolist() == [True] * 99 + [False]


def test_other_tables_have_the_quality_that_a_file_has(rng: np.random.Generator) -> None:
    tables = rng.integers(1, 120, (20, 8, 8))
    wanted = [nearest_quality([table]).quality for table in tables]
    assert luma_quality(torch.from_numpy(tables).float())[0].tolist() == wanted
