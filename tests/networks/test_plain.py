"""U-Net, SegFormer, ConvNeXt, Swin: they learn a trace that no colour shows, and nothing else; settings tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from scipy import ndimage  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import catalog  # noqa: E402
from tamperscope.networks.base import Network  # noqa: E402
from tamperscope.nn.backbone_sizes import FAMILIES  # noqa: E402
from tamperscope.nn.heads import Contexts  # noqa: E402
from tamperscope.nn.plain import Factors, Score  # noqa: E402

SIDE = 64
NAMES = ("unet", "segformer", "convnext", "swin")
every = pytest.mark.parametrize("name", NAMES)


def noise(rng: np.random.Generator, smooth: bool) -> np.ndarray:
    """Noise of one level; smooth noise is what resampling leaves."""
    white = rng.normal(0, 1, (SIDE, SIDE, 3))
    if smooth:
        white = ndimage.uniform_filter(white, (2, 2, 1), mode="wrap") * 2
    return 0.03 * white


def batch(count: int, seed: int, inside: bool = True, outside: bool = False) -> dict[str, Any]:
    """Smooth pictures; the noise inside of the mask is smooth, that outside is not. Every third picture is pristine."""
    rng = np.random.default_rng(seed)
    images, masks = [], []
    for place in range(count):
        mask = np.zeros((SIDE, SIDE, 1), bool)
        mask[:32, :32] = place % 3 > 0
        # Rolled, so that no place is forged more often than another.
        mask = np.roll(mask, rng.integers(0, SIDE, 2), (0, 1))
        base = ndimage.zoom(rng.uniform(0.2, 0.8, (5, 5, 3)), (SIDE / 5, SIDE / 5, 1), order=1)
        images.append(np.clip(base + np.where(mask, noise(rng, inside), noise(rng, outside)), 0, 1))
        masks.append(mask)
    image, mask = (torch.tensor(np.stack(x), dtype=torch.float32).permute(0, 3, 1, 2) for x in (images, masks))
    return {"image": image, "mask": mask, "label": mask.amax((1, 2, 3)).long()}


def trained(name: str, steps: int, **settings: Any) -> Network:
    torch.manual_seed(1)
    net = catalog.build(name, **settings)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        given = batch(6, step)
        optimizer.zero_grad()
        sum(net.loss(net(given["image"]), given, step / steps).values()).backward()
        optimizer.step()
        plan.step()
    return net.eval()


def auc(scores: Any, truth: Any) -> float:
    ranks = scores.flatten().argsort().argsort().double() + 1
    positive = truth.flatten() > 0.5
    above = positive.sum().item()
    return (ranks[positive].sum().item() - above * (above + 1) / 2) / (above * (len(ranks) - above))


def found(net: Network, inside: bool = True, outside: bool = False) -> float:
    """AUC over the pixels of forged pictures that were not trained on."""
    given = batch(18, 10**6, inside, outside)
    with torch.inference_mode():
        return auc(net(given["image"])["mask"][given["label"] > 0], given["mask"][given["label"] > 0])


@pytest.mark.slow
@every
def test_it_finds_the_trace_and_nothing_where_there_is_none(name: str) -> None:
    net = trained(name, 120)
    assert found(net) > 0.97
    assert found(net, inside=False, outside=True) < 0.03, "roles swapped"
    assert 0.4 < found(net, inside=False) < 0.6, "no trace"
    given = batch(36, 10**7)
    with torch.inference_mode():
        assert auc(net(given["image"])["score"], given["label"]) > 0.9


def test_a_few_steps_of_the_smallest_show_the_trace() -> None:
    net = trained("unet", 60, width=8, halvings=2)
    assert found(net) > 0.95
    assert found(net, inside=False, outside=True) < 0.05, "roles swapped"
    assert 0.4 < found(net, inside=False) < 0.6, "no trace"


@every
def test_what_the_stem_is_told_is_what_the_network_sees(name: str) -> None:
    torch.manual_seed(2)
    net = catalog.build(name, stem=("rgb", "npr")).eval()
    assert net.stem.channels == 6
    image = batch(2, 1)["image"]
    seen = net(image)["mask"]
    net.stem.filters["npr"] = torch.nn.Identity()
    assert not torch.allclose(net(image)["mask"], seen, atol=1e-5)
    # Nearest neighbours leave no relation on their grid: then only colours are left, and these can be taken away too.
    alone = catalog.build(name, stem=("npr",)).eval()
    cells = image[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(alone(cells)["mask"], alone(torch.zeros_like(cells))["mask"], atol=1e-4)
    assert not torch.allclose(alone(image)["mask"], alone(torch.zeros_like(image))["mask"], atol=1e-4)
    with pytest.raises(UnknownNameError, match="map of a stem"):
        catalog.build(name, stem=("noise",))


@every
def test_the_score_can_be_left_out_and_factors_weigh_the_terms(name: str) -> None:
    given = batch(3, 1)
    torch.manual_seed(3)
    net = catalog.build(name, score=None).eval()
    outputs = net(given["image"])
    assert outputs.keys() == {"mask"}
    assert net.loss(outputs, given, 0.0).keys() == {"bce", "dice"}
    torch.manual_seed(3)
    one = catalog.build(name, bce=1, dice=1, score=1).eval()
    torch.manual_seed(3)
    other = catalog.build(name, bce=2, dice=0.5, score=0).eval()
    terms = [net.loss(net(given["image"]), given, 0.0) for net in (one, other)]
    for key, factor in (("bce", 2.0), ("dice", 0.5), ("score", 0.0)):
        assert terms[1][key].item() == pytest.approx(factor * terms[0][key].item(), rel=1e-5)
    with pytest.raises(InvalidValueError, match="Factors"):
        catalog.build(name, bce=-1)


@pytest.mark.parametrize(("name", "family"), [("segformer", "mit"), ("convnext", "convnext")])
def test_weights_of_the_user_reach_the_backbone(name: str, family: str, tmp_path: Path) -> None:
    known = FAMILIES[family]
    model = getattr(transformers, known.model)(
        getattr(transformers, known.config)(**known.sizes["tiny"], **known.fixed)
    )
    model.save_pretrained(tmp_path)
    net = catalog.build(name, weights=tmp_path, extra="zeros")
    first, theirs = (next(m for m in n.modules() if isinstance(m, torch.nn.Conv2d)) for n in (net.backbone, model))
    assert torch.equal(first.weight[:, :3], theirs.weight)
    assert not first.weight[:, 3:].any()
    with pytest.raises(InvalidValueError, match="weights: expected"):
        catalog.build(name, weights=tmp_path / "none")


def test_the_loss_by_hand() -> None:
    logits, truth = torch.tensor([[[[2.0, -1.0]]], [[[0.5, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])
    outputs = {"mask": logits, "score": torch.tensor([1.5, 9.0])}
    batch = {"mask": truth, "label": torch.tensor([1, -1])}
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    g = truth.numpy()
    cross = -np.mean(g * np.log(p) + (1 - g) * np.log(1 - p))
    dice = np.mean([1 - (2 * (a * b).sum() + 1) / ((a + b).sum() + 1) for a, b in zip(p, g, strict=True)])
    terms = Factors(0.5, 2.0, 3.0).loss(outputs, batch)
    assert terms["bce"].item() == pytest.approx(0.5 * cross, rel=1e-5)
    assert terms["dice"].item() == pytest.approx(2 * dice, rel=1e-5)
    assert terms["score"].item() == pytest.approx(3 * np.log(1 + np.exp(-1.5)), rel=1e-5), "an unknown label is none"


def test_the_score_knows_the_map_alone_and_where_does_not_count() -> None:
    torch.manual_seed(4)
    score, maps = Score(), torch.randn(3, 1, 8, 8)
    shuffled = maps.flatten(2)[..., torch.randperm(64)].unflatten(2, (8, 8))
    assert score(maps).shape == (3,)
    torch.testing.assert_close(score(maps), score(shuffled))
    assert not torch.allclose(score(maps), score(maps + 1))


def test_contexts_tell_every_place_of_the_whole_picture() -> None:
    torch.manual_seed(5)
    layer = Contexts(8).eval()
    x = torch.randn(1, 8, 12, 12)
    other = x.clone()
    other[..., 0, 0] += 20
    assert ((layer(x) - layer(other)).abs().amax(1) > 1e-6).all()
    for context in layer.contexts:
        torch.nn.init.zeros_(context.weight)
    assert ((layer(x) - layer(other)).abs().amax(1) > 1e-6).sum() == 4
    torch.manual_seed(5)
    net = catalog.build("convnext", head="uper").eval()
    assert net(batch(1, 1)["image"])["mask"].shape == (1, 1, SIDE, SIDE)
    with pytest.raises(UnknownNameError, match="head"):
        catalog.build("convnext", head="mlp")


def test_unet_refuses_what_is_none() -> None:
    with pytest.raises(InvalidValueError, match="halvings"):
        catalog.build("unet", halvings=0)
    assert catalog.build("unet", halvings=2).multiple == 4
