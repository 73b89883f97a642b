"""What published systems compute, as plain functions of the tensors of their checkpoints, by published names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Weights:
    """The tensors of a checkpoint, and layers made of them."""

    def __init__(self, held: Mapping[str, Tensor]) -> None:
        self.held = held

    def __call__(self, name: str) -> Tensor:
        return self.held[name]

    def conv(
        self, name: str, x: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
    ) -> Tensor:
        bias = self.held.get(f"{name}.bias")
        return F.conv2d(x, self(f"{name}.weight"), bias, stride, padding, dilation, groups)

    def batch(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        mean, var = self(f"{name}.running_mean"), self(f"{name}.running_var")
        return F.batch_norm(x, mean, var, self(f"{name}.weight"), self(f"{name}.bias"), eps=eps)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self(f"{name}.weight"), self.held.get(f"{name}.bias"))

    def layer(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        weight = self(f"{name}.weight")
        return F.layer_norm(x, weight.shape, weight, self(f"{name}.bias"), eps)

    def planes(self, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
        """A layer norm over the channels of maps."""
        return self.layer(name, x.movedim(1, -1), eps).movedim(-1, 1)

    def count(self, prefix: str) -> int:
        """How many numbered parts there are under a name."""
        places = {int(k[len(prefix) + 1 :].split(".")[0]) for k in self.held if k.startswith(f"{prefix}.")}
        return 1 + max(places)

    def residual(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        """A basic block or a bottleneck."""
        deep = f"{name}.conv3.weight" in self.held
        y = self.conv(f"{name}.conv1", x, 1 if deep else stride, 0 if deep else 1)
        y = self.batch(f"{name}.bn1", y).relu()
        y = self.batch(f"{name}.bn2", self.conv(f"{name}.conv2", y, stride if deep else 1, 1))
        if deep:
            y = self.batch(f"{name}.bn3", self.conv(f"{name}.conv3", y.relu()))
        if f"{name}.downsample.0.weight" in self.held:
            x = self.batch(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride))
        return (x + y).relu()


def normalized(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in IMAGENET)
    return (image - mean) / std


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def freqnet(held: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """Logits (B,), by transforms and their inverses; sides are multiples of 32."""
    w, x = Weights(held), normalized(image)

    def high(x: Tensor, dims: tuple[int, ...]) -> Tensor:
        spectrum = torch.fft.fftshift(torch.fft.fftn(x, dim=dims), dim=dims)
        block = [slice(None)] * 4
        for d in dims:
            block[d] = slice(x.shape[d] // 2 - x.shape[d] // 4, x.shape[d] // 2 + x.shape[d] // 4)
        spectrum[tuple(block)] = 0
        return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=dims), dim=dims).real.relu()

    def filtered(number: int, x: Tensor, stride: int) -> Tensor:
        x = F.conv2d(high(x, (2, 3)), w(f"weight{number}"), w(f"bias{number}"), stride).relu()
        spectrum = torch.fft.fft2(high(x, (1,)) if number < 3 else x)
        real, imaginary = w.conv(f"realconv{number}", spectrum.real), w.conv(f"imagconv{number}", spectrum.imag)
        return torch.fft.ifft2(torch.complex(real, imaginary)).real.relu()

    x = F.max_pool2d(filtered(2, filtered(1, x, 1), 2), 3, 2, 1)
    for layer in (1, 2):
        if layer == 2:
            x = filtered(4, filtered(3, x, 1), 2)
        for b in range(w.count(f"layer{layer}")):
            x = w.residual(f"layer{layer}.{b}", x, 2 if layer == 2 and b == 0 else 1)
    return w.linear("fc1", x.mean((2, 3)))[:, 0]


def xception(held: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """Logits (B, 2)."""
    w, x = Weights({k.removeprefix("backbone."): v for k, v in held.items()}), 2 * image - 1

    def separable(name: str, norm: str, x: Tensor) -> Tensor:
        return w.batch(norm, w.conv(f"{name}.pointwise", w.conv(f"{name}.conv1", x, 1, 1, 1, x.shape[1])))

    for number, stride in ((1, 2), (2, 1)):
        x = w.batch(f"bn{number}", w.conv(f"conv{number}", x, stride)).relu()
    for block in (f"block{number}" for number in range(1, 13)):
        found, first = x, int(block != "block1")
        for at in range(first, w.count(f"{block}.rep"), 3):
            found = separable(f"{block}.rep.{at}", f"{block}.rep.{at + 1}", found.relu() if at else found)
        if f"{block}.skip.weight" in w.held:
            x = w.batch(f"{block}.skipbn", w.conv(f"{block}.skip", x, 2)) + F.max_pool2d(found, 3, 2, 1)
        else:
            x = x + found
    for number in (3, 4):
        x = separable(f"conv{number}", f"bn{number}", x).relu()
    return w.linear("last_linear", x.mean((2, 3)))


def npr(held: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """Logits (B,)."""
    w, x = Weights(held), normalized(image)
    half = F.interpolate(x, scale_factor=0.5, mode="nearest")
    x = (x - F.interpolate(half, scale_factor=2, mode="nearest")) * 2 / 3
    x = F.max_pool2d(w.batch("bn1", w.conv("conv1", x, 2, 1)).relu(), 3, 2, 1)
    for layer in (1, 2):
        for b in range(w.count(f"layer{layer}")):
            x = w.residual(f"layer{layer}.{b}", x, 2 if layer == 2 and b == 0 else 1)
    return w.linear("fc1", x.mean((2, 3)))[:, 0]


def patchcraft(held: Mapping[str, Tensor], poor: Tensor, rich: Tensor) -> Tensor:
    """Logits (B,) of both mosaics (B, 3, h, w) in [0, 1]."""
    w, seen = Weights(held), []
    for mosaic in (poor, rich):
        size = mosaic.shape[-2:]
        maps = w.conv("group1.hpf", mosaic.reshape(-1, 1, *size), padding=2).reshape(len(mosaic), -1, *size)
        seen.append(w.batch("group1_b.1", w.conv("group1_b.0", maps, padding=1)).clamp(-5, 5))
    x = seen[0] - seen[1]
    for group, places in ((2, (0, 3, 6, 9)), (3, (0, 3)), (4, (0, 3)), (5, (0, 3))):
        for place in places:
            x = w.batch(f"group{group}.{place + 1}", w.conv(f"group{group}.{place}", x, padding=1)).relu()
        x = F.avg_pool2d(x, 3, 2, 1) if group < 5 else x
    return w.linear("fc2", x.mean((2, 3)))[:, 0]


def filters() -> Tensor:
    """The thirty filters (30, 1, 5, 5) in their published order: rings, then edges and squares."""
    row_by_row = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    clockwise = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    found = []
    for steps, line in (
        (row_by_row, {1: 1.0, 0: -1.0}),
        (clockwise[:3] + clockwise[7:], {1: 0.5, 0: -1.0, -1: 0.5}),
        (clockwise, {2: -1 / 3, 1: 1.0, 0: -1.0, -1: 1 / 3}),
    ):
        for down, across in steps:
            kernel = torch.zeros(5, 5)
            for distance, value in line.items():
                kernel[2 + distance * down, 2 + distance * across] = value
            found.append(kernel)
    small = torch.zeros(5, 5)
    small[1:4, 1:4] = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    corner = torch.tensor([[-1.0, 2, -2], [2, -6, 8], [-2, 8, -12]]) / 12
    large = torch.cat([corner, corner[:, :2].flip(1)], 1)
    large = torch.cat([large, large[:2].flip(0)])
    for square in (small, large):
        upper, left = square.clone(), square.clone()
        upper[3:], left[:, 3:] = 0, 0
        found += [upper, left.flip(1), upper.flip(0), left]
    return torch.stack([*found, small, large])[:, None]


def iml_vit(held: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """Logits (B, 1, H, W)."""
    w, name = Weights(held), "encoder_net"
    x = w.conv(f"{name}.patch_embed.proj", normalized(image), 16).movedim(1, -1)
    places = w(f"{name}.pos_embed")[:, 1:].reshape(1, 14, 14, -1).movedim(-1, 1)
    x = x + F.interpolate(places, x.shape[1:3], mode="bicubic", align_corners=False).movedim(1, -1)
    for b in range(12):
        block, side = f"{name}.blocks.{b}", 0 if b in (2, 5, 8, 11) else 14
        x = x + _windowed(w, f"{block}.attn", w.layer(f"{block}.norm1", x, 1e-6), side)
        x = x + w.linear(f"{block}.mlp.fc2", F.gelu(w.linear(f"{block}.mlp.fc1", w.layer(f"{block}.norm2", x, 1e-6))))
    maps = _pyramid(w, x.movedim(-1, 1))
    joined = torch.cat([resized(m, maps[0].shape[-2:]) for m in maps], 1)
    y = w.batch("predict_head.norm", w.conv("predict_head.linear_fuse", joined))
    return resized(w.conv("predict_head.linear_predict", y), image.shape[-2:])


def _windowed(w: Weights, name: str, x: Tensor, side: int) -> Tensor:
    """Attention over windows of so many tokens, one after another, or over the whole plane."""
    height, width = x.shape[1:3]
    if not side:
        return _attended(w, name, x)
    x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    out = torch.empty_like(x)
    for top in range(0, x.shape[1], side):
        for left in range(0, x.shape[2], side):
            part = slice(top, top + side), slice(left, left + side)
            out[:, part[0], part[1]] = _attended(w, name, x[:, part[0], part[1]])
    return out[:, :height, :width]


def _attended(w: Weights, name: str, x: Tensor) -> Tensor:
    count, height, width, channels = x.shape
    q, k, v = w.linear(f"{name}.qkv", x).reshape(count, height * width, 3, 12, -1).permute(2, 0, 3, 1, 4)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    tables = []
    for axis, length in (("h", height), ("w", width)):
        table = w(f"{name}.rel_pos_{axis}")
        if len(table) != 2 * length - 1:
            table = F.interpolate(table.T[None], 2 * length - 1, mode="linear")[0].T
        place = torch.arange(length)
        tables.append(table[place[:, None] - place + length - 1])
    planes = q.reshape(count, 12, height, width, -1)
    rows = torch.einsum("bnhwc,hkc->bnhwk", planes, tables[0])[..., :, None]
    columns = torch.einsum("bnhwc,wkc->bnhwk", planes, tables[1])[..., None, :]
    weights = (weights + (rows + columns).reshape(weights.shape)).softmax(-1)
    return w.linear(f"{name}.proj", (weights @ v).transpose(1, 2).reshape(count, height, width, channels))


def _pyramid(w: Weights, x: Tensor) -> list[Tensor]:
    def enlarged(name: str, y: Tensor) -> Tensor:
        return F.conv_transpose2d(y, w(f"{name}.weight"), w(f"{name}.bias"), 2)

    def side(name: str, first: int, y: Tensor) -> Tensor:
        y = w.planes(f"{name}.{first}.norm", w.conv(f"{name}.{first}", y))
        return w.planes(f"{name}.{first + 1}.norm", w.conv(f"{name}.{first + 1}", y, padding=1))

    names = [f"featurePyramid_net.simfp_{number}" for number in (2, 3, 4, 5)]
    twice = F.gelu(w.planes(f"{names[0]}.1", enlarged(f"{names[0]}.0", x)))
    maps = [
        side(names[0], 4, enlarged(f"{names[0]}.3", twice)),
        side(names[1], 1, enlarged(f"{names[1]}.0", x)),
        side(names[2], 0, x),
        side(names[3], 1, F.max_pool2d(x, 2)),
    ]
    return [*maps, F.max_pool2d(maps[3], 1, 2)]


def cat_net(held: Mapping[str, Tensor], image: Tensor, coefficients: Tensor, table: Tensor) -> Tensor:
    """Two classes (B, 2, H / 4, W / 4), authentic and forged, of pictures and the plane (B, H, W) of coefficients."""
    w = Weights(held)
    x = (255 * image - 127.5) / 127.5
    for number in (1, 2):
        x = w.batch(f"bn{number}", w.conv(f"conv{number}", x, 2, 1)).relu()
    for b in range(4):
        x = w.residual(f"layer1.{b}", x)
    colours = [x]
    for number in (1, 2, 3):
        colours = _stage(w, f"stage{number + 1}", _turned(w, f"transition{number}", colours, number + 1))
    volumes = torch.stack([coefficients.abs() == i for i in range(20)] + [coefficients.abs() >= 20], 1).float()
    x = w.batch("dc_layer0_dil.1", w.conv("dc_layer0_dil.0", volumes, 1, 8, 8)).relu()
    x = w.batch("dc_layer1_tail.1", w.conv("dc_layer1_tail.0", x)).relu()
    count, few, height, width = x.shape
    cells = x.reshape(count, few, height // 8, 8, width // 8, 8).permute(0, 1, 3, 5, 2, 4)
    stepped = cells * table[:, None, :, :, None, None]
    x = torch.cat([y.reshape(count, 64 * few, height // 8, width // 8) for y in (cells, stepped)], 1)
    for b in range(4):
        x = w.residual(f"dc_layer2.{b}", x)
    frequencies = [x]
    for number in (2, 3):
        frequencies = _stage(w, f"dc_stage{number + 1}", _turned(w, f"dc_transition{number}", frequencies, number))
    both = [colours[0], *(torch.cat(pair, 1) for pair in zip(colours[1:], frequencies, strict=True))]
    maps = _stage(w, "stage5", _turned(w, "transition4", both, 4))
    x = torch.cat([resized(m, maps[0].shape[-2:]) for m in maps], 1)
    x = w.batch("last_layer.1", w.conv("last_layer.0", x)).relu()
    return w.conv("last_layer.3", x)


def _turned(w: Weights, name: str, maps: list[Tensor], count: int) -> list[Tensor]:
    """HRNet's way between stages: what a branch begins with, of that branch or of the coarsest."""
    found = []
    for i in range(count):
        x = maps[min(i, len(maps) - 1)]
        if f"{name}.{i}.0.weight" in w.held:
            x = w.batch(f"{name}.{i}.1", w.conv(f"{name}.{i}.0", x, 1, 1)).relu()
        elif f"{name}.{i}.0.0.weight" in w.held:
            x = w.batch(f"{name}.{i}.0.1", w.conv(f"{name}.{i}.0.0", x, 2, 1)).relu()
        found.append(x)
    return found


def _stage(w: Weights, name: str, maps: list[Tensor]) -> list[Tensor]:
    for m in range(w.count(name)):
        module = f"{name}.{m}"
        run = []
        for i, branch in enumerate(maps):
            x = branch
            for b in range(4):
                x = w.residual(f"{module}.branches.{i}.{b}", x)
            run.append(x)
        fused = []
        for i, own in enumerate(run):
            total = own
            for j, other in enumerate(run):
                way, x = f"{module}.fuse_layers.{i}.{j}", other
                if j > i:
                    total = total + resized(w.batch(f"{way}.1", w.conv(f"{way}.0", x)), own.shape[-2:])
                for k in range(i - j):
                    x = w.batch(f"{way}.{k}.1", w.conv(f"{way}.{k}.0", x, 2, 1))
                    x = x if k == i - j - 1 else x.relu()
                total = total + x if j < i else total
            fused.append(total.relu())
        maps = fused
    return maps


def trufor(held: Mapping[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """Logits `mask` (B, 1, H, W), `confidence` (B, 1, H, W), `score` (B,) of pictures (B, 3, H, W) in [0, 1]."""
    w = Weights(held)
    image = image * 255 / 256
    x = image
    for place in (0, *range(2, 47, 3), 47):
        x = w.conv(f"dncnn.{place}", x, padding=1)
        x = w.batch(f"dncnn.{place + 1}", x) if 0 < place < 47 else x
        x = x.relu() if place < 47 else x
    own, other, joined = normalized(image), x.repeat(1, 3, 1, 1), []
    for stage, heads in enumerate((1, 2, 5, 8)):
        own, other = _mit(w, "", stage + 1, own, heads), _mit(w, "extra_", stage + 1, other, heads)
        own, other = _rectified(w, f"backbone.FRMs.{stage}", own, other)
        joined.append(_fused(w, f"backbone.FFMs.{stage}", own, other, heads))
    size = image.shape[-2:]
    classes = resized(_mlp_head(w, "decode_head", joined, 1e-3), size)
    confidence = resized(_mlp_head(w, "decode_head_conf", joined, 1e-5), size)
    mask = classes[:, 1:] - classes[:, :1]
    seen = [_statistics(confidence, torch.zeros_like(mask)), _statistics(mask, F.logsigmoid(confidence))]
    score = w.linear("detection.3", w.linear("detection.0", torch.cat(seen, 1)).relu())[:, 0]
    return {"mask": mask, "confidence": confidence, "score": score}


def _mit(w: Weights, extra: str, stage: int, x: Tensor, heads: int, eps: float = 1e-6) -> Tensor:
    embed, size = f"backbone.{extra}patch_embed{stage}", 7 if stage == 1 else 3
    x = w.conv(f"{embed}.proj", x, 4 if stage == 1 else 2, size // 2)
    height, width = x.shape[-2:]
    x = w.layer(f"{embed}.norm", x.flatten(2).transpose(1, 2))
    for b in range(w.count(f"backbone.{extra}block{stage}")):
        block = f"backbone.{extra}block{stage}.{b}"
        x = x + _reduced(w, f"{block}.attn", w.layer(f"{block}.norm1", x, eps), heads, (height, width))
        y = (
            w.linear(f"{block}.mlp.fc1", w.layer(f"{block}.norm2", x, eps))
            .transpose(1, 2)
            .unflatten(2, (height, width))
        )
        y = w.conv(f"{block}.mlp.dwconv.dwconv", y, 1, 1, groups=y.shape[1]).flatten(2).transpose(1, 2)
        x = x + w.linear(f"{block}.mlp.fc2", F.gelu(y))
    x = w.layer(f"backbone.{extra}norm{stage}", x, eps)
    return x.transpose(1, 2).unflatten(2, (height, width))


def _reduced(w: Weights, name: str, x: Tensor, heads: int, size: tuple[int, int]) -> Tensor:
    """Attention whose keys and values are of a smaller plane."""
    seen = x
    if f"{name}.sr.weight" in w.held:
        plane = x.transpose(1, 2).unflatten(2, size)
        ratio = w(f"{name}.sr.weight").shape[-1]
        seen = w.layer(f"{name}.norm", w.conv(f"{name}.sr", plane, ratio).flatten(2).transpose(1, 2))
    parts = [w.linear(f"{name}.q", x), *w.linear(f"{name}.kv", seen).chunk(2, -1)]
    q, k, v = (y.unflatten(2, (heads, -1)).transpose(1, 2) for y in parts)
    found = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
    return w.linear(f"{name}.proj", found.transpose(1, 2).flatten(2))


def _rectified(w: Weights, name: str, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.cat([one, other], 1)
    pooled = torch.cat([both.mean((2, 3)), both.amax((2, 3))], 1)
    channels = w.linear(f"{name}.channel_weights.mlp.2", w.linear(f"{name}.channel_weights.mlp.0", pooled).relu())
    first, second = channels.sigmoid()[..., None, None].chunk(2, 1)
    places = w.conv(f"{name}.spatial_weights.mlp.2", w.conv(f"{name}.spatial_weights.mlp.0", both).relu()).sigmoid()
    # The second weights are of what the first branch takes.
    return (
        one + 0.5 * second * other + 0.5 * places[:, 1:] * other,
        other + 0.5 * first * one + 0.5 * places[:, :1] * one,
    )


def _fused(w: Weights, name: str, one: Tensor, other: Tensor, heads: int) -> Tensor:
    size = one.shape[-2:]
    tokens = [y.flatten(2).transpose(1, 2) for y in (one, other)]
    halves = [w.linear(f"{name}.cross.channel_proj{i + 1}", t).relu().chunk(2, -1) for i, t in enumerate(tokens)]
    contexts = []
    for i, (_, asking) in enumerate(halves):
        k, v = (
            y.unflatten(2, (heads, -1)).transpose(1, 2)
            for y in w.linear(f"{name}.cross.cross_attn.kv{i + 1}", asking).chunk(2, -1)
        )
        contexts.append((k.transpose(-2, -1) @ v * k.shape[-1] ** -0.5).softmax(-2))
    made = []
    for i, (kept, asking) in enumerate(halves):
        got = asking.unflatten(2, (heads, -1)).transpose(1, 2) @ contexts[1 - i]
        y = w.linear(f"{name}.cross.end_proj{i + 1}", torch.cat([kept, got.transpose(1, 2).flatten(2)], -1))
        made.append(w.layer(f"{name}.cross.norm{i + 1}", tokens[i] + y))
    x, embed = torch.cat(made, -1).transpose(1, 2).unflatten(2, size), f"{name}.channel_emb.channel_embed"
    y = w.conv(f"{embed}.0", x)
    y = w.conv(f"{embed}.1", y, 1, 1, groups=y.shape[1]).relu()
    y = w.batch(f"{embed}.4", w.conv(f"{embed}.3", y))
    return w.batch(f"{name}.channel_emb.norm", w.conv(f"{name}.channel_emb.residual", x) + y)


def _mlp_head(w: Weights, name: str, maps: Sequence[Tensor], eps: float) -> Tensor:
    size, same = maps[0].shape[-2:], []
    for i, x in enumerate(maps):
        y = w.linear(f"{name}.linear_c{i + 1}.proj", x.movedim(1, -1)).movedim(-1, 1)
        same.append(resized(y, size))
    x = w.batch(f"{name}.linear_fuse.1", w.conv(f"{name}.linear_fuse.0", torch.cat(same[::-1], 1)), eps).relu()
    return w.conv(f"{name}.linear_pred", x)


def _statistics(x: Tensor, log_weights: Tensor) -> Tensor:
    """Soft minimum, soft maximum, mean and mean square."""
    x, log_weights = x.flatten(1), log_weights.flatten(1).log_softmax(1)
    low, high = -(log_weights - x).logsumexp(1), (log_weights + x).logsumexp(1)
    return torch.stack([low, high, (log_weights.exp() * x).sum(1), (log_weights.exp() * x * x).sum(1)], 1)
