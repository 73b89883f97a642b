"""Names and shapes of published checkpoints, written down from their definitions and not from the maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


class Listing(Shapes):
    """Shapes by name, layer by layer."""

    def conv(self, name: str, outputs: int, inputs: int, size: int = 1, bias: bool = False) -> None:
        self[f"{name}.weight"] = (outputs, inputs, size, size)
        if bias:
            self[f"{name}.bias"] = (outputs,)

    def linear(self, name: str, outputs: int, inputs: int, bias: bool = True) -> None:
        self[f"{name}.weight"] = (outputs, inputs)
        if bias:
            self[f"{name}.bias"] = (outputs,)

    def scale(self, name: str, width: int) -> None:
        """A layer norm."""
        self[f"{name}.weight"] = self[f"{name}.bias"] = (width,)

    def batch(self, name: str, width: int) -> None:
        """A batch norm."""
        self.scale(name, width)
        self[f"{name}.running_mean"] = self[f"{name}.running_var"] = (width,)
        self[f"{name}.num_batches_tracked"] = ()

    def separable(self, name: str, outputs: int, inputs: int) -> None:
        """A 3 x 3 convolution of each channel for itself, and a 1 x 1 one."""
        self.conv(f"{name}.conv1", inputs, 1, 3)
        self.conv(f"{name}.pointwise", outputs, inputs)

    def conv_batch(self, name: str, outputs: int, inputs: int, size: int, bias: bool = False) -> None:
        self.conv(f"{name}.0", outputs, inputs, size, bias)
        self.batch(f"{name}.1", outputs)

    def bottleneck(self, name: str, inputs: int, width: int, beside: bool) -> None:
        sizes = ((1, width, inputs, 1), (2, width, width, 3), (3, 4 * width, width, 1))
        for number, outputs, before, size in sizes:
            self.conv(f"{name}.conv{number}", outputs, before, size)
            self.batch(f"{name}.bn{number}", outputs)
        if beside:
            self.conv_batch(f"{name}.downsample", 4 * width, inputs, 1)

    def basic(self, name: str, inputs: int, width: int) -> None:
        for number, before in ((1, inputs), (2, width)):
            self.conv(f"{name}.conv{number}", width, before, 3)
            self.batch(f"{name}.bn{number}", width)
        if inputs != width:
            self.conv_batch(f"{name}.downsample", width, inputs, 1)

    def transition(self, name: str, before: Sequence[int], after: Sequence[int]) -> None:
        """HRNet's way from one stage to the next: branches whose width does not change have none."""
        for i, width in enumerate(after):
            if i < len(before):
                if before[i] != width:
                    self.conv_batch(f"{name}.{i}", width, before[i], 3)
                continue
            for j in range(i + 1 - len(before)):
                self.conv_batch(f"{name}.{i}.{j}", width if j == i - len(before) else before[-1], before[-1], 3)

    def stage(self, name: str, widths: Sequence[int], modules: int, blocks: int = 4) -> None:
        """HRNet's modules of branches that are all fused with all."""
        for m in range(modules):
            for i, width in enumerate(widths):
                for b in range(blocks):
                    self.basic(f"{name}.{m}.branches.{i}.{b}", width, width)
                for j, other in enumerate(widths):
                    way = f"{name}.{m}.fuse_layers.{i}.{j}"
                    if j > i:
                        self.conv_batch(way, width, other, 1)
                    for k in range(i - j):
                        self.conv_batch(f"{way}.{k}", width if k == i - j - 1 else other, other, 3)


def npr() -> Listing:
    found = Listing()
    found.conv("conv1", 64, 3, 3)
    found.batch("bn1", 64)
    for layer, inputs, width, blocks in (("layer1", 64, 64, 3), ("layer2", 256, 128, 4)):
        for b in range(blocks):
            found.bottleneck(f"{layer}.{b}", 4 * width if b else inputs, width, beside=b == 0)
    found.linear("fc1", 1, 512)
    return found


def freqnet() -> Listing:
    found = Listing()
    for number, inputs, width in ((1, 3, 64), (2, 64, 64), (3, 256, 256), (4, 256, 256)):
        found |= {f"weight{number}": (width, inputs, 1, 1), f"bias{number}": (width,)}
        found.conv(f"realconv{number}", width, width)
        found.conv(f"imagconv{number}", width, width)
    for layer, inputs, width, blocks in (("layer1", 64, 64, 3), ("layer2", 256, 128, 4)):
        for b in range(blocks):
            found.bottleneck(f"{layer}.{b}", 4 * width if b else inputs, width, beside=b == 0)
    found.linear("fc1", 1, 512)
    return found


def xception() -> Listing:
    found = Listing()
    for number, inputs, outputs, size in ((1, 3, 32, 3), (2, 32, 64, 3)):
        found.conv(f"backbone.conv{number}", outputs, inputs, size)
        found.batch(f"backbone.bn{number}", outputs)
    entry = [(64, 128, 128), (128, 256, 256), (256, 728, 728)]
    for number, widths in enumerate([*entry, *[(728,) * 4] * 8, (728, 728, 1024)], 1):
        name = f"backbone.block{number}"
        if widths[0] != widths[-1]:
            found.conv(f"{name}.skip", widths[-1], widths[0])
            found.batch(f"{name}.skipbn", widths[-1])
        for place in range(len(widths) - 1):
            at = 3 * place + (number > 1)  # the first one does not begin with a ReLU
            found.separable(f"{name}.rep.{at}", widths[place + 1], widths[place])
            found.batch(f"{name}.rep.{at + 1}", widths[place + 1])
    for number, inputs, outputs in ((3, 1024, 1536), (4, 1536, 2048)):
        found.separable(f"backbone.conv{number}", outputs, inputs)
        found.batch(f"backbone.bn{number}", outputs)
    found.conv_batch("backbone.adjust_channel", 512, 2048, 1, bias=True)
    found.linear("backbone.last_linear", 2, 2048)
    return found


def patchcraft() -> Listing:
    found = Listing({"group1.hpf.weight": (30, 1, 5, 5)})
    found.conv_batch("group1_b", 32, 90, 3, bias=True)
    for group, places in ((2, (0, 3, 6, 9)), (3, (0, 3)), (4, (0, 3)), (5, (0, 3))):
        for place in places:
            found.conv(f"group{group}.{place}", 32, 32, 3, bias=True)
            found.batch(f"group{group}.{place + 1}", 32)
    found.linear("fc2", 1, 32)
    return found


def univfd() -> Listing:
    return Listing({"weight": (1, 768), "bias": (1,)})


def iml_vit() -> Listing:
    found, width = Listing({"encoder_net.pos_embed": (1, 14 * 14 + 1, 768)}), 768
    found.conv("encoder_net.patch_embed.proj", width, 3, 16, bias=True)
    for b in range(12):
        name = f"encoder_net.blocks.{b}"
        found.scale(f"{name}.norm1", width)
        found.scale(f"{name}.norm2", width)
        found.linear(f"{name}.attn.qkv", 3 * width, width)
        found.linear(f"{name}.attn.proj", width, width)
        side = 64 if b in (2, 5, 8, 11) else 14
        found[f"{name}.attn.rel_pos_h"] = found[f"{name}.attn.rel_pos_w"] = (2 * side - 1, 64)
        found.linear(f"{name}.mlp.fc1", 4 * width, width)
        found.linear(f"{name}.mlp.fc2", width, 4 * width)
    for number, before, inputs in ((2, 4, 192), (3, 1, 384), (4, 0, 768), (5, 1, 768)):
        name = f"featurePyramid_net.simfp_{number}"
        for place, channels, size in ((before, inputs, 1), (before + 1, 256, 3)):
            found.conv(f"{name}.{place}", 256, channels, size)
            found.scale(f"{name}.{place}.norm", 256)
    for name, inputs, outputs in (("2.0", 768, 384), ("2.3", 384, 192), ("3.0", 768, 384)):
        # Transposed: inputs come first.
        found[f"featurePyramid_net.simfp_{name}.weight"] = (inputs, outputs, 2, 2)
        found[f"featurePyramid_net.simfp_{name}.bias"] = (outputs,)
    found.scale("featurePyramid_net.simfp_2.1", 384)
    found.conv("predict_head.linear_fuse", 256, 5 * 256, 1, bias=True)
    found.batch("predict_head.norm", 256)
    found.conv("predict_head.linear_predict", 1, 256, 1, bias=True)
    return found


def cat_net() -> Listing:
    found = Listing()
    for number, inputs in ((1, 3), (2, 64)):
        found.conv(f"conv{number}", 64, inputs, 3)
        found.batch(f"bn{number}", 64)
    for b in range(4):
        found.bottleneck(f"layer1.{b}", 256 if b else 64, 64, beside=b == 0)
    rgb = ((256,), (48, 96), (48, 96, 192), (48, 96, 192, 384))
    for number, (before, after, modules) in enumerate(zip(rgb, rgb[1:], (1, 4, 3), strict=False)):
        found.transition(f"transition{number + 1}", before, after)
        found.stage(f"stage{number + 2}", after, modules)
    found.conv_batch("dc_layer0_dil", 64, 21, 3, bias=True)
    found.conv_batch("dc_layer1_tail", 4, 64, 1)
    for b in range(4):
        found.basic(f"dc_layer2.{b}", 96 if b else 512, 96)
    dct = ((96,), (96, 192), (96, 192, 384))
    for number, (before, after, modules) in enumerate(zip(dct, dct[1:], (3, 2), strict=False)):
        found.transition(f"dc_transition{number + 2}", before, after)
        found.stage(f"dc_stage{number + 3}", after, modules)
    both = (48, 2 * 96, 2 * 192, 2 * 384)
    found.transition("transition4", both, (24, 48, 96, 192))
    found.stage("stage5", (24, 48, 96, 192), 1)
    found.conv_batch("last_layer", 360, 360, 1, bias=True)
    found.conv("last_layer.3", 2, 360, 1, bias=True)
    return found


def trufor() -> Listing:
    found = Listing()
    found.conv("dncnn.0", 64, 3, 3, bias=True)
    for place in range(15):
        found.conv(f"dncnn.{2 + 3 * place}", 64, 64, 3)
        found.batch(f"dncnn.{3 + 3 * place}", 64)
    found.conv("dncnn.47", 1, 64, 3, bias=True)
    widths, depths, reductions = (64, 128, 320, 512), (3, 4, 6, 3), (8, 4, 2, 1)
    for extra in ("", "extra_"):
        for i, (width, depth, reduction) in enumerate(zip(widths, depths, reductions, strict=True)):
            embed = f"backbone.{extra}patch_embed{i + 1}"
            found.conv(f"{embed}.proj", width, 3 if i == 0 else widths[i - 1], 7 if i == 0 else 3, bias=True)
            found.scale(f"{embed}.norm", width)
            found.scale(f"backbone.{extra}norm{i + 1}", width)
            for b in range(depth):
                _mit_block(found, f"backbone.{extra}block{i + 1}.{b}", width, reduction)
    for i, width in enumerate(widths):
        _cmx(found, f"backbone.FRMs.{i}", f"backbone.FFMs.{i}", width)
    for head, classes in (("decode_head", 2), ("decode_head_conf", 1)):
        for i, width in enumerate(widths):
            found.linear(f"{head}.linear_c{i + 1}.proj", 512, width)
        found.conv_batch(f"{head}.linear_fuse", 512, 4 * 512, 1, bias=True)
        found.conv(f"{head}.linear_pred", classes, 512, 1, bias=True)
    found.linear("detection.0", 128, 8)
    found.linear("detection.3", 1, 128)
    return found


def _mit_block(found: Listing, name: str, width: int, reduction: int) -> None:
    found.scale(f"{name}.norm1", width)
    found.scale(f"{name}.norm2", width)
    found.linear(f"{name}.attn.q", width, width)
    found.linear(f"{name}.attn.kv", 2 * width, width)
    found.linear(f"{name}.attn.proj", width, width)
    if reduction > 1:
        found.conv(f"{name}.attn.sr", width, width, reduction, bias=True)
        found.scale(f"{name}.attn.norm", width)
    found.linear(f"{name}.mlp.fc1", 4 * width, width)
    found.conv(f"{name}.mlp.dwconv.dwconv", 4 * width, 1, 3, bias=True)
    found.linear(f"{name}.mlp.fc2", width, 4 * width)


def _cmx(found: Listing, rectify: str, fuse: str, width: int) -> None:
    found.linear(f"{rectify}.channel_weights.mlp.0", 4 * width, 4 * width)
    found.linear(f"{rectify}.channel_weights.mlp.2", 2 * width, 4 * width)
    found.conv(f"{rectify}.spatial_weights.mlp.0", width, 2 * width, 1, bias=True)
    found.conv(f"{rectify}.spatial_weights.mlp.2", 2, width, 1, bias=True)
    for number in (1, 2):
        found.linear(f"{fuse}.cross.channel_proj{number}", 2 * width, width)
        found.linear(f"{fuse}.cross.cross_attn.kv{number}", 2 * width, width, bias=False)
        found.linear(f"{fuse}.cross.end_proj{number}", width, 2 * width)
        found.scale(f"{fuse}.cross.norm{number}", width)
    found.conv(f"{fuse}.channel_emb.residual", width, 2 * width, 1)
    found.conv(f"{fuse}.channel_emb.channel_embed.0", width, 2 * width, 1, bias=True)
    found.conv(f"{fuse}.channel_emb.channel_embed.1", width, 1, 3, bias=True)
    found.conv(f"{fuse}.channel_emb.channel_embed.3", width, width, 1, bias=True)
    found.batch(f"{fuse}.channel_emb.channel_embed.4", width)
    found.batch(f"{fuse}.channel_emb.norm", width)


LISTINGS: dict[str, Callable[[], Listing]] = {
    "npr": npr,
    "freqnet": freqnet,
    "xception": xception,
    "patchcraft": patchcraft,
    "univfd": univfd,
    "iml_vit": iml_vit,
    "cat_net": cat_net,
    "trufor": trufor,
}


def stand_in(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Return weights of these names and shapes that keep signals alive: no two alike, norms off 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(3)
            continue
        drawn = torch.randn(shape, generator=generator)
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            found[name] = 1 + 0.2 * drawn.clamp(-2, 2)
        elif len(shape) > 1:
            found[name] = drawn * (1.5 / max(1, drawn[0].numel())) ** 0.5
        else:
            found[name] = 0.1 * drawn
    return found
