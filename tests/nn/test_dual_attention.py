"""Dual attention: against sums written out, equal to every place and channel, and nothing at the beginning."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.nn.dual_attention import ChannelAttention, DualAttention, PositionAttention  # noqa: E402


def begun(kind: type, *settings: int) -> torch.nn.Module:
    torch.manual_seed(0)
    made = kind(*settings)
    with torch.no_grad():
        made.share.fill_(0.7)
    return made


def test_places_against_sums_written_out() -> None:
    net = begun(PositionAttention, 16, 4)
    x = torch.randn(2, 16, 3, 5)
    with torch.no_grad():
        found = net(x).flatten(2)
        query, key, value = (layer(x).flatten(2) for layer in (net.query, net.key, net.value))
        for picture in range(2):
            for place in range(15):
                fits = torch.stack([query[picture, :, place] @ key[picture, :, other] for other in range(15)])
                weights = fits.exp() / fits.exp().sum()
                expected = 0.7 * (value[picture] * weights).sum(1) + x.flatten(2)[picture, :, place]
                torch.testing.assert_close(found[picture, :, place], expected, atol=1e-5, rtol=1e-4)


def test_channels_against_sums_written_out() -> None:
    net = begun(ChannelAttention)
    x = 0.5 * torch.randn(2, 6, 3, 5)
    with torch.no_grad():
        found = net(x)
    for picture in range(2):
        for channel in range(6):
            alike = torch.stack([(x[picture, channel] * x[picture, other]).sum() for other in range(6)])
            weights = alike.exp() / alike.exp().sum()
            expected = 0.7 * (weights[:, None, None] * x[picture]).sum(0) + x[picture, channel]
            torch.testing.assert_close(found[picture, channel], expected, atol=1e-5, rtol=1e-4)


def test_no_place_and_no_channel_is_another() -> None:
    x = torch.randn(1, 16, 4, 6)
    order = torch.randperm(24)
    moved = x.flatten(2)[..., order].unflatten(2, (4, 6))
    channels = torch.randperm(16)
    with torch.no_grad():
        for net in (begun(PositionAttention, 16), begun(ChannelAttention)):
            expected = net(x).flatten(2)[..., order]
            torch.testing.assert_close(net(moved).flatten(2), expected, atol=1e-5, rtol=1e-4)
        net = begun(ChannelAttention)
        torch.testing.assert_close(net(x[:, channels]), net(x)[:, channels], atol=1e-5, rtol=1e-4)


def test_a_head_begins_with_its_neighbourhood_and_then_sees_all() -> None:
    torch.manual_seed(0)
    net = DualAttention(12, 16, classes=2).eval()
    x = torch.rand(1, 12, 16, 20)
    other = x.clone()
    other[..., 12:, 12:] = torch.rand(1, 12, 4, 8)
    with torch.no_grad():
        assert net(x).shape == (1, 2, 16, 20)
        assert torch.equal(net(x)[..., :8, :8], net(other)[..., :8, :8])
        for side in (net.position, net.channel):
            side[1].share.fill_(1.0)
            assert not torch.allclose(net(x)[..., :8, :8], net(other)[..., :8, :8], atol=1e-5)
            side[1].share.fill_(0.0)


def test_wrong_asks() -> None:
    for channels, reduce in ((4, 8), (8, 0)):
        with pytest.raises(InvalidValueError, match="channels"):
            PositionAttention(channels, reduce)
