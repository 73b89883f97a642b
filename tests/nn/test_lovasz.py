"""The Lovász loss: 1 - IoU of hard answers, against the definition, and what does not count."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.nn.losses import lovasz  # noqa: E402


def drawn(seed: int = 0, size: tuple[int, int] = (6, 7)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 1, *size, generator=generator)
    truth = (torch.rand(2, 1, *size, generator=generator) < 0.3).float()
    return logits, truth, torch.rand(2, 1, *size, generator=generator) < 0.7


def by_definition(errors: np.ndarray, members: np.ndarray) -> float:
    """The Lovász extension of 1 - IoU: pixels become wrong in the order of their errors."""

    def lost(wrong: np.ndarray) -> float:
        union = (members | wrong).sum()
        return float(wrong.sum() / union) if union else 0.0

    total, wrong = 0.0, np.zeros(len(errors), bool)
    for place in np.argsort(-errors, kind="stable"):
        before = lost(wrong)
        wrong[place] = True
        total += errors[place] * (lost(wrong) - before)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_mean_of_both_classes_by_definition(seed: int) -> None:
    logits, truth, valid = drawn(seed)
    members = truth[valid].numpy() > 0
    errors = (truth - logits.sigmoid()).abs()[valid].double().numpy()
    wanted = (by_definition(errors, members) + by_definition(errors, ~members)) / 2
    assert lovasz(logits, truth, valid).item() == pytest.approx(wanted, abs=1e-6)


def test_of_hard_answers_it_is_one_less_the_iou() -> None:
    truth = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0]).reshape(1, 1, 2, 4)
    said = torch.tensor([1.0, 1, 0, 1, 0, 0, 0, 0]).reshape(1, 1, 2, 4)
    found = lovasz(100 * (2 * said - 1), truth).item()
    assert found == pytest.approx(((1 - 2 / 4) + (1 - 4 / 6)) / 2, abs=1e-6)
    assert lovasz(100 * (2 * truth - 1), truth).item() == pytest.approx(0, abs=1e-6)


def test_one_class_alone_is_asked_alone_and_nothing_costs_nothing() -> None:
    logits = drawn()[0]
    for whole in (0.0, 1.0):
        truth = torch.full_like(logits, whole)
        # Of all N pixels each that is wrong takes 1 / N from the IoU.
        assert lovasz(logits, truth).item() == pytest.approx((truth - logits.sigmoid()).abs().mean().item(), abs=1e-6)
    empty = torch.zeros_like(logits, dtype=torch.bool)
    asked = logits.clone().requires_grad_()
    found = lovasz(asked, truth, empty)
    found.backward()
    assert found.item() == 0
    assert asked.grad is not None
    assert not asked.grad.any()


def test_pixels_that_do_not_count_change_nothing_and_others_are_pulled_to_their_class() -> None:
    logits, truth, valid = drawn(5)
    other = torch.where(valid, logits, 9 * torch.randn_like(logits))
    turned = torch.where(valid, truth, 1 - truth)
    assert lovasz(other, turned, valid).item() == pytest.approx(lovasz(logits, truth, valid).item(), abs=1e-6)
    asked = logits.clone().requires_grad_()
    lovasz(asked, truth, valid).backward()
    assert asked.grad is not None
    pull = asked.grad * (1 - 2 * truth)
    assert (pull[valid] > 0).all()
    assert not asked.grad[~valid].any()
