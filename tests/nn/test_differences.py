"""Pixel-difference convolutions: against sums written out, and blind to what is the same everywhere."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import UnknownNameError  # noqa: E402
from tamperscope.nn.differences import KINDS, Difference  # noqa: E402

CLOCKWISE = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
every = pytest.mark.parametrize("kind", KINDS)


def layer(kind: str, inputs: int = 2, outputs: int = 3) -> Difference:
    torch.manual_seed(1)
    return Difference(kind, inputs, outputs)  # type: ignore[arg-type]


@every
def test_it_is_the_sum_of_weighted_differences(kind: str) -> None:
    net, planes = layer(kind), torch.rand(2, 2, 7, 8, generator=torch.Generator().manual_seed(2))
    found = net(planes)
    assert found.shape == (2, 3, 7, 8)
    for y, x in ((2, 2), (3, 4), (4, 5)):
        expected = torch.zeros(2, 3)
        for number, (down, across) in enumerate(CLOCKWISE):
            if kind == "central":
                pair = planes[:, :, y + down, x + across], planes[:, :, y, x]
            elif kind == "angular":
                later, beside = CLOCKWISE[(number + 1) % 8]
                pair = planes[:, :, y + down, x + across], planes[:, :, y + later, x + beside]
            else:
                pair = planes[:, :, y + 2 * down, x + 2 * across], planes[:, :, y + down, x + across]
            expected += torch.einsum("oi,bi->bo", net.weight[..., number], pair[0] - pair[1])
        torch.testing.assert_close(found[:, :, y, x], expected, atol=1e-5, rtol=1e-4)


def test_the_published_permutation_and_places() -> None:
    """Weights of a plain 3 x 3 or 5 x 5 convolution, as the taps of the published layers give them."""
    rows = torch.tensor([0, 1, 2, 7, 8, 3, 6, 5, 4])  # reading order of a ring that begins top left; 8 = the centre
    weight = torch.rand(3, 2, 8)
    nine = torch.cat([weight, torch.zeros(3, 2, 1)], 2)[..., rows]
    angular, radial = layer("angular"), layer("radial")
    for net in (angular, radial):
        net.weight.data = weight
    torch.testing.assert_close(angular.kernel().flatten(2), nine - nine[..., [3, 0, 1, 6, 4, 2, 7, 8, 5]])
    expected = torch.zeros(3, 2, 25)
    around = nine[..., [0, 1, 2, 3, 5, 6, 7, 8]]
    expected[..., [0, 2, 4, 10, 14, 20, 22, 24]] = around
    expected[..., [6, 7, 8, 11, 13, 16, 17, 18]] = -around
    torch.testing.assert_close(radial.kernel().flatten(2), expected)


@every
def test_what_is_the_same_everywhere_gives_nothing_and_brightness_changes_nothing(kind: str) -> None:
    net, planes = layer(kind), torch.rand(1, 2, 9, 9)
    with torch.no_grad():
        flat = torch.tensor([0.7, -3.0])[None, :, None, None].expand(1, 2, 9, 9)
        assert net(flat).abs().max() < 1e-5, "edges too"
        brighter = planes + torch.tensor([0.4, 2.0])[:, None, None]
        torch.testing.assert_close(net(brighter), net(planes), atol=1e-5, rtol=1e-4)
        assert net(planes).std() > 0.01
        assert not torch.allclose(net(2 * planes), net(planes), atol=1e-2)


def test_angular_differences_do_not_see_the_centre() -> None:
    net, planes = layer("angular"), torch.full((1, 2, 5, 5), 0.3)
    planes[..., 2, 2] = 9.0
    with torch.no_grad():
        assert net(planes)[..., 2, 2].abs().max() < 1e-6
        assert net(planes)[..., 1, 1].abs().max() > 0.1, "to its neighbours it is one of the ring"
        assert layer("central")(planes)[..., 2, 2].abs().max() > 0.1
        noise = torch.rand(1, 2, 5, 5)
        other = noise.clone()
        other[..., 2, 2] += 1
        torch.testing.assert_close(net(noise)[..., 2, 2], net(other)[..., 2, 2])


@every
def test_sixteen_bits_are_not_used(kind: str) -> None:
    net, planes = layer(kind), 100 + torch.rand(1, 2, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = net(planes)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, net(planes))


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="kind of differences 'diagonal'"):
        Difference("diagonal", 1, 1)  # type: ignore[arg-type]
