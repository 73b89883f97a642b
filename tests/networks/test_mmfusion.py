"""MMFusion: filters keep their constraints, parts do what they are for, and each phase leaves the other alone."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.networks import mmfusion
from tamperscope.networks.base import parameters
from tamperscope.nn import residuals

SCRIPT = Path(__file__).parents[2] / "scripts" / "complementarity.py"


def pictures(count: int = 2, height: int = 64, width: int = 96, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def batch(count: int = 2, seed: int = 1) -> dict[str, Tensor]:
    image = pictures(count, seed=seed)
    mask = torch.zeros(count, 1, 64, 96)
    mask[0, :, 16:40, 20:60] = 1
    return {"image": image, "mask": mask, "label": mask.amax((1, 2, 3)).long()}


def built(**settings: object) -> mmfusion.MMFusion:
    torch.manual_seed(0)
    return mmfusion.build("tiny", **settings)  # type: ignore[arg-type]


def steps(net: mmfusion.MMFusion, given: dict[str, Tensor], count: int = 3, rate: float = 0.05) -> None:
    optimizer = torch.optim.SGD((p for p in net.parameters() if p.requires_grad), rate, 0.9, weight_decay=5e-4)
    for _ in range(count):
        optimizer.zero_grad()
        sum(net.loss(net(given["image"]), given, 0.0).values()).backward()  # type: ignore[union-attr]
        optimizer.step()


def test_constraints_of_the_filters_outlast_training() -> None:
    net, given = built(), batch()
    before = net.filters["bayar"].weight.detach().clone()
    flat, ramp = torch.full((1, 3, 24, 24), 0.7), torch.arange(24.0).expand(1, 3, 24, 24) / 24
    for _ in range(3):
        steps(net, given, 1, 0.5)
        kernels = net.filters["bayar"].weight
        assert torch.allclose(kernels[..., 2, 2], torch.tensor(-1.0))
        assert kernels.sum((2, 3)).abs().max() < 1e-5
        inner = (..., slice(2, -2), slice(2, -2))
        assert net.filters["bayar"](flat)[inner].abs().max() < 1e-4
        assert net.filters["srm"](flat)[inner].abs().max() < 1e-5
        for image in (ramp, ramp.mT):
            assert net.filters["srm"](image)[inner].abs().max() < 1e-5
    assert not torch.allclose(before, net.filters["bayar"].weight)


def test_the_extractor_of_residuals_neither_learns_nor_leaves_eval_mode() -> None:
    net = built()
    before = {name: value.clone() for name, value in net.filters["residual"].state_dict().items()}
    steps(net.train(), batch())
    after = net.filters["residual"].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(before[f"inner.{n}"], v) for n, v in residuals.shipped().state_dict().items())
    assert not net.filters["residual"].inner.training
    maps = net.filters["residual"](pictures())
    assert maps.shape == (2, 3, 64, 96)
    assert torch.equal(maps[:, :1], maps[:, 2:])


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_every_filter_is_seen_and_only_those_that_are_used_are_there(fusion: str) -> None:
    net, image = built(fusion=fusion).eval(), pictures()
    with torch.inference_mode():
        whole = net(image)["mask"]
        for name in mmfusion.FILTERS:
            with script().without(net, name):
                assert (net(image)["mask"] - whole).abs().max() > 1e-6
    alone = built(fusion=fusion, used=("bayar",))
    assert list(alone.filters) == ["bayar"]
    assert not any(name.startswith(("filters.residual", "filters.srm")) for name in alone.state_dict())


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("complementarity", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_early_fusion_has_two_backbones_and_late_fusion_one_for_all() -> None:
    early, late = built(), built(fusion="late")
    assert early.branches.other is not None
    assert late.branches.other is None
    assert not late.early
    assert late.mixer is None
    # A stage of the shared backbone answers for the picture and for what every filter sees.
    calls: list[int] = []
    late.branches.own.stages()[2].register_forward_hook(lambda *_: calls.append(1))
    late(pictures())
    assert len(calls) == 4
    assert late.head.lines[0].in_channels == 3 * early.head.lines[0].in_channels


def test_what_lies_beside_the_picture_rectifies_it() -> None:
    net, image = built().eval(), pictures()
    with torch.inference_mode():
        whole = net(image)["mask"]
        with script().swapped(net):
            assert (net(image)["mask"] - whole).abs().max() > 1e-6
        for layers in net.branches.rectify:
            for layer in layers:
                layer.share = 0.0
        assert (net(image)["mask"] - whole).abs().max() > 1e-6


def test_the_loss_is_the_published_one_written_out() -> None:
    net, given = built(), batch()
    outputs = {name: value.detach().double() for name, value in net(given["image"]).items()}
    terms = net.loss(outputs, given, 0.0)
    z, g = outputs["mask"].numpy(), given["mask"].numpy().astype(float)
    p = 1 / (1 + np.exp(-z))
    weights = np.where(g > 0, 2.5, 0.5)
    entropy = -(weights * (g * np.log(p) + (1 - g) * np.log(1 - p))).sum() / weights.sum()
    dice = np.mean([1 - 2 * (a * b).sum() / ((a + b).sum() + 1e-9) for a, b in zip(p, g, strict=True)])
    right = g * p + (1 - g) * (1 - p)
    sure = 1 / (1 + np.exp(-outputs["confidence"].numpy()))
    y = given["label"].numpy()
    score = 1 / (1 + np.exp(-outputs["score"].numpy()))
    detection = -(y * np.log(score) + (1 - y) * np.log(1 - score)).mean()
    wanted = {
        "cross_entropy": 0.3 * entropy,
        "dice": 0.7 * dice,
        "confidence": np.square(sure - right).mean(),
        "detection": 0.5 * detection,
    }
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(wanted, rel=1e-4)


def test_pixels_that_are_not_the_pictures_count_nowhere() -> None:
    """The published label for them was cut to 0 as the mask was padded, so that they counted as authentic."""
    net, given = built(), batch()
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    valid[..., 48:, :] = False
    outputs = net(given["image"])
    other = {name: value.detach().clone() for name, value in outputs.items()}
    other["mask"][..., 48:, :] = 9
    other["confidence"][..., 48:, :] = -9
    truth = given["mask"].clone()
    truth[..., 48:, :] = 1
    told, lied = given | {"valid": valid}, given | {"valid": valid, "mask": truth}
    expected = {name: value.item() for name, value in net.loss(outputs, told, 0.0).items()}
    for found in (net.loss(other, told, 0.0), net.loss(outputs, lied, 0.0)):
        assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-5)
    without = net.loss(outputs, given | {"mask": truth}, 0.0)
    assert all(abs(without[name].item() - expected[name]) > 1e-3 for name in ("cross_entropy", "dice", "confidence"))


def test_statistics_of_the_score_are_those_of_the_picture_alone() -> None:
    net, image = built().eval(), pictures()
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    valid[..., 80:] = False
    with torch.inference_mode():
        whole = net(image)["score"]
        assert torch.allclose(net(image, valid=torch.ones_like(valid))["score"], whole, atol=1e-6)
        part = net(image, valid=valid)["score"]
        net.head.register_forward_hook(lambda module, given, out: _raised(out))
        assert torch.allclose(net(image, valid=valid)["score"], part, atol=1e-5)
        assert (net(image)["score"] - whole).abs().max() > 1e-4


def _raised(logits: Tensor) -> Tensor:
    """Change the logits of the last 12 pixels; the last 16 are not the picture's, and enlarging reaches 2 further."""
    out = logits.clone()
    out[:, 1, :, 21:] += 5
    return out


def test_the_second_phase_leaves_the_mask_as_it_was() -> None:
    first = built(phase="anomaly")
    steps(first, batch())
    assert set(first(pictures())) == {"mask"}
    second = built(phase="confidence")
    second.load_state_dict(first.state_dict())
    trainable = {name.partition(".")[0] for name, p in second.named_parameters() if p.requires_grad}
    assert trainable == {"confidence", "detection"}
    image = pictures(seed=7)
    before = second(image)
    steps(second.train(), batch())
    after = second(image)
    assert torch.equal(before["mask"], after["mask"])
    assert not torch.equal(before["confidence"], after["confidence"])
    frozen = {k: v for k, v in first.state_dict().items() if k.partition(".")[0] not in trainable}
    assert all(torch.equal(second.state_dict()[name], value) for name, value in frozen.items())


def test_with_both_phases_at_once_the_second_cannot_move_the_first() -> None:
    net, given = built(), batch()
    terms = net.loss(net(given["image"]), given, 0.0)
    (terms["confidence"] + terms["detection"]).backward()
    moved = {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"confidence", "detection"}


def test_weighing_filters_begins_as_none_and_can_choose() -> None:
    plain, weighed = built(fusion="late").eval(), built(fusion="late", decoder="weighed").eval()
    missing = weighed.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.startswith("weigh.") for name in missing.missing_keys)
    assert missing.missing_keys
    image = pictures()
    with torch.inference_mode():
        assert torch.allclose(plain(image)["mask"], weighed(image)["mask"], atol=1e-6)
        for layer in weighed.weigh:
            layer.gate.bias[0] = 50
        chosen = weighed(image)["mask"]
        assert (chosen - plain(image)["mask"]).abs().max() > 1e-6
        maps = torch.ones(1, 16, 2, 2)
        assert [x.mean().item() for x in weighed.weigh[0]([maps] * 3)] == pytest.approx([3, 0, 0], abs=1e-5)


def test_the_full_size_has_the_published_parts() -> None:
    with torch.device("meta"):
        net = mmfusion.build("full", used=("srm", "bayar"))
    assert net.branches.channels == (64, 128, 320, 512)
    # SegFormer's B2 encoder has 24.2 million.
    assert parameters(net.branches.own) == pytest.approx(24.2e6, rel=0.01)
    assert [layer[0].out_channels for layer in net.early] == [24, 24]
    assert net.head.last.in_channels == 512
    assert net.detection[0].in_features == 8
    assert net.detection[0].out_features == 128
    assert parameters(built()) <= 1.5e6


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"used": ()}, InvalidValueError, "expected a filter"),
        ({"decoder": "weighed"}, InvalidValueError, "late fusion where they are weighed"),
        ({"used": ("sobel",)}, UnknownNameError, "filter"),
        ({"phase": "first"}, UnknownNameError, "phase"),
        ({"extractor": "nowhere.safetensors"}, InvalidValueError, "nowhere.safetensors"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        built(**settings)


def test_an_own_extractor_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    import hashlib

    own = residuals.Residuals(4, 8)
    weights = save(own.state_dict())
    (tmp_path / "own.safetensors").write_bytes(weights)
    card = {"sha256": hashlib.sha256(weights).hexdigest(), "layers": 4, "width": 8}
    (tmp_path / "own.json").write_text(json.dumps(card))
    net = built(extractor=str(tmp_path / "own.safetensors"))
    image = pictures()
    torch.testing.assert_close(net.filters["residual"](image)[:, :1], own.eval()(image))


def scenes(count: int, seed: int, side: int = 64) -> np.ndarray:
    """Generated pictures, (N, S, S, 3) uint8: a field that falls with frequency, ellipses and polygons over it."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) + 1 / side
    out = []
    for _ in range(count):
        spectrum = np.fft.fft2(rng.normal(size=(3, side, side)), axes=(1, 2)) / frequency ** rng.uniform(1, 1.6)
        field = np.fft.ifft2(spectrum, axes=(1, 2)).real.transpose(1, 2, 0)
        rgb = np.clip(128 + 35 * field / field.std() + rng.normal(0, 25, 3), 0, 255)
        rgb = np.ascontiguousarray(rgb, np.uint8)
        for _ in range(rng.integers(2, 5)):
            colour = tuple(int(x) for x in rng.integers(20, 236, 3))
            centre, axes = (tuple(int(x) for x in rng.integers(*ends, 2)) for ends in ((0, side), (4, side // 3)))
            rgb = cv2.ellipse(rgb, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        out.append(rgb)
    return np.stack(out)


def test_the_planted_traces_keep_the_content_and_can_be_switched_off() -> None:
    module, squares = script(), scenes(3, 5)
    for trace in module.TRACES:
        for place, rgb in enumerate(squares):
            image, mask = module.planted(rgb, trace, np.random.default_rng(place))
            other, same = module.planted(rgb, trace, np.random.default_rng(place), on=False)
            assert np.array_equal(mask, same)
            assert np.abs(image.astype(int) - rgb).mean() < 12
            outside = cv2.dilate(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) == 0
            assert np.abs(image.astype(int) - other)[mask].mean() > 0.5
            if trace != "jpeg":
                assert np.array_equal(image[~mask], other[~mask])
            assert outside.any()


def loud(rng: np.random.Generator, count: int, on: bool = True) -> dict[str, Tensor]:
    """Pictures of which a quarter, anywhere and around the borders, is far noisier; or with `on` false is not."""
    images, masks = [], []
    for rgb in scenes(count, int(rng.integers(2**31))):
        mask = np.zeros((64, 64), bool)
        mask[:32, :32] = True
        mask = np.roll(mask, rng.integers(0, 64, 2), (0, 1))
        noisy = rgb + rng.normal(0, 2 + 18 * (mask & on)[..., None], rgb.shape)
        images.append(np.clip(noisy, 0, 255))
        masks.append(mask)
    image = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float() / 255
    return {"image": image, "mask": torch.from_numpy(np.stack(masks)[:, None]).float(), "label": torch.ones(count)}


def learned(count: int, rng: np.random.Generator) -> mmfusion.MMFusion:
    """A network with one filter that learned the loud trace for so many steps, in train mode."""
    net = built(used=("srm",))
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    for _ in range(count):
        given = loud(rng, 6)
        optimizer.zero_grad()
        sum(net.loss(net(given["image"]), given, 0.0).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    return net


def found(net: mmfusion.MMFusion, rng: np.random.Generator) -> dict[str, float]:
    """Pixel AUC with the trace, without it, without the filter, with another picture's filter; and the confidence's."""
    module, given, null = script(), loud(rng, 12), loud(rng, 12, on=False)
    on = module.measured(net, given)
    out = {"on": on["auc"], "sure": on["confidence_auc"], "null": module.measured(net, null)["auc"]}
    with module.without(net, "srm"):
        out["without"] = module.measured(net, given)["auc"]
    with module.swapped(net):
        out["swapped"] = module.measured(net, given)["auc"]
    return {name: float(np.nanmean(values)) for name, values in out.items()}


def test_a_few_steps_find_a_loud_trace_through_the_filter_alone() -> None:
    rng = np.random.default_rng(3)
    # Running means of batch norm lag behind so few steps: those of the batch stand in for them.
    auc = found(learned(20, rng), rng)
    assert auc["on"] > 0.85
    assert auc["null"] == pytest.approx(0.5, abs=0.15)
    assert auc["without"] < 0.7
    assert auc["swapped"] < 0.65


@pytest.mark.slow
def test_the_trained_network_rests_on_the_filter_and_knows_where_it_is_right() -> None:
    rng = np.random.default_rng(3)
    auc = found(learned(80, rng).eval(), rng)
    assert auc["on"] > 0.9
    assert auc["null"] == pytest.approx(0.5, abs=0.12)
    assert auc["without"] <= 0.65
    assert auc["swapped"] <= 0.65
    assert auc["sure"] >= 0.75
