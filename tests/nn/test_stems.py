"""Stems: each map is there, apart and exact; a JPEG's coefficients tell what was compressed twice."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from tamperscope import media  # noqa: E402
from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.nn import filters, losses  # noqa: E402
from tamperscope.nn.stems import CLIP, MbConv, QuantizedDct, Stem, laid_out  # noqa: E402

CHANNELS = {"rgb": 3, "srm": 9, "bayar": 3, "sobel": 1, "fft": 3, "dct": 3, "npr": 3}
every = pytest.mark.parametrize("name", CHANNELS)


def picture(*size: int, count: int = 2) -> Any:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1))


def stem(*names: str) -> Stem:
    torch.manual_seed(2)
    return Stem(names).eval()


@every
@pytest.mark.parametrize("size", [(32, 32), (33, 18)], ids=str)
def test_each_map_has_its_channels_and_the_size_of_the_picture(name: str, size: tuple[int, int]) -> None:
    made = stem(name)
    assert made.channels == CHANNELS[name]
    assert made(picture(*size)).shape == (2, made.channels, *size)


def test_maps_stand_side_by_side_in_the_order_of_their_names() -> None:
    image, names = picture(24, 32), ("npr", "rgb", "srm", "dct")
    together, start = stem(*names), 0
    found = together(image)
    for name in names:
        alone = stem(name)(image)
        assert torch.equal(found[:, start : start + alone.shape[1]], alone)
        start += alone.shape[1]
    assert found.shape[1] == start == together.channels


def test_colours_are_normalized_and_filters_are_those_of_their_names() -> None:
    image = picture(32, 32)
    colours = stem("rgb")(image)
    assert torch.allclose(colours[0, 1], (image[0, 1] - 0.456) / 0.224)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    # Batch norm has seen nothing yet.
    for name, known in (("srm", filters.Srm("rgb9", None)), ("sobel", filters.Sobel(True)), ("npr", filters.Npr())):
        torch.testing.assert_close(stem(name)(image)[inner], known(image)[inner], atol=1e-5, rtol=1e-4)
    for kind in ("fft", "dct"):
        torch.testing.assert_close(stem(kind)(image), filters.HighPass(kind, 0.1)(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["srm", "bayar", "sobel", "npr"])
def test_the_edge_of_the_picture_is_no_trace(name: str) -> None:
    flat = torch.full((1, 3, 24, 24), 0.7)
    assert stem(name)(flat).abs().max() < 1e-4


@every
def test_a_part_of_a_grey_level_survives_bfloat16(name: str) -> None:
    made = stem(name)
    image = 0.75 + 0.4 / 255 * (picture(32, 32) > 0.5)
    assert image.to(torch.bfloat16).unique().numel() == 1, "in bfloat16 nothing is left of it"
    with torch.autocast("cpu", torch.bfloat16):
        found = made(image)
    assert found.dtype == torch.float32
    assert torch.equal(found, made(image))
    assert found.std() > 1e-5


def test_training_brings_residuals_to_the_scale_of_colours() -> None:
    made = Stem(tuple(CHANNELS)).train()
    found = made(0.4 + 0.02 * picture(64, 64, count=4))
    assert found[:, 3:].std((0, 2, 3)).detach().numpy() == pytest.approx(1, abs=0.05)
    assert not [n for n, p in made.named_parameters() if not p.requires_grad]
    found.square().mean().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_names_that_are_none_or_come_twice_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sobel'"):
        Stem(("sobell",))
    for names in ((), ("rgb", "rgb")):
        with pytest.raises(InvalidValueError, match="each once"):
            Stem(names)


def test_mbconv_adds_to_what_it_is_given() -> None:
    torch.manual_seed(3)
    block = MbConv(8).eval()
    x = torch.randn(2, 8, 5, 7)
    assert block(x).shape == x.shape
    assert not torch.allclose(block(x), x, atol=1e-4)
    torch.nn.init.zeros_(block.narrow[1].weight)
    assert torch.equal(block(x), x)
    # 6 times as wide, and a fourth of the channels in the squeeze.
    assert block.widen[0][0].weight.shape == (48, 8, 1, 1)
    assert block.gate[1].weight.shape == (2, 48, 1, 1)


# Coefficients.

FINE, COARSE = 5, 8


def coefficients(count: int, seed: int, first: tuple[int, ...] = (COARSE, 0)) -> tuple[Any, Any, Any]:
    """Coefficients, tables and truth at 1/8: all blocks are quantized by `FINE` last, and before that by `first`.

    Of two classes of blocks, pristine and forged, each has its own first step; 0 is none.
    """
    rng = np.random.default_rng(seed)
    truth = rng.random((count, 8, 8)) < 0.5
    raw = rng.laplace(0, 30, (count, 8, 8, 8, 8))
    for step, where in zip(first, (~truth, truth), strict=True):
        if step:
            raw[where] = np.round(raw[where] / step) * step
    quantized = np.round(raw / FINE).astype(np.int16)
    planes = torch.stack([laid_out(q) for q in quantized])
    tables = torch.full((count, 8, 8), FINE)
    return planes, tables, torch.from_numpy(truth)[:, None].float()


def auc(scores: Any, truth: Any) -> float:
    ranks = scores.flatten().argsort().argsort().double() + 1
    positive = truth.flatten() > 0.5
    above = positive.sum().item()
    wins = ranks[positive].sum().item() - above * (above + 1) / 2
    return wins / (above * (len(ranks) - above))


def test_features_tell_blocks_quantized_twice_by_the_comb_and_by_nothing_else() -> None:
    torch.manual_seed(4)
    net = QuantizedDct("tiny")
    head = torch.nn.Conv2d(net.channels, 1, 1)
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], 4e-3)
    for step in range(45):
        planes, tables, truth = coefficients(6, step)
        optimizer.zero_grad()
        losses.bce(head(net(planes, tables)), truth).backward()
        optimizer.step()
    net.eval()

    def found(*first: int) -> float:
        planes, tables, truth = coefficients(12, 1000, first)
        with torch.inference_mode():
            return auc(head(net(planes, tables)), truth)

    assert found(COARSE, 0) > 0.95
    assert found(0, COARSE) < 0.05, "roles swapped"
    assert 0.4 < found(COARSE, COARSE) < 0.6, "both twice"
    assert 0.4 < found(0, 0) < 0.6, "both once"


@pytest.fixture
def small() -> QuantizedDct:
    torch.manual_seed(5)
    return QuantizedDct("tiny").eval()


def test_features_are_those_of_blocks_and_every_parameter_learns(small: QuantizedDct) -> None:
    planes, tables, _ = coefficients(2, 1)
    out = small.train()(planes, tables)
    assert out.shape == (2, small.channels, 8, 8)
    out.square().mean().backward()
    assert all(p.grad is not None for p in small.parameters())


def test_the_sign_and_what_is_beyond_the_limit_do_not_count_and_the_table_does(small: QuantizedDct) -> None:
    planes, tables, _ = coefficients(2, 1)
    given = small(planes, tables)
    assert torch.equal(small(-planes, tables), given)
    limited = planes.clamp(-CLIP, CLIP)
    assert not torch.equal(limited, planes)
    assert torch.equal(small(limited, tables), given)
    assert not torch.allclose(small(limited.clamp(1 - CLIP, CLIP - 1), tables), given)
    other = tables.clone()
    other[1, 3, 4] += 1
    changed = (small(planes, other) != given).flatten(1).any(1)
    assert changed.tolist() == [False, True], "each picture has its own table"
    assert torch.equal(small(planes, tables + 1000), small(planes, torch.full_like(tables, 63)))


def test_features_follow_a_crop_on_the_grid_and_change_when_it_leaves_the_grid(small: QuantizedDct) -> None:
    planes, tables, _ = coefficients(1, 1)
    # Without what knows the place in the picture, or the whole of it.
    small.blocks = torch.nn.Identity()
    torch.nn.init.zeros_(small.cells[0].weight[:, -3:])
    whole = small(planes, tables)[..., 2:6, 2:6]
    assert torch.allclose(small(planes[..., 8:, 8:], tables)[..., 1:5, 1:5], whole, atol=1e-5)
    for shift in range(1, 8):
        cut = planes[..., shift : shift - 8, shift : shift - 8]
        assert (small(cut, tables)[..., 2:6, 2:6] - whole).abs().mean() > 0.2 * whole.abs().mean()


def test_the_published_size_and_shapes_that_do_not_fit(small: QuantizedDct) -> None:
    with torch.device("meta"):
        full = QuantizedDct("full")
    assert full.channels == 256
    assert full.frequencies[0][0].weight.shape == (64, 21, 3, 3)
    assert full.frequencies[0][0].dilation == (8, 8)
    assert full.steps.weight.shape == (64, 16)
    assert full.cells[0].weight.shape == (256, 35, 8, 8)
    assert len(full.blocks) == 3
    for planes, tables in (((1, 1, 12, 16), (1, 8, 8)), ((1, 3, 16, 16), (1, 8, 8)), ((2, 1, 16, 16), (1, 8, 8))):
        with pytest.raises(InvalidValueError, match=r"8 m, 8 n"):
            small(torch.zeros(planes, dtype=torch.int16), torch.ones(tables, dtype=torch.int64))
    with pytest.raises(UnknownNameError, match="size"):
        QuantizedDct("large")  # type: ignore[arg-type]


def test_coefficients_of_a_file_lie_where_their_pixels_do(photo: Any) -> None:
    rgb = photo("coffee")[:64, :96]
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=100, subsampling=0)
    jpeg = media.open(buffer.getvalue()).sample.jpeg
    assert jpeg is not None
    plane, table = laid_out(jpeg.coefficients[0])[0].double(), torch.tensor(jpeg.qtables[0].astype(np.float64))
    assert plane.shape == (64, 96)
    matrix = filters.dct_matrix(8).double()
    grey = torch.tensor(np.asarray(Image.fromarray(rgb).convert("YCbCr"))[..., 0], dtype=torch.float64)
    for row, column in ((0, 0), (3, 7)):
        block = (slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
        pixels = matrix.T @ (plane[block] * table) @ matrix + 128
        assert (pixels - grey[block]).abs().max() < 3
