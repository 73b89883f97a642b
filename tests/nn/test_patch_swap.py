"""Random patch swap: cells of the one picture, the rest of the other, and the truth says which is which."""

from __future__ import annotations

import pytest
import torch

from tamperscope.errors import InvalidValueError
from tamperscope.nn import patch_swap

Batch = dict[str, torch.Tensor]


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(labels: list[int]) -> Batch:
    """Real pictures are dark, forged ones bright, all over."""
    label = torch.tensor(labels)
    image = 0.4 * torch.rand(len(labels), 3, 64, 80, generator=drawn()) + 0.5 * label[:, None, None, None]
    mask = label[:, None, None, None].float().expand(-1, 1, 64, 80).clone()
    return {"image": image, "mask": mask, "label": label, "qtables": torch.full((len(labels), 2, 8, 8), 9.0)}


def test_the_truth_is_1_where_the_forged_picture_is_seen() -> None:
    """The published code has it the other way round."""
    given = batch([1, 0])
    found = patch_swap.swapped(given, 1.0, generator=drawn())
    forged = found["mask"][0].bool()
    assert 0 < float(forged.float().mean()) < 1
    assert torch.equal(found["image"][0], torch.where(forged, given["image"][0], given["image"][1]))
    assert bool((found["image"][0][forged.expand(3, -1, -1)] >= 0.5).all())
    assert bool((found["image"][0][~forged.expand(3, -1, -1)] < 0.5).all())
    for name in ("image", "mask", "label"):
        assert torch.equal(found[name][1], given[name][1]), "real ones stay"
    assert found["label"].tolist() == [1, 0]
    assert found["qtables"].flatten(1).amax(1).tolist() == [1, 9], "a composite has no table"


def test_the_share_of_cells_is_drawn_evenly_from_a_fifth_to_nearly_all() -> None:
    share = torch.linspace(0, 1, 21)
    found = patch_swap.cells((64, 80), share, 16, drawn())
    torch.testing.assert_close(found.mean((1, 2, 3)), (share * 20).round() / 20)
    blocks = found.unflatten(3, (5, 16)).unflatten(2, (4, 16))
    assert bool((blocks.amax((3, 5)) == blocks.amin((3, 5))).all()), "whole cells"
    count = 300
    given = batch([1] * count + [0])
    shares = patch_swap.swapped(given, 1.0, 4, drawn(1))["mask"][:count].mean((1, 2, 3))
    assert 0.19 <= float(shares.min()) < 0.23
    assert 0.95 < float(shares.max()) <= 0.985
    assert abs(float(shares.mean()) - 0.59) < 0.03


def test_only_some_forged_pictures_change_and_only_beside_real_ones_of_their_size() -> None:
    given = batch([1] * 400 + [0] * 100)
    found = patch_swap.swapped(given, generator=drawn())
    changed = (found["image"] != given["image"]).flatten(1).any(1)
    assert 20 <= int(changed[:400].sum()) <= 60
    assert not bool(changed[400:].any())
    for labels in ([1, 1], [0, 0]):
        alone = batch(labels)
        assert all(torch.equal(v, alone[k]) for k, v in patch_swap.swapped(alone, 1.0, generator=drawn()).items())
    valid = torch.ones(2, 1, 64, 80, dtype=torch.bool)
    valid[1, ..., 70:] = False
    other = batch([1, 0]) | {"valid": valid}
    assert torch.equal(patch_swap.swapped(other, 1.0, generator=drawn())["image"], other["image"])


def test_every_real_picture_is_drawn_and_what_was_not_forged_does_not_become_so() -> None:
    given = batch([1] * 60 + [0] * 3)
    given["mask"][:60, :, :, 40:] = 0
    levels = (0.125, 0.25, 0.375)
    given["image"][60:] = torch.tensor(levels)[:, None, None, None]
    found = patch_swap.swapped(given, 1.0, 4, drawn(3))
    assert float(found["mask"][:, :, :, 40:].sum()) == 0
    seen = torch.stack([(found["image"][:60] == level).flatten(1).any(1) for level in levels])
    assert seen.sum(0).tolist() == [1] * 60, "one in each"
    assert bool(seen.any(1).all())


def test_a_forged_picture_of_which_nothing_is_left_is_real() -> None:
    given = batch([1, 0])
    given["mask"][0] = 0
    given["mask"][0, 0, 0, 0] = 1
    labels = {int(patch_swap.swapped(given, 1.0, generator=drawn(i))["label"][0]) for i in range(20)}
    assert labels == {0, 1}


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="rate of 0 to 1"):
        patch_swap.swapped(batch([1, 0]), 1.5)
    with pytest.raises(InvalidValueError, match="side from 1"):
        patch_swap.swapped(batch([1, 0]), 1.0, 0)
