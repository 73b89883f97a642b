"""MFPT: a frozen transformer, tuned by prompts of the picture's and of the features' frequencies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import mfpt  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.nn import prompts  # noqa: E402
from tamperscope.ops.forge import shapes  # noqa: E402

SIDE = 64
KINDS = ("texture", "recolour", "none")


def scene(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Soft colours; `texture` lays a decoder's checkerboard over a region, `recolour` another hue, `none` nothing."""
    coarse = torch.from_numpy(rng.normal(128, 30, (1, 3, 5, 5)))
    pixels = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[0].permute(1, 2, 0).numpy()
    mask = shapes.blob((SIDE, SIDE), shapes.area((0.08, 0.3), rng), rng)
    mask = np.roll(mask, rng.integers(SIDE, size=2), (0, 1))
    if kind == "texture":
        checkered = (-1.0) ** np.add.outer(np.arange(SIDE), np.arange(SIDE))
        pixels = pixels + 6 * (mask * checkered)[..., None]
    elif kind == "recolour":
        pixels = pixels + mask[..., None] * np.array([50, -50, 25])
    else:
        mask = np.zeros_like(mask)
    noisy = pixels + rng.normal(0, 2, pixels.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), mask


def batch(rng: np.random.Generator, kinds: Any) -> dict[str, torch.Tensor]:
    rgb, masks = zip(*(scene(rng, str(kind)) for kind in kinds), strict=True)
    image = torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2).float() / 255
    return {"image": image, "mask": torch.from_numpy(np.stack(masks))[:, None].float()}


def semantic(**settings: Any) -> mfpt.Mfpt:
    """The tiny network with a backbone that knows colours and shapes but is blind to what lies within 4 x 4 pixels."""
    torch.manual_seed(0)
    net = mfpt.build(**settings)
    weight = net.backbone.embed.weight.data
    means = torch.nn.functional.avg_pool2d(weight, 4)
    weight.copy_(4 * means.repeat_interleave(4, -1).repeat_interleave(4, -2))
    return net


def trained(net: mfpt.Mfpt, steps: int) -> mfpt.Mfpt:
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 5e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    net.train()
    for step in range(steps):
        examples = batch(rng, rng.choice(KINDS, size=16, p=(0.45, 0.45, 0.1)))
        optimizer.zero_grad()
        sum(net.loss(net(examples["image"]), examples, step / steps).values()).backward()
        optimizer.step()
        plan.step()
    return net.eval()


def pixel_auc(net: mfpt.Mfpt, kind: str) -> float:
    examples = batch(np.random.default_rng(10**6), [kind] * 32)
    with torch.inference_mode():
        maps = net(examples["image"])["mask"].numpy()
    return float(
        np.mean([ranking.auc(m.ravel(), t.ravel()) for m, t in zip(maps, examples["mask"].bool().numpy(), strict=True)])
    )


@pytest.mark.slow
def test_high_frequencies_find_what_a_semantic_backbone_cannot_and_low_ones_do_not() -> None:
    found = {}
    for name, settings in (("high", {}), ("low", {"band": "low"}), ("none", {"input_prompts": False})):
        net = trained(semantic(feature_prompts=False, **settings), 130)
        found[name] = {kind: pixel_auc(net, kind) for kind in KINDS[:2]}
    assert found["high"]["texture"] > 0.9
    assert found["low"]["texture"] < 0.65
    assert found["none"]["texture"] < 0.65
    assert all(values["recolour"] > 0.7 for values in found.values())
    assert found["high"]["recolour"] > found["none"]["recolour"] - 0.05, "prompts take nothing from the semantics"


@pytest.fixture
def examples() -> dict[str, torch.Tensor]:
    return batch(np.random.default_rng(5), KINDS)


def test_untrained_prompts_change_nothing_and_trained_ones_do(examples: dict[str, torch.Tensor]) -> None:
    plain = semantic(input_prompts=False, feature_prompts=False).eval()
    expected = plain(examples["image"])
    for settings in ({}, {"input_prompts": False}, {"feature_prompts": False}, {"band": "low"}):
        net = semantic(**settings).eval()
        assert torch.equal(net(examples["image"])["mask"], expected["mask"])
        prompters = [m for m in net.modules() if isinstance(m, (prompts.InputPrompter, prompts.FeaturePrompter))]
        assert prompters
        for prompter in prompters:
            torch.nn.init.normal_(prompter.up.weight, 0, 0.1)
            changed = net(examples["image"])["mask"]
            assert (changed - expected["mask"]).abs().max() > 1e-4, "each of the prompters is heard"
            torch.nn.init.zeros_(prompter.up.weight)


def test_the_backbone_never_changes_and_all_else_learns(examples: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(1)
    net = mfpt.build()
    digest, before = net.frozen_digest(), {k: v.clone() for k, v in net.named_parameters()}
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)
    net.train()
    assert not any(module.training for module in net.backbone.modules())
    for _ in range(3):
        optimizer.zero_grad()
        sum(net.loss(net(examples["image"]), examples, 0.5).values()).backward()
        optimizer.step()
    assert net.frozen_digest() == digest
    assert all(p.grad is None for p in net.backbone.parameters())
    learnt = {k for k, v in net.named_parameters() if not torch.equal(v, before[k])}
    assert learnt == {k for k in before if not k.startswith("backbone.")}
    with torch.no_grad():
        net.backbone.blocks[0].mlp.fc1.weight[0, 0] += 1e-3
    assert net.frozen_digest() != digest


def test_the_input_prompter_is_told_one_band_only() -> None:
    rows = torch.arange(32.0)
    slow = torch.cos(2 * torch.pi * rows / 32)[None, None, :, None].expand(1, 3, 32, 32)
    fast = torch.cos(torch.pi * rows)[None, None, :, None].expand(1, 3, 32, 32)
    none = torch.zeros(1, 4, 4, 16)
    for band, heard, unheard in (("high", fast, slow), ("low", slow, fast)):
        torch.manual_seed(2)
        prompter = prompts.InputPrompter(16, 8, 2, 8, band=band)
        torch.nn.init.normal_(prompter.up.weight)
        silence = prompter(torch.zeros(1, 3, 32, 32), none)
        assert len(silence) == 2
        torch.testing.assert_close(prompter(unheard, none)[1], silence[1], atol=1e-5, rtol=0)
        assert (prompter(heard, none)[1] - silence[1]).abs().max() > 1e-2


def _loud(part: str) -> prompts.FeaturePrompter:
    """A prompter without norm or reduction, of which only one part is heard."""
    torch.manual_seed(4)
    prompter = prompts.FeaturePrompter(8, 8, heads=4, low=0.5, window=2)
    prompter.norm, prompter.down = torch.nn.Identity(), torch.nn.Identity()
    columns = slice(0, 4) if part == "low" else slice(4, 8)
    torch.nn.init.normal_(prompter.up.weight[:, columns])
    return prompter


def test_the_parts_of_the_feature_prompter_see_means_and_what_they_leave() -> None:
    tokens = torch.randn(1, 6, 6, 8, generator=torch.Generator().manual_seed(1))
    constant = (
        torch.randn(1, 3, 3, 8, generator=torch.Generator().manual_seed(2))
        .repeat_interleave(2, 1)
        .repeat_interleave(2, 2)
    )
    with torch.no_grad():
        high = _loud("high")
        torch.testing.assert_close(high(tokens + constant), high(tokens), atol=1e-5, rtol=1e-4)
        far = tokens.clone()
        far[:, 4:, 4:] = torch.randn(1, 2, 2, 8, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(high(far)[:, :4], high(tokens)[:, :4])
        assert (high(far)[:, 4:, 4:] - high(tokens)[:, 4:, 4:]).abs().max() > 1e-3
        low = _loud("low")
        assert (low(far)[:, :4] - low(tokens)[:, :4]).abs().max() > 1e-4, "means of far windows are seen"
        swapped = tokens.clone()
        swapped[:, 4:, 4:] = tokens[:, 4:, 4:].flip(1)
        torch.testing.assert_close(low(swapped)[:, :4], low(tokens)[:, :4], atol=1e-5, rtol=1e-4)


def test_few_of_the_numbers_of_the_full_network_learn() -> None:
    pytest.importorskip("transformers")
    with torch.device("meta"):
        net = mfpt.build("full")
    assert parameters(net, trainable=True) <= 0.06 * parameters(net)
    assert parameters(net.backbone) == pytest.approx(86.6e6, rel=0.01)


def test_dino_with_prompts_that_say_nothing_is_dino() -> None:
    pytest.importorskip("transformers")
    from tamperscope.nn import backbones

    torch.manual_seed(0)
    known = backbones.build("dinov2", "tiny").eval()
    image = torch.randn(2, 3, 56, 84, generator=torch.Generator().manual_seed(1))
    other = torch.linspace(-1, 1, 96)
    with torch.inference_mode():
        planes = mfpt.Dino(known).eval()(image, lambda place, plane: plane)
        maps = known(image)
        moved = mfpt.Dino(known).eval()(image, lambda place, plane: plane + (place == 0) * other)
    torch.testing.assert_close(planes[-1].permute(0, 3, 1, 2), maps[-1], atol=1e-5, rtol=1e-4)
    assert planes[0].shape == (2, 4, 6, 96)
    assert (moved[-1] - planes[-1]).abs().max() > 1e-3


def test_settings_out_of_range_are_refused() -> None:
    for settings, text in (
        ({"share": 1.5}, "share"),
        ({"band": "all"}, "band"),
        ({"weights": "folder"}, "use size full"),
    ):
        with pytest.raises(InvalidValueError, match=text):
            mfpt.build(**settings)
    for wrong in ({"low": 1.0}, {"heads": 3}, {"window": 0}):
        with pytest.raises(InvalidValueError, match="FeaturePrompter"):
            prompts.FeaturePrompter(16, 8, **wrong)
