"""The extractor of residuals: its shape, its loss, its weights, and that it tells pipelines apart and not contents."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import save

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.metrics import ranking
from tamperscope.nn import mixers, residuals
from tamperscope.ops.forge.traces import grid, noise
from tamperscope.types import Sample


def shipped_files() -> tuple[bytes, bytes]:
    folder = resources.files("tamperscope.weights")
    return folder.joinpath("residuals.safetensors").read_bytes(), folder.joinpath("residuals.json").read_bytes()


def test_it_is_a_dncnn_of_so_many_layers_and_sees_so_far() -> None:
    torch.manual_seed(0)
    net = residuals.Residuals(5, 6).eval()
    kernels = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in kernels] == [(6, 3, 3, 3), *[(6, 6, 3, 3)] * 3, (1, 6, 3, 3)]
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) == 3
    image = torch.rand(1, 3, 31, 33)
    other = image.clone()
    other[..., 15, 16] = 1 - other[..., 15, 16]
    changed = (net(image) != net(other))[0, 0].nonzero()
    assert changed.min(0).values.tolist() == [9, 10]
    assert changed.max(0).values.tolist() == [21, 22]


@pytest.mark.parametrize(("layers", "width"), [(1, 8), (3, 0)])
def test_a_network_that_is_none_is_refused(layers: int, width: int) -> None:
    with pytest.raises(InvalidValueError, match="expected 2 layers or more and a channel"):
        residuals.Residuals(layers, width)


def test_the_loss_is_that_of_the_paper_written_out() -> None:
    maps = torch.randn(6, 1, 16, 8, generator=torch.Generator().manual_seed(1))
    groups = [0, 0, 1, 1, 1, 2]
    mean = np.zeros((6, 8, 8))
    for row in range(16):
        mean[:, row % 8] += maps[:, 0, row].numpy() / 2
    unit = 0.5 * mean.var(0, ddof=1).mean()
    total = []
    for i, own in enumerate(groups[:5]):
        weights = {j: np.exp(-np.square(mean[i] - mean[j]).mean() / unit) for j in range(6) if j != i}
        total.append(-np.log(sum(w for j, w in weights.items() if groups[j] == own) / sum(weights.values())))
    found = residuals.contrast(maps, torch.tensor(groups), temperature=0.5)
    assert residuals.contrast(3 * maps, torch.tensor(groups), temperature=0.5).item() == pytest.approx(
        found.item(), rel=1e-4
    )
    assert found.item() == pytest.approx(float(np.mean(total)), rel=1e-4)


def test_no_pair_costs_nothing_and_its_gradient_is_zero() -> None:
    maps = torch.randn(3, 1, 8, 8, requires_grad=True)
    loss = residuals.contrast(maps, torch.arange(3))
    loss.backward()
    assert loss.item() == 0
    assert maps.grad is not None
    assert not maps.grad.any()


def test_folding_keeps_what_repeats_on_the_grid_and_averages_the_rest() -> None:
    cell = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(residuals.folded(cell.repeat(2, 1, 3, 4)), cell.flatten(1).repeat(2, 1))
    noisy = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    assert residuals.folded(noisy).std() == pytest.approx(1 / 8, rel=0.3)


def test_the_shipped_weights_are_those_of_the_card_and_small() -> None:
    weights, card = shipped_files()
    stated = json.loads(card)
    net = residuals.shipped()
    assert len(weights) <= 300_000
    assert sum(p.numel() for p in net.parameters()) == stated["parameters"]
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    for field in ("what", "licence", "training", "measured", "limits"):
        assert stated[field]
    assert set(stated["training"]["pictures"]) == set(stated["training"]["licences"])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda w, c: (w[:-1] + bytes([w[-1] ^ 1]), c), InvalidValueError, "expected sha256"),
        (lambda w, c: (w, c | {"width": 16}), InvalidValueError, r"expected \(16"),
        (lambda w, c: (w, c | {"layers": 9}), InvalidValueError, "what is missing"),
        (lambda w, c: (b"none", c | {"sha256": _digest(b"none")}), InputError, "expected a safetensors file"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[..., tuple[bytes, dict[str, object]]], error: type[Exception], words: str
) -> None:
    torch.manual_seed(3)
    weights = save(residuals.Residuals(3, 8).state_dict())
    card = {"sha256": _digest(weights), "layers": 3, "width": 8}
    residuals.Residuals.from_bytes(weights, json.dumps(card).encode())
    weights, card = change(weights, card)
    with pytest.raises(error, match=words):
        residuals.Residuals.from_bytes(weights, json.dumps(card).encode())


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


PIPELINES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "as it is": lambda rgb, seed: rgb,
    "noisy": lambda rgb, seed: noise.renoised(Sample(rgb), 5.0, seed=seed).rgb,
    "jpeg": lambda rgb, seed: grid.compressed(Sample(rgb), 75).rgb,
    "jpeg on another grid": lambda rgb, seed: grid.compressed(Sample(rgb), 75, 3, 5).rgb,
}


def test_patches_of_one_pipeline_are_near_whatever_they_show(photo: Callable[[str], np.ndarray]) -> None:
    """Twelve patches of three photographs, by every pipeline: the way they went tells more than what they show."""
    net, size = residuals.shipped(), 64
    vectors, pipelines, contents = [], [], []
    for picture, name in enumerate(("astronaut", "chelsea", "coffee")):
        rgb = photo(name)[: 8 * size : 2, : 8 * size : 2]
        for place in range(4):
            y, x = divmod(place, 2)
            part = np.ascontiguousarray(rgb[y * 64 : y * 64 + 64, x * 64 : x * 64 + 64])
            for kind, (pipeline, passed) in enumerate(PIPELINES.items()):
                image = torch.from_numpy(passed(part, 10 * picture + place).transpose(2, 0, 1)[None]).float() / 255
                with torch.inference_mode():
                    vectors.append(residuals.folded(net(image)[..., 8:-8, 8:-8]))
                pipelines.append(kind)
                contents.append(4 * picture + place)
                assert pipeline in PIPELINES
    flat = torch.cat(vectors).numpy()
    rows, columns = np.triu_indices(len(flat), 1)
    near = -np.square(flat[rows] - flat[columns]).sum(1)
    one = np.array(pipelines)[rows] == np.array(pipelines)[columns]
    same = np.array(contents)[rows] == np.array(contents)[columns]
    # Pairs of one content are never of one pipeline: were content seen, they would be the nearest.
    assert ranking.auc(near, one) > 0.65
    assert ranking.auc(near[~one], same[~one]) < 0.75


def test_early_convolutions_have_the_published_widths_and_keep_the_size() -> None:
    layer = mixers.EarlyConv(9, 3)
    kernels = [m for m in layer.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in kernels] == [
        (9, 24, 3), (24, 48, 3), (48, 96, 3), (96, 3, 1)
    ]  # fmt: skip
    assert layer(torch.rand(2, 9, 17, 20)).shape == (2, 3, 17, 20)
