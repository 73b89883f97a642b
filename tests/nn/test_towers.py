"""Frozen towers: the library's class token, projected as CLIP does, and weights that are never others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.nn import towers  # noqa: E402
from tamperscope.nn.backbone_sizes import FAMILIES  # noqa: E402
from tamperscope.nn.efficientnet_lite import EfficientNetLite0  # noqa: E402
from tamperscope.nn.towers import Frozen  # noqa: E402

MODELS = {"clip": "CLIPVisionModelWithProjection", "vit": "ViTModel", "dinov2": "Dinov2Model"}
every = pytest.mark.parametrize("family", MODELS)
all_towers = pytest.mark.parametrize("family", towers.COLOURS)


def library(family: str, name: str | None = None) -> Any:
    known = FAMILIES[family]
    settings = dict(known.sizes["tiny"]) | ({"projection_dim": 40} if family == "clip" else {})
    torch.manual_seed(11)
    return getattr(transformers, name or MODELS[family])(getattr(transformers, known.config)(**settings)).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """A folder as the library saves it, and the model that is in it."""
    made: dict[str, tuple[Path, Any]] = {}

    def _saved(family: str) -> tuple[Path, Any]:
        if family not in made:
            folder, model = tmp_path_factory.mktemp(family), library(family)
            model.save_pretrained(folder)
            made[family] = folder, model
        return made[family]

    return _saved


def pictures(*size: int) -> Any:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))


@every
def test_the_vector_is_the_librarys_own(family: str, saved: Any) -> None:
    folder, model = saved(family)
    tower = towers.build(family, weights=folder)
    told = {} if family == "dinov2" else {"interpolate_pos_encoding": True}
    for size in ((140, 140), (56, 112)) if family == "dinov2" else ((128, 128), (48, 104)):
        image = pictures(*size)
        with torch.inference_mode():
            found = model(image, **told)
            expected = found.image_embeds if family == "clip" else found.last_hidden_state[:, 0]
            vectors = tower(image)
        assert vectors.shape == (2, tower.features)
        torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-4)
        assert float(vectors.std(0).mean()) > 0.01, "pictures differ"
    assert tower.features == (40 if family == "clip" else 96)
    assert tower.multiple == model.config.patch_size


def test_lite_tells_mean_and_deviation_of_each_stage(tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = EfficientNetLite0(7).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    tower, image = towers.build("lite", weights=tmp_path / "w.safetensors"), torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        found, maps = tower(image), net.each(image)[:6]
    wanted = [part for x in maps for part in (x.mean((2, 3)), x.flatten(2).std(2, correction=0))]
    torch.testing.assert_close(found, torch.cat(wanted, 1))
    assert (tower.features, tower.multiple) == (found.shape[1], 32) == (2 * 464, 32)
    with pytest.raises(InputError, match="EfficientNet-Lite0"):
        towers.build("lite", weights=tmp_path / "none.safetensors")


@all_towers
def test_drawn_weights_are_the_same_each_time_and_disturb_no_draw(family: str) -> None:
    torch.manual_seed(1)
    first, after = towers.build(family), torch.rand(3)
    torch.manual_seed(2)
    second = towers.build(family)
    assert first.digest() == second.digest()
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)
    with torch.no_grad():
        next(second.parameters()).view(-1)[0] += 1e-3
    assert first.digest() != second.digest()


@all_towers
def test_nothing_of_it_learns(family: str) -> None:
    tower = torch.nn.Sequential(towers.build(family)).train()[0]
    assert isinstance(tower, Frozen)
    assert not any(module.training for module in tower.modules())
    assert not any(p.requires_grad for p in tower.parameters())
    assert not tower(pictures(tower.multiple, 2 * tower.multiple)).requires_grad


def test_sides_that_are_no_multiples_are_padded_by_their_edge() -> None:
    tower, image = towers.build(), pictures(50, 41)
    wide = torch.nn.functional.pad(image, (0, 7, 0, 6), mode="replicate")
    assert torch.equal(tower(image), tower(wide))


def test_published_sizes() -> None:
    with torch.device("meta"):
        tower = towers.build("clip", "l14")
    assert (tower.features, tower.multiple) == (768, 14)
    assert sum(p.numel() for p in tower.parameters()) == pytest.approx(303.18e6 + 768 * 1024, rel=1e-4)


def test_towers_that_are_none_are_refused(tmp_path: Path, saved: Any) -> None:
    with pytest.raises(UnknownNameError, match="family of towers 'swin'"):
        towers.build("swin")
    with pytest.raises(UnknownNameError, match="size of clip"):
        towers.build("clip", "h14")
    with pytest.raises(InvalidValueError, match="model_type vit, found dinov2"):
        towers.build("vit", weights=saved("dinov2")[0])
    library("clip", "CLIPVisionModel").save_pretrained(tmp_path)
    with pytest.raises(InvalidValueError, match=r"expected visual_projection\.weight"):
        towers.build("clip", weights=tmp_path)
    path = tmp_path / "model.safetensors"
    state = {**load_file(path), "visual_projection.weight": torch.zeros(40, 95)}
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(InvalidValueError, match=r"\(n, 96\), found \(40, 95\)"):
        towers.build("clip", weights=tmp_path)
