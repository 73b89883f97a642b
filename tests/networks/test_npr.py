"""NPR: relations within cells of two by two pixels, half a ResNet-50, and nothing but the picture's whole cells."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import cv2
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import npr  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.npr import NprNet, whole_cells  # noqa: E402
from tamperscope.nn.filters import Npr  # noqa: E402

SIDE = 64
PHOTOS = ("chelsea", "coffee", "astronaut")
ENLARGED = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def tiny(seed: int = 1, **settings: object) -> NprNet:
    """A network whose norms and last layer have left their beginning."""
    torch.manual_seed(seed)
    net = npr.build("tiny", **settings)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, 0.1, 0.2)
            layer.running_mean.normal_(0, 0.1)
    return net.eval()


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float() / 255


def score(net: NprNet, image: torch.Tensor, valid: torch.Tensor | None = None) -> float:
    with torch.inference_mode():
        return net(image, valid=valid)["score"].item()


def strength(rgb: np.ndarray) -> float:
    """Mean magnitude of the relations in grey levels, without the factor of 2/3."""
    return 255 * 1.5 * Npr()(tensor(rgb)).abs().mean().item()


@pytest.fixture
def photos(photo: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    """Photographs without what their first compression left, by Lanczos to three fourths."""
    found = []
    for name in PHOTOS:
        rgb = photo(name)
        height, width = (n * 3 // 4 // 2 * 2 for n in rgb.shape[:2])
        found.append(np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS)))
    return found


def twice(rgb: np.ndarray, how: str) -> np.ndarray:
    return cv2.resize(rgb, None, fx=2, fy=2, interpolation=ENLARGED[how])


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = npr.build("full")
    # ResNet-50's first two stages have 215,808 and 1,219,584; before them are 3 x 3 for 7 x 7.
    assert [parameters(full.blocks[:3]), parameters(full.blocks[3:])] == [215_808, 1_219_584]
    assert parameters(full) == 1_437_761
    assert full.stem[0].stride == (2, 2)
    assert full.last.in_features == 512
    assert [block.stride for block in full.blocks] == [1, 1, 1, 2, 1, 1, 1]
    assert parameters(npr.build("tiny")) == pytest.approx(0.36e6, rel=0.01)


def test_the_stages_are_those_of_a_resnet() -> None:
    pytest.importorskip("transformers")
    from tamperscope.nn import backbones

    torch.manual_seed(0)
    body = backbones.build("resnet", "50").eval().body
    net = npr.build("full").eval()
    theirs = [layer for stage in body.encoder.stages[:2] for layer in stage.layers]
    for own, other in zip(net.blocks, theirs, strict=True):
        pairs = list(zip((own.narrow, own.middle, own.wide), other.layer, strict=True))
        pairs += [] if isinstance(own.short, torch.nn.Identity) else [(own.short, other.shortcut)]
        for (convolution, norm, *_), part in pairs:
            convolution.load_state_dict(part.convolution.state_dict())
            norm.load_state_dict(part.normalization.state_dict())
    found = expected = torch.rand(1, 64, 14, 18)
    with torch.inference_mode():
        for own, other in zip(net.blocks, theirs, strict=True):
            found, expected = own(found, torch.ones(1, 1, *found.shape[-2:])), other(expected)
    assert found.shape == (1, 512, 7, 9)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_enlarged_pictures_have_weaker_relations(photos: list[np.ndarray]) -> None:
    real = np.mean([strength(rgb) for rgb in photos])
    found = {how: np.mean([strength(twice(rgb, how)) for rgb in photos]) / real for how in ENLARGED}
    assert found["nearest"] == 0
    assert found["bilinear"] == pytest.approx(3.19 / 8.58, abs=0.05)
    assert found["bicubic"] == pytest.approx(4.55 / 8.58, abs=0.05)
    for rgb in photos:
        assert strength(twice(rgb, "bilinear")) < strength(twice(rgb, "bicubic")) < strength(rgb)
        # Relations depend on where the grid lies: a pixel farther they are those of the small picture, and none.
        assert strength(twice(rgb, "nearest")[1:-1, 1:-1]) > 0.9 * strength(rgb)


def test_pictures_of_repeated_pixels_are_all_one(photos: list[np.ndarray]) -> None:
    net = tiny()
    flat = score(net, torch.full((1, 3, SIDE, SIDE), 0.3))
    large = [twice(rgb[: SIDE // 2 + 8, : SIDE // 2 + 8], "nearest") for rgb in photos]
    assert all(score(net, tensor(rgb[:SIDE, :SIDE])) == pytest.approx(flat, abs=1e-5) for rgb in large)
    moved = [score(net, tensor(rgb[1 : SIDE + 1, 1 : SIDE + 1])) for rgb in large]
    assert min(abs(a - b) for a, b in zip(moved, [flat, *moved], strict=False)) > 1e-3


def test_brightness_is_not_seen_and_contrast_is(photos: list[np.ndarray]) -> None:
    net, image = tiny(), tensor(photos[0][:SIDE, :SIDE]) / 2
    colour = torch.tensor([0.1, 0.3, 0.2])[:, None, None]
    assert score(net, image + colour) == pytest.approx(score(net, image), abs=1e-4)
    assert abs(score(net, image * 1.5) - score(net, image)) > 1e-3
    cells = whole_cells(image)
    torch.testing.assert_close(net.seen(image, cells), Npr()(image) / net.std)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.seen(image, cells), net.seen(image.float(), cells))
        assert net.seen(image, cells).dtype == torch.float32


@pytest.mark.parametrize("size", [(64, 48), (50, 38), (37, 63), (9, 2)], ids=str)
def test_a_picture_on_a_canvas_is_the_picture(size: tuple[int, int], photos: list[np.ndarray]) -> None:
    """An odd last row or column is trimmed, as published; the rest is what it is without a canvas."""
    net, (height, width) = tiny(), size
    image = tensor(photos[1][100 : 100 + height, 100 : 100 + width])
    canvas = torch.rand(1, 3, 72, 80, generator=torch.Generator().manual_seed(2))
    canvas[..., :height, :width] = image
    valid = torch.zeros(1, 1, 72, 80, dtype=torch.bool)
    valid[..., :height, :width] = True
    alone = score(net, image[..., : height // 2 * 2, : width // 2 * 2])
    assert score(net, canvas, valid) == pytest.approx(alone, abs=1e-5)
    assert abs(score(net, canvas) - alone) > 1e-4


def test_whole_cells() -> None:
    valid = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    valid[..., :3, :5] = True
    image = torch.zeros(1, 3, 4, 6)
    assert whole_cells(image, valid).tolist() == [[[[1, 1, 0], [0, 0, 0]]]]
    assert whole_cells(image).tolist() == [[[[1, 1, 1], [1, 1, 1]]]]
    # Mirrored, the canvas is filled up on the left.
    assert whole_cells(image, valid.flip(3)).tolist() == [[[[0, 1, 1], [0, 0, 0]]]]
    assert np.isfinite(score(tiny(), torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)))


def test_labels_teach_each_picture_for_itself_and_unknown_ones_nothing() -> None:
    net, logits = tiny(), torch.tensor([1.5, -0.5, 3.0])
    terms = net.loss({"score": logits}, {"label": torch.tensor([1, 0, -1])}, 0.5)
    expected = (np.log1p(np.exp(-1.5)) + np.log1p(np.exp(-0.5))) / 3
    assert terms["label"].item() == pytest.approx(expected, abs=1e-6)
    assert net.loss({"score": logits}, {"label": -torch.ones(3).long()}, 0.5)["label"].item() == 0
    alone = [net.loss({"score": logits[i : i + 1]}, {"label": torch.tensor([1])}, 0)["label"] for i in range(3)]
    together = net.loss({"score": logits}, {"label": torch.ones(3).long()}, 0)["label"]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_settings_out_of_range_are_refused() -> None:
    for settings in ({"width": 0}, {"depths": (3,)}, {"depths": (3, 0)}):
        with pytest.raises(InvalidValueError, match="expected width from 1 and two depths from 1"):
            npr.build("tiny", **settings)


def clouds(rng: np.random.Generator, side: int) -> np.ndarray:
    step = np.fft.fftfreq(side)
    radius = np.hypot(step[:, None], step[None])
    radius[0, 0] = 1
    spectrum = rng.normal(size=(side, side, 3)) + 1j * rng.normal(size=(side, side, 3))
    values = np.fft.ifft2(spectrum / radius[..., None] ** rng.uniform(2.0, 2.4), axes=(0, 1)).real
    return 128 + 40 * (values - values.mean()) / values.std()


def grain(rng: np.random.Generator, label: int, corner: tuple[int, int], side: int) -> np.ndarray:
    """Grain of one spectrum: of a real picture a moving mean over 2 x 2, of a generated one repeated pixels."""
    if label:
        small = rng.normal(size=(side // 2 + 1, side // 2 + 1, 3))
        return small.repeat(2, 0).repeat(2, 1)[corner[0] :, corner[1] :][:side, :side]
    fine = rng.normal(size=(side + 1, side + 1, 3))
    return (fine[1:, 1:] + fine[1:, :-1] + fine[:-1, 1:] + fine[:-1, :-1]) / 2


def scene(rng: np.random.Generator, label: int, corners: list[tuple[int, int]], factor: float = 1.0) -> np.ndarray:
    """A soft picture with grain that begins at one of some corners of the grid, resized afterwards."""
    side = SIDE + 16
    corner = corners[rng.integers(len(corners))]
    pixels = clouds(rng, side) + rng.uniform(3, 6) * grain(rng, label, corner, side)
    rgb = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    if factor != 1:
        rgb = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return rgb[:SIDE, :SIDE]


def batch(rng: np.random.Generator, labels: np.ndarray, *args: object) -> dict[str, torch.Tensor]:
    image = torch.cat([tensor(scene(rng, int(label), *args)) for label in labels])
    return {"image": image, "label": torch.from_numpy(labels)}


def trained(corners: list[tuple[int, int]], steps: int = 75, rate: float = 2e-3) -> NprNet:
    torch.manual_seed(0)
    net, rng = npr.build("tiny").train(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        examples = batch(rng, rng.integers(2, size=32), corners)
        optimizer.zero_grad()
        sum(net.loss(net(examples["image"]), examples, 0).values()).backward()
        optimizer.step()
        plan.step()
    return net.eval()


def judged(net: NprNet, *args: object, count: int = 48) -> tuple[float, float]:
    """AUC, and accuracy at a logit of 0."""
    labels = np.repeat([1, 0], count)
    examples = batch(np.random.default_rng(10**6), labels, *args)
    with torch.inference_mode():
        scores = net(examples["image"])["score"].numpy()
    return ranking.auc(scores, labels == 1), float(((scores > 0) == (labels == 1)).mean())


@pytest.mark.slow
def test_it_learns_the_grid_of_cells_which_resizing_takes_away() -> None:
    """Both classes have grain of one spectrum: no more than where it repeats tells them apart."""
    corners = list(product(range(2), repeat=2))
    net = trained(corners)
    assert min(judged(net, [corner])[0] for corner in corners) > 0.95
    smaller = judged(net, corners, 0.85)
    assert smaller[0] < 0.8
    assert smaller[1] < 0.65, "what was chosen as its threshold holds no more"
    # A network that was only ever shown grids that begin at its own finds no others.
    narrow = trained(corners[:1])
    own, other = (judged(narrow, shown)[0] for shown in (corners[:1], corners[3:]))
    assert own > 0.95
    # How much it finds by chance differs from machine to machine.
    assert other < own - 0.1
