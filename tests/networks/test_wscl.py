"""WSCL learns from image labels alone where pictures were forged: pooling, agreement of streams and of places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import wscl  # noqa: E402
from tamperscope.nn import losses  # noqa: E402
from tamperscope.ops.forge import shapes  # noqa: E402

SIDE = 96
OWN, FOREIGN = (0.5, 1.0), 6.0
NOISE_STREAMS = ("srm", "bayar")


def field(rng: np.random.Generator, side: int) -> np.ndarray:
    """Clouds: a random picture whose spectrum falls as those of photographs do."""
    step = np.fft.fftfreq(side)
    radius = np.hypot(step[:, None], step[None])
    radius[0, 0] = 1
    spectrum = rng.normal(size=(side, side, 3)) + 1j * rng.normal(size=(side, side, 3))
    values = np.fft.ifft2(spectrum / radius[..., None] ** rng.uniform(1.2, 1.8), axes=(0, 1)).real
    return 128 + 45 * (values - values.mean()) / values.std()


def scene(rng: np.random.Generator, label: int, foreign: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture with noise of its own; where it is forged a region, anywhere, has noise of another strength."""
    own = rng.uniform(*OWN)
    mask = shapes.blob((SIDE, SIDE), shapes.area((0.04, 0.2), rng), rng)
    mask = np.roll(mask, rng.integers(SIDE, size=2), (0, 1))
    sigma = np.where(mask, foreign if label and foreign else own, own)
    pixels = field(rng, SIDE) + sigma[..., None] * rng.normal(size=(SIDE, SIDE, 3))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), mask


def batch(rng: np.random.Generator, labels: np.ndarray, foreign: float = FOREIGN) -> tuple[dict, np.ndarray]:
    """What a loader that never opens a mask gives, and the masks for measuring."""
    rgb, masks = zip(*(scene(rng, int(label), foreign) for label in labels), strict=True)
    image = torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2).float() / 255
    return {"image": image, "label": torch.from_numpy(labels)}, np.stack(masks)


def trained(net: wscl.Wscl, steps: int, rate: float = 3e-3) -> wscl.Wscl:
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=5e-4)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    net.train()
    for step in range(steps):
        examples, _ = batch(rng, rng.integers(2, size=16))
        optimizer.zero_grad()
        terms = net.loss(net(examples["image"]), examples, step / steps)
        sum(terms.values()).backward()
        optimizer.step()
        plan.step()
    return net.eval()


def measured(net: wscl.Wscl, foreign: float = FOREIGN, count: int = 32) -> dict[str, float]:
    """Mean pixel AUC of every map and of the noise streams' volumes over forged pictures, AUC of the score."""
    rng = np.random.default_rng(10**6)
    labels = np.repeat([1, 0], count)
    examples, masks = batch(rng, labels, foreign)
    with torch.inference_mode():
        outputs = net(examples["image"])
    found: dict[str, float] = {"score": ranking.auc(outputs["score"].numpy(), labels == 1)}
    for name in ("mask", *(f"map_{stream}" for stream in wscl.STREAMS)):
        maps = wscl.resized(outputs[name][:count], (SIDE, SIDE))[:, 0].sigmoid().numpy()
        pairs = list(zip(maps, masks[:count], strict=True))
        found[name] = float(np.mean([ranking.auc(m.ravel(), t.ravel()) for m, t in pairs]))
    cells = torch.nn.functional.avg_pool2d(torch.from_numpy(masks[:count, None]).float(), 8).flatten(1)
    pure = (cells < 0.05) | (cells > 0.95)
    known = pure[:, :, None] & pure[:, None]
    differ = (cells[:, :, None] > 0.5) != (cells[:, None] > 0.5)
    for name in NOISE_STREAMS:
        volume = wscl.volume(outputs[f"left_{name}"][:count], outputs[f"right_{name}"][:count])
        rows = zip(volume, differ, known, strict=True)
        found[f"volume_{name}"] = float(np.mean([ranking.auc(v[k].numpy(), d[k].numpy()) for v, d, k in rows]))
    return found


@pytest.mark.slow
def test_it_finds_what_it_was_never_shown() -> None:
    torch.manual_seed(0)
    net = trained(wscl.build(), 300)
    found, null = measured(net), measured(net, foreign=0.0, count=96)
    assert found["mask"] >= 0.8
    assert found["score"] >= 0.8
    assert all(found[f"volume_{name}"] > 0.7 for name in NOISE_STREAMS), "forged and authentic places look unlike"
    assert abs(null["mask"] - 0.5) < 0.07, "without the trace nothing is left to find"


class Watched(dict):
    """A batch that notes which of its parts are read."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> object:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> object:
        self.read.add(key)
        return super().get(key, default)


@pytest.fixture
def net() -> wscl.Wscl:
    torch.manual_seed(3)
    return wscl.build().eval()


def test_the_loss_reads_the_label_and_no_other_truth(net: wscl.Wscl) -> None:
    examples, masks = batch(np.random.default_rng(1), np.array([0, 1, 1]))
    truth = torch.from_numpy(masks[:, None]).float()
    outputs = net(examples["image"])
    first = Watched({**examples, "mask": truth, "valid": torch.ones_like(truth, dtype=torch.bool)})
    found = net.loss(outputs, first, 1.0)
    assert first.read <= {"label", "image"}
    assert "label" in first.read
    without = net.loss(outputs, {"label": examples["label"]}, 1.0)
    assert all(torch.equal(found[key], without[key]) for key in found)
    assert net.supervision == "label"


def _brute(values: np.ndarray) -> float:
    """Mean of the upper class of the split of least variance within classes, at most half above."""
    row = np.sort(values)[::-1]
    best = min(range(1, len(row) // 2 + 1), key=lambda k: row[:k].var() * k + row[k:].var() * (len(row) - k))
    return float(row[:best].mean())


def test_the_answer_is_the_mean_of_the_streams_with_noise_counting_twice(net: wscl.Wscl) -> None:
    examples, _ = batch(np.random.default_rng(2), np.array([0, 1]))
    outputs = net(examples["image"])
    p = {key: 1 / (1 + np.exp(-outputs[f"map_{key}"].detach().double().numpy())) for key in wscl.STREAMS}
    mean = (p["rgb"] + 2 * p["srm"] + 2 * p["bayar"]) / 5
    whole = wscl.resized(torch.from_numpy(mean), (SIDE, SIDE)).numpy()
    np.testing.assert_allclose(outputs["mask"].detach().sigmoid().numpy(), whole, atol=1e-5)
    pooled = [[_brute(row) for row in values.reshape(2, -1)] for values in p.values()]
    score = (np.array(pooled) * [[1], [2], [2]]).sum(0) / 5
    np.testing.assert_allclose(outputs["score"].detach().sigmoid().numpy(), score, atol=1e-5)


def test_noise_streams_see_neither_brightness_nor_the_edge_of_the_picture(net: wscl.Wscl) -> None:
    examples, _ = batch(np.random.default_rng(3), np.array([1]))
    dark = 0.25 + 0.4 * examples["image"]
    one, two = net(dark), net(dark + 0.2)
    moved = {key: (one[f"map_{key}"] - two[f"map_{key}"]).abs().max().item() for key in wscl.STREAMS}
    assert all(moved[name] < moved["rgb"] / 50 for name in NOISE_STREAMS)
    flat = torch.full((1, 3, 32, 32), 0.6)
    for residual in (net.srm, net.bayar):
        assert wscl._inside(residual, 255 * flat).abs().max() < 1e-2


@pytest.mark.parametrize(
    ("label", "values", "expected"),
    [
        (0, [0.9, 0.6, 0.2, 0.1], [0, 0, 0, 0]),
        (1, [0.9, 0.6, 0.2, 0.1], [1, 1, 0, 0]),
        (1, [0.4, 0.3, 0.2, 0.1], [1, 0, 0, 0]),
        (1, [0.4, 0.4, 0.2, 0.1], [1, 1, 0, 0]),
    ],
)
def test_the_pseudo_map_is_a_decision_that_agrees_with_the_label(label: int, values: list, expected: list) -> None:
    found = wscl.pseudo_map(torch.tensor(values).reshape(1, 1, 2, 2), torch.tensor([label]))
    assert found.flatten().tolist() == expected


def _outputs(logits: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    some = torch.randn(len(logits["rgb"]), 4, *logits["rgb"].shape[-2:], generator=torch.Generator().manual_seed(1))
    named = {f"map_{key}": value for key, value in logits.items()}
    return named | {f"{side}_{key}": some for key in logits for side in ("left", "right")}


def test_agreement_moves_the_stream_that_disagrees_and_begins_weak(net: wscl.Wscl) -> None:
    """Two sure streams and one blind one: the gradient leads the blind one to their map, and only late."""
    sure = torch.full((1, 1, 4, 4), -4.0)
    sure[..., :2, :2] = 4.0
    blind = torch.zeros(1, 1, 4, 4, requires_grad=True)
    outputs = _outputs({"rgb": blind, "srm": sure, "bayar": sure})
    gradients = {}
    for progress in (0.0, 0.5, 1.0):
        terms = net.loss(outputs, {"label": torch.tensor([1])}, progress)
        (gradients[progress],) = torch.autograd.grad(terms["msc"], blind)
    assert torch.equal(gradients[1.0] < 0, sure > 0)
    assert torch.equal(gradients[1.0] > 0, sure < 0)
    for progress in (0.0, 0.5):
        torch.testing.assert_close(gradients[progress], gradients[1.0] * losses.ramp(progress))
    none = net.loss(outputs, {"label": torch.tensor([0])}, 1.0)
    (gradient,) = torch.autograd.grad(none["msc"], blind)
    assert (gradient > 0).all(), "an authentic picture has nothing to agree on"


def test_the_label_teaches_only_what_lies_above_the_split(net: wscl.Wscl) -> None:
    logits = {key: torch.full((1, 1, 4, 4), -2.0) for key in wscl.STREAMS}
    for value in logits.values():
        value[..., 1, 1:3] = 1.0
        value.requires_grad_()
    terms = net.loss(_outputs(logits), {"label": torch.tensor([1])}, 0.0)
    for gradient in torch.autograd.grad(terms["image"], list(logits.values())):
        assert torch.equal(gradient != 0, logits["rgb"] > 0)
        assert (gradient[gradient != 0] < 0).all()


def test_the_volume_learns_which_places_are_alike() -> None:
    """Features of two kinds: after the consistency loss, places of a kind are alike, others not, also unseen ones."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2, 12, 1, 1, generator=generator)
    kinds = (torch.arange(64).reshape(1, 1, 8, 8) % 8 > 4).float().expand(4, -1, -1, -1)

    def features() -> torch.Tensor:
        return torch.where(kinds > 0, means[1], means[0]) + 0.5 * torch.randn(4, 12, 8, 8, generator=generator)

    torch.manual_seed(0)
    left, right = wscl._projection(12, 8), wscl._projection(12, 8)
    target = losses.consistency_target(kinds.flatten(1))
    optimizer = torch.optim.Adam([*left.parameters(), *right.parameters()], 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        x = features()
        losses.bce(wscl.volume(left(x), right(x)), target).backward()
        optimizer.step()
    x = features()
    found = wscl.volume(left(x), right(x)).sigmoid()
    assert found.diagonal(dim1=1, dim2=2).mean() < 0.1
    assert ranking.auc(found.detach().numpy().ravel(), target.numpy().ravel() > 0) > 0.95
    shared = wscl.volume(left(x), left(x))
    torch.testing.assert_close(shared, shared.transpose(1, 2))
    a, b = left(x)[1, :, 2, 3], right(x)[1, :, 5, 0]
    assert found[1, 2 * 8 + 3, 5 * 8].item() == pytest.approx(1 - (a @ b / 8**0.5).sigmoid().item(), abs=1e-5)


def test_wrong_labels_of_crops_are_counted() -> None:
    mask = np.zeros((20, 20), bool)
    mask[0, 0] = True
    rng = np.random.default_rng(0)
    # Only the crop at the corner holds the pixel: one of 11 x 11 places.
    assert wscl.crop_noise([mask], 10, rng, draws=4000) == pytest.approx(1 - 1 / 121, abs=0.006)
    assert wscl.crop_noise([mask], 20, rng) == 0
    assert wscl.crop_noise([mask], 99, rng) == 0
    half = np.zeros((20, 40), bool)
    half[:, :20] = True
    # Of 31 places along the width, those from 20 on miss it.
    assert wscl.crop_noise([half], 10, rng, draws=4000) == pytest.approx(11 / 31, abs=0.03)
    for wrong in ([], [np.zeros((4, 4), bool)]):
        with pytest.raises(InvalidValueError, match="expected masks of forged pictures"):
            wscl.crop_noise(wrong, 10, rng)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="at least 0"):
        wscl.build(msc=-0.1)
    with pytest.raises(InvalidValueError, match="use size full"):
        wscl.build(weights="folder")
