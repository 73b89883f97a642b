"""UnivFD: one linear layer learns, on a tower that never changes."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import univfd  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.univfd import UnivFd  # noqa: E402
from tamperscope.nn import towers  # noqa: E402
from tamperscope.nn.backbone_sizes import FAMILIES  # noqa: E402

SIDE = 48
COUNT = 96
TRACES = ("texture", "none")


def tiny(seed: int = 1, **settings: object) -> UnivFd:
    torch.manual_seed(seed)
    return univfd.build("tiny", **settings).eval()


def scenes(labels: torch.Tensor, trace: str, seed: int) -> torch.Tensor:
    """Soft colours with noise; `texture` lays a decoder's weak checkerboard over generated ones, `none` nothing."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(len(labels), 3, 5, 5, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False) * 0.7 + 0.15
    image = image + 0.02 * torch.randn(image.shape, generator=generator)
    checkered = 1 - 2 * ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2)
    if trace == "texture":
        image = image + 0.04 * checkered * labels[:, None, None, None]
    return image.clamp(0, 1)


def halves(count: int = COUNT) -> torch.Tensor:
    return torch.arange(count) % 2


@pytest.fixture(scope="module")
def features() -> dict[str, torch.Tensor]:
    """What the tower tells of pictures to learn from and of others to judge, which is the same at every step."""
    net, found = tiny(), {}
    for trace in TRACES:
        for part, seed in (("learned", 3), ("judged", 4)):
            with torch.inference_mode():
                image = net.normalized(scenes(halves(), trace, seed))
                found[f"{trace} {part}"] = torch.cat([net.tower(x) for x in image.split(32)])
    return found


def auc(features: dict[str, torch.Tensor], trace: str, labels: torch.Tensor, judged: str = "") -> float:
    """Train the head alone on the tower's answers, as the network's loss says; judge by the true labels."""
    net = tiny()
    learned = features[f"{trace} learned"].clone()
    optimizer = torch.optim.Adam(net.last.parameters(), 0.03)
    for _ in range(150):
        optimizer.zero_grad()
        net.loss({"score": net.last(learned)[:, 0]}, {"label": labels}, 0)["label"].backward()
        optimizer.step()
    with torch.inference_mode():
        scores = net.last(features[f"{judged or trace} judged"])[:, 0]
    return ranking.auc(scores.numpy(), halves().bool().numpy())


def test_the_head_alone_solves_what_is_planted_and_nothing_else(features: dict[str, torch.Tensor]) -> None:
    truth = halves()
    assert auc(features, "texture", truth) > 0.95
    assert auc(features, "texture", 1 - truth) < 0.05, "labels that are exchanged are learned as well"
    assert abs(auc(features, "texture", truth, judged="none") - 0.5) < 0.15, "without the trace nothing is left"
    assert abs(auc(features, "none", truth) - 0.5) < 0.15
    permuted = [truth[torch.randperm(COUNT, generator=torch.Generator().manual_seed(i))] for i in range(12)]
    found = torch.tensor([auc(features, "texture", labels) for labels in permuted])
    assert abs(float(found.mean()) - 0.5) < 0.15
    assert float(found.max()) < 0.95


def test_the_tower_never_changes_and_the_head_learns() -> None:
    net, labels = tiny(), halves(8)
    image = scenes(labels, "texture", 5)
    digest, before = net.tower.digest(), {k: v.clone() for k, v in net.state_dict().items()}
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)
    net.train()
    assert not any(module.training for module in net.tower.modules())
    answers = []
    for _ in range(3):
        optimizer.zero_grad()
        outputs = net(image)
        net.loss(outputs, {"label": labels}, 0.5)["label"].backward()
        optimizer.step()
        answers.append(outputs["score"].detach())
    assert net.tower.digest() == digest
    assert all(p.grad is None for p in net.tower.parameters())
    assert {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])} == {"last.weight", "last.bias"}
    assert not torch.equal(answers[0], answers[2])


def test_a_head_alone_makes_the_network_again() -> None:
    net, other = tiny(1), tiny(2)
    image = scenes(halves(4), "texture", 6)
    with torch.inference_mode():
        expected = net(image)["score"]
        assert not torch.allclose(other(image)["score"], expected)
        left = other.load_state_dict({k: v for k, v in net.state_dict().items() if k.startswith("last.")}, strict=False)
        assert not left.unexpected_keys
        assert all(key.startswith("tower.") for key in left.missing_keys)
        assert torch.equal(other(image)["score"], expected)


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = univfd.build("full")
    assert parameters(full, trainable=True) == 768 + 1
    assert parameters(full) - 769 == pytest.approx(303.97e6, rel=1e-4)
    assert 224 % full.multiple == 0
    small = univfd.build("tiny")
    assert parameters(small, trainable=True) == 65
    assert parameters(small) <= 1_500_000


def test_a_tower_of_the_users_is_told_colours_as_it_knows_them(tmp_path: Path) -> None:
    config = transformers.CLIPVisionConfig(**FAMILIES["clip"].sizes["tiny"], projection_dim=40)
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    model.save_pretrained(tmp_path)
    net, image = tiny(weights=tmp_path), torch.rand(2, 3, 128, 128)
    processor = transformers.image_utils
    mean, std = (torch.tensor(x)[:, None, None] for x in (processor.OPENAI_CLIP_MEAN, processor.OPENAI_CLIP_STD))
    with torch.inference_mode():
        expected = net.last(model((image - mean) / std).image_embeds)[:, 0]
        torch.testing.assert_close(net(image)["score"], expected, atol=1e-4, rtol=1e-3)
    assert net.last.in_features == 40
    assert tiny(family="dinov2").multiple == 14
    for family, (colours, _) in towers.COLOURS.items():
        torch.testing.assert_close(tiny(family=family).mean.flatten(), torch.tensor(colours))


def test_channels_of_many_stages_are_brought_to_one_scale() -> None:
    """Without it those that are large by nature would learn alone."""
    net = tiny(family="lite").train()
    assert net.any_size
    assert not tiny().any_size
    image = torch.rand(8, 3, 64, 96)
    found = net.alike(net.tower(image))
    torch.testing.assert_close(found.mean(0), torch.zeros(net.tower.features), atol=1e-3, rtol=0)
    assert parameters(net, trainable=True) == net.tower.features + 1
    digest, before = net.tower.digest(), net.alike.running_mean.clone()
    net.eval()
    with torch.inference_mode():
        net(image)
    assert torch.equal(net.alike.running_mean, before), "asking teaches nothing"
    assert net.tower.digest() == digest


def test_what_fills_a_canvas_up_is_not_looked_at() -> None:
    net, image = tiny(), torch.rand(1, 3, SIDE, SIDE)
    valid = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    valid[..., 30:] = False
    grey = torch.where(valid, image, net.mean)
    with torch.inference_mode():
        found = net(image, valid=valid)["score"]
        assert torch.equal(found, net(torch.where(valid, image, 0.0), valid=valid)["score"])
        torch.testing.assert_close(found, net(grey)["score"])
        assert not torch.allclose(found, net(image)["score"])


def test_labels_teach_each_picture_for_itself_and_unknown_ones_nothing() -> None:
    net, logits = tiny(), torch.tensor([1.5, -0.5, 3.0])
    terms = net.loss({"score": logits}, {"label": torch.tensor([1, 0, -1])}, 0.5)
    softplus = torch.nn.functional.softplus
    torch.testing.assert_close(terms["label"], softplus(torch.tensor([-1.5, -0.5])).sum() / 3)
    assert net.loss({"score": logits}, {"label": -torch.ones(3).long()}, 0.5)["label"].item() == 0


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="family of towers 'swin'"):
        univfd.build(family="swin")
    with pytest.raises(UnknownNameError, match="size of clip 'h14'"):
        univfd.build(backbone="h14")
    with pytest.raises(InvalidValueError, match=r"config.json and \*.safetensors"):
        univfd.build(weights=tmp_path)
