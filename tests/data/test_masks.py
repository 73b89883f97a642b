"""Masks with planted defects: each kind of truth gives back the region that was planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tamperscope.data import masks
from tamperscope.errors import BudgetError, InputError, InvalidValueError, UnknownNameError

SIZE = (60, 80)


def _planted(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[12:33, 20:51] = True
    return mask


def _save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    Image.fromarray(pixels, mode).save(path, **options)
    return path


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


Plant = Callable[[np.ndarray, Path], Path]
GREY = {
    "plain": lambda m, p: _save(p / "m.png", m.astype(np.uint8) * 255),
    "one_bit": lambda m, p: _save(p / "m.png", m),
    "zero_one": lambda m, p: _save(p / "m.png", m.astype(np.uint8)),
    "soft": lambda m, p: _save(p / "m.png", np.where(m, 128, 127).astype(np.uint8)),
    "rgb": lambda m, p: _save(p / "m.bmp", np.repeat(m[..., None], 3, 2).astype(np.uint8) * 255),
    "red": lambda m, p: _save(p / "m.png", np.stack([m * 255, m * 0, m * 0], 2).astype(np.uint8)),
    "jpeg": lambda m, p: _save(p / "m.jpg", m.astype(np.uint8) * 255, quality=80),
    "tiff": lambda m, p: _save(p / "m.tif", m.astype(np.uint8) * 255),
    "jpeg2000": lambda m, p: _save(p / "m.jp2", m.astype(np.uint8) * 255, irreversible=False),
    "deep": lambda m, p: _save(p / "m.png", m.astype(np.uint16) * 65535),
    "deep_zero_one": lambda m, p: _save(p / "m.png", m.astype(np.uint16)),
    "deep_byte": lambda m, p: _save(p / "m.tif", m.astype(np.uint16) * 255),
    "alpha_only": lambda m, p: _save(p / "m.png", np.dstack([np.zeros((*m.shape, 3)), m * 255]).astype(np.uint8)),
    "opaque_alpha": lambda m, p: _save(p / "m.png", np.dstack([*[m * 255] * 3, m * 0 + 255]).astype(np.uint8)),
    "empty_opaque": lambda m, p: _save(p / "m.png", np.dstack([m * 0] * 3 + [m * 0 + 255]).astype(np.uint8)),
}


def _palette(mask: np.ndarray, folder: Path) -> Path:
    picture = Image.fromarray(mask.astype(np.uint8), "L").convert("P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.putdata(mask.astype(np.uint8).ravel().tolist())
    picture.save(folder / "m.png")
    return folder / "m.png"


GREY["palette"] = _palette
ODD = {
    "zero_one": "values of 0 and 1",
    "red": "drawn in colour",
    "alpha_only": "drawn in the alpha channel",
    "jpeg2000": "",
    "deep": "more than 8 bits a value",
    "deep_byte": "more than 8 bits a value",
    "deep_zero_one": "values of 0 and 1",
}


@pytest.mark.parametrize("kind", GREY)
def test_white_masks_of_every_coding(tmp_path: Path, kind: str) -> None:
    planted = _planted()
    reading = masks.examine(GREY[kind](planted, tmp_path))
    wanted = np.zeros(SIZE, bool) if kind == "empty_opaque" else planted
    assert reading.mask.dtype == np.bool_
    assert (reading.mask == wanted).all()
    assert (ODD[kind] in reading.repairs or not ODD[kind]) if kind in ODD else reading.repairs == ()


@pytest.mark.parametrize("kind", ["plain", "one_bit", "zero_one", "jpeg", "deep", "deep_zero_one", "palette"])
def test_black_masks_are_the_complement(tmp_path: Path, kind: str) -> None:
    planted = _planted()
    assert (masks.read(GREY[kind](~planted, tmp_path), "black") == planted).all()


def test_wholly_black_and_wholly_white_masks(tmp_path: Path) -> None:
    dark, light = (_save(tmp_path / f"{v}.png", np.full(SIZE, v, np.uint8)) for v in (0, 255))
    assert not masks.read(dark).any()
    assert masks.read(light).all()
    assert masks.read(dark, "black").all()
    assert not masks.read(light, "black").any()


def test_nonzero_takes_any_level_but_not_ringing(tmp_path: Path) -> None:
    levels = np.where(_planted(), 3, 0).astype(np.uint8)
    levels[40, 40] = 1
    found = masks.examine(_save(tmp_path / "m.png", levels), "nonzero")
    assert (found.mask == (levels > 0)).all()
    assert found.repairs
    assert masks.examine(GREY["plain"](_planted(), tmp_path), "nonzero").repairs == ()
    ringing = masks.read(GREY["jpeg"](_planted(), tmp_path), "nonzero")
    assert _iou(ringing, _planted()) > 0.95


def _outlined(shape: np.ndarray, width: int = 3, regions: bool = False) -> np.ndarray:
    """Draw Columbia's map: green inside the boundary, red outside, with darker regions in some copies."""
    brush = np.ones((2 * width + 1,) * 2, np.uint8)
    solid = shape.astype(np.uint8)
    grown, shrunk = cv2.dilate(solid, brush) > 0, cv2.erode(solid, brush, borderValue=1) > 0
    rgb = np.zeros((*shape.shape, 3), np.uint8)
    if regions:
        rgb[shape, 1], rgb[~shape, 0] = 128, 128
    rgb[shape & ~shrunk] = (0, 255, 0)
    rgb[grown & ~shape] = (255, 0, 0)
    return rgb


SHAPES = {
    "box": _planted((120, 160)),
    "disk": np.hypot(*np.ogrid[-60:60, -80:80]) < 33,
    "touches_the_edge": np.hypot(*np.ogrid[0:120, 0:160]) < 60,
    "half": np.repeat(np.arange(160)[None] < 70, 120, 0),
    "two": (np.hypot(*np.ogrid[-30:90, -40:120]) < 18) | (np.hypot(*np.ogrid[-90:30, -110:50]) < 20),
    "ring": np.abs(np.hypot(*np.ogrid[-60:60, -80:80]) - 35) < 15,
}


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize("name", SHAPES)
def test_coloured_outlines_fill_to_the_planted_region(
    tmp_path: Path, name: str, quality: int | None, regions: bool
) -> None:
    drawn = _outlined(SHAPES[name], regions=regions)
    path = _save(
        tmp_path / ("e.png" if quality is None else "e.jpg"), drawn, **({"quality": quality} if quality else {})
    )
    found = masks.read(path, "edges")
    assert _iou(found, SHAPES[name]) > (0.999 if quality is None else 0.93)


def test_gaps_in_a_coloured_outline_do_not_leak(tmp_path: Path) -> None:
    drawn = _outlined(SHAPES["disk"])
    drawn[55:66] = 0
    assert _iou(masks.read(_save(tmp_path / "e.png", drawn), "edges"), SHAPES["disk"]) > 0.95


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 255, 0), (255, 0, 0)])
@pytest.mark.parametrize("gap", [0, 3])
def test_an_outline_of_one_colour_is_filled_and_small_gaps_close(
    tmp_path: Path, colour: tuple[int, int, int], gap: int
) -> None:
    rgb = np.zeros((120, 160, 3), np.uint8)
    cv2.rectangle(rgb, (30, 20), (90, 80), colour, 2)
    solid = np.zeros((120, 160), bool)
    ys, xs = np.nonzero(rgb.any(axis=2))
    solid[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = True
    rgb[:60, 60 : 60 + gap] = 0
    found = masks.read(_save(tmp_path / "e.png", rgb), "edges")
    # The line's corners are drawn round.
    assert (found != solid).sum() <= 4 if gap == 0 else _iou(found, solid) > 0.95


def test_outlines_that_bound_nothing_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((60, 80, 3), np.uint8)
    with pytest.raises(InputError, match="outline"):
        masks.read(_save(tmp_path / "e.png", rgb), "edges")
    rgb[30, 10:40] = 255
    with pytest.raises(InputError, match="outline"):
        masks.read(_save(tmp_path / "e.png", rgb), "edges")


def test_holes_are_forged(tmp_path: Path) -> None:
    colours = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), np.uint8)
    rgba = np.dstack([colours, np.where(_planted(), 0, 255).astype(np.uint8)])
    assert (masks.read(_save(tmp_path / "m.png", rgba), "holes") == _planted()).all()
    with pytest.raises(InputError, match="alpha"):
        masks.read(_save(tmp_path / "o.png", colours), "holes")


def test_label_images_keep_their_classes(tmp_path: Path) -> None:
    classes = np.zeros(SIZE, np.uint8)
    classes[:20], classes[20:30] = 3, 200
    grey = _save(tmp_path / "g.png", classes)
    deep = _save(tmp_path / "d.png", classes.astype(np.uint16) * 300)
    palette = Image.fromarray(classes, "P")
    palette.putpalette(np.random.default_rng(3).integers(0, 256, 768).tolist())
    palette.save(tmp_path / "p.png")
    assert (masks.labels(grey) == classes).all()
    assert (masks.labels(deep) == classes.astype(int) * 300).all()
    assert (masks.labels(tmp_path / "p.png") == classes).all()
    assert (masks.labels(_save(tmp_path / "c.png", np.dstack([classes] * 3))) == classes).all()
    coded = masks.labels(_save(tmp_path / "r.png", np.dstack([classes, classes * 0, classes * 0])))
    assert (coded == classes.astype(int) * 65536).all()
    for name in ("g", "d", "p", "r"):
        assert (masks.read(tmp_path / f"{name}.png", "labels") == (classes > 0)).all()
    with pytest.raises(InputError, match="lossless"):
        masks.labels(_save(tmp_path / "j.jpg", classes))


def test_the_original_shows_what_was_changed(tmp_path: Path, photo: Callable[[str], np.ndarray]) -> None:
    original = photo("coffee")[:200, :300].copy()
    forged = original.copy()
    forged[50:110, 80:170] = 255 - forged[50:110, 80:170]
    forged[70:73, 100:103] = original[70:73, 100:103]  # a small agreement inside
    forged[10, 10] ^= 255  # one stray pixel
    path = _save(tmp_path / "o.jpg", original, quality=92, subsampling=0)
    planted = np.zeros((200, 300), bool)
    planted[50:110, 80:170] = True
    found = masks.read(path, "original", picture=forged)
    assert _iou(found, planted) > 0.85
    assert not found[:40].any()
    assert (masks.read(path, "original", picture=_save(tmp_path / "f.png", forged)) == found).all()
    assert not masks.read(path, "original", picture=original).any()
    with pytest.raises(InputError, match="beside its original"):
        masks.read(path, "original")
    with pytest.raises(InputError, match=r"300 × 100.*300 × 200"):
        masks.read(path, "original", picture=forged[:100])


def test_resizing_is_by_nearest_neighbour_and_only_within_proportions(tmp_path: Path) -> None:
    path = GREY["plain"](_planted(), tmp_path)
    found = masks.examine(path, size=(120, 160))
    assert (found.mask == np.kron(_planted(), np.ones((2, 2), bool))).all()
    assert found.repairs == ("resized by nearest neighbour",)
    assert masks.examine(path, size=SIZE).repairs == ()
    noise = np.random.default_rng(6).random(SIZE) < 0.5
    rows, columns = np.arange(90) * SIZE[0] // 90, np.arange(120) * SIZE[1] // 120
    scaled = masks.read(GREY["plain"](noise, tmp_path), size=(90, 120))
    assert (scaled == noise[rows][:, columns]).all()
    with pytest.raises(InputError, match=r"60 × 80.*80 × 60"):
        masks.read(path, size=(80, 60))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_what_png_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.4
    path = tmp_path_factory.mktemp("m") / "m.png"
    path.write_bytes(masks.png(mask))
    assert (masks.read(path) == mask).all()


@pytest.mark.parametrize("truth", ["white", "edges", "holes", "labels", "original"])
@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\nbroken"])
def test_broken_files_are_input_errors(tmp_path: Path, truth: str, content: bytes) -> None:
    path = tmp_path / "m.png"
    path.write_bytes(content)
    with pytest.raises(InputError):
        masks.read(path, truth, picture=np.zeros((*SIZE, 3), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(InputError):
        masks.read(tmp_path / "none.png", truth, picture=np.zeros((*SIZE, 3), np.uint8))  # type: ignore[arg-type]


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = GREY["plain"](_planted(), tmp_path)
    data = bytearray(path.read_bytes())
    data[16:24] = (2_000_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises((BudgetError, InputError)):
        masks.labels(path)


def test_an_unknown_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'white'"):
        masks.read(tmp_path / "m.png", "whit")  # type: ignore[arg-type]
    assert not issubclass(UnknownNameError, InvalidValueError)
