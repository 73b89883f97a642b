"""Erasing: the copy is frozen, the whole is no lever, and what is more than all is a constant."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tamperscope.nn.erasing import frozen, suppression  # noqa: E402


def head() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Dropout())
    made[1].running_mean += 0.3
    return made


def test_a_frozen_module_answers_as_in_use_and_learns_nothing() -> None:
    module, x = head().train(), torch.rand(2, 3, 6, 5, requires_grad=True)
    module[2].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = frozen(module, x)
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [part.training for part in module] == [True, True, False, True, True]
    assert module.training
    assert torch.equal(found, module.eval()(x))
    # No picture knows of another one.
    torch.testing.assert_close(frozen(module.train(), x[:1]), found[:1])


def test_it_follows_the_weights_of_now() -> None:
    module, x = head(), torch.rand(1, 3, 6, 5)
    first = frozen(module, x)
    with torch.no_grad():
        module[3].bias += 1
    torch.testing.assert_close(frozen(module, x), first + 1)


def test_modes_come_back_after_an_error() -> None:
    module = head().train()
    with pytest.raises(RuntimeError):
        frozen(module, torch.rand(1, 7, 4, 4))
    assert all(part.training for part in module.modules())


def test_what_is_left_as_a_share() -> None:
    erased = torch.tensor([0.0, 1.0, 2.0, 3.0, -1.0, 1.0, -2.0])
    whole = torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0, -1.0, -1.0])
    found = suppression(erased, whole)
    assert found.tolist() == pytest.approx([0, 0.5, 1, 1, 0, 1, 0])


def test_gradient_reaches_what_is_left_alone_and_never_what_is_too_much() -> None:
    """A denominator that is not detached is a lever: the whole grows, and nothing need be covered."""
    erased = torch.tensor([1.0, 2.0, 3.0, -1.0], requires_grad=True)
    whole = torch.tensor([2.0, 2.0, 2.0, 2.0], requires_grad=True)
    suppression(erased, whole).sum().backward()
    assert whole.grad is None or whole.grad.abs().max() == 0
    assert erased.grad is not None
    # Where nothing is covered as much is left as there was: there gradient must begin.
    assert erased.grad.tolist() == pytest.approx([0.5, 0.5, 0, 0])
