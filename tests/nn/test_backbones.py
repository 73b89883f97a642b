"""Backbones: any size and number of channels, published counts, the user's weights and no others."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.nn import backbones  # noqa: E402
from tamperscope.nn.backbone_sizes import FAMILIES  # noqa: E402

NAMES = tuple(FAMILIES)
every = pytest.mark.parametrize("family", NAMES)

# Millions. Of a paper (P): SegFormer, table 1; Swin, table 1; ConvNeXt, table 1; of common knowledge (K): the counts
# that torchvision, timm and the authors' repositories state. With `classifier` the count has 1000 classes.
COUNTS: dict[tuple[str, str], tuple[float, bool]] = {
    ("mit", "b0"): (3.3, False),  # K; table 1 of P rounds to 3.4.
    ("mit", "b1"): (13.1, False),  # P
    ("mit", "b2"): (24.2, False),  # P
    ("mit", "b3"): (44.0, False),  # P
    ("mit", "b4"): (60.8, False),  # P
    ("mit", "b5"): (81.4, False),  # P
    ("vit", "s16"): (22.05, True),  # K
    ("vit", "b16"): (86.57, True),  # K
    ("vit", "l16"): (304.33, True),  # K
    ("dinov2", "s14"): (22.06, False),  # K
    ("dinov2", "b14"): (86.58, False),  # K
    ("dinov2", "l14"): (304.37, False),  # K
    ("dinov2", "g14"): (1136.48, False),  # K
    ("swin", "t"): (28.29, True),  # P: 29
    ("swin", "s"): (49.61, True),  # P: 50
    ("swin", "b"): (87.77, True),  # P: 88
    ("swin", "l"): (196.53, True),  # P: 197
    ("swinv2", "t"): (28.35, True),  # K
    ("swinv2", "s"): (49.73, True),  # K
    ("swinv2", "b"): (87.92, True),  # K
    ("swinv2", "l"): (196.74, True),  # K
    ("convnext", "t"): (28.59, True),  # P: 29
    ("convnext", "s"): (50.22, True),  # P: 50
    ("convnext", "b"): (88.59, True),  # P: 89
    ("convnext", "l"): (197.77, True),  # P: 198
    ("resnet", "18"): (11.69, True),  # K
    ("resnet", "34"): (21.80, True),  # K
    ("resnet", "50"): (25.56, True),  # K
    ("resnet", "101"): (44.55, True),  # K
    ("resnet", "152"): (60.19, True),  # K
    ("clip", "b32"): (87.46, False),  # K, without the projection
    ("clip", "b16"): (85.80, False),  # K
    ("clip", "l14"): (303.18, False),  # K
}
# What the library calls the classifier that weights usually come with.
CLASSIFIERS = {
    "mit": "SegformerForImageClassification",
    "vit": "ViTForImageClassification",
    "dinov2": "Dinov2ForImageClassification",
    "swin": "SwinForImageClassification",
    "swinv2": "Swinv2ForImageClassification",
    "convnext": "ConvNextForImageClassification",
    "resnet": "ResNetForImageClassification",
    "clip": "CLIPVisionModelWithProjection",
}


def count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def built(family: str, seed: int = 1, **settings: Any) -> backbones.Backbone:
    torch.manual_seed(seed)
    return backbones.build(family, **settings).eval()


def picture(*size: int, channels: int = 3, count: int = 1, seed: int = 2) -> Any:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """A folder as the library saves it, and the classifier that is in it."""
    made: dict[str, tuple[Path, Any]] = {}

    def _saved(family: str) -> tuple[Path, Any]:
        if family not in made:
            known, folder = FAMILIES[family], tmp_path_factory.mktemp(family)
            settings = dict(known.sizes["tiny"])
            torch.manual_seed(11)
            model = getattr(transformers, CLASSIFIERS[family])(getattr(transformers, known.config)(**settings)).eval()
            model.save_pretrained(folder)
            made[family] = folder, model
        return made[family]

    return _saved


@every
@pytest.mark.parametrize("size", [(64, 96), (70, 131), (15, 33), (1, 1)], ids=str)
def test_maps_have_their_channels_and_cover_pictures_of_any_size(family: str, size: tuple[int, int]) -> None:
    net = built(family, inputs=5)
    maps = net(picture(*size, channels=5))
    assert len(maps) == len(net.channels) == len(net.strides) == 4
    assert list(net.strides) == sorted(net.strides)
    for found, channels, stride in zip(maps, net.channels, net.strides, strict=True):
        assert found.shape == (1, channels, -(-size[0] // stride), -(-size[1] // stride))
        assert torch.isfinite(found).all()
    with pytest.raises(InvalidValueError, match=r"expected \(B, 5, H, W\)"):
        net(picture(64, 64))


@every
def test_every_parameter_gets_a_gradient(family: str) -> None:
    net = built(family).train()
    sum(x.square().mean() for x in net(picture(64, 96, count=2))).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None]


@every
def test_no_picture_knows_of_another_beside_or_before_it(family: str) -> None:
    net = built(family)
    pair = picture(96, 128, count=2)
    first = net(pair)
    net(picture(16, 16))
    for together, again, alone in zip(first, net(pair), net(pair[1:]), strict=True):
        assert torch.equal(together, again), "a small picture in between changes nothing"
        torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)


@every
def test_what_is_repeated_beyond_the_edge_is_the_edge(family: str) -> None:
    net = built(family)
    small = picture(50, 70)
    down, right = (-n % net.multiple for n in (50, 70))
    large = torch.nn.functional.pad(small, (0, right, 0, down), mode="replicate")
    for cut, whole in zip(net(small), net(large), strict=True):
        torch.testing.assert_close(cut, whole[..., : cut.shape[-2], : cut.shape[-1]])
    # Maps lie where the picture does: a change in a corner moves the maps most in that corner.
    other = small.clone()
    other[..., 35:, 50:] = 1 - other[..., 35:, 50:]
    change = (net(small)[0] - net(other)[0]).abs().mean((0, 1))
    half = [n // 2 for n in change.shape]
    assert change[half[0] :, half[1] :].mean() > 2 * change[: half[0], : half[1]].mean()


@pytest.mark.parametrize(("family", "size"), COUNTS, ids="-".join)
def test_published_counts(family: str, size: str) -> None:
    with torch.device("meta"):
        net = backbones.build(family, size)
    published, classifier = COUNTS[family, size]
    head = 1000 * (net.channels[-1] + 1) if classifier else 0
    assert count(net) + head == pytest.approx(published * 1e6, rel=0.02)


def test_every_published_size_is_counted() -> None:
    sizes = {(family, size) for family, known in backbones.families().items() for size in known if size != "tiny"}
    assert sizes == set(COUNTS)


@every
def test_the_tiny_ones_are_tiny(family: str) -> None:
    assert count(built(family)) < 1.4e6


@every
def test_weights_of_the_user_give_what_the_library_gives(family: str, saved: Any) -> None:
    folder, model = saved(family)
    net = built(family, weights=folder)
    # So large that the library's classifier does not shrink the last windows of Swin, and that nothing is padded.
    image = picture(*{"dinov2": (140, 140), "swin": (256, 256)}.get(family, (128, 128)))
    told = {"interpolate_pos_encoding": True} if family in ("vit", "clip") else {}
    with torch.inference_mode():
        found = net(image)[-1]
        hidden = model(image, output_hidden_states=True, **told).hidden_states[-1]
        if family in ("vit", "dinov2", "clip"):
            norm = model.vision_model.post_layernorm if family == "clip" else getattr(model, family).layernorm
            hidden = norm(hidden)[:, 1:]
        if hidden.ndim == 3:
            hidden = hidden.transpose(1, 2).unflatten(2, found.shape[-2:])
        if family in ("swin", "convnext"):
            # A new layer norm, which only backbones have: of weight 1 and offset 0.
            hidden = torch.nn.functional.layer_norm(hidden.permute(0, 2, 3, 1), hidden.shape[1:2]).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, hidden, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(built(family)(image)[-1], hidden, atol=1e-2), "random weights are others"


@every
@pytest.mark.parametrize("extra", ["zeros", "mean", "kaiming"])
def test_channels_that_weights_do_not_know_begin_as_told(family: str, extra: Any, saved: Any) -> None:
    folder, _ = saved(family)
    plain, wide = built(family, weights=folder), built(family, weights=folder, inputs=6, extra=extra)
    colours, more = picture(64, 64), picture(64, 64, seed=9)
    first, known = (next(m for m in n.modules() if isinstance(m, torch.nn.Conv2d)) for n in (wide, plain))
    assert torch.equal(first.weight[:, :3], known.weight)
    beside = torch.cat([colours, more], 1)
    same = torch.allclose(wide(beside)[0], plain(colours)[0], atol=1e-5)
    assert same == (extra == "zeros")
    if extra == "mean":
        torch.testing.assert_close(first.weight[:, 5:], known.weight.mean(1, keepdim=True))
    if extra == "kaiming":
        fan = 6 * first.weight[0, 0].numel()
        assert first.weight[:, 3:].std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.15)


def test_a_tower_of_pictures_comes_out_of_a_clip_with_texts(tmp_path: Path) -> None:
    texts = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    texts |= {"vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(vision_config=dict(FAMILIES["clip"].sizes["tiny"]), text_config=texts)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    image = picture(128, 128)
    with torch.inference_mode():
        tokens = model.vision_model.post_layernorm(model.vision_model(image).last_hidden_state)
        found = built("clip", weights=tmp_path)(image)[-1]
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), tokens[:, 1:], atol=1e-5, rtol=1e-4)


def test_folders_that_are_none_or_hold_something_else_are_refused(tmp_path: Path, saved: Any) -> None:
    folder, model = saved("mit")
    with pytest.raises(InvalidValueError, match=r"config.json and \*.safetensors"):
        backbones.build("mit", weights=tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    model.config.save_pretrained(pickled)
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(InvalidValueError, match=r"config.json and \*.safetensors"):
        backbones.build("mit", weights=pickled)
    with pytest.raises(InvalidValueError, match="expected hidden_sizes"):
        backbones.build("mit", "b0", weights=folder)
    with pytest.raises(InvalidValueError, match="model_type vit, found segformer"):
        backbones.build("vit", weights=folder)
    (pickled / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InvalidValueError, match="expected those of a SegformerModel"):
        backbones.build("mit", weights=pickled)
    part = tmp_path / "part"
    state = {k: v for k, v in model.state_dict().items() if "stages.2" not in k}
    model.save_pretrained(part, state_dict=state)
    with pytest.raises(InvalidValueError, match=r"lacks stages\.2"):
        backbones.build("mit", weights=part)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'swin'"):
        backbones.build("swim")
    with pytest.raises(UnknownNameError, match="size of mit 'b7'"):
        backbones.build("mit", "b7")
    with pytest.raises(UnknownNameError, match="extra channels"):
        backbones.build("mit", extra="ones")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="inputs"):
        backbones.build("mit", inputs=0)
    for family, share in (("vit", 0.1), ("mit", 1.0)):
        with pytest.raises(InvalidValueError, match="drop_path"):
            backbones.build(family, drop_path=share)


def test_dropped_paths_act_in_training_alone() -> None:
    image = picture(64, 64)
    dropping, keeping = built("mit", drop_path=0.5), built("mit")
    assert torch.equal(dropping(image)[-1], keeping(image)[-1])
    dropping.train()
    assert not torch.equal(dropping(image)[-1], dropping(image)[-1])
    keeping.train()
    assert torch.equal(keeping(image)[-1], keeping(image)[-1])


def test_stages_of_mit_are_its_forward_in_steps_and_what_goes_between_them_is_heard() -> None:
    net = built("mit")
    assert isinstance(net, backbones.Stages)
    image = picture(64, 96)
    maps, x, changed = net(image), image, image
    for place, stage in enumerate(net.stages()):
        x = stage(x)
        assert torch.equal(x, maps[place])
        changed = stage(changed)
        changed = changed.flip(1) if place == 1 else changed
    assert not torch.allclose(changed, maps[-1], atol=1e-3)


def test_nothing_is_said_and_the_library_speaks_as_before(capfd: pytest.CaptureFixture[str], saved: Any) -> None:
    folder, _ = saved("swin")
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbones.build("swin", weights=folder, inputs=4)(picture(64, 64, channels=4))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)


def test_the_library_is_read_only_when_a_backbone_is_made() -> None:
    code = "import sys; import tamperscope.nn.backbones; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
