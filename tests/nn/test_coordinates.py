"""Coordinates: from edge to edge, as `linspace` has them, and in a graph for every size."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tamperscope.nn.coordinates import coordinates  # noqa: E402


@pytest.mark.parametrize("size", [(5, 9), (1, 2), (64, 31)], ids=str)
def test_rows_and_columns_go_from_edge_to_edge(size: tuple[int, int]) -> None:
    rows, columns = coordinates(torch.zeros(2, 3, *size, dtype=torch.float64))
    assert rows.shape == columns.shape == size
    lines = [torch.linspace(-1, 1, n, dtype=torch.float64) if n > 1 else torch.zeros(1).double() for n in size]
    torch.testing.assert_close(rows, lines[0][:, None].expand(size), atol=1e-7, rtol=0)
    torch.testing.assert_close(columns, lines[1].expand(size), atol=1e-7, rtol=0)


def test_they_have_the_type_of_the_maps() -> None:
    assert coordinates(torch.zeros(1, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_graph_has_those_of_the_picture_that_it_is_shown() -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")

    class Told(torch.nn.Module):
        def forward(self, image: Any) -> Any:
            return image + coordinates(image)[0] + 2 * coordinates(image)[1]

    free = {2: 8 * torch.export.Dim("h", min=1, max=512), 3: 8 * torch.export.Dim("w", min=1, max=512)}
    image = torch.zeros(1, 1, 48, 40)
    made = torch.onnx.export(Told().eval(), (image,), dynamo=True, verbose=False, dynamic_shapes={"image": free})
    session = runtime.InferenceSession(made.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for size in ((48, 40), (8, 16), (72, 24)):
        shown = torch.rand(1, 1, *size)
        (found,) = session.run(None, {session.get_inputs()[0].name: shown.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), Told()(shown), atol=1e-6, rtol=0)
