"""SBI: pairs of a face and its blend with itself, made anew each epoch, teach what is wrong with any blend."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from tamperscope.engine import recipe as recipes  # noqa: E402
from tamperscope.engine.canvas import Canvas  # noqa: E402
from tamperscope.engine.recipe import Data, Forge  # noqa: E402
from tamperscope.engine.sources import build as sources  # noqa: E402
from tamperscope.engine.stream import Preparation, Stream  # noqa: E402
from tamperscope.engine.train import train  # noqa: E402
from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.forging import recipe as forgeries  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import efficientnet, xception  # noqa: E402
from tamperscope.networks.base import Network, parameters  # noqa: E402
from tamperscope.ops import augment  # noqa: E402
from tamperscope.ops.forge.faces import geometry  # noqa: E402
from tamperscope.ops.forge.faces.self_blend import SelfBlend, retouched  # noqa: E402
from tamperscope.ops.forge.faces.swap import Swap  # noqa: E402
from tamperscope.signal import faces  # noqa: E402
from tamperscope.types import Sample  # noqa: E402

SIDE = 96
Pixels = NDArray[np.uint8]


# The network.


def tiny() -> efficientnet.EfficientNetJudge:
    """A network whose norms have left their beginning."""
    torch.manual_seed(1)
    net = efficientnet.build("tiny")
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, 0.1, 0.2)
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.rand(4, 3, 64, 64) * torch.rand(4, 3, 1, 1))
    return net.eval()


def test_the_published_size_is_b4_with_one_logit() -> None:
    with torch.device("meta"):
        full = efficientnet.build("full")
    assert parameters(full) == 19_341_616 - 1000 * 1793 + 1793
    assert full.dropout.p == 0.4
    with pytest.raises(InvalidValueError, match="dropout"):
        efficientnet.build(dropout=1.0)


@pytest.mark.parametrize("size", [(64, 64), (50, 37)], ids=str)
def test_a_picture_on_a_canvas_is_the_picture(size: tuple[int, int]) -> None:
    net, (height, width) = tiny(), size
    image = torch.rand(1, 3, height, width) * torch.linspace(0, 1, width)
    canvas, valid = torch.full((1, 3, 96, 96), 0.9), torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    canvas[..., :height, :width], valid[..., :height, :width] = image, True
    with torch.inference_mode():
        alone, found, blind = (
            net(x, valid=v)["score"].item() for x, v in ((image, None), (canvas, valid), (canvas, None))
        )
    assert found == pytest.approx(alone, abs=1e-4)
    assert abs(blind - alone) > 1e-3


def test_labels_teach_each_picture_for_itself_and_unknown_ones_nothing() -> None:
    net, logits = tiny(), torch.tensor([1.5, -0.5, 3.0])
    terms = net.loss({"score": logits}, {"label": torch.tensor([1, 0, -1])}, 0.5)
    expected = (np.log1p(np.exp(-1.5)) + np.log1p(np.exp(-0.5))) / 3
    assert terms["label"].item() == pytest.approx(expected, abs=1e-6)
    assert net.loss({"score": logits}, {"label": -torch.ones(3).long()}, 0.5)["label"].item() == 0


# Pictures.


def picture(rng: np.random.Generator, side: int = SIDE) -> Sample:
    """Clouds with one camera's noise, and where a face would be."""
    noise = rng.normal(size=(side, side, 3)).astype(np.float32)
    clouds = sum(
        weight * sigma * cv2.GaussianBlur(noise, (0, 0), sigma) for sigma, weight in ((2, 6), (8, 10), (24, 12))
    )
    grain = np.exp(rng.uniform(np.log(1.5), np.log(9))) * rng.normal(size=noise.shape)
    rgb = np.clip(np.rint(rng.uniform(70, 180, 3) + clouds + grain), 0, 255).astype(np.uint8)
    points = geometry.MEAN * rng.uniform(17, 21) * side / SIDE + np.array([0.5, 0.42]) * side + rng.uniform(-6, 6, 2)
    box = [*points.min(0), *points.max(0)]
    return Sample(rgb, id="face", label=0, meta={"faces": [{"box": box, "points": points.tolist()}]})


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six authentic pictures of faces, and a forged one that must not be opened; their faces are known."""
    known, lines = {}, []
    for number in range(6):
        sample = picture(np.random.default_rng(number), 192)
        known[f"{number}.png"] = sample.meta["faces"]
        cv2.imwrite(str(tmp_path / f"{number}.png"), sample.rgb[..., ::-1])
        lines.append({"image": f"{number}.png", "label": 0, "group": str(number)})
    lines.append({"image": "missing.png", "label": 1})
    (tmp_path / "faces.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    find = faces.find

    def found(sample: Sample, detector: str = "") -> list[faces.Face]:
        return find(Sample(sample.rgb, meta={"faces": known[sample.id]}), detector)

    monkeypatch.setattr(faces, "find", found)
    return tmp_path / "faces.jsonl"


def stream(photos: Path, side: int = 192, count: int = 6) -> Stream:
    forge = Forge(photos=str(photos), recipe="self_blend", change=("deliveries={'': 1}", "hosts.recompressed=0"))
    made = sources([Data(forge=forge)], [count], 5, masks=False)
    prepare = Preparation(augment.parse({}), augment.Window(side), masks=False, seed=5)
    return Stream(made, [count], prepare, step=2 * count, seed=5)


def pairs(canvases: list[Canvas]) -> list[tuple[Canvas, Canvas]]:
    by_name = {canvas.id: canvas for canvas in canvases}
    return [(canvas, by_name[f"{name}/twin"]) for name, canvas in by_name.items() if not name.endswith("twin")]


# The source.


def test_the_forging_recipe_blends_faces_with_themselves_alone() -> None:
    assert forgeries.load("self_blend").operations == {"face_blend": 1}


def test_every_epoch_gives_each_picture_and_a_new_blend_of_it(photos: Path) -> None:
    originals = [cv2.imread(str(photos.parent / f"{number}.png"))[..., ::-1] for number in range(6)]
    epochs = [pairs(step) for step in islice(stream(photos).steps(), 2)]
    for found in epochs:
        assert len(found) == 6
        for forged, twin in found:
            assert (forged.label, twin.label) == (1, 0)
            assert forged.mask is twin.mask is None, "labels alone are told"
            host = [rgb for rgb in originals if np.array_equal(rgb, twin.image)]
            assert len(host) == 1, "the twin is the photograph itself"
            changed = (forged.image != twin.image).any(2)
            assert 0.01 < changed.mean() < 0.6
            # Of itself: what was blended is nearer to its own place than to any other picture's.
            apart = [np.abs(forged.image[changed].astype(int) - rgb[changed]).mean() for rgb in originals]
            assert int(np.argmin(apart)) == next(i for i, rgb in enumerate(originals) if rgb is host[0])
    first, second = ({forged.image.tobytes() for forged, _ in found} for found in epochs)
    assert len(first | second) == 12, "no blend comes twice"


def test_a_window_that_misses_the_blend_is_authentic(photos: Path) -> None:
    small = [canvas for step in islice(stream(photos, 48).steps(), 6) for canvas in step]
    labels = [canvas.label for canvas in small if not canvas.id.endswith("twin")]
    assert 0 < sum(labels) < len(labels)
    assert not any(canvas.label for canvas in small if canvas.id.endswith("twin"))


def test_the_shipped_recipe_trains_on_authentic_faces_alone(photos: Path, tmp_path: Path) -> None:
    changes = [f"train_on=[{{forge: {{photos: {photos}, recipe: self_blend}}, count: 2}}]", "data.side=64", "batch=4"]
    recipe = recipes.load("sbi", [*changes, "epochs=0", "steps=2", "data.workers=0", "log=1"])
    assert recipe.network.name == "efficientnet"
    found = train(recipe, tmp_path / "run")
    assert found.progress.step == 2
    assert found.progress.replaced == 0
    card = json.loads((tmp_path / "run" / "run.json").read_text())
    assert card["data"][0]["recipe"] == "self_blend"


# What is learned.


def retouch(sample: Sample, rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """All of a picture changed as a copy is before it is blended: there is no seam, for nothing differs."""
    values = SelfBlend(sharpness=0.8)(sample, rng).meta["ops"][-1]
    points = np.asarray(sample.meta["faces"][0]["points"])
    return retouched(rgb, geometry.unit(geometry.placed(points)), values)


def blended(rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """A picture and its blend with itself, both retouched as a whole now and then."""
    sample = picture(rng)
    both = sample.rgb, SelfBlend(sharpness=0.8, ratios=(0.75, 1.0, 1.0))(sample, rng).rgb
    if rng.random() < 0.3:
        return both
    seed = int(rng.integers(2**32))
    first, second = (retouch(sample, rgb, np.random.default_rng(seed)) for rgb in both)
    return first, second


def scores(net: Network, pictures: list[Pixels]) -> NDArray[np.float32]:
    image = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return net(image)["score"].numpy()


def trained(steps: int) -> Network:
    torch.manual_seed(0)
    net, rng = xception.build("tiny").train(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    label = torch.tensor([0, 1] * 8)
    for _ in range(steps):
        image = np.stack([rgb for _ in range(8) for rgb in blended(rng)])
        optimizer.zero_grad()
        outputs = net(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255)
        net.loss(outputs, {"label": label}, 0)["label"].backward()
        optimizer.step()
        plan.step()
    return net.eval()


@pytest.mark.slow
def test_who_learned_from_blends_with_oneself_knows_one_of_two_pictures() -> None:
    """No picture of two was ever shown; where both are the same one, or all of it is changed alike, it is silent."""
    net, rng = trained(280), np.random.default_rng(10**6)
    shown: dict[str, list[Pixels]] = {name: [] for name in ("real", "two", "same", "whole")}
    plain: dict[str, Any] = {"blends": ("feathered",), "feathers": (2.0,), "matches": ("none",), "enlarged": 3.0}
    while len(shown["real"]) < 48:
        sample, other = picture(rng), picture(rng)
        shown["real"].append(sample.rgb)
        shown["two"].append(Swap(donor=other, **plain)(sample, rng).rgb)
        shown["same"].append(Swap(donor=sample, **plain)(sample, rng).rgb)
        shown["whole"].append(retouch(sample, sample.rgb, rng))
    found = {name: scores(net, pictures) for name, pictures in shown.items()}
    labels = np.repeat([False, True], 48)

    def auc(name: str) -> float:
        return float(ranking.auc(np.concatenate([found["real"], found[name]]), labels))

    assert auc("two") > 0.9
    assert auc("whole") < 0.65
    np.testing.assert_array_equal(shown["same"], shown["real"])
    np.testing.assert_array_equal(found["same"], found["real"])
