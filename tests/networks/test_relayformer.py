"""RelayFormer's relay tokens carry what a tile cannot know by itself, and nothing else does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import noise_worlds  # noqa: E402
from torch import Tensor  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError  # noqa: E402
from tamperscope.networks import relayformer  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.relayformer import Layout, RelayFormer, every, layout_of, present  # noqa: E402
from tamperscope.nn import lora  # noqa: E402
from tamperscope.nn.tiles import Grid  # noqa: E402

# Tiles of 32 pixels that share nothing, and no decoder that looks about: only relay tokens can carry word.
APART = {"patch": 8, "tile": 4, "overlap": 0, "width": 48, "heads": 2, "depth": 4, "decoder": None, "factor": 0.0}


def small(seed: int = 1, **settings: object) -> RelayFormer:
    """A network whose low-rank differences and gates are anything but 0."""
    torch.manual_seed(seed)
    net = relayformer.build("tiny", **{"width": 32, "heads": 2, "depth": 3, **settings})
    for name, value in net.named_parameters():
        if ".up." in name:
            torch.nn.init.normal_(value, std=0.3)
    return net.eval()


def layout(rows: int = 2, columns: int = 3, pictures: int = 1, overlap: int = 2) -> tuple[Layout, Grid]:
    stride = 10 - overlap
    grid = Grid((rows - 1) * stride + 10, (columns - 1) * stride + 10, 10, stride)
    assert grid.shape == (rows, columns)
    return layout_of(torch.ones(pictures, 1, rows * columns, dtype=torch.bool), grid), grid


def reordered(before: Layout, order: Tensor) -> Layout:
    """The same tiles in another order; slots are given anew, as they come."""
    coordinates = before.coordinates[order]
    number = int(coordinates[:, 0].max()) + 1
    of = coordinates[:, 0] == torch.arange(number)[:, None]
    slots = (of.cumsum(1) - 1)[coordinates[:, 0], torch.arange(len(order))]
    return dataclasses.replace(before, coordinates=coordinates, places=before.places[order], slots=slots)


def test_the_published_number_of_low_rank_parameters() -> None:
    with torch.device("meta"):
        full = relayformer.build("full")
    differences = sum(p.numel() for n, p in full.named_parameters() if ".up." in n or ".down." in n)
    unused = 8 * ((768 + 2304) + (768 + 768) + 2 * (768 + 3072))  # the first block's `glo`, which nothing would pass
    assert differences + unused == pytest.approx(2.36e6, rel=0.002)
    base = parameters(full.blocks) - differences
    assert base == 12 * (12 * 768**2 + 13 * 768)
    assert parameters(relayformer.build("tiny")) <= 1_500_000


def test_split_and_merged_features_are_the_features() -> None:
    where, grid = layout(pictures=2)
    planes = torch.randn(2, 5, grid.height, grid.width, dtype=torch.float64)
    tiles = grid.split(planes).flatten(0, 1).flatten(2).transpose(1, 2)
    merged, count = where.together(tiles)
    assert torch.allclose(merged.unflatten(0, (2, *grid.padded)).permute(0, 3, 1, 2), planes, atol=1e-12)
    assert torch.allclose(where.shared(tiles), tiles, atol=1e-12)
    assert sorted(count.unique().tolist()) == [1, 2, 4]
    # Against the shared part, where tiles disagree.
    other = torch.randn_like(tiles)
    expected = grid.merge(other.transpose(1, 2).unflatten(2, (10, 10)).unflatten(0, (2, -1)))
    assert torch.allclose(where.together(other)[0].unflatten(0, (2, *grid.padded)).permute(0, 3, 1, 2), expected)


def test_one_tile_is_a_plain_transformer_with_local_differences() -> None:
    net = small(decoder=None, drop_path=0.0)
    image = torch.rand(1, 3, 80, 80)
    # Relay tokens of one tile still look at one another: without them the network is the plain one.
    net.exchange = lambda index, relays, where: relays  # type: ignore[method-assign]
    x = net.patches(image, net.normalized(image)).flatten(1, 2)
    x = torch.cat([net.relays[None], x], 1)
    for block in net.blocks:
        x = lora.merged(block, "loc").sequence(x)  # type: ignore[operator]
    plane = net.norm(x[:, 2:]).transpose(1, 2).unflatten(2, (10, 10))
    expected = torch.nn.functional.interpolate(net.decoder(plane), (80, 80), mode="bilinear")
    with torch.no_grad():
        assert torch.allclose(net(image)["mask"], expected, atol=1e-4)


def test_the_order_of_tiles_is_nothing_and_their_coordinates_are_something() -> None:
    net, (where, _) = small(), layout(pictures=2)
    torch.manual_seed(2)
    pixels = torch.rand(12, 3, 80, 80)
    order = torch.randperm(12)
    with torch.no_grad():
        planes, _ = net.planes(pixels, where)
        shuffled, _ = net.planes(pixels[order], reordered(where, order))
        assert torch.allclose(planes, shuffled, atol=1e-4)
        coordinates = where.coordinates.clone()
        coordinates[:, 3] = coordinates[:, 3].flip(0)
        # One place at a time is told wrongly: the way tiles are joined stays.
        relays = torch.randn(12, 2, 32)
        wrong = dataclasses.replace(where, coordinates=coordinates)
        assert not torch.allclose(net.exchange(1, relays, where), net.exchange(1, relays, wrong), atol=1e-3)


def test_tiles_that_are_not_there_change_nothing() -> None:
    net = small()
    torch.manual_seed(3)
    alone, long = torch.rand(1, 3, 80, 80), torch.rand(1, 3, 80, 208)
    canvas = torch.rand(2, 3, 144, 208)  # what lies beyond the pictures is anything
    valid = torch.zeros(2, 1, 144, 208, dtype=torch.bool)
    canvas[0, :, :80, :80], valid[0, :, :80, :80] = alone[0], True
    canvas[1, :, :80], valid[1, :, :80] = long[0], True
    with torch.no_grad():
        both = net(canvas, valid)["mask"]
        # Logits are blurred over the last half patch where they are enlarged.
        assert torch.allclose(both[:1, :, :76, :76], net(alone)["mask"][..., :76, :76], atol=1e-3)
        assert torch.allclose(both[1:, :, :76, :204], net(long)["mask"][..., :76, :204], atol=1e-3)
        assert (both[0, :, 80:] == relayformer.NOTHING).all()
        assert (both[0, :, :, 80:] == relayformer.NOTHING).all()
        assert (both[1, :, :80] != relayformer.NOTHING).all()


def test_only_tiles_that_a_picture_needs() -> None:
    grid = Grid(26, 18, 10, 8)
    valid = torch.zeros(5, 208, 144, dtype=torch.bool)
    for picture, (height, width) in enumerate([(80, 80), (81, 80), (1, 144), (208, 144)]):
        valid[picture, :height, :width] = True
    expected = [[1, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1] * 6, [0] * 6]
    assert present(valid, grid, 8).int().tolist() == expected
    where = layout_of(present(valid, grid, 8)[:, None], grid)
    assert where.length == 6
    assert where.coordinates[1].tolist() == [1, 0, 0, 0]
    assert where.slots.tolist() == [0, 0, 1, 0, 1, 0, 1, 2, 3, 4, 5]


def test_all_tiles_without_being_told_which() -> None:
    grid = Grid(26, 18, 10, 8)
    known = layout_of(torch.ones(2, 3, 6, dtype=torch.bool), grid)
    found = every(2, 3, grid, torch.device("cpu"))
    for name in ("coordinates", "places", "slots"):
        assert torch.equal(getattr(found, name), getattr(known, name))
    assert (found.size, found.number, found.length) == (known.size, known.number, known.length)
    net, image = small(), torch.rand(2, 3, 144, 144)
    with torch.no_grad():
        told = net(image, valid=torch.ones(2, 1, 144, 144, dtype=torch.bool))
        assert torch.equal(net(image)["mask"], told["mask"])


def test_a_merged_copy_answers_alike() -> None:
    net = small()
    torch.manual_seed(4)
    image = torch.rand(2, 3, 144, 144)
    plain = net.merged()
    assert not any(isinstance(m, lora.LoraLinear) for m in plain.modules())
    with torch.no_grad():
        expected = net(image)["mask"]
        found = plain(image)["mask"]
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
        assert torch.equal(plain.merged()(image)["mask"], found)


def test_new_differences_make_both_modes_the_same() -> None:
    torch.manual_seed(5)
    net = relayformer.build("tiny")
    x = torch.randn(2, 6, 96)
    answers = {}
    for moved in (False, True):
        if moved:
            torch.nn.init.normal_(net.blocks[1].mlp.fc1.up["glo"], std=0.1)
        for mode in ("loc", "glo"):
            lora.use(net, mode)
            answers[mode] = net.blocks[1].sequence(x)
        assert torch.equal(answers["loc"], answers["glo"]) is not moved


def test_word_reaches_other_tiles_by_relay_tokens_alone() -> None:
    torch.manual_seed(6)
    image = torch.rand(1, 3, 96, 96)
    other = image.clone()
    other[..., 64:, 64:] += 0.2 * torch.randn(1, 3, 32, 32)  # the last tile of nine
    far = (..., slice(0, 56), slice(0, 56))
    for relays in (0, 2):
        net = small(**APART, relays=relays)
        with torch.no_grad():
            same = torch.equal(net(image)["mask"][far], net(other)["mask"][far])
        assert same is (relays == 0)


def test_other_paths_around_the_relay_tokens() -> None:
    # As published, tiles overlap and queries look at everything: then word travels without relay tokens, too.
    torch.manual_seed(7)
    image = torch.rand(1, 3, 96, 96)
    other = image.clone()
    other[..., 64:, 64:] += 0.2 * torch.randn(1, 3, 32, 32)
    for path in ({"overlap": 1}, {"decoder": (32, 4, 1, 4)}):
        net = small(**{**APART, **path}, relays=0)
        with torch.no_grad():
            assert not torch.equal(net(image)["mask"][..., :16, :16], net(other)["mask"][..., :16, :16])


def test_clips_give_word_to_other_frames_and_to_no_other_clip() -> None:
    net = small(**APART)
    torch.manual_seed(8)
    clip = torch.rand(2, 3, 3, 32, 64)
    other = clip.clone()
    other[0, 2] = torch.rand(3, 32, 64)
    with torch.no_grad():
        before, after = net(clip)["mask"], net(other)["mask"]
        assert before.shape == (2, 3, 1, 32, 64)
        assert not torch.allclose(before[0, 0], after[0, 0], atol=1e-4)
        assert torch.allclose(before[1], after[1], atol=1e-5)
        # A clip of one frame is a picture; frames are told apart.
        assert torch.allclose(net(clip[:, :1])["mask"][:, 0], net(clip[:, 0])["mask"], atol=1e-5)
        swapped = net(clip.flip(1))["mask"].flip(1)
        assert not torch.allclose(swapped, before, atol=1e-4)
        # A frame that is not there is as if the clip were shorter.
        valid = torch.ones(2, 3, 1, 32, 64, dtype=torch.bool)
        valid[:, 2] = False
        assert torch.allclose(net(clip, valid)["mask"][:, :2], net(clip[:, :2])["mask"], atol=1e-4)
        assert (net(clip, valid & False)["mask"][:, 1:] == relayformer.NOTHING).all()
    truth = torch.randint(0, 2, (2, 3, 1, 32, 64)).float()
    batch = {"mask": truth, "valid": torch.ones_like(truth, dtype=torch.bool)}
    flat = {name: value.flatten(0, 1) for name, value in batch.items()}
    assert torch.equal(
        net.loss({"mask": before}, batch, 0)["mask"], net.loss({"mask": before.flatten(0, 1)}, flat, 0)["mask"]
    )


def test_weights_of_a_masked_auto_encoder(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    plain = small(relays=2, width=32, depth=2, stem="rgb")
    saved = {
        "cls_token": torch.randn(1, 1, 32),
        "pos_embed": torch.randn(1, 26, 32),
        "patch_embed.proj.weight": torch.randn(32, 3, 8, 8),
        "patch_embed.proj.bias": torch.randn(32),
        "norm.weight": torch.randn(32),
        "norm.bias": torch.randn(32),
        "mask_token": torch.randn(1, 1, 32),
        "decoder_blocks.0.norm1.weight": torch.randn(16),
    }
    for name, value in plain.blocks.state_dict().items():
        if ".up." not in name and ".down." not in name:
            own = name.replace(".base.", ".").replace("attention", "attn")
            saved[f"blocks.{own}"] = torch.randn_like(value)
    path = tmp_path / "mae.safetensors"
    save_file(saved, path)
    settings = {"width": 32, "heads": 2, "depth": 2, "stem": "rgb", "weights": path}
    net = relayformer.build("tiny", **settings)
    assert torch.equal(net.blocks[1].attention.qkv.base.weight, saved["blocks.1.attn.qkv.weight"])
    assert torch.equal(net.patches.project.weight, saved["patch_embed.proj.weight"])
    assert torch.equal(net.norm.bias, saved["norm.bias"])
    assert torch.allclose(net.relays[0], saved["cls_token"][0, 0] + saved["pos_embed"][0, 0])
    assert net.patches.places.shape == (10, 10, 32)
    frozen = relayformer.build("tiny", **settings, frozen=True)
    names = {n for n, p in frozen.named_parameters() if p.requires_grad}
    assert all(".up." in n or ".down." in n or n.startswith(("decoder", "relays")) for n in names)
    with pytest.raises(InvalidValueError, match="patch_embed"):
        relayformer.build("tiny", **{**settings, "stem": "srm"})
    with pytest.raises(InvalidValueError, match=r"blocks\.2"):
        relayformer.build("tiny", **{**settings, "depth": 3})
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="safetensors"):
        relayformer.build("tiny", **settings)
    with pytest.raises(InputError, match="safetensors"):
        relayformer.build("tiny", **{**settings, "weights": tmp_path / "none"})


def test_wrong_asks() -> None:
    with pytest.raises(InvalidValueError, match="overlap"):
        relayformer.build("tiny", overlap=10)
    with pytest.raises(InvalidValueError, match="relays"):
        relayformer.build("tiny", relays=-1)


@pytest.mark.slow
def test_relative_noise_is_found_with_relay_tokens_and_only_with_the_picture_s_own() -> None:
    truth = noise_worlds.relative(np.random.default_rng(9), 192, 96, 32)
    found = {}
    for relays in (0, 2):
        torch.manual_seed(0)
        net = relayformer.build("tiny", **APART, relays=relays)
        noise_worlds.train(net, lambda rng: noise_worlds.relative(rng, 8, 96, 32), 200)
        found[str(relays)] = noise_worlds.undecidable(noise_worlds.answer(net, truth.image), truth, 32)
    own = net.exchange

    def another(index: int, relays: Tensor, where: Layout) -> Tensor:
        return own(index, relays, where).unflatten(0, (-1, 9)).roll(1, 0).flatten(0, 1)

    net.exchange = another  # type: ignore[method-assign]
    found["another"] = noise_worlds.undecidable(noise_worlds.answer(net, truth.image), truth, 32)
    f1 = {name: noise_worlds.f1(*cells) for name, cells in found.items()}
    auc = {name: noise_worlds.auc(*cells) for name, cells in found.items()}
    assert f1["2"] > 0.9
    assert auc["2"] > 0.95
    for name in ("0", "another"):
        assert f1[name] < 0.72  # all marked: 0.667
        assert auc[name] < 0.65


@pytest.mark.slow
def test_an_ambiguous_frame_is_decided_by_a_neighbour_with_evidence() -> None:
    torch.manual_seed(0)
    net = relayformer.build("tiny", **APART)
    noise_worlds.train(net, lambda rng: noise_worlds.clips(rng, 48, 32), 130)
    truth = noise_worlds.clips(np.random.default_rng(9), 400, 32)
    together = noise_worlds.answer(net, truth.image, 100).flatten(0, 1)
    alone = noise_worlds.answer(net, truth.frames.image, 100)
    cells = [noise_worlds.undecidable(logits, truth.frames, 32) for logits in (together, alone)]
    assert noise_worlds.f1(*cells[0]) > 0.9
    assert noise_worlds.f1(*cells[1]) < 0.72
    assert noise_worlds.auc(*cells[0]) > 0.95
    assert noise_worlds.auc(*cells[1]) < 0.65
