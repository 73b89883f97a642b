"""UniFormer: published size, groups of tokens that lie apart, who hears of whom, and weights from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from tamperscope.errors import InputError, InvalidValueError  # noqa: E402
from tamperscope.nn import uniformer  # noqa: E402
from tamperscope.nn.uniformer import ConvBlock, SparseBlock, UniFormer, apart, shared, together  # noqa: E402

SMALL = {"widths": (4, 6, 8, 12), "depths": (1, 1, 4, 2), "sparsities": ((4, 2), (2, 1)), "head": 4}


def small(**settings: object) -> UniFormer:
    torch.manual_seed(1)
    return UniFormer(**{**SMALL, **settings}).eval()


def block(sparsity: int, width: int = 8) -> SparseBlock:
    torch.manual_seed(sparsity)
    return SparseBlock(width, 2, sparsity).eval()


def changed(found: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Which tokens (h, w) of (1, h, w, C) differ."""
    return (found - other).abs().amax(-1)[0] > 1e-7


def test_the_published_size() -> None:
    """UniFormer-B has 50 million parameters with its last norm and its classifier of 1000 classes."""
    with torch.device("meta"):
        net = UniFormer()
    assert sum(p.numel() for p in net.parameters()) + 2 * 512 + 513_000 == pytest.approx(50e6, rel=0.01)
    assert [len(stage) for stage in (*net.local, *net.wide)] == [5, 8, 20, 7]
    assert {b.attention.size for stage in net.wide for b in stage} == {64}
    assert net.wide[1][-1].drop.rate == pytest.approx(0.1)
    assert net.local[0][1].drop.rate == pytest.approx(0.1 / 39)


@pytest.mark.parametrize("sparsity", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [(8, 16), (5, 7), (1, 9)])
def test_together_undoes_apart(sparsity: int, size: tuple[int, int]) -> None:
    x = torch.randn(3, *size, 5)
    parts = apart(x, sparsity)
    assert parts.shape == (3 * sparsity**2, *(-(-n // sparsity) for n in size), 5)
    assert torch.equal(together(parts, sparsity, size), x)
    # Other groups than those of the tokens would be undone, too.
    places = torch.stack(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij"), -1)
    for group, found in enumerate(apart(places[None] + 1, sparsity)):
        real = found[found[..., 0] > 0] - 1
        assert (real % sparsity == torch.tensor(divmod(group, sparsity))).all()


@pytest.mark.parametrize("sparsity", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(12, 12), (7, 10)])
def test_a_token_is_heard_by_its_residue_class_alone(sparsity: int, size: tuple[int, int]) -> None:
    layer, x = block(sparsity), torch.randn(1, *size, 8)
    rows, columns = (torch.arange(n) % sparsity for n in size)
    with torch.no_grad():
        for row, column in ((0, 0), (5, 6), (6, 9)):
            other = x.clone()
            other[0, row, column] += 1
            heard = changed(layer.attended(x), layer.attended(other))
            assert torch.equal(heard, (rows == row % sparsity)[:, None] & (columns == column % sparsity))


def test_the_sparse_attention_is_that_of_a_mask_over_all_tokens() -> None:
    layer, (height, width) = block(3), (6, 9)
    x = torch.randn(2, height, width, 8)
    row, column = (n.flatten() for n in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    alike = (row[:, None] % 3 == row % 3) & (column[:, None] % 3 == column % 3)
    bias = torch.zeros(alike.shape).masked_fill(~alike, -torch.inf)
    with torch.no_grad():
        expected = layer.attention(x.flatten(1, 2), relative=lambda q: bias.expand(*q.shape[:2], -1, -1))
        torch.testing.assert_close(layer.attended(x).flatten(1, 2), expected, atol=1e-5, rtol=1e-4)


def test_what_fills_groups_up_is_not_seen() -> None:
    layer, x = block(4), torch.randn(1, 6, 5, 8)
    valid = torch.zeros(1, 8, 8, dtype=torch.bool)
    valid[:, :6, :5] = True
    wide = torch.randn(1, 8, 8, 8)
    wide[:, :6, :5] = x
    with torch.no_grad():
        torch.testing.assert_close(layer.attended(x), layer.attended(wide, valid)[:, :6, :5])
        assert not torch.allclose(layer.attended(x), layer.attended(wide)[:, :6, :5], atol=1e-3)
        valid[:, :, 1::4] = False
        found, every = layer.attended(wide, valid), layer.attended(wide)
        torch.testing.assert_close(found[:, :, 1::4], every[:, :, 1::4], msg="groups without any see all of theirs")
        assert not torch.allclose(found[:, :, ::4], every[:, :, ::4], atol=1e-3)


def test_factors_of_channels_weigh_both_parts() -> None:
    layer, x = block(2), torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        placed = x + layer.place(x)
        for first, second in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
            layer.scale1.fill_(first)
            layer.scale2.fill_(second)
            tokens = placed.permute(0, 2, 3, 1)
            part = first * layer.attended(layer.norm1(tokens)) + second * layer.mlp(layer.norm2(tokens))
            torch.testing.assert_close(layer(x), placed + part.permute(0, 3, 1, 2))
        assert SparseBlock(8, 2, scale=1e-6).scale1.tolist() == pytest.approx([1e-6] * 8)


def test_a_local_block_sees_five_pixels_beyond_the_places() -> None:
    torch.manual_seed(0)
    layer, x = ConvBlock(4).eval(), torch.randn(1, 4, 15, 15)
    other = x.clone()
    other[..., 7, 7] += 1
    with torch.no_grad():
        places = (layer(x) - layer(other)).abs().amax(1)[0].nonzero()
    assert places.min(0).values.tolist() == [7 - 1 - 2] * 2
    assert places.max(0).values.tolist() == [7 + 1 + 2] * 2


def test_runs_share_a_stage() -> None:
    assert shared(20, (8, 4, 2, 1)) == [8] * 5 + [4] * 5 + [2] * 5 + [1] * 5
    assert shared(7, (2, 1)) == [2] * 4 + [1] * 3
    assert shared(3, (3,)) == [3] * 3
    net = small(depths=(1, 1, 5, 2))
    assert [b.sparsity for b in net.wide[0]] == [4, 4, 4, 2, 2]
    assert net.channels == (8, 8, 12, 12)


def test_maps_are_taken_after_each_run() -> None:
    net, image = small(depths=(1, 1, 5, 2)), torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        maps = net(image)
        assert [tuple(x.shape) for x in maps] == [(1, 8, 6, 4)] * 2 + [(1, 12, 3, 2)] * 2
        for place, stage, at in ((0, 0, 2), (1, 0, 4), (2, 1, 0), (3, 1, 1)):
            kept = net.wide[stage][at].place.weight.clone()
            net.wide[stage][at].place.weight.add_(1)
            same = [torch.equal(a, b) for a, b in zip(net(image), maps, strict=True)]
            assert same == [i < place for i in range(4)], "the last block of a run changes its map and those after it"
            net.wide[stage][at].place.weight.copy_(kept)


def released(net: UniFormer) -> dict[str, torch.Tensor]:
    """Weights drawn anew, under the names of the release, with a classifier."""
    found = {
        "head.weight": torch.randn(5, 12),
        "norm.weight": torch.randn(12),
        "norm.num_batches_tracked": torch.ones(1),
    }
    for name, value in net.state_dict().items():
        kind, stage, rest = name.split(".", 2)
        rest = rest.replace(".place.", ".pos_embed.").replace(".scale", ".gamma_")
        if kind == "embeds":
            found[f"patch_embed{int(stage) + 1}.{rest}"] = torch.randn(value.shape)
        elif kind == "local":
            rest = rest.replace(".near.", ".attn.").replace(".fc", ".mlp.fc")
            found[f"blocks{int(stage) + 1}.{rest}"] = torch.rand(value.shape).to(value.dtype)
        else:
            found[f"blocks{int(stage) + 3}.{rest.replace('.attention.', '.attn.')}"] = torch.randn(value.shape)
    return found


def test_weights_of_the_release(tmp_path: Path) -> None:
    net, path = small(), tmp_path / "uniformer.safetensors"
    saved = released(net)
    assert "blocks1.0.attn.weight" in saved
    assert "blocks3.3.attn.qkv.weight" in saved
    save_file(saved, path)
    uniformer.load(path, net)
    assert torch.equal(net.local[1][0].near.weight, saved["blocks2.0.attn.weight"])
    assert torch.equal(net.local[0][0].fc1.weight, saved["blocks1.0.mlp.fc1.weight"])
    assert torch.equal(net.wide[0][3].mlp.fc2.bias, saved["blocks3.3.mlp.fc2.bias"])
    assert torch.equal(net.wide[1][1].attention.qkv.weight, saved["blocks4.1.attn.qkv.weight"])
    assert torch.equal(net.wide[1][0].scale2, saved["blocks4.0.gamma_2"])
    assert torch.equal(net.embeds[3].proj.weight, saved["patch_embed4.proj.weight"])
    image = torch.randn(1, 3, 64, 64)
    dense = small(sparsities=((1, 1), (1, 1)))
    uniformer.load(path, dense)
    assert not torch.allclose(dense(image)[0], net(image)[0], atol=1e-3), "the same weights, another attention"
    save_file({name: value for name, value in saved.items() if "gamma" not in name}, path)
    uniformer.load(path, net)
    assert net.wide[1][0].scale2.tolist() == [1.0] * 12
    for settings, match in (({"depths": (1, 1, 5, 2)}, r"wide\.0\.4"), ({"widths": (4, 6, 12, 12)}, "embeds")):
        with pytest.raises(InvalidValueError, match=match):
            uniformer.load(path, small(**settings))
    save_file(saved | {"mask_token": torch.zeros(1)}, path)
    with pytest.raises(InvalidValueError, match="mask_token"):
        uniformer.load(path, net)
    with pytest.raises(InputError, match="safetensors"):
        uniformer.load(tmp_path / "none", net)


def test_wrong_asks() -> None:
    asks = (
        {"widths": (4, 6, 8)},
        {"widths": (4, 6, 9, 12)},
        {"depths": (1, 1, 0, 2)},
        {"sparsities": ((4, 0), (1,))},
        {"sparsities": ((4,), ())},
        {"sparsities": ((8, 4, 2, 1, 1), (1,))},
        {"drop_path": 1.0},
    )
    for settings in asks:
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            small(**settings)
