"""From one domain to another goes what both have been done to, and nothing else (the transfer check of ForensicHub)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import npr  # noqa: E402

SIDE, STEPS = 64, 120
Planted = Callable[[torch.Tensor], torch.Tensor]


def contents(domain: str, count: int, generator: torch.Generator) -> torch.Tensor:
    """Pictures (B, 3, S, S) of a domain: clouds, stripes, discs or print, each with the same noise of a sensor."""
    at = torch.arange(SIDE, dtype=torch.float32)
    if domain == "photos":
        coarse = torch.rand(count, 3, 5, 5, generator=generator)
        clean = functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False)
    elif domain == "wholes":
        wave = 0.1 + 0.5 * torch.rand(count, 1, 1, generator=generator)
        turn = 6.28 * torch.rand(count, 1, 1, generator=generator)
        stripes = (wave * (at * turn.cos() + at[:, None] * turn.sin())).sin()
        clean = 0.5 + 0.3 * stripes[:, None] * torch.rand(count, 3, 1, 1, generator=generator)
    elif domain == "faces":
        centre = 20 + 24 * torch.rand(count, 2, 1, 1, generator=generator)
        radius = 8 + 12 * torch.rand(count, 1, 1, generator=generator)
        away = ((at - centre[:, 0]) ** 2 + (at[:, None] - centre[:, 1]) ** 2).sqrt()
        disc = torch.sigmoid((radius - away) / 2)[:, None]
        tones = torch.rand(2, count, 3, 1, 1, generator=generator)
        clean = tones[0] * disc + tones[1] * (1 - disc)
    else:
        ink = torch.rand(count, 1, SIDE // 8, SIDE // 4, generator=generator) > 0.6
        print_ = functional.interpolate(ink.float(), (SIDE, SIDE), mode="nearest")
        clean = (0.9 - 0.7 * functional.avg_pool2d(print_, 3, 1, 1)).expand(-1, 3, -1, -1)
    # Any sharpness and any noise, so that no trace is told by how rough a picture is.
    soft = functional.avg_pool2d(functional.pad(clean, (1, 1, 1, 1), mode="replicate"), 3, 1)
    clean = torch.where(torch.rand(count, 1, 1, 1, generator=generator) > 0.5, soft, clean)
    level = 0.02 + 0.06 * torch.rand(count, 1, 1, 1, generator=generator)
    return (clean + level * torch.randn(count, 3, SIDE, SIDE, generator=generator)).clamp(0, 1)


def upsampled(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x[..., ::2, ::2], scale_factor=2, mode="nearest")


def chequered(x: torch.Tensor) -> torch.Tensor:
    at = torch.arange(SIDE)
    return x + 0.03 * (1 - 2 * ((at[:, None] + at) % 2))


def gridded(x: torch.Tensor) -> torch.Tensor:
    return x + 0.06 * (torch.arange(SIDE) % 8 == 0)


def one_noise(x: torch.Tensor) -> torch.Tensor:
    """What is fine is the same in all colours."""
    low = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return low + (x - low)[:, 1:2]


APART: dict[str, Planted] = {"photos": chequered, "wholes": upsampled, "faces": one_noise, "pages": gridded}


def drawn(domain: str, planted: Planted, count: int, seed: int) -> dict[str, torch.Tensor]:
    """Half of the pictures with the trace."""
    generator = torch.Generator().manual_seed(seed)
    image = contents(domain, count, generator)
    label = (torch.arange(count) % 2).long()
    return {"image": torch.where(label[:, None, None, None] > 0, planted(image), image), "label": label}


def learned(domain: str, planted: Planted) -> torch.nn.Module:
    torch.manual_seed(0)
    net = npr.build("tiny").train()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    for step in range(STEPS):
        batch = drawn(domain, planted, 16, 1000 + step)
        optimizer.zero_grad()
        sum(net.loss(net(batch["image"]), batch, 0.5).values()).backward()
        optimizer.step()
    return net.eval()


def auc(net: torch.nn.Module, domain: str, planted: Planted) -> float:
    batch = drawn(domain, planted, 120, 7)
    with torch.inference_mode():
        return float(ranking.auc(net(batch["image"])["score"].numpy(), batch["label"].numpy() > 0))


@pytest.mark.slow
def test_what_is_learned_goes_only_where_an_operation_is_shared() -> None:
    """Whole pictures are up-sampled, faces are not; then they are, too: it goes both ways, and nowhere else."""
    nets = {domain: learned(domain, planted) for domain, planted in APART.items()}
    own = {domain: auc(net, domain, APART[domain]) for domain, net in nets.items()}
    assert min(own.values()) > 0.9, own
    assert auc(nets["wholes"], "faces", APART["faces"]) < 0.7
    assert auc(nets["faces"], "wholes", APART["wholes"]) < 0.7
    assert auc(nets["wholes"], "faces", upsampled) > 0.9
    again = learned("faces", upsampled)
    found = {domain: auc(again, domain, planted) for domain, planted in APART.items()}
    assert found.pop("wholes") > 0.9
    assert max(found.values()) < 0.7, "of photos, pages and faces with their own traces nothing was learned"
