"""FakeLocator: graded truth, parts that weigh alike, and a network that looks at what up-samplers leave.

Pictures are fixture C of its digest: a region passed an up-sampler, all of the picture has equal noise afterwards, and
every picture, forged or not, also holds a region that was resampled cleanly and counts as authentic. Without the
last a network learns missing detail and looks as good; so what is accepted is what happens when the cause is taken away
or planted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.metrics.transductive import single_sample  # noqa: E402
from tamperscope.networks import fakelocator  # noqa: E402
from tamperscope.networks.fakelocator import FakeLocator, Parts  # noqa: E402
from tamperscope.nn.inside import mean  # noqa: E402
from tamperscope.ops import attack, augment, changes  # noqa: E402
from tamperscope.ops.forge import upsampling  # noqa: E402
from tamperscope.ops.record import Op  # noqa: E402
from tamperscope.types import Sample  # noqa: E402

SIDE = 64
Pixels = NDArray[np.uint8]


def tiny(**settings: Any) -> FakeLocator:
    """A network whose norms have left their beginning."""
    torch.manual_seed(1)
    net = fakelocator.build("tiny", **settings)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, 0.1, 0.2)
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.rand(4, 3, 64, 64))
    return net.eval()


def outputs(net: FakeLocator, image: torch.Tensor, **told: Any) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return net(image, **told)


# What it is.


@pytest.mark.parametrize("stem", [("rgb",), ("rgb", "srm")], ids="+".join)
@pytest.mark.parametrize("size", [(64, 48), (40, 88)], ids=str)
def test_a_picture_on_a_canvas_is_the_picture(size: tuple[int, int], stem: tuple[str, ...]) -> None:
    net, (height, width) = tiny(stem=stem), size
    image = torch.rand(1, 3, height, width)
    canvas, valid = torch.rand(1, 3, 96, 96), torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    canvas[..., :height, :width], valid[..., :height, :width] = image, True
    alone, found = outputs(net, image), outputs(net, canvas, valid=valid)
    torch.testing.assert_close(found["mask"][..., :height, :width], alone["mask"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found["score"], alone["score"], atol=1e-4, rtol=1e-4)
    assert (outputs(net, canvas)["score"] - alone["score"]).abs() > 1e-4


def test_the_truth_is_graded_where_the_change_is_known() -> None:
    net = tiny(levels=40)
    batch = {"mask": torch.tensor([[0.0, 1.0, 1.0, 1.0]])[None, None], "label": torch.tensor([1])}
    assert net.truth(batch).flatten().tolist() == [0, 1, 1, 1]
    batch["change"] = torch.tensor([[0.0, 10.0, 40.0, 255.0]])[None, None]
    assert net.truth(batch).flatten().tolist() == [0, 0.25, 1, 1]
    told = {"mask": torch.tensor([[-20.0, 0.0, 20.0, -20.0]])[None, None], "score": torch.tensor([0.0])}
    valid = torch.tensor([[True, True, True, False]])[None, None]
    terms = net.loss(told, batch, 0)
    assert terms["map"].item() == pytest.approx((0 + 0.25 + 0 + 1) / 4, abs=1e-6)
    assert terms["label"].item() == pytest.approx(np.log(2), abs=1e-6)
    assert net.loss(told, batch | {"valid": valid}, 0)["map"].item() == pytest.approx(0.25 / 3, abs=1e-6)
    assert tiny(levels=40, regression="l2").loss(told, batch, 0)["map"].item() == pytest.approx((0.0625 + 1) / 4)
    unknown = net.loss(told, batch | {"label": torch.tensor([-1])}, 0)
    assert unknown["label"].item() == 0
    assert tiny(label=0.5).loss(told, batch, 0)["label"].item() == pytest.approx(np.log(2) / 2, abs=1e-6)


def test_every_part_weighs_alike_whatever_its_area() -> None:
    """A mouth of 6 places counts as much as hair of 40."""
    areas = (40, 6, 18)
    flat = torch.repeat_interleave(torch.arange(3), torch.tensor(areas))
    hard = torch.nn.functional.one_hot(flat, 4).T.float().view(1, 4, 8, 8)
    layer, inside = Parts(5, 4), torch.ones(1, 1, 8, 8)
    weights = layer.weights(hard, inside)
    assert [weights[hard[:, k : k + 1] > 0].sum().item() for k in range(3)] == pytest.approx([64 / 3] * 3)
    assert weights.mean().item() == pytest.approx(1)
    # A part that is not there, or only where the canvas is filled up, takes nothing from the others.
    inside[..., 5:, :] = 0
    seen = layer.weights(hard, inside)
    assert seen[hard[:, :1] > 0].sum().item() == pytest.approx(40)
    assert not seen[..., 5:, :].any()
    x = torch.rand(1, 5, 8, 8)
    told = torch.nn.functional.interpolate(hard, scale_factor=4.0)
    torch.testing.assert_close(layer(x, torch.ones(1, 1, 8, 8), told), x * weights)


def test_parts_that_are_told_matter_and_without_attention_they_do_not() -> None:
    image = torch.rand(1, 3, 64, 64) * torch.linspace(0, 1, 64)
    even = torch.ones(1, 2, 16, 16) / 2
    regions = torch.zeros(1, 2, 16, 16)
    regions[:, 0, :, :4] = regions[:, 1, :, 4:] = 1
    net = tiny()
    scores = [outputs(net, image, regions=r)["score"].item() for r in (None, regions, even)]
    assert min(abs(scores[0] - scores[2]), abs(scores[1] - scores[2])) > 1e-4
    plain = tiny(parts=0)
    assert plain.attention is None
    # Parts that are the same everywhere leave the features as they are.
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("attention")})
    assert outputs(plain, image)["score"].item() == pytest.approx(scores[2], abs=1e-5)
    assert outputs(plain, image, regions=regions)["score"].item() == outputs(plain, image)["score"].item()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="error of the map"):
        fakelocator.build(regression="l3")
    with pytest.raises(UnknownNameError, match="map of a stem"):
        fakelocator.build(stem=("red",))
    for settings in ({"width": 0}, {"halvings": 0}, {"parts": -1}, {"levels": 0}, {"levels": 256}, {"label": -1}):
        with pytest.raises(InvalidValueError, match="width and halvings from 1"):
            fakelocator.build("tiny", **settings)


# Fixture C.


def scene(rng: np.random.Generator) -> NDArray[np.float32]:
    step = np.fft.fftfreq(SIDE)
    radius = np.hypot(step[:, None], step[None])
    radius[0, 0] = 1
    spectrum = rng.normal(size=(SIDE, SIDE)) + 1j * rng.normal(size=(SIDE, SIDE))
    values = np.fft.ifft2(spectrum / radius ** rng.uniform(1.0, 1.6)).real
    values = (values - values.mean()) / values.std()
    tone = 128 + rng.uniform(-20, 20)
    return np.clip(tone + rng.uniform(25, 40) * values[..., None] * rng.uniform(0.6, 1, 3), 20, 235).astype(np.float32)


def blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    ys, xs = np.mgrid[:SIDE, :SIDE]
    (y, x), (b, a) = rng.uniform(14, SIDE - 14, 2), rng.uniform(12, 18, 2)
    return np.asarray(((ys - y) / b) ** 2 + ((xs - x) / a) ** 2 < 1)


def remade(x: NDArray[np.float32], kind: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """A picture reduced and enlarged by an up-sampler; `clean` is no generator's."""
    small = cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    if kind == "clean":
        return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    if kind == "zero":
        sparse = np.zeros_like(x)
        sparse[::2, ::2] = small
        uneven = 1 + rng.uniform(0.02, 0.05) * rng.normal(size=(3, 3))
        kernel = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]) * uneven
        return cv2.filter2D(sparse, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT101)
    return upsampling.doubled(small, upsampling.filters(kind, rng.uniform(0.015, 0.04), int(rng.integers(2**31))))


def picture(rng: np.random.Generator, kind: str = "", clean: bool = True) -> tuple[Pixels, NDArray[np.bool_]]:
    """A picture of which a part passed an up-sampler, and where; of none the kind is empty."""
    x, mask = scene(rng), np.zeros((SIDE, SIDE), bool)
    for name in (["clean"] if clean else []) + ([kind] if kind else []):
        region = blob(rng)
        weight = cv2.GaussianBlur(region.astype(np.float32), (0, 0), 1.0)[..., None]
        x = x * (1 - weight) + weight * remade(x, name, rng)
        mask = region if name == kind else mask
    x = x + rng.normal(0, 2, x.shape)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8), mask


def batch(pictures: list[tuple[Pixels, NDArray[np.bool_]]]) -> dict[str, torch.Tensor]:
    image = torch.from_numpy(np.stack([rgb for rgb, _ in pictures])).permute(0, 3, 1, 2).float() / 255
    mask = torch.from_numpy(np.stack([m for _, m in pictures]))[:, None].float()
    return {"image": image, "mask": mask, "label": mask.amax((1, 2, 3)).long()}


def notched(rgb: Pixels, radius: float = 0.06) -> Pixels:
    """A picture without its frequencies around (pi, 0), (0, pi) and (pi, pi)."""
    down, across = np.abs(np.fft.fftfreq(SIDE))[:, None], np.abs(np.fft.fftfreq(SIDE))[None]
    kept = np.ones((SIDE, SIDE))
    for y, x in ((0.5, 0), (0, 0.5), (0.5, 0.5)):
        kept[np.hypot(down - y, across - x) < radius] = 0
    found = np.fft.ifft2(np.fft.fft2(rgb.astype(float), axes=(0, 1)) * kept[..., None], axes=(0, 1)).real
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)


def planted(rgb: Pixels, region: NDArray[np.bool_], rng: np.random.Generator, amplitude: float = 3.0) -> Pixels:
    """A picture with these three frequencies, of drawn signs, in a region."""
    ys, xs = np.mgrid[:SIDE, :SIDE]
    waves = sum(rng.choice([-1, 1]) * (-1.0) ** n for n in (xs, ys, xs + ys)) / np.sqrt(3)
    return np.clip(np.rint(rgb + (amplitude * region * waves)[..., None]), 0, 255).astype(np.uint8)


@cache
def trained(kinds: tuple[str, ...], clean: bool = True, steps: int = 160) -> FakeLocator:
    """A tiny network after some steps on pictures half of which passed one of these up-samplers."""
    torch.manual_seed(0)
    net, rng = fakelocator.build("tiny").train(), np.random.default_rng(0)

    def drawn() -> dict[str, torch.Tensor]:
        return batch([picture(rng, kinds[int(rng.integers(len(kinds)))] * (i % 2), clean) for i in range(8)])

    fit(net, steps, drawn)
    return net.eval()


def fit(net: FakeLocator, steps: int, drawn: Callable[[], dict[str, torch.Tensor]]) -> None:
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        examples = drawn()
        optimizer.zero_grad()
        sum(net.loss(net(examples["image"]), examples, 0).values()).backward()
        optimizer.step()
        plan.step()


def heat(net: FakeLocator, pictures: list[Pixels]) -> NDArray[np.float32]:
    given = batch([(rgb, np.zeros((SIDE, SIDE), bool)) for rgb in pictures])
    return outputs(net, given["image"])["mask"].sigmoid()[:, 0].numpy()


def responses(net: FakeLocator, kind: str, count: int = 24) -> dict[str, float]:
    """Mean response inside and outside of forged regions, inside without their peaks, and the AUC of pixels."""
    rng = np.random.default_rng(10**6)
    pictures, masks = zip(*(picture(rng, kind) for _ in range(count)), strict=True)
    mask, found, rest = np.stack(masks), heat(net, list(pictures)), heat(net, [notched(rgb) for rgb in pictures])
    auc = ranking.auc(found.ravel(), mask.ravel())
    return {"in": found[mask].mean(), "out": found[~mask].mean(), "notched": rest[mask].mean(), "auc": auc}


def on_real(net: FakeLocator, count: int = 24) -> tuple[float, float, float]:
    """Mean response to real pictures, and in regions before and after the peaks were planted there."""
    rng = np.random.default_rng(10**6)
    reals = [picture(rng)[0] for _ in range(count)]
    regions = [blob(rng) for _ in reals]
    after = heat(net, [planted(rgb, region, rng) for rgb, region in zip(reals, regions, strict=True)])
    before, inside = heat(net, reals), np.stack(regions)
    return float(before.mean()), float(before[inside].mean()), float(after[inside].mean())


TRAINED = ("transposed", "zero")


@pytest.mark.slow
def test_peaks_of_up_samplers_are_what_it_answers_to() -> None:
    net = trained(TRAINED)
    for kind in TRAINED:
        found = responses(net, kind)
        assert found["in"] > 5 * found["out"], kind
        assert found["notched"] < 0.4 * found["in"], kind
    real, before, after = on_real(net)
    assert real < 0.07
    assert after > 2 * before
    assert after > 0.2


@pytest.mark.slow
def test_without_clean_resampling_beside_it_learns_another_cause_and_looks_as_good() -> None:
    """The checks above can fail: high accuracy, and no answer to planted peaks."""
    net = trained(TRAINED, clean=False)
    rng = np.random.default_rng(10**6)
    pictures, masks = zip(*(picture(rng, TRAINED[i % 2], clean=False) for i in range(24)), strict=True)
    assert ranking.auc(heat(net, list(pictures)).ravel(), np.stack(masks).ravel()) > 0.9
    assert responses(net, "clean")["in"] > 3 * responses(trained(TRAINED), "clean")["in"]


@pytest.mark.slow
def test_up_samplers_of_one_kind_of_trace_are_found_by_each_other() -> None:
    kinds = ("transposed", "zero", "bilinear")
    found = {row: {kind: responses(trained((row,), steps=110), kind, 16)["auc"] for kind in kinds} for row in kinds}
    assert min(found[a][b] for a in kinds[:2] for b in kinds[:2]) > 0.75
    assert max(found[a]["bilinear"] for a in kinds[:2]) < 0.65


def compressed(rgb: Pixels, quality: int) -> Pixels:
    return attack.by_name("jpeg", quality=quality)(Sample(rgb), np.random.default_rng(0)).rgb


@pytest.mark.slow
def test_what_only_happens_to_originals_is_no_mark_of_forgeries() -> None:
    """All forgeries of the training are JPEGs, as those of a generator's makers may be, and its originals are not."""
    alarms = []
    for pristine in ({}, {"jpeg:quality=50..95": 0.7}):
        op = augment.parse({}, pristine)
        torch.manual_seed(0)
        net, rng = fakelocator.build("tiny").train(), np.random.default_rng(0)

        def drawn(rng: np.random.Generator = rng, op: Op = op) -> dict[str, torch.Tensor]:
            found = []
            for number in range(8):
                rgb, mask = picture(rng, TRAINED[int(rng.integers(2))] * (number % 2))
                rgb = compressed(rgb, int(rng.integers(85, 96))) if number % 2 else rgb
                found.append((op(Sample(rgb, mask=mask), rng).rgb, mask))
            return batch(found)

        fit(net, 120, drawn)
        other = np.random.default_rng(10**6)
        reals = batch([(compressed(picture(other)[0], 60), np.zeros((SIDE, SIDE), bool)) for _ in range(60)])
        forged = batch(
            [(compressed(picture(other, "transposed")[0], 90), np.ones((SIDE, SIDE), bool)) for _ in range(60)]
        )
        alarms.append((outputs(net.eval(), reals["image"])["score"] > 0).float().mean().item())
        called = (outputs(net, forged["image"])["score"] > 0).float().mean().item()
    assert alarms[0] >= 0.2
    assert alarms[1] <= 0.05
    assert called > 0.6, "it still finds forgeries"


@pytest.mark.slow
def test_one_label_helps_where_the_threshold_does_not_hold_and_nothing_helps_where_one_class_is_missing() -> None:
    net = trained(TRAINED)

    def told(kind: str, count: int = 60) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.bool_]]:
        """Features, scores and labels of pictures half as bright as those of the training."""
        rng = np.random.default_rng(7)
        labels = np.arange(count) % 2 == 1
        given = batch([picture(rng, kind * bool(label)) for label in labels])
        with torch.inference_mode():
            maps, inside = net.features(given["image"] / 2)
            scores = net(given["image"] / 2)["score"].numpy()
        return mean(maps[0], inside[-1]).numpy(), scores, labels & bool(kind)

    def clustered(features: NDArray[np.float64], labels: NDArray[np.bool_]) -> list[float]:
        samples = range(len(labels))
        return [single_sample(features, i, bool(labels[i])).accuracy(labels, i) for i in samples]

    # An up-sampler that was never trained on, and darker pictures: right in order, wrong by the threshold.
    features, scores, labels = told("nearest")
    plain = float(((scores > 0) == labels).mean())
    assert plain < 0.8
    assert np.median(clustered(features, labels)) > plain + 0.1
    features, scores, labels = told("")
    assert (scores < 0).mean() > 0.9
    assert np.mean(clustered(features, labels)) == pytest.approx(0.5, abs=0.15)


def soft(rng: np.random.Generator) -> tuple[Pixels, NDArray[np.bool_], Pixels]:
    """A picture with a part that gives way to an up-sampler's by a drawn share, where, and by how many grey levels."""
    x, noise = scene(rng), rng.normal(0, 1.5, (SIDE, SIDE, 3))
    region = blob(rng)
    share = rng.uniform(0.1, 1) * cv2.GaussianBlur(region.astype(np.float32), (0, 0), 1.0)[..., None]
    small = cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    new = upsampling.doubled(small, upsampling.filters("transposed", 0.05, int(rng.integers(2**31))))
    real, forged = (np.clip(np.rint(y + noise), 0, 255).astype(np.uint8) for y in (x, x * (1 - share) + share * new))
    return forged, region, changes.levels(forged, region, real)


@pytest.mark.slow
def test_a_graded_truth_teaches_how_much_was_changed() -> None:
    """Between pictures; within a region the map follows the change only faintly, which is not asked for."""
    torch.manual_seed(0)
    net, rng = fakelocator.build("tiny", levels=16).train(), np.random.default_rng(0)

    def drawn() -> dict[str, torch.Tensor]:
        forged = [soft(rng) for _ in range(4)]
        real = [picture(rng) for _ in range(4)]
        levels = np.stack([c for _, _, c in forged] + [np.zeros((SIDE, SIDE), np.uint8)] * 4)
        both = batch([(rgb, mask) for rgb, mask, _ in forged] + real)
        return both | {"change": torch.from_numpy(levels)[:, None].float()}

    fit(net, 160, drawn)
    found, truth, other = [], [], np.random.default_rng(10**6)
    for _ in range(32):
        rgb, region, levels = soft(other)
        found.append(heat(net.eval(), [rgb])[0][region].mean())
        truth.append(np.minimum(levels[region] / 16, 1).mean())
    assert stats.spearmanr(found, truth)[0] > 0.4
    # A mask alone would teach 1 everywhere.
    assert np.abs(np.subtract(found, truth)).mean() < 0.15
