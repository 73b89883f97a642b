"""Web-IML looks again: each step is told the map before, and learns from hard pixels alone."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.engine import recipe  # noqa: E402
from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.metrics import confusion  # noqa: E402
from tamperscope.networks import webiml  # noqa: E402
from tamperscope.nn import losses  # noqa: E402
from tamperscope.ops.forge import shapes  # noqa: E402

SIDE = 64


def fresh(**settings: object) -> webiml.WebIml:
    torch.manual_seed(0)
    return webiml.build(**settings).eval()


def picture(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_there_is_a_map_a_step(steps: int) -> None:
    with torch.inference_mode():
        outputs = fresh(steps=steps)(picture())
    assert [name for name in outputs if name.startswith("step_")] == [f"step_{i}" for i in range(1, steps)]
    assert outputs["mask"].shape == (2, 1, SIDE, SIDE)
    assert all(outputs[f"step_{i}"].shape == (2, 1, SIDE // 4, SIDE // 4) for i in range(1, steps))


def test_a_step_is_told_what_the_one_before_found() -> None:
    net = fresh()
    with torch.inference_mode():
        before = net(picture())
        handle = net.attention[0].register_forward_pre_hook(lambda _, given: (1 - given[0],))
        after = net(picture())
        handle.remove()
    assert torch.equal(before["step_1"], after["step_1"])
    assert not torch.equal(before["mask"], after["mask"])


def test_attention_without_an_opinion_changes_nothing_and_reaches_far() -> None:
    attention = webiml.MapAttention(4, 15)
    torch.nn.init.zeros_(attention.kernel.weight)
    torch.nn.init.zeros_(attention.kernel.bias)
    assert torch.equal(attention(torch.rand(1, 1, 20, 20)), torch.ones(1, 4, 20, 20))
    torch.nn.init.ones_(attention.kernel.weight)
    spot = torch.zeros(1, 1, 31, 31)
    spot[..., 15, 15] = 1
    reached = attention(spot)[0, 0] != 1
    assert reached.sum() == 15 * 15
    assert reached[8:23, 8:23].all()


def test_the_picture_decides_which_scale_counts() -> None:
    torch.manual_seed(0)
    scales = webiml.WeighedScales(3, 8).eval()
    seen: list[torch.Tensor] = []
    scales.weigh.register_forward_hook(lambda *found: seen.append(found[-1]))
    maps = [torch.rand(2, 8, n, n) for n in (16, 8, 4)]
    assert scales(maps).shape == (2, 8, 16, 16)
    scales([maps[0], 5 * maps[1], maps[2]])
    assert seen[0].shape == (2, 24)
    assert not torch.allclose(seen[0], seen[1])
    assert not torch.allclose(seen[0][0], seen[0][1])


def test_only_hard_pixels_teach() -> None:
    net = webiml.build(easy=0.7, kept=0.01, score=None)
    logits = torch.full((1, 1, 20, 20), -4.0)
    logits[..., :2, :] = 0.5
    logits.requires_grad_()
    truth = torch.zeros(1, 1, 20, 20)
    valid = torch.ones(1, 1, 20, 20, dtype=torch.bool)
    valid[..., :1, :] = False
    (gradient,) = torch.autograd.grad(net.loss({"mask": logits}, {"mask": truth, "valid": valid}, 0)["ohem"], logits)
    assert torch.equal(gradient[0, 0].nonzero()[:, 0].unique(), torch.tensor([1])), "wrong and the picture's"
    expected = losses.bce(torch.tensor([0.5]), torch.tensor([0.0]))
    assert net.loss({"mask": logits}, {"mask": truth, "valid": valid}, 0)["ohem"].item() == pytest.approx(
        expected.item()
    )
    # Where all is easy, the least easy ones still teach: a hundredth of the valid pixels.
    easy = torch.linspace(-9, -6, 400).reshape(1, 1, 20, 20).requires_grad_()
    (gradient,) = torch.autograd.grad(net.loss({"mask": easy}, {"mask": truth}, 0)["ohem"], easy)
    assert gradient.flatten().nonzero().flatten().tolist() == [396, 397, 398, 399]


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"steps": 0}, {"kernel": 4}, {"easy": 0.0}, {"kept": 1.5}):
        with pytest.raises(InvalidValueError, match="odd kernel"):
            webiml.build(**wrong)


def test_its_recipe_jitters_objects() -> None:
    loaded = recipe.load("webiml", ["train_on=[{manifest: m.jsonl}]"])
    assert loaded.data.augment["object_jitter"] > 0
    assert loaded.network.name == "webiml"


def scenes(count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft shapes with the noise of a camera; a region has a little more of it, and specks elsewhere look like it."""
    images, masks = [], []
    for _ in range(count):
        coarse = torch.from_numpy(rng.uniform(60, 190, (1, 3, 6, 6)))
        rgb = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[0].numpy()
        mask = shapes.blob((SIDE, SIDE), shapes.area((0.08, 0.25), rng), rng)
        strong = mask.copy()
        for _ in range(10):
            y, x = rng.integers(0, SIDE - 6, 2)
            strong[y : y + 6, x : x + 6] = True
        images.append(rgb + np.where(strong, 5.6, 4.0) * rng.normal(size=rgb.shape))
        masks.append(mask)
    image = torch.from_numpy(np.clip(np.stack(images), 0, 255)).float() / 255
    return image, torch.from_numpy(np.stack(masks))[:, None].float()


def f1(logits: torch.Tensor, truth: torch.Tensor) -> float:
    large = torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear").sigmoid().numpy()
    return float(np.mean([confusion.counts(p, t).f1 for p, t in zip(large, truth.numpy() > 0, strict=True)]))


@pytest.mark.slow
def test_the_second_step_is_no_worse_and_needs_what_it_is_told() -> None:
    """The gain is small where the first step sees all of the picture: F1 .855, then .858; told noise, .842."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = webiml.build(score=None).train()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=300)
    for _ in range(300):
        image, mask = scenes(8, rng)
        optimizer.zero_grad()
        sum(net.loss(net(image), {"mask": mask}, 0).values()).backward()
        optimizer.step()
        plan.step()
    net.eval()
    image, mask = scenes(64, np.random.default_rng(1))
    noise = torch.rand(64, 1, SIDE // 4, SIDE // 4, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        outputs = net(image)
        handle = net.attention[0].register_forward_pre_hook(lambda *_: (noise,))
        blind = net(image)
        handle.remove()
    first, second, told_noise = (f1(x, mask) for x in (outputs["step_1"], outputs["mask"], blind["mask"]))
    print(f"step 1 {first:.3f}, step 2 {second:.3f}, step 2 told noise {told_noise:.3f}")
    assert first > 0.4
    assert second > first - 0.005
    assert told_noise < min(first, second) - 0.005, "noise takes the gain away"
