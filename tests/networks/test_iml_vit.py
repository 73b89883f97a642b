"""IML-ViT: outlines weigh more, pixels are seen as they are, some blocks see everything, padding is not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import noise_worlds  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError  # noqa: E402
from tamperscope.networks import iml_vit  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.iml_vit import ImlVit  # noqa: E402
from tamperscope.nn.losses import edge_band  # noqa: E402

SMALL = {"width": 48, "heads": 2, "depth": 4, "wide": (1, 3), "pyramid": 24}


def small(seed: int = 1, **settings: object) -> ImlVit:
    torch.manual_seed(seed)
    return iml_vit.build("tiny", **{**SMALL, **settings}).eval()


def test_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        full = iml_vit.build("full")
    assert parameters(full) == pytest.approx(iml_vit.ABOUT.parameters, rel=0.02)
    assert [i for i, block in enumerate(full.blocks) if not block.window] == [2, 5, 8, 11]
    assert {block.window for block in full.blocks} == {0, 14}
    assert full.blocks[2].relative.down.shape == (127, 64)
    assert full.blocks[1].drop.rate == pytest.approx(0.1 / 11)
    assert parameters(iml_vit.build("tiny")) <= 1_500_000


def test_outlines_weigh_one_and_twenty_times_as_much() -> None:
    truth = torch.zeros(1, 1, 64, 64)
    truth[..., 16:48, 16:48] = 1
    logits = torch.zeros_like(truth, requires_grad=True)
    band = edge_band(truth) > 0
    pull = {}
    for factor in (20.0, 0.0):
        net = small(factor=factor)
        loss = net.loss({"mask": logits}, {"mask": truth}, 0.5)["mask"]
        pull[factor] = torch.autograd.grad(loss, logits)[0].abs()
    assert torch.allclose(pull[20.0][band], 21 * pull[0.0][band])
    assert torch.equal(pull[20.0][~band], pull[0.0][~band])


def test_pictures_of_any_size() -> None:
    net = small()
    with torch.no_grad():
        for size in ((64, 96), (128, 128), (144, 80)):
            assert net(torch.rand(1, 3, *size))["mask"].shape == (1, 1, *size)


def test_padding_is_not_seen() -> None:
    torch.manual_seed(3)
    image = torch.rand(2, 3, 128, 128)
    valid = torch.zeros(2, 1, 128, 128, dtype=torch.bool)
    valid[0, :, :90, :70], valid[1] = True, True
    other = torch.where(valid, image, torch.rand_like(image))
    for masked in (True, False):
        net = small(mask_padding=masked)
        with torch.no_grad():
            change = (net(image, valid)["mask"] - net(other, valid)["mask"]).abs()
        assert bool(change[valid].max() < 1e-3) is masked
    # Not only its colour: tokens of the padding answer nobody, however they were embedded.
    net = small()
    seen = (valid.float()[:, 0, ::8, ::8] > 0).bool()
    x = torch.randn(2, 16, 16, 48)
    y = torch.where(seen[..., None], x, torch.randn_like(x))
    with torch.no_grad():
        for block in net.blocks:
            assert torch.allclose(block(x, seen)[seen], block(y, seen)[seen], atol=1e-5)
        assert not torch.allclose(net.blocks[1](x)[seen], net.blocks[1](y)[seen], atol=1e-3)


def test_windows_keep_word_and_wide_blocks_carry_it() -> None:
    torch.manual_seed(4)
    image = torch.rand(1, 3, 128, 128)
    other = image.clone()
    other[..., 80:, 80:] = torch.rand(1, 3, 48, 48)
    middle = (..., slice(26, 38), slice(26, 38))  # of the first window; the pyramid blurs over its border
    for wide in ((), (1,)):
        net = small(wide=wide)
        with torch.no_grad():
            same = torch.equal(net(image)["mask"][middle], net(other)["mask"][middle])
        assert same is (not wide)


@pytest.mark.parametrize("norm", ["layer", "instance", "batch"])
def test_norms_of_the_head(norm: str) -> None:
    net = small(norm=norm)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net(images)["mask"][:1], net(images[:1])["mask"], atol=1e-4)
        net.head.train()
        net.head.drop.eval()
        alike = torch.allclose(net(images)["mask"][:1], net(images[:1])["mask"], atol=1e-4)
    assert alike is (norm != "batch")  # why small batches do not stand batch norm


def test_weights_of_a_masked_auto_encoder(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    plain = small(stem="rgb")
    saved = {"cls_token": torch.randn(1, 1, 48), "pos_embed": torch.randn(1, 257, 48)}
    saved |= {"patch_embed.proj.weight": torch.randn(48, 3, 8, 8), "patch_embed.proj.bias": torch.randn(48)}
    saved |= {"norm.weight": torch.randn(48), "norm.bias": torch.randn(48), "decoder_embed.bias": torch.randn(4)}
    for name, value in plain.blocks.state_dict().items():
        if "relative" not in name:
            saved[f"blocks.{name.replace('attention', 'attn')}"] = torch.randn_like(value)
    path = tmp_path / "mae.safetensors"
    save_file(saved, path)
    net = small(stem="rgb", weights=path)
    assert torch.equal(net.blocks[3].mlp.fc2.weight, saved["blocks.3.mlp.fc2.weight"])
    assert torch.equal(net.blocks[0].attention.proj.bias, saved["blocks.0.attn.proj.bias"])
    assert torch.equal(net.patches.places, saved["pos_embed"][0, 1:].reshape(16, 16, 48))
    for settings, match in (({}, "patch_embed"), ({"stem": "rgb", "depth": 5}, r"blocks\.4")):
        with pytest.raises(InvalidValueError, match=match):
            small(**settings, weights=path)
    with pytest.raises(InvalidValueError, match="pos_embed"):
        small(stem="rgb", width=24, weights=path)
    save_file({"model.pos_embed": torch.zeros(1)}, path)
    with pytest.raises(InvalidValueError, match="named as MAE"):
        small(stem="rgb", weights=path)
    with pytest.raises(InputError, match="safetensors"):
        small(weights=tmp_path / "none")


def test_wrong_asks() -> None:
    for settings in ({"wide": (6,)}, {"norm": "group"}, {"factor": -1}, {"stem": "bayar"}):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            iml_vit.build("tiny", **settings)


@pytest.mark.slow
def test_windows_wholly_inside_need_the_wide_blocks() -> None:
    def draw(rng: np.random.Generator, count: int = 8) -> noise_worlds.World:
        return noise_worlds.relative(rng, count, 128, 64, (16, 24), 0.5)

    truth = draw(np.random.default_rng(9), 160)
    net = small(0, factor=0.0)
    noise_worlds.train(net, draw, 130)
    whole = noise_worlds.answer(net, truth.image)
    for block in net.blocks:
        block.window = 8
    narrow = noise_worlds.answer(net, truth.image)
    # Pixels 26 to 38 of a window of 64, which see 16 pixels beyond it by the pyramid: these are of the same class.
    cells = [noise_worlds.undecidable(logits, truth, 64, 26, 16) for logits in (whole, narrow)]
    assert noise_worlds.f1(*cells[0]) > 0.9
    assert noise_worlds.f1(*cells[1]) < 0.7  # all marked: 0.667
    assert noise_worlds.auc(*cells[1]) < 0.65
    # Where an outline is in the window, much can still be told.
    forged = truth.mask.numpy() > 0
    assert noise_worlds.f1(narrow.numpy(), forged) > noise_worlds.f1(*cells[1]) + 0.1


@pytest.mark.slow
def test_resizing_takes_traces_away_and_leaves_what_a_picture_shows() -> None:
    """A region of a fine pattern, as of another sensor, against an object of a colour that nothing else has."""
    rows, columns = np.mgrid[:96, :96]
    pattern = np.where((rows + columns) % 2, 8.0, -8.0)[..., None]

    def draw(rng: np.random.Generator, count: int = 8, kind: str | None = None) -> noise_worlds.World:
        made = noise_worlds.feathered(rng, count, 96, blur=1.0)
        shown = rng.random(count) < 0.5 if kind is None else np.full(count, kind == "shown")
        for i in range(count):
            clean = noise_worlds.content(rng, 96)
            alpha = made.mask[i, 0].numpy()[..., None]
            changed = np.array([210.0, 25.0, 200.0]) if shown[i] else clean + pattern
            mixed = clean * (1 - alpha) + changed * alpha
            flat = noise_worlds.noisy(rng, mixed, 0 * alpha[..., 0], float(made.strength[i]))
            made.image[i] = torch.from_numpy(flat.transpose(2, 0, 1) / 255).float()
        return made

    def resized(image: torch.Tensor) -> torch.Tensor:
        half = F.interpolate(image, scale_factor=0.5, mode="area")
        return F.interpolate(half, scale_factor=2, mode="bilinear")

    def both(rng: np.random.Generator) -> noise_worlds.World:
        made = draw(rng)  # resized pictures are no news to the network: what falls is what they lost
        made.image[::2] = resized(made.image[::2])
        return made

    net = small(0, window=4, factor=0.0)
    noise_worlds.train(net, both, 160)
    fall = {}
    for kind in ("trace", "shown"):
        truth = draw(np.random.default_rng(9), 60, kind)
        forged = truth.mask.numpy() > 0
        asked = truth.image, resized(truth.image)
        native, lower = (noise_worlds.f1(noise_worlds.answer(net, x).numpy(), forged) for x in asked)
        assert native > 0.75
        fall[kind] = native - lower
    assert fall["trace"] > 0.2, fall
    assert fall["shown"] < 0.1, fall
