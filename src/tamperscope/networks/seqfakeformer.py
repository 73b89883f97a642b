"""SeqFakeFormer: which parts of a face were changed, told one after another in the order of the changes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.networks.base import IMAGENET, About, Network, Size
from tamperscope.nn import backbones, sequences
from tamperscope.nn.resnet_small import ResNet8
from tamperscope.nn.sequences import Decoder, EncoderLayer, Memory, SpatialLayer

ABOUT = About(
    title="SeqFakeFormer",
    source="Shao et al., ECCV 2022 (Detecting and recovering sequential DeepFake manipulation; arXiv 2207.02204, "
    "2309.14991); github.com/rshaojimmy/SeqDeepFake",
    departures=(
        "Each head has a centre and a scale of its own, in the units of a map of 8 x 8 tokens, and scales begin at one "
        "half: what heads share, and how they begin, is not known to us.",
        "A word is told as its embedding and that of its step, normed: how it is in the published system is not known "
        "to us, nor is what stands between the two layers of feed-forward parts (here GELU).",
        "Sine positions go from edge to edge of what is the picture's, and tokens outside of it are not looked at.",
        "The word that begins and the one that fills up are never answers.",
        "`score` is the logit that the first word is a change and not the end; the published system has none.",
        "`tiny` has a residual network of eight layers, which makes a token of 8 pixels, and one layer of 96 channels.",
    ),
)
Backbone = Literal["small", "tiny", "18", "34", "50", "101", "152"]
WIDTHS = (32, 64, 96)
"""Channels of the small backbone."""
EDITS = 5


class Ordered(Network):
    """What systems that tell ordered edits share: features of a picture, a decoder, and the loss of its words.

    While it trains, `forward` gives what the decoder is to look at, and the loss tells the decoder the true words
    before each step. Else the decoder goes on from its own words, the likeliest each time.

    Args:
        backbone: `small`, or a size of ResNet in `nn.backbones`.
        width: Of a token.
        inverted: Whether the last edit is told first; answers are in the order of the edits all the same.
        weights: Folder of the backbone's, see `nn.backbones.build`.
        colours: Mean and deviation of the colours that the backbone knows.

    Raises:
        InvalidValueError: The weights do not fit.
        UnknownNameError: There is no such backbone.
    """

    needs: ClassVar[tuple[str, ...]] = ("valid",)
    supervision: ClassVar[str] = "label"
    edits = EDITS
    decoder: Decoder

    def __init__(
        self,
        backbone: Backbone,
        width: int,
        inverted: bool,
        weights: str | Path | None,
        colours: tuple[tuple[float, float, float], tuple[float, float, float]] = IMAGENET,
    ) -> None:
        super().__init__(*colours)
        known = ["small", *backbones.families()["resnet"]]
        if backbone not in known:
            raise unknown_name("backbone", backbone, known)
        if backbone == "small" and weights is not None:
            raise InvalidValueError("weights: expected a backbone of the library, found 'small'")
        self.inverted = inverted
        small = backbone == "small"
        self.backbone: nn.Module = ResNet8(3, WIDTHS) if small else backbones.build("resnet", backbone, weights=weights)
        channels: Any = self.backbone.channels
        self.multiple = 8 if small else 32
        self.narrow = nn.Conv2d(channels[-1], width, 1)

    def forward(self, image: Tensor, valid: Tensor | None = None, **needs: Any) -> dict[str, Tensor]:
        """Return `sequence` (B, 6, 8), in the order of the edits, and the logit `score` (B,); while training, neither.

        Args:
            image: (B, 3, H, W) in [0, 1].
            valid: (B, 1, H, W) bool, which pixels are the picture's; None = all.
            needs: Not looked at.
        """
        valid = image.new_ones(image[:, :1].shape).bool() if valid is None else valid
        found = self.remembered(self.normalized(image) * valid, valid)
        if self.training:
            return found
        logits = self.decoder.greedy(self.memory(found, valid)).float()
        answer = sequences.turned_logits(logits) if self.inverted else logits
        return {"sequence": answer, "score": sequences.score(logits[:, 0])}

    def plane(self, seen: Tensor, inside: Tensor) -> Tensor:
        """Return the features (B, width, h, w) of a picture, 0 outside of it.

        Args:
            seen: (B, 3, H, W), normalized, 0 outside of the picture.
            inside: Of `inside`.
        """
        return self.narrow(self.backbone(seen)[-1]) * inside

    def inside(self, valid: Tensor) -> Tensor:
        """Return which tokens hold a pixel of the picture, (B, 1, h, w) bool."""
        return F.max_pool2d(valid.float(), self.multiple) > 0

    @abstractmethod
    def remembered(self, seen: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Return all that `memory` and the loss need of a picture, by name; see `plane` for `seen`."""

    @abstractmethod
    def memory(self, found: Mapping[str, Tensor], valid: Tensor) -> Memory:
        """Return what the decoder looks at, from what is `remembered`."""

    def loss(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return `words`: the mean cross-entropy of the words up to the end; no truth but `sequence` is read."""
        return self.terms(outputs, batch)[0]

    def terms(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
        """Return the term of the words, the decoder's states (B, 6, width) while training, and the true words (B, 6).

        Without what the decoder is to look at, as in evaluation, the term is that of what it said by itself.
        """
        truth, training = batch["sequence"], "sequence" not in outputs
        turn = self.inverted and training
        before, words = sequences.told(sequences.turned(truth) if turn else truth, self.edits)
        states = self.decoder.states(before, self.memory(outputs, batch["valid"])) if training else None
        logits = outputs["sequence"] if states is None else self.decoder.last(states)
        loss = F.cross_entropy(logits.float().flatten(0, 1), words.flatten(), ignore_index=self.edits + 2)
        return {"words": loss}, states, words


class SeqFakeFormer(Ordered):
    """Encoder of a picture's tokens, and a decoder whose every step says where it looks.

    Pixels hold the order of two edits only where these overlap: of others the order is a guess. It differs from the
    published system as `ABOUT.departures` tells.

    Args:
        backbone: See `Ordered`, as for the next three.
        width: Of a token.
        inverted: Whether the last edit is told first.
        weights: Folder of the backbone's.
        layers: Of encoder and decoder, each.
        heads: Of attention.
        inner: Width of feed-forward parts.
        hidden: Of the two layers that words are told by.
        dropout: In encoder and decoder.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such backbone.
    """

    def __init__(
        self,
        backbone: Backbone = "50",
        width: int = 256,
        inverted: bool = False,
        weights: str | Path | None = None,
        layers: int = 2,
        heads: int = 4,
        inner: int = 512,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        if layers < 1 or width % 4 or not 0 <= dropout < 1:
            found = f"{layers}, {width}, {dropout}"
            raise InvalidValueError(
                f"seqfakeformer: expected layers from 1, a width of whole fours, and dropout in [0, 1), found {found}"
            )
        super().__init__(backbone, width, inverted, weights)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, inner, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        decoding = [SpatialLayer(width, heads, inner, dropout) for _ in range(layers)]
        self.decoder = Decoder(decoding, width, hidden, EDITS, EDITS + 1, dropout)

    def remembered(self, seen: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Return `tokens` (B, N, width)."""
        inside = self.inside(valid)
        x = self.plane(seen, inside).flatten(2).transpose(1, 2)
        position, bias = sequences.sine(sequences.places(inside), x.shape[-1]), sequences.hidden(inside)
        for layer in self.encoder:
            x = layer(x, position, bias)
        return {"tokens": self.norm(x)}

    def memory(self, found: Mapping[str, Tensor], valid: Tensor) -> Memory:
        """Return the tokens as what the decoder looks at."""
        inside = self.inside(valid)
        return Memory((found["tokens"],), sequences.places(inside), sequences.hidden(inside))


def build(size: Size = "tiny", **settings: Any) -> SeqFakeFormer:
    """Return SeqFakeFormer: on a ResNet-50 in full, on eight layers in tiny.

    Args:
        size: `full` or `tiny`.
        settings: Of `SeqFakeFormer`; they replace those of the size.

    Raises:
        InvalidValueError: A setting is out of range.
        UnknownNameError: There is no such backbone.
    """
    tiny: dict[str, Any] = {"backbone": "small", "width": 96, "layers": 1, "inner": 192, "hidden": 192}
    return SeqFakeFormer(**((tiny if size == "tiny" else {}) | settings))
