"""Artifacts: a trained network that anyone can use without torch, in one folder with all that its use needs.

    card.json            what it is, how it is asked, what it was trained and measured on, licence, hashes of the rest
    network.onnx         the graph with its weights, from arrays in [0, 1] to logits
    weights.safetensors  the same weights for training on

Nothing in it is code, and nothing is read from outside of the folder.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tamperscope.errors import InputError
from tamperscope.files import write_atomic
from tamperscope.inference.predictor import Arrays, Predictor, Shown, View
from tamperscope.settings import wrong

CARD, GRAPH, WEIGHTS = "card.json", "network.onnx", "weights.safetensors"
NAME = r"^[a-z][a-z0-9_-]{0,39}$"
_MAX_BYTES = 4 << 30
# The key of a tensor whose values lie in another file, as protobuf writes it.
_EXTERNAL = b"\x0a\x08location\x12"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Model):
    """How the network is asked: RGB as stored, (N, 3, S, S) float32 in [0, 1]; all else is in the graph.

    Attributes:
        how: `tile`, `pad`, `scale` or `face`; see `inference.predictor.View`, as for the others.
        side: Of a canvas, pixels.
        overlap: Of tiles, pixels.
        multiple: Sides are multiples of it.
        fixed: Whether the graph takes canvases of this side alone.
        needs: What it takes beside the picture.
        grid: Tiles begin at multiples of it.
    """

    how: Shown
    side: int = Field(gt=0, le=8192)
    overlap: int = Field(ge=0)
    multiple: int = Field(gt=0)
    fixed: bool
    needs: tuple[str, ...] = ()
    grid: int = Field(default=1, gt=0, le=64)

    def view(self) -> View:
        """Return how it is shown a picture."""
        return View(self.how, self.side, self.overlap, self.multiple, self.fixed, self.grid)


class Card(_Model):
    """What is known of an artifact.

    Attributes:
        format: Of the folder.
        name: That its predictions bear.
        title: As people call it.
        source: Paper and code that the network follows, and `departures` from it.
        departures: What differs, and why.
        licence: Of the weights, in words.
        notes: What else its users should know: the pictures' sources, known failures.
        network: System, size and settings, from which it is built anew for training.
        parameters: Numbers that it learned or was given.
        input: How it is asked.
        outputs: Names of the logits.
        edits: Names of the edits whose order it tells.
        threshold: Probability of a pixel above which it is called forged; of what judges whole pictures, the score.
        calibration: What a score is worth (`verdict.card.Curve`); None = not known.
        measured: Metrics of this artifact by name of the pictures, with what these were.
        parity: Largest differences between it and the network that it was made of.
        training: The run's own card: recipe, hashes of the data, versions.
        files: SHA-256 of the other files.
    """

    format: Literal["tamperscope-network-1"] = "tamperscope-network-1"
    name: str = Field(pattern=NAME)
    title: str
    source: str = ""
    departures: tuple[str, ...] = ()
    licence: str = Field(min_length=1)
    notes: tuple[str, ...] = ()
    network: dict[str, Any]
    parameters: int
    input: Input
    outputs: tuple[str, ...]
    edits: tuple[str, ...] = ()
    threshold: float = Field(default=0.5, gt=0, lt=1)
    calibration: dict[str, Any] | None = None
    measured: dict[str, Any] = {}
    parity: dict[str, Any] = {}
    training: dict[str, Any] = {}
    files: dict[str, str] = {}


@dataclass(frozen=True)
class Artifact:
    """A folder that was opened: its files are those that the card was written for.

    Attributes:
        folder: Where it lies.
        card: What is known of it.
        sha256: Of the card, which names the hashes of all else: the identity of the artifact.
        graph: Bytes of the network.
    """

    folder: Path
    card: Card
    sha256: str
    graph: bytes

    def predictor(self, batch: int = 1) -> Predictor:
        """Return the network, ready to be asked with onnxruntime on the CPU."""
        card = self.card
        view, needs = card.input.view(), card.input.needs
        return Predictor(self.forward, card.name, view, needs, batch, card.threshold, edits=card.edits)

    def weights(self) -> bytes:
        """Return the weights for training on, checked.

        Raises:
            InputError: They are not those of the card.
        """
        return _checked(self.folder, WEIGHTS, self.card)

    def forward(self, arrays: Arrays) -> Arrays:
        """Return the logits by name of arrays by name."""
        got = self._session.run(list(self.card.outputs), dict(arrays))
        return dict(zip(self.card.outputs, got, strict=True))

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        # Workers share the cores among themselves.
        options.intra_op_num_threads = 1 if multiprocessing.parent_process() else _cores()
        # Threads that wait for the next layer in a loop cost more than they save.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(self.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(f"'{self.folder}': expected a graph that onnxruntime can run: {error}") from error
        found = {i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()}
        wanted = {"image", *self.card.input.needs}, set(self.card.outputs)
        if found[0] != wanted[0] or not wanted[1] <= found[1] or not wanted[1] & {"mask", "score"}:
            raise InputError(f"'{self.folder}': expected inputs and outputs {wanted}, found {found}")
        return session

    def __reduce__(self) -> Any:
        # A session cannot go to another process; the folder can.
        return open_artifact, (self.folder,)


def _cores() -> int:
    """Return on how many cores this process may run; onnxruntime itself counts those that it may not."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_artifact(folder: str | Path) -> Artifact:
    """Return the artifact in a folder, after checking that its files are those of its card.

    Raises:
        InputError: It is no artifact, a file was changed, or the graph wants values from other files.
    """
    folder = Path(folder)
    text = _read(folder, CARD)
    try:
        card = Card.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"'{folder}': {CARD}: expected the card of an exported network: {wrong(error)}; export or fetch it again"
        ) from error
    graph = _checked(folder, GRAPH, card)
    if _EXTERNAL in graph:
        raise InputError(f"'{folder}': expected a graph that holds its weights, found one that reads other files")
    return Artifact(folder, card, hashlib.sha256(text).hexdigest(), graph)


def write_artifact(folder: str | Path, card: Card, graph: bytes, weights: bytes) -> Artifact:
    """Write an artifact; the card comes last, so that a folder with a card is whole.

    Raises:
        InputError: What was written cannot be opened.
    """
    folder = Path(folder)
    held: Mapping[str, bytes] = {GRAPH: graph, WEIGHTS: weights}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in held.items()}
    for name, data in held.items():
        write_atomic(folder / name, data)
    stated = card.model_copy(update={"files": hashes}).model_dump(mode="json")
    write_atomic(folder / CARD, (json.dumps(stated, indent=1, ensure_ascii=False) + "\n").encode())
    return open_artifact(folder)


def _checked(folder: Path, name: str, card: Card) -> bytes:
    data, wanted = _read(folder, name), card.files.get(name)
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise InputError(f"'{folder}': {name}: expected sha256 {wanted}, found {found}; export or fetch it again")
    return data


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"'{path}': expected at most {_MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        found = "a file" if folder.is_file() else f"no {name}"
        raise InputError(f"'{folder}': expected the folder of an exported network, found {found}") from error
