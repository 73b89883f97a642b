"""SPAN: a pixel looks at nine, none of them beyond the picture; far by the sum of dilations; the head is made once."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.networks import span  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.span import STEPS, LocalAttention, Span  # noqa: E402


def small(seed: int = 1, **settings: object) -> Span:
    torch.manual_seed(seed)
    return span.build("tiny", **{"widths": (8, 8), "channels": 8, "dilations": (1, 3), **settings}).eval()


def attention(dilation: int, channels: int = 4) -> LocalAttention:
    torch.manual_seed(dilation)
    return LocalAttention(channels, dilation).eval()


def plane(*size: int) -> torch.Tensor:
    return 3 * torch.randn(*size, generator=torch.Generator().manual_seed(2))


def test_the_published_shapes() -> None:
    with torch.device("meta"):
        full = span.build("full")
    assert full.adapt.weight.shape == (32, 256, 1, 1)
    assert [block.attention.dilation for block in full.blocks] == [1, 3, 9, 27, 81]
    assert {len(block.convolutions) for block in full.blocks} == {5}
    kernels = [tuple(m.weight.shape) for m in full.head if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [(16, 32, 5, 5), (8, 16, 5, 5), (4, 8, 5, 5), (1, 4, 5, 5)]
    assert parameters(span.build("tiny")) <= 1_500_000


def test_two_forwards_are_identical_and_make_no_layer() -> None:
    """A port drew new layers of the head at every forward."""
    net = small()
    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(3))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        first = net(image)["mask"]
        torch.rand(7)
        assert torch.equal(net(image)["mask"], first)
    assert first.std() > 0
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(p is None for p in torch.autograd.grad(net(image)["mask"].sum(), list(net.head.parameters())))


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_that_of_nine_pixels_written_out(dilation: int, padded: bool) -> None:
    """A port viewed (B, 9, D, H, W) as (B H W, 9, D) without a permutation, and so mixed pixels."""
    layer, x = attention(dilation), plane(2, 4, 7, 6)
    valid = torch.ones(2, 1, 7, 6, dtype=torch.bool)
    if padded:
        valid[1, ..., 4:] = False
    with torch.no_grad():
        found, shares = layer(x, valid), layer.shares(x, valid)
        weight = [torch.stack([m.weight[..., 0, 0] for m in part]) for part in (layer.keys, layer.values)]
        for picture, row, column in [(0, 0, 0), (0, 3, 2), (0, 6, 5), (0, 1, 5), (1, 2, 3), (1, 5, 1), (1, 0, 4)]:
            query = layer.query.weight[..., 0, 0] @ x[picture, :, row, column]
            logits, values = [], []
            for place, (down, right) in enumerate(STEPS):
                y, z = row + dilation * down, column + dilation * right
                inside = 0 <= y < 7 and 0 <= z < 6 and (bool(valid[picture, 0, y, z]) or place == 4)
                near = x[picture, :, y, z] if inside else torch.zeros(4)
                logits.append(query @ (weight[0][place] @ near) / 2 if inside else torch.tensor(-torch.inf))
                values.append(weight[1][place] @ near)
            share = torch.stack(logits).softmax(0)
            torch.testing.assert_close(shares[picture, :, row, column], share, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                found[picture, :, row, column], share @ torch.stack(values), atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("dilation", [1, 3, 9, 50])
def test_shares_add_to_one_and_what_is_beyond_the_picture_has_none(dilation: int) -> None:
    """A port gave neighbours beyond the picture a logit of 0."""
    shares = attention(dilation).shares(plane(1, 4, 12, 17))
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 12, 17))
    for place, (down, right) in enumerate(STEPS):
        y, x = (torch.arange(n) + dilation * step for n, step in ((12, down), (17, right)))
        inside = ((y >= 0) & (y < 12))[:, None] & ((x >= 0) & (x < 17))[None]
        assert (shares[0, place][~inside] == 0).all()
        assert (shares[0, place][inside] > 0).all()


def test_padding_is_no_neighbour_and_stays_finite() -> None:
    layer, x = attention(1), plane(1, 4, 8, 8)
    valid = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    valid[..., :5] = True
    found = layer(x, valid)
    assert torch.isfinite(found).all()
    assert torch.equal(found[..., :5], layer(torch.where(valid, x, 9.0), valid)[..., :5])
    # A picture that ends there is the same as one that is padded there.
    torch.testing.assert_close(found[..., :5], layer(x[..., :5]))
    assert not torch.allclose(layer(x)[..., 4], found[..., 4])


def test_a_pixel_is_heard_by_nine_only() -> None:
    layer, x = attention(3), plane(1, 4, 15, 15)
    other = x.clone()
    other[..., 7, 7] += 1
    changed = (layer(x) - layer(other)).abs().amax(1)[0] > 1e-6
    heard = torch.zeros(15, 15, dtype=torch.bool)
    heard[4:11:3, 4:11:3] = True
    assert torch.equal(changed, heard)


@pytest.mark.parametrize("dilations", [(1, 3, 9), (1, 3, 9, 27, 81)])
def test_the_pyramid_sees_as_far_as_its_dilations_add_to(dilations: tuple[int, ...]) -> None:
    reach = sum(dilations)
    side = 2 * reach + 11
    x = plane(1, 2, side, side).double().requires_grad_()
    seen = x
    for dilation in dilations:
        seen = attention(dilation, 2).double()(0.3 * seen)
    middle = side // 2
    gradient = torch.autograd.grad(seen[0, :, middle, middle].sum(), x)[0][0].abs().amax(0)
    places = (gradient > 0).nonzero()
    assert places.min(0).values.tolist() == [middle - reach] * 2
    assert places.max(0).values.tolist() == [middle + reach] * 2
    # Steps of 1, 3, 9 and so on reach every pixel in one way.
    assert len(places) == (2 * reach + 1) ** 2


def test_a_far_change_is_heard_by_the_wide_blocks_alone() -> None:
    image = torch.rand(1, 3, 48, 96, generator=torch.Generator().manual_seed(4))
    other = image.clone()
    other[..., :8] = 1 - other[..., :8]
    for dilations, heard in (((1, 3), False), ((1, 3, 9, 27), True)):
        net = small(dilations=dilations)
        with torch.no_grad():
            change = (net(image)["mask"] - net(other)["mask"])[..., 42:].abs().max()
        assert bool(change > 1e-6) is heard


def test_pictures_of_any_size() -> None:
    net = small(dilations=(1, 81))
    with torch.no_grad():
        for size in ((16, 16), (7, 33), (64, 40)):
            assert net(torch.rand(1, 3, *size))["mask"].shape == (1, 1, *size)


def test_wrong_asks() -> None:
    for settings in ({"dilations": ()}, {"dilations": (1, 0)}, {"channels": 0}, {"convolutions": 0}, {"widths": ()}):
        with pytest.raises(InvalidValueError, match=next(iter(settings))):
            span.build("tiny", **settings)
