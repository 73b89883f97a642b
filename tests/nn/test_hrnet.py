"""HRNet: published sizes, maps of every branch, and word from each branch to all others."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.nn.hrnet import Branches, Exchange, HrNet, Stage, stages  # noqa: E402


@pytest.mark.parametrize(
    ("width", "modules", "blocks", "first", "millions"), [(48, (1, 4, 3), 4, 4, 65.3), (18, (1, 3, 2), 2, 2, 3.9)]
)
def test_published_sizes(width: int, modules: tuple[int, ...], blocks: int, first: int, millions: float) -> None:
    """Without heads: of the networks for scenes, 65.9 and 3.9 million with theirs (github.com/HRNet)."""
    with torch.device("meta"):
        net = HrNet(3, stages(width, modules, blocks), first)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.015)
    assert net.channels == tuple(width << i for i in range(4))


def test_maps_of_pictures_of_any_size() -> None:
    net = HrNet(3, stages(4, (1, 1, 1), 1), 1, 8)
    for height, width in ((64, 64), (100, 70), (33, 47)):
        found = net(torch.rand(2, 3, height, width))
        assert [x.shape[1] for x in found] == [4, 8, 16, 32]
        for i, x in enumerate(found):
            assert x.shape[-2:] == (-(-height // (4 << i)), -(-width // (4 << i)))


def test_every_branch_hears_of_every_other_one() -> None:
    torch.manual_seed(0)
    net = Exchange((3, 5, 7), 1).eval()
    maps = [torch.rand(1, c, 16 >> i, 16 >> i, requires_grad=True) for i, c in enumerate((3, 5, 7))]
    for answer in net(maps):
        pulls = torch.autograd.grad(answer.sum(), maps, retain_graph=True)
        assert all(float(p.abs().max()) > 0 for p in pulls)


def test_stages_begin_with_several_maps() -> None:
    net = Branches((6, 9), (Stage((6, 9), 1, 1), Stage((4, 8, 16), 1, 1)))
    found = net([torch.rand(1, 6, 16, 16), torch.rand(1, 9, 8, 8)])
    assert [tuple(x.shape) for x in found] == [(1, 4, 16, 16), (1, 8, 8, 8), (1, 16, 4, 4)]
    with pytest.raises(InvalidValueError, match="at least 2 branches"):
        Branches((6, 9), (Stage((6,), 1, 1),))
