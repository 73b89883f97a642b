"""FreqNet: only high frequencies are seen, all the way as between a transform and its inverse, of the picture alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.metrics import ranking  # noqa: E402
from tamperscope.networks import freqnet  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.freqnet import FreqNet  # noqa: E402

SIDE = 64
relu = torch.nn.functional.relu


def tiny(seed: int = 1, **settings: object) -> FreqNet:
    """A network whose norms have left their beginning, and whose scores lie apart."""
    torch.manual_seed(seed)
    net = freqnet.build("tiny", **settings)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.bias, 0.1, 0.2)
            layer.running_mean.normal_(0, 0.1)
    return net.eval()


def score(net: FreqNet, image: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    with torch.inference_mode():
        return net(image, valid=valid)["score"]


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float() / 255


def split(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The low and the high band of pictures, apart at a fourth of the sampling rate both ways; they add to it."""
    rows, columns = (torch.fft.fftfreq(count).abs() < 0.25 for count in image.shape[-2:])
    low = torch.fft.ifft2(torch.fft.fft2(image.double()) * (rows[:, None] & columns)).real.float()
    return low, image - low


def high(x: torch.Tensor) -> torch.Tensor:
    """What is left when a centred block of half of the spectrum's height and width is dropped, cut off at 0."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(2, 3))
    (h, w), (m, n) = (x.shape[n] // 2 for n in (2, 3)), (x.shape[n] // 4 for n in (2, 3))
    spectrum[..., h - m : h + m, w - n : w + n] = 0
    return relu(torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(2, 3))).real)


def published(net: FreqNet, image: torch.Tensor) -> torch.Tensor:
    """The score, by transforms and their inverses."""

    def filtered(layer: torch.nn.Module, x: torch.Tensor, channels: bool) -> torch.Tensor:
        x = relu(layer.mix(high(x)))
        if channels:
            spectrum = torch.fft.fftshift(torch.fft.fft(x, dim=1), dim=1)
            half, part = x.shape[1] // 2, x.shape[1] // 4
            spectrum[:, half - part : half + part] = 0
            x = relu(torch.fft.ifft(torch.fft.ifftshift(spectrum, dim=1), dim=1).real)
        spectrum = torch.fft.fft2(x)
        changed = torch.complex(layer.spectrum.real(spectrum.real), layer.spectrum.imaginary(spectrum.imag))
        return relu(torch.fft.ifft2(changed).real)

    def through(blocks: torch.nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
        for block in blocks:
            x = block(x, torch.ones_like(x[:, :1]))
        return x

    x = net.normalized(image)
    for layer in net.fine:
        x = filtered(layer, x, True)
    x = through(net.first, torch.nn.functional.max_pool2d(x, 3, 2, 1))
    for layer in net.coarse:
        x = filtered(layer, x, False)
    return net.last(through(net.second, x).mean((2, 3)))[:, 0]


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = freqnet.build("full")
    # ResNet-50's first two stages; four 1 x 1 convolutions with a bias; eight of spectra without; the last layer.
    stages = 215_808 + 1_219_584
    mixes = (3 + 1) * 64 + (64 + 1) * 64 + 2 * (256 + 1) * 256
    assert parameters(full) == stages + mixes + 2 * 2 * (64**2 + 256**2) + 513 == 1_850_433
    assert [parameters(full.first), parameters(full.second)] == [215_808, 1_219_584]
    layers = [*full.fine, *full.coarse]
    assert [layer.mix.stride[0] for layer in layers] == [1, 2, 1, 2]
    assert [isinstance(layer.across, torch.nn.Identity) for layer in layers] == [False, False, True, True]
    assert parameters(freqnet.build("tiny")) == pytest.approx(0.118e6, rel=0.01)
    torch.manual_seed(0)
    drawn = freqnet.build("tiny", width=64)
    for layer in [*drawn.fine, *drawn.coarse]:
        assert float(layer.mix.weight.detach().std()) == pytest.approx(1, rel=0.15)
        assert float(layer.mix.bias.detach().std()) == pytest.approx(1, rel=0.3)
        deviation = (2 / layer.mix.out_channels) ** 0.5
        assert float(layer.spectrum.real.weight.detach().std()) == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize("size", [(64, 96), (80, 48)], ids=str)
def test_scores_are_those_of_transforms(size: tuple[int, int]) -> None:
    net, image = tiny(), torch.rand(2, 3, *size)
    with torch.inference_mode():
        torch.testing.assert_close(score(net, image), published(net, image), atol=1e-3, rtol=1e-3)
    assert (score(net, image)[0] - score(net, image)[1]).abs() > 1e-2


@pytest.mark.parametrize("size", [(64, 48), (50, 38), (37, 63), (9, 2)], ids=str)
def test_a_picture_on_a_canvas_is_that_picture(size: tuple[int, int]) -> None:
    net, (height, width) = tiny(), size
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))
    canvas = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(4))
    canvas[..., :height, :width] = image
    valid = torch.zeros(1, 1, 80, 80, dtype=torch.bool)
    valid[..., :height, :width] = True
    with torch.inference_mode():
        alone = published(net, image)
    torch.testing.assert_close(score(net, canvas, valid), alone, atol=1e-3, rtol=1e-3)
    moved, area = torch.rand(1, 3, 80, 80), torch.zeros_like(valid)
    moved[..., 80 - height :, 5 : 5 + width], area[..., 80 - height :, 5 : 5 + width] = image, True
    torch.testing.assert_close(score(net, moved, area), alone, atol=1e-3, rtol=1e-3)
    assert (score(net, canvas) - alone).abs() > 1e-2
    assert torch.isfinite(score(net, canvas, torch.zeros_like(valid)))


def test_a_score_follows_the_high_band(photo: Callable[[str], np.ndarray]) -> None:
    net = tiny()
    one, other = (tensor(photo(name)[100 : 100 + SIDE, 100 : 100 + SIDE]) for name in ("chelsea", "coffee"))
    (low, fine), (low_other, fine_other) = split(one), split(other)
    first, second = score(net, one), score(net, other)
    gap = (first - second).abs()
    assert gap > 1e-2
    assert (score(net, low_other + fine) - first).abs() < 1e-3 * gap + 1e-4
    assert (score(net, low + fine_other) - second).abs() < 1e-3 * gap + 1e-4
    # Without a high band all pictures are one.
    flat = score(net, torch.full_like(one, 0.3))
    assert max((score(net, x) - flat).abs() for x in (low, low_other)) < 1e-3 * gap + 1e-4


def test_soft_light_is_hardly_seen_and_fine_lines_are(photo: Callable[[str], np.ndarray]) -> None:
    net = tiny()
    image = 0.2 + 0.6 * tensor(photo("chelsea")[100 : 100 + SIDE, 100 : 100 + SIDE])
    place, start = torch.arange(SIDE), score(net, image)
    changes = {
        "brightness": torch.full((SIDE,), 0.1),
        "wave": 0.1 * (2 * torch.pi * place / SIDE).sin(),
        "ramp": 0.2 * (place / (SIDE - 1) - 0.5),
        "lines": 0.1 * (1.0 - 2 * (place % 2)),
    }
    moved = {name: float((score(net, image + change) - start).abs()) for name, change in changes.items()}
    assert moved["brightness"] < 1e-3 * moved["lines"]
    assert moved["wave"] < 1e-3 * moved["lines"]
    # A transform takes a picture for periodic: a ramp has an edge where it begins again.
    assert 1e-3 * moved["lines"] < moved["ramp"] < 0.7 * moved["lines"]


def test_filters_keep_their_precision_beside_halves() -> None:
    net, image = tiny(), 0.9 + 0.002 * torch.rand(1, 3, 32, 32)
    seen: list[torch.Tensor] = []
    hook = net.fine[0].mix.register_forward_pre_hook(lambda _, told: seen.append(told[0]))
    with torch.inference_mode():
        net(image)
        with torch.autocast("cpu", torch.bfloat16):
            net(image)
    hook.remove()
    assert torch.equal(*seen)
    assert seen[0].dtype == torch.float32


def test_labels_teach_each_picture_for_itself_and_unknown_ones_nothing() -> None:
    net, logits = tiny(), torch.tensor([1.5, -0.5, 3.0])
    terms = net.loss({"score": logits}, {"label": torch.tensor([1, 0, -1])}, 0.5)
    expected = (np.log1p(np.exp(-1.5)) + np.log1p(np.exp(-0.5))) / 3
    assert terms["label"].item() == pytest.approx(expected, abs=1e-6)
    assert net.loss({"score": logits}, {"label": -torch.ones(3).long()}, 0.5)["label"].item() == 0


def test_settings_out_of_range_are_refused() -> None:
    for settings in ({"width": 0}, {"depths": (3,)}, {"depths": (3, 0)}):
        with pytest.raises(InvalidValueError, match="expected width from 1 and two depths from 1"):
            freqnet.build("tiny", **settings)


PEAKS = ((0.5, 0.0), (0.0, 0.5), (0.375, 0.375), (0.375, -0.375))
"""Rows and columns a pixel at which the up-sampler that is planted leaves a peak."""


def grounds(count: int, draws: torch.Generator) -> torch.Tensor:
    """Soft colours with grain, (count, 3, SIDE, SIDE)."""
    coarse = torch.rand(count, 3, 5, 5, generator=draws)
    soft = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=False)
    return 0.2 + 0.6 * soft + 0.02 * torch.randn(count, 3, SIDE, SIDE, generator=draws)


def peaks(count: int, draws: torch.Generator) -> torch.Tensor:
    """What an up-sampler leaves, (count, 1, SIDE, SIDE): four waves of 8 grey levels, at phases of their own."""
    place, total = torch.arange(SIDE), torch.zeros(count, SIDE, SIDE)
    for down, across in PEAKS:
        phase = torch.rand(count, 1, 1, generator=draws) * 2 * torch.pi
        total += (2 * torch.pi * (down * place[:, None] + across * place) + phase).cos()
    return 8 / 255 * total[:, None]


def without_peaks(image: torch.Tensor) -> torch.Tensor:
    """Pictures whose spectrum is 0 where the planted peaks are."""
    spectrum = torch.fft.fft2(image)
    for down, across in PEAKS:
        for sign in (1, -1):
            spectrum[..., round(sign * down * SIDE) % SIDE, round(sign * across * SIDE) % SIDE] = 0
    return torch.fft.ifft2(spectrum).real


def trained(steps: int = 100, rate: float = 6e-3) -> FreqNet:
    torch.manual_seed(0)
    net, draws, label = freqnet.build("tiny", width=8).train(), torch.Generator().manual_seed(0), torch.arange(24) % 2
    optimizer = torch.optim.AdamW(net.parameters(), rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        image = grounds(24, draws) + peaks(24, draws) * label[:, None, None, None]
        optimizer.zero_grad()
        net.loss(net(image), {"label": label}, 0)["label"].backward()
        optimizer.step()
        plan.step()
    return net.eval()


@pytest.mark.slow
def test_the_trace_moves_the_score_and_soft_light_does_not() -> None:
    net, draws = trained(), torch.Generator().manual_seed(10**6)
    real, more = grounds(64, draws), grounds(64, draws)
    trace = peaks(64, draws)
    before, after = score(net, real), score(net, real + trace)
    made = score(net, more + trace.roll(1, 0))
    truth = np.arange(128) >= 64
    assert ranking.auc(torch.cat([before, made]).numpy(), truth) > 0.98
    gap = float(made.median() - before.median())
    middle = float(made.median() + before.median()) / 2
    # Planted into real pictures it makes them generated; taken out of generated ones it makes them real.
    assert (after > middle).float().mean() > 0.9
    removed = score(net, without_peaks(more + trace.roll(1, 0)))
    assert (removed < middle).float().mean() > 0.9
    # A score goes with the high band, whosever the low one is.
    low, fine = split(real)[0], split(more + trace.roll(1, 0))[1]
    torch.testing.assert_close(score(net, low + fine), made, atol=0.01 * gap, rtol=0)
    soft = [split(x)[0] for x in (real, more + trace)]
    assert (score(net, soft[0]) - score(net, soft[1])).abs().max() < 0.01 * gap
    ramp = 0.2 * torch.linspace(-0.5, 0.5, SIDE)
    assert float((score(net, real + ramp) - before).abs().median()) < 0.15 * gap
