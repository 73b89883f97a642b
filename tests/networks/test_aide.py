"""AIDE: windows by their grade to their own experts, a frozen tower for the content, and which of them knows what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import aide  # noqa: E402
from tamperscope.networks.aide import Aide  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.nn import towers  # noqa: E402
from tamperscope.nn.backbone_sizes import FAMILIES  # noqa: E402
from tamperscope.nn.filters import Srm  # noqa: E402
from tamperscope.nn.rectangles import cornered, resized  # noqa: E402

SIDE = 128


def tiny(seed: int = 1, **settings: object) -> Aide:
    torch.manual_seed(seed)
    return aide.build("tiny", **{"enlarged": 64, **settings}).eval()


def score(net: Aide, image: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    with torch.inference_mode():
        return net(image, valid=valid)["score"]


def half_noise(flat: float = 0.5) -> torch.Tensor:
    """The left half is flat, the right one is noise."""
    image = torch.full((1, 3, 96, 160), flat)
    image[..., 80:] = torch.rand(3, 96, 80, generator=torch.Generator().manual_seed(2))
    return image


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = aide.build("full")
    # A ResNet-50 without its last layer has 23,508,032; its first layer here takes 30 channels, not 3.
    resnet = 23_508_032 + 49 * 64 * 27
    assert [parameters(x) for x in (full.patches.low, full.patches.high)] == [resnet, resnet]
    rest = (768 + 1) * 256 + (2048 + 256 + 1) * 1024 + (1024 + 1) * 2
    assert parameters(full, trainable=True) == 2 * resnet + rest == 49_744_642
    assert parameters(full) - parameters(full, trainable=True) == pytest.approx(303.97e6, rel=1e-4)
    assert (full.patches.enlarged, full.patches.grader.count, full.semantic.view) == (256, 2, 224)
    assert parameters(aide.build("tiny")) <= 1_500_000


def test_flat_windows_go_to_one_expert_and_busy_ones_to_the_other() -> None:
    net, told = tiny(), {}
    for name in ("low", "high"):
        expert = getattr(net.patches, name)
        expert.register_forward_pre_hook(lambda _, given, name=name: told.update({name: given[0]}))
    for image in (half_noise(), half_noise().flip(3)):
        score(net, image)
        assert {name: len(seen) for name, seen in told.items()} == {"low": 2, "high": 2}
        # Zeros around a window give it an outline.
        assert told["low"][..., 2:-2, 2:-2].abs().max() < 1e-5
        assert told["high"][..., 2:-2, 2:-2].std() > 0.1


def test_both_experts_and_all_four_windows_count_the_same() -> None:
    net, image = tiny(), torch.rand(2, 3, 96, 128)
    with torch.inference_mode():
        found = net.features(image)[1]
        each = []
        for windows, expert in zip(net.patches.grader(image), (net.patches.low, net.patches.high), strict=True):
            seen = [net.patches.residuals(net.normalized(windows[:, n])) for n in range(2)]
            each += [expert(x)[-1].mean((2, 3)) for x in seen]
        torch.testing.assert_close(found, sum(each) / 4, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(each[0], each[2])


def test_residuals_are_thirty_of_the_added_colours() -> None:
    net, windows = tiny(enlarged=256), torch.rand(2, 3, 32, 32)
    found = net.patches.residuals(windows)
    large = torch.nn.functional.interpolate(windows, (256, 256), mode="bilinear", align_corners=False)
    expected = Srm("bank30", clip=None)(large).unflatten(1, (3, 30)).sum(1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.patches.residuals(windows), found)
    # Of brightness nothing is left but along the edges, of a hue nothing at all.
    bright = net.patches.residuals(windows + 0.3) - found
    assert bright[..., 2:-2, 2:-2].abs().max() < 1e-4
    assert bright.abs().max() > 0.1
    hue = torch.tensor([0.2, 0.0, -0.2])[:, None, None]
    assert (net.patches.residuals(windows + hue) - found).abs().max() < 1e-4


def test_a_score_is_the_softmax_of_two_logits_with_smoothed_labels() -> None:
    net, labels = tiny(), torch.tensor([1, 0, 1, 1])
    features = net.features(torch.rand(4, 3, 64, 64))
    logits = net.last(torch.cat(features, 1))
    outputs = {"score": net.judged(features)}
    torch.testing.assert_close(outputs["score"].sigmoid(), logits.softmax(1)[:, 1])
    published = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(net.loss(outputs, {"label": labels}, 0)["score"], published)
    gradients = [
        torch.autograd.grad(x, net.last[2].weight, retain_graph=True)[0]
        for x in (net.loss(outputs, {"label": labels}, 0)["score"], published)
    ]
    torch.testing.assert_close(*gradients)
    # What a picture costs does not depend on whether others are known.
    alone = net.loss({"score": outputs["score"][:1]}, {"label": labels[:1]}, 0)["score"]
    unknown = net.loss(outputs, {"label": torch.tensor([1, -1, -1, -1])}, 0)["score"]
    torch.testing.assert_close(unknown, alone / 4)
    assert net.loss(outputs, {"label": -torch.ones(4).long()}, 0)["score"].item() == 0


def test_the_tower_looks_at_a_small_copy_and_never_learns() -> None:
    net, image = tiny(), torch.rand(2, 3, 96, 128)
    seen: list[torch.Tensor] = []
    net.semantic.tower.register_forward_pre_hook(lambda _, told: seen.append(told[0]))
    score(net, image)
    mean, std = (torch.tensor(x)[:, None, None] for x in towers.COLOURS["clip"])
    small = torch.nn.functional.interpolate(image, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(seen[0] * std + mean, small, atol=1e-5, rtol=0)
    digest = net.semantic.tower.digest()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)
    net.train()
    assert not any(module.training for module in net.semantic.tower.modules())
    before = net.semantic.last.weight.clone()
    net.loss(net(image), {"label": torch.tensor([0, 1])}, 0)["score"].backward()
    optimizer.step()
    assert net.semantic.tower.digest() == digest
    assert not torch.equal(net.semantic.last.weight, before)


def test_weights_of_the_users(tmp_path: Path) -> None:
    tower = transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(**FAMILIES["clip"].sizes["tiny"], projection_dim=40)
    ).eval()
    resnet = transformers.ResNetModel(transformers.ResNetConfig(**FAMILIES["resnet"].sizes["tiny"]))
    for name, model in (("tower", tower), ("resnet", resnet)):
        model.save_pretrained(tmp_path / name)
    net = tiny(weights=tmp_path / "tower", resnet_weights=tmp_path / "resnet")
    assert net.semantic.last.in_features == 40
    small, known = torch.rand(1, 3, 64, 64), resnet.state_dict()
    with torch.inference_mode():
        expected = tower(small, interpolate_pos_encoding=True).image_embeds
        torch.testing.assert_close(net.semantic.tower(small), expected, atol=1e-4, rtol=1e-3)
    first = "embedder.embedder.convolution.weight"
    for expert in (net.patches.low, net.patches.high):
        found = expert.body.state_dict()
        assert all(torch.equal(found[key], value) for key, value in known.items() if key != first and key in found)
        # Drawn anew for all 30 residuals, which are no colours.
        assert found[first].shape[1] == 30
        assert not any(torch.equal(found[first][:, n : n + 3], known[first]) for n in range(28))
    assert not torch.equal(*(x.body.state_dict()[first] for x in (net.patches.low, net.patches.high)))


def test_what_fills_a_canvas_up_and_other_pictures_change_no_score() -> None:
    net, image = tiny(), torch.rand(1, 3, 70, 90)
    with torch.inference_mode():
        windows = net.patches.grader(torch.nn.functional.pad(image, (0, 6, 0, 26)), _area(70, 90, (96, 96)))
        small = resized(*cornered(image), 64)
    canvas = torch.rand(2, 3, 96, 128)
    valid = torch.cat([_area(70, 90, (96, 128)), torch.ones(1, 1, 96, 128, dtype=torch.bool)])
    canvas[:1, :, :70, :90] = image
    seen = {}
    net.patches.grader.register_forward_hook(lambda *found: seen.update(windows=found[2]))
    net.semantic.tower.register_forward_pre_hook(lambda _, told: seen.update(small=told[0]))
    found = score(net, canvas, valid)
    assert all(torch.equal(a[:1], b) for a, b in zip(seen["windows"], windows, strict=True))
    torch.testing.assert_close(seen["small"][:1] * net.semantic.std + net.semantic.mean, small, atol=1e-5, rtol=0)
    canvas[:1][~valid[:1].expand(-1, 3, -1, -1)] = 0.7
    torch.testing.assert_close(score(net, canvas[:1], valid[:1]), found[:1])
    assert not torch.allclose(score(net, canvas[:1]), found[:1])


def _area(height: int, width: int, size: tuple[int, int]) -> torch.Tensor:
    valid = torch.zeros(1, 1, *size, dtype=torch.bool)
    valid[..., :height, :width] = True
    return valid


def test_one_kind_of_expert_alone() -> None:
    image = torch.rand(1, 3, 64, 64)
    content, noise = tiny(branch="semantic"), tiny(branch="patches")
    assert (content.patches, noise.semantic) == (None, None)
    assert [x.shape[1] for x in content.features(image)] == [64]
    assert [x.shape[1] for x in noise.features(image)] == [128]
    assert [x.shape[1] for x in tiny().features(image)] == [64, 128]
    # Patches do not see hues, content does.
    hue = 0.2 * noise.std * torch.tensor([1.0, 0.0, -1.0])[:, None, None]
    image = torch.full_like(image, 0.5)
    torch.testing.assert_close(score(noise, image), score(noise, image + hue), atol=1e-5, rtol=0)
    assert (score(content, image) - score(content, image + hue)).abs() > 1e-4


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    for settings in ({"view": 0}, {"hidden": 0}, {"semantic": 0}, {"enlarged": 31}):
        with pytest.raises(InvalidValueError, match="expected view, semantic and hidden from 1 and enlarged from 32"):
            tiny(**settings)
    with pytest.raises(InvalidValueError, match="expected one of both, patches, semantic, found 'high'"):
        tiny(branch="high")
    with pytest.raises(UnknownNameError, match="family of towers 'swin'"):
        tiny(family="swin")
    with pytest.raises(UnknownNameError, match="size of resnet '9'"):
        tiny(resnet="9")
    with pytest.raises(InvalidValueError, match=r"config.json and \*.safetensors"):
        tiny(weights=tmp_path)


def scenes(warm: torch.Tensor, trace: torch.Tensor, draws: torch.Generator, grain: float = 0.02) -> torch.Tensor:
    """A warm or a cold thing on soft grey with grain; `trace` (count,) lays a decoder's weak checkerboard over all.

    The hue changes no residual, and the checkerboard, of the picture's finest frequency, is in no small copy.
    """
    count = len(warm)
    coarse = torch.rand(count, 1, 5, 5, generator=draws)
    image = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False) * 0.5 + 0.25
    centre = 0.3 + 0.4 * torch.rand(count, 2, 1, 1, generator=draws)
    place = (torch.arange(SIDE) + 0.5) / SIDE
    distance = ((place[:, None] - centre[:, 0]) ** 2 + (place - centre[:, 1]) ** 2).sqrt()
    hue = torch.tensor([0.229, 0.0, -0.225])[:, None, None] * (2 * warm - 1)[:, None, None, None]
    image = image + 0.4 * hue * (5 - 20 * distance).sigmoid()[:, None]
    image = image + grain * torch.randn(count, 1, SIDE, SIDE, generator=draws)
    checkered = 1 - 2 * ((torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2)
    return (image + 0.03 * checkered * trace[:, None, None, None]).clamp(0, 1)


def drawn(kind: str, count: int, draws: torch.Generator, grain: float = 0.02) -> tuple[torch.Tensor, torch.Tensor]:
    """Of `content` generated pictures alone are warm and none has a trace, of `trace` they have it and any hue."""
    label = torch.arange(count) % 2
    any_hue = torch.randint(2, (count,), generator=draws)
    warm, trace = (label, torch.zeros(count)) if kind == "content" else (any_hue, label)
    return scenes(warm, trace, draws, grain), label


def trained(kind: str, branch: str, steps: int = 40, rate: float = 2e-3) -> Aide:
    net, draws = tiny(0, branch=branch).train(), torch.Generator().manual_seed(0)
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        image, label = drawn(kind, 16, draws)
        optimizer.zero_grad()
        net.loss(net(image), {"label": label}, 0)["score"].backward()
        optimizer.step()
        plan.step()
    return net.eval()


def worth(scores: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Accuracy at a probability of 0.5, accuracy where both kinds of error are as frequent, and AUC."""
    score, truth = scores.numpy(), labels.numpy() > 0
    cuts = np.sort(score)
    gaps = [abs((score[~truth] >= cut).mean() - (score[truth] < cut).mean()) for cut in cuts]
    cut = cuts[int(np.argmin(gaps))]
    found = {name: float(((score >= c) == truth).mean()) for name, c in (("half", 0.0), ("equal", cut))}
    return found | {"auc": ranking.auc(score, truth)}


KNOWS = {"content": "semantic", "trace": "patches"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KNOWS)
def test_one_expert_knows_content_and_the_others_the_trace(kind: str) -> None:
    image, label = drawn(kind, 96, torch.Generator().manual_seed(99))
    for branch in ("semantic", "patches"):
        alone = worth(score(trained(kind, branch), image), label)
        if branch == KNOWS[kind]:
            assert min(alone["auc"], alone["equal"], alone["half"]) > 0.95
        else:
            assert abs(alone["auc"] - 0.5) < 0.15
            assert abs(alone["equal"] - 0.5) < 0.15

    net = trained(kind, "both")
    with torch.inference_mode():
        features = net.features(image)
        known = worth(net.judged(features), label)
        assert min(known["auc"], known["equal"]) > 0.95
        assert known["half"] > 0.85
        for place, name in enumerate(("semantic", "patches")):
            without = list(features)
            without[place] = features[place].mean(0, keepdim=True).expand_as(features[place])
            left = worth(net.judged(without), label)
            assert left["auc"] > 0.95 if name != KNOWS[kind] else abs(left["auc"] - 0.5) < 0.15
    # The same pictures with what was planted exchanged are judged the other way round.
    draws = torch.Generator().manual_seed(99)
    hues = torch.randint(2, (96,), generator=draws)
    other = scenes(1 - label, torch.zeros(96), draws) if kind == "content" else scenes(hues, 1 - label, draws)
    assert worth(score(net, other), label)["auc"] < 0.05
    # What comes with more grain is ranked as well, but the threshold of the content's expert holds no more.
    grainy = worth(score(net, drawn(kind, 96, torch.Generator().manual_seed(99), 0.04)[0]), label)
    assert min(grainy["auc"], grainy["equal"]) > 0.95
    assert grainy["half"] < 0.8 if kind == "content" else grainy["half"] > 0.95
