"""A network that marks what is bright, written by hand: for tests of what asks networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tamperscope.inference.artifact import Artifact, Card, Input, write_artifact

onnx = pytest.importorskip("onnx")
GAIN = 12.0


def graph(outputs: tuple[str, ...] = ("mask", "score"), external: bool = False) -> bytes:
    """Mask: the mean of the channels less a half, times `GAIN`; score: its maximum; confidence: less of it."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = {"half": [0.5], "gain": [GAIN]}
    held = [helper.make_tensor(name, kind, [1], value) for name, value in values.items()]
    held.append(helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1]))
    if external:
        entry = held[0].external_data.add()
        entry.key, entry.value = "location", "../../secret"
        held[0].data_location = onnx.TensorProto.EXTERNAL
    nodes = [
        helper.make_node("ReduceMean", ["image", "one"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["grey", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "gain"], ["mask"]),
        helper.make_node("ReduceMax", ["mask"], ["score"], keepdims=0),
        helper.make_node("Neg", ["mask"], ["confidence"]),
    ]
    told = [helper.make_tensor_value_info("image", kind, ["n", 3, "h", "w"])]
    given = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    made = helper.make_graph(nodes, "test", told, given, held)
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(made, opset_imports=opset, ir_version=10).SerializeToString())


def card(**changes: Any) -> Card:
    stated: dict[str, Any] = {
        "name": "grey",
        "title": "Grey",
        "licence": "CC0",
        "network": {"name": "none"},
        "parameters": 0,
        "input": Input(how="tile", side=32, overlap=8, multiple=8, fixed=False),
        "outputs": ("mask", "score"),
    }
    return Card(**(stated | changes))


def made(folder: Path, **changes: Any) -> Artifact:
    return write_artifact(folder, card(**changes), graph(), b"weights")
