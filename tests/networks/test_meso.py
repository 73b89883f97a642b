"""MesoNet: both networks' numbers to the last one, windows for canvases, and a squared error."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import meso  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.meso import Meso, Scales  # noqa: E402

kinds = pytest.mark.parametrize("kind", meso.KINDS)


def tiny(kind: str = "meso4", **settings: object) -> Meso:
    torch.manual_seed(1)
    net = meso.build("tiny", kind=kind, **settings)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, 0.1, 0.2)
    return net.eval()


def scores(net: Meso, image: torch.Tensor, valid: torch.Tensor | None = None) -> list[float]:
    with torch.inference_mode():
        return net(image, valid=valid)["score"].tolist()


def test_the_published_numbers_of_parameters() -> None:
    assert parameters(meso.build("full")) == 27_977
    assert parameters(meso.build("full", kind="inception")) == 28_615


@kinds
def test_the_published_shape(kind: str) -> None:
    net = meso.build("full", kind=kind).eval()
    with torch.inference_mode():
        maps = [torch.rand(1, 3, 256, 256)]
        for layer in net.body:
            maps.append(layer(maps[-1]))
    first = {"meso4": (8, 8), "inception": (11, 12)}[kind]
    assert [tuple(x.shape[1:]) for x in maps[1:]] == [
        (first[0], 128, 128),
        (first[1], 64, 64),
        (16, 32, 32),
        (16, 8, 8),
    ]
    assert net.hidden.in_features == 1024
    # Norms come after the ReLU, as in Keras, and before the maximum.
    assert [[type(part) for part in layer[1:]] for layer in net.body] == [[nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d]] * 4


def test_scales_reach_as_far_as_they_say() -> None:
    torch.manual_seed(0)
    layer = Scales(1, (1, 1, 1, 1))
    for part in (*layer.points, *layer.wide):
        nn.init.ones_(part.weight)
    spot = torch.zeros(1, 1, 15, 15)
    spot[..., 7, 7] = 1
    for part in (*layer.points, *layer.wide):
        nn.init.zeros_(part.bias)
    found = layer(spot)[0] > 0
    for channel, dilation in enumerate((0, 1, 2, 3)):
        rows, columns = torch.nonzero(found[channel], as_tuple=True)
        assert set(rows.tolist()) == set(columns.tolist()) == {7 - dilation, 7, 7 + dilation}


@kinds
def test_a_canvas_is_judged_by_its_windows_each_by_what_it_holds(kind: str) -> None:
    net, side = tiny(kind), 64
    windows = torch.rand(6, 3, side, side)
    alone = torch.tensor(scores(net, windows)).view(2, 3)
    canvas = torch.cat([torch.cat(list(windows[3 * row : 3 * row + 3]), 2) for row in range(2)], 1)[None]
    assert scores(net, canvas)[0] == pytest.approx(alone.mean().item(), abs=1e-5)
    valid = torch.zeros(1, 1, 2 * side, 3 * side, dtype=torch.bool)
    valid[..., :side, :side], valid[..., :side, side : side + 16] = True, True
    black = windows[1].clone()
    black[..., 16:] = 0
    part = scores(net, black[None])[0]
    expected = (alone[0, 0].item() * 4 + part) / 5
    assert scores(net, canvas, valid)[0] == pytest.approx(expected, abs=1e-5)
    noise = torch.where(valid, canvas, torch.rand_like(canvas))
    assert scores(net, noise, valid) == scores(net, canvas, valid), "what fills up is not seen"
    assert abs(part - alone[0, 1]) > 1e-4
    assert scores(net, canvas, torch.zeros_like(valid)) == [0.0]


def test_where_things_lie_in_a_window_matters() -> None:
    """The map is flattened: a mean of it would be told the same of both."""
    net = tiny()
    image = torch.zeros(2, 3, 64, 64)
    image[0, :, :32, :32] = image[1, :, 32:, 32:] = torch.rand(3, 32, 32)
    first, second = scores(net, image)
    assert abs(first - second) > 1e-3


def test_the_error_is_that_of_the_probability_and_unknown_labels_teach_nothing() -> None:
    logits, labels = torch.tensor([1.5, -0.5, 3.0]), torch.tensor([1, 0, -1])
    p = logits.sigmoid()
    squared = ((1 - p[0]) ** 2 + p[1] ** 2).item() / 3
    assert tiny().loss({"score": logits}, {"label": labels}, 0)["label"].item() == pytest.approx(squared)
    entropy = -((p[0]).log() + (1 - p[1]).log()).item() / 3
    found = tiny(error="entropy").loss({"score": logits}, {"label": labels}, 0)["label"].item()
    assert found == pytest.approx(entropy, abs=1e-6)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="kind of MesoNet"):
        meso.build(kind="meso5")
    with pytest.raises(UnknownNameError, match="unknown error"):
        meso.build(error="absolute")
    for settings in ({"side": 48}, {"side": 0}, {"dropout": 1.0}):
        with pytest.raises(InvalidValueError, match="multiple of 32"):
            meso.build(**settings)
