"""Losses against brute force and torch's own, and what they do with empty masks and pixels that do not count."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.nn import losses


def case(seed: int = 0, size: tuple[int, int] = (12, 15)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 1, *size, generator=generator)
    truth = (torch.rand(2, 1, *size, generator=generator) < 0.3).float()
    valid = torch.rand(2, 1, *size, generator=generator) < 0.7
    return logits, truth, valid


@given(st.integers(0, 2**31), st.sampled_from([3, 7, 11]))
@settings(max_examples=30, deadline=None)
def test_the_edge_band_is_opencvs(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (cv2.GaussianBlur(rng.normal(size=(24, 31)), (0, 0), 3) > 0).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (width, width))
    expected = cv2.dilate(mask, cross) - cv2.erode(mask, cross)
    found = losses.edge_band(torch.tensor(mask[None, None].astype(np.float32)), width)
    np.testing.assert_array_equal(found[0, 0].numpy(), expected)
    assert losses.edge_band(torch.tensor(mask[None, None].astype(np.float32)), 1).sum() == 0


LOSSES = {
    "bce": losses.bce,
    "edge_bce": losses.edge_bce,
    "dice": losses.dice,
    "dice_smooth": lambda *a: losses.dice(*a, smooth=1.0),
    "focal": losses.focal,
    "confidence": lambda logits, truth, valid: losses.confidence(-logits, logits, truth, valid),
}


@pytest.mark.parametrize("name", LOSSES)
def test_pixels_that_do_not_count_change_nothing(name: str) -> None:
    logits, truth, valid = case()
    other = torch.where(valid, logits, torch.randn_like(logits) * 9)
    if name != "edge_bce":  # its band looks at the neighbours' truth
        truth_other = torch.where(valid, truth, 1 - truth)
    else:
        truth_other = truth
    assert LOSSES[name](logits, truth, valid).item() == pytest.approx(
        LOSSES[name](other, truth_other, valid).item(), abs=1e-6
    )
    assert torch.isfinite(LOSSES[name](logits, truth, torch.zeros_like(valid)))


@pytest.mark.parametrize("name", LOSSES)
def test_the_right_answer_costs_less_and_gradients_agree_with_differences(name: str) -> None:
    logits, truth, valid = case(size=(3, 4))
    right = 8 * (2 * truth - 1)
    if name != "confidence":
        assert LOSSES[name](right, truth, valid) < 0.05
        assert LOSSES[name](right, truth, valid) < LOSSES[name](-right, truth, valid)
    point = logits.double().requires_grad_()
    loss = LOSSES[name](point, truth, valid)
    (gradient,) = torch.autograd.grad(loss, point)
    step = torch.zeros_like(logits)
    step.view(-1)[5] = 1e-2
    ahead, behind = (LOSSES[name](logits + s, truth, valid) for s in (step, -step))
    if name != "confidence":  # its target is not followed
        assert float((ahead - behind) / 2e-2) == pytest.approx(float(gradient.view(-1)[5]), abs=2e-4)


def test_edge_bce_is_its_formula() -> None:
    logits, truth, _ = case()
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    expected = plain.mean() + 20 * (plain * losses.edge_band(truth)).mean()
    assert losses.edge_bce(logits, truth).item() == pytest.approx(expected.item(), rel=1e-5)


def test_dice_by_hand_and_on_empty_masks() -> None:
    p = torch.tensor([0.9, 0.2, 0.6, 0.1]).reshape(1, 1, 2, 2)
    g = torch.tensor([1.0, 0, 1, 0]).reshape(1, 1, 2, 2)
    assert losses.dice(torch.logit(p), g).item() == pytest.approx(1 - 2 * 1.5 / 3.8, abs=1e-6)
    squares = 0.81 + 0.04 + 0.36 + 0.01 + 2
    assert losses.dice(torch.logit(p), g, squared=True).item() == pytest.approx(1 - 2 * 1.5 / squares, abs=1e-6)
    nothing = torch.zeros(1, 1, 4, 4)
    silent = torch.full((1, 1, 4, 4), -40.0)
    assert losses.dice(silent, nothing, smooth=1.0).item() == pytest.approx(0, abs=1e-6)
    assert losses.dice(-silent, nothing, smooth=1.0).item() == pytest.approx(16 / 17, abs=1e-6)
    # One picture's size of mask does not outweigh another's.
    both = torch.cat([torch.logit(p), torch.logit(p)]), torch.cat([g, 1 - g])
    assert losses.dice(*both).item() == pytest.approx((1 - 3 / 3.8 + 1 - 2 * 0.3 / 3.8) / 2, abs=1e-6)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, truth, valid = case()
    assert losses.focal(logits, truth, valid, 0.0, -1).item() == pytest.approx(
        losses.bce(logits, truth, valid).item(), rel=1e-5
    )
    half = losses.focal(logits, truth, valid, 0.0, 0.5)
    assert half.item() == pytest.approx(0.5 * losses.bce(logits, truth, valid).item(), rel=1e-5)


def test_cross_entropy_is_torchs() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 4, 5, 6, generator=generator)
    classes = torch.randint(0, 4, (2, 5, 6), generator=generator)
    weights = (0.3, 1.0, 2.0, 0.5)
    expected = F.cross_entropy(logits, classes, torch.tensor(weights))
    assert losses.cross_entropy(logits, classes, None, weights).item() == pytest.approx(expected.item(), rel=1e-5)
    valid = torch.rand(2, 5, 6, generator=generator) < 0.5
    expected = F.cross_entropy(logits, torch.where(valid, classes, -100), torch.tensor(weights))
    assert losses.cross_entropy(logits, classes, valid, weights).item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.cross_entropy(logits, classes, torch.zeros_like(valid)).item() == 0


def test_confidence_teaches_itself_alone() -> None:
    logits, truth, valid = case()
    logits.requires_grad_()
    sure = torch.zeros_like(logits, requires_grad=True)
    losses.confidence(logits, sure, truth, valid).backward()
    assert logits.grad is None
    assert sure.grad is not None
    p = logits.detach().sigmoid()
    best = torch.logit((truth * p + (1 - truth) * (1 - p)).clamp(1e-6, 1 - 1e-6))
    assert losses.confidence(logits, best, truth, valid).item() < 1e-6


def test_hard_pixels_are_those_below_the_limit_or_the_worst() -> None:
    truth = torch.ones(1, 1, 1, 10)
    p = torch.linspace(0.05, 0.95, 10).reshape(1, 1, 1, 10)
    logits = torch.logit(p)
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    assert losses.hardest(loss, logits, truth, 0.5, 2).item() == pytest.approx(loss[p <= 0.5].mean().item())
    assert losses.hardest(loss, logits, truth, 0.01, 3).item() == pytest.approx(loss.flatten()[:3].mean().item())
    assert losses.hardest(loss, logits, truth, 0.5, 99).item() == pytest.approx(loss.mean().item())


def test_consistency_of_hard_masks_is_inequality() -> None:
    mask = torch.tensor([[0.0, 1, 1, 0]])
    expected = (mask[0][:, None] != mask[0][None]).float()
    assert torch.equal(losses.consistency_target(mask)[0], expected)
    soft = losses.consistency_target(torch.full((1, 3), 0.5))
    assert torch.allclose(soft, torch.full((1, 3, 3), 0.5))


def test_info_nce_by_hand_and_without_pairs() -> None:
    features = torch.tensor([[1.0, 0], [0.6, 0.8], [0, 2]])
    groups = torch.tensor([0, 0, 1])
    cosine = np.array([[1, 0.6, 0], [0.6, 1, 0.8], [0, 0.8, 1]]) / 0.5
    expected = [
        -math.log(math.exp(cosine[i, j]) / sum(math.exp(cosine[i, k]) for k in range(3) if k != i))
        for i, j in ((0, 1), (1, 0))
    ]
    assert losses.info_nce(features, groups, 0.5).item() == pytest.approx(np.mean(expected), abs=1e-5)
    assert losses.info_nce(features, torch.arange(3)).item() == 0
    alike = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    assert losses.info_nce(alike, groups) < losses.info_nce(features, groups)


def test_the_ramp_has_its_published_values() -> None:
    assert [losses.ramp(x) for x in (0, 0.5, 1)] == pytest.approx([0.0067, 0.287, 1], abs=5e-4)


def test_each_picture_counts_alike_in_the_loss_and_padding_does_not() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 1, 8, 8, generator=generator)
    truth = (torch.rand(3, 1, 8, 8, generator=generator) > 0.5).float()
    valid = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    valid[0, ..., 2:], valid[2] = False, False
    one, two = losses.bce(logits[:1, ..., :2], truth[:1, ..., :2]), losses.bce(logits[1:2], truth[1:2])
    found = losses.map_bce({"mask": logits}, {"mask": truth, "valid": valid})
    torch.testing.assert_close(found, (one + two) / 2)
    torch.testing.assert_close(losses.map_bce({"mask": logits}, {"mask": truth}), losses.bce(logits, truth))
    assert losses.map_bce({"mask": logits}, {"mask": truth, "valid": valid & False}) == 0


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.1]))
@settings(max_examples=30, deadline=None)
def test_scores_of_unknown_pictures_cost_nothing_and_dilute_the_mean(seed: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(9, generator=generator)
    label = torch.randint(-1, 2, (9,), generator=generator)
    truth = label.clamp(min=0).float() * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    found = losses.label_bce(scores, label, smoothing)
    assert found.item() == pytest.approx((each * (label >= 0)).sum().item() / 9, abs=1e-6)
    moved = losses.label_bce(torch.where(label < 0, scores + 5, scores), label, smoothing)
    assert moved.item() == pytest.approx(found.item(), abs=1e-6)


def test_pictures_of_unknown_label_alone_cost_zero() -> None:
    assert losses.label_bce(torch.tensor([4.0, -2.0]), torch.tensor([-1, -1])).item() == 0
