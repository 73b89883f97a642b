"""A delivered file is what its text asks for, and a forgery and its twin are delivered alike."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tamperscope import media
from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.media.quantization import ijg_table
from tamperscope.media.recompress import encode_jpeg
from tamperscope.ops import attack
from tamperscope.ops.chains import PROFILES
from tamperscope.ops.forge.camera_tables import CAMERAS
from tamperscope.ops.forge.delivery import COMMON, Delivery, Drawn, choose
from tamperscope.ops.forge.histories import first_compression, recompressed
from tamperscope.ops.forge.removal import Removal
from tamperscope.ops.tables import drawn
from tamperscope.types import Sample


@pytest.fixture(scope="module")
def host(photo) -> Sample:  # type: ignore[no-untyped-def]
    rgb = photo("coffee")[60:251, 90:333]
    mask = np.zeros(rgb.shape[:2], bool)
    mask[60:110, 80:150] = True
    return Sample(rgb, mask=mask, id="coffee")


def pixels(data: bytes) -> np.ndarray:
    """An independent decoder: Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def tables(data: bytes) -> list[np.ndarray]:
    found = Image.open(io.BytesIO(data)).quantization  # type: ignore[attr-defined]
    return [np.reshape(found[k], (8, 8)) for k in sorted(found)]


def deliver(text: str, sample: Sample, seed: int = 0) -> tuple[bytes, Sample]:
    return Delivery(text).deliver(sample, np.random.default_rng(seed))


@pytest.mark.parametrize("text", COMMON)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sample_is_what_the_bytes_hold(host: Sample, text: str, seed: int) -> None:
    data, sample = deliver(text, host, seed)
    np.testing.assert_array_equal(pixels(data), sample.rgb)
    assert sample.mask is not None
    assert sample.mask.shape == sample.size
    opened = media.open(data).sample
    assert (opened.jpeg is None) == (sample.jpeg is None) == data.startswith(b"\x89PNG")
    if opened.jpeg is not None and sample.jpeg is not None:
        for ours, theirs in zip(sample.jpeg.coefficients, opened.jpeg.coefficients, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    ops = sample.meta["ops"]
    assert json.loads(json.dumps(ops)) == ops
    assert ops[-1]["format"] == ("png" if sample.jpeg is None else "jpeg")
    assert len(ops) == len(attack.parse(text.partition(">")[0]).steps) + 1


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 75, 98])
def test_a_jpeg_has_the_tables_and_subsampling_asked_for(host: Sample, quality: int, subsampling: str) -> None:
    data, sample = deliver(f"gamma|jpeg:quality={quality},subsampling={subsampling}", host)
    for found, chroma in zip(tables(data), (False, True), strict=True):
        np.testing.assert_array_equal(found, ijg_table(quality, chroma))
    known = first_compression(sample)
    assert known == {"known": "tables", "quality": quality, "exact": True, "subsampling": subsampling}


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_s_file_has_its_tables(host: Sample, name: str) -> None:
    data, sample = deliver(f"> {name}", host)
    camera = CAMERAS[name]
    for found, asked in zip(tables(data), camera.arrays, strict=True):
        np.testing.assert_array_equal(found, asked)
    assert first_compression(sample)["subsampling"] == camera.subsampling
    assert camera.source
    assert not first_compression(sample)["exact"], "a table of the IJG scale needs no name"


def test_drawn_tables_are_in_the_file_the_sample_and_the_record(host: Sample) -> None:
    data, sample = deliver("jpeg:quality=60..98,subsampling=4:2:0/4:4:4,tables=1..2147483646", host)
    entry = next(entry for entry in sample.meta["ops"] if entry["op"] == "jpeg")
    assert sample.jpeg is not None
    for found, kept, wanted in zip(
        tables(data), sample.jpeg.qtables, drawn(entry["tables"], entry["quality"]), strict=False
    ):
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(kept, wanted)
    np.testing.assert_array_equal(attack.replay(host, [entry]).rgb, sample.rgb)


def test_old_forms_give_the_same_bytes_as_the_encoder(host: Sample) -> None:
    for quality, subsampling in ((75, "4:2:0"), (92, "4:4:4")):
        expected = encode_jpeg(host.rgb, quality, subsampling)  # type: ignore[arg-type]
        assert Delivery(quality, subsampling).encode(host.rgb) == expected  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels(Delivery(None).encode(host.rgb)), host.rgb)


@pytest.mark.parametrize(
    "text",
    [
        "double_jpeg:first=60,second=90,dy=3,dx=5",
        "double_jpeg:first=60,second=90,dy=0,dx=0,subsampling=4:4:4",
        *(f"resize:factor=8|social:profile={name}" for name in PROFILES),
    ],
)
def test_the_last_file_of_a_chain_is_the_one_that_the_attack_decoded(host: Sample, text: str) -> None:
    data, sample = deliver(text, host)
    plain = attack.parse(text)(host, np.random.default_rng(0))
    np.testing.assert_array_equal(pixels(data), plain.rgb)
    assert sample.meta["ops"][:-1] == plain.meta["ops"]


def test_without_loss_means_without_loss(host: Sample) -> None:
    data, sample = deliver("", host)
    np.testing.assert_array_equal(pixels(data), host.rgb)
    assert sample.meta["ops"] == [{"op": "delivery", "container": "", "format": "png", "reencoded": False}]
    resaved, _ = deliver("jpeg:quality=40 > png", host)
    np.testing.assert_array_equal(pixels(resaved), pixels(encode_jpeg(host.rgb, 40, "4:2:0")))


def blockiness(rgb: np.ndarray, axis: int) -> np.ndarray:
    """Mean absolute second difference across each of the eight places of a grid line, along one axis."""
    luma = np.moveaxis(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(float), axis, 0)
    step = np.abs(luma[:-3] - 3 * luma[1:-2] + 3 * luma[2:-1] - luma[3:]).mean(axis=1)
    places = (np.arange(step.size) + 2) % 8
    return np.array([np.median(step[places == p]) for p in range(8)])


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (3, 5), (1, 6), (4, 0)])
def test_a_misaligned_double_jpeg_leaves_its_first_grid(photo, dy: int, dx: int) -> None:  # type: ignore[no-untyped-def]
    sample = Sample(photo("astronaut"))
    data, _ = deliver(f"double_jpeg:first=25,second=99,dy={dy},dx={dx},subsampling=4:4:4", sample)
    assert int(blockiness(pixels(data), 0).argmax()) == -dy % 8
    assert int(blockiness(pixels(data), 1).argmax()) == -dx % 8
    once, _ = deliver("jpeg:quality=99,subsampling=4:4:4", sample)
    grid = blockiness(pixels(once), 0)
    assert grid.max() < 1.25 * np.median(grid), "the statistic finds no grid where there was no first compression"


_STEP = st.sampled_from(
    [
        "resize:factor=0.4..1.6",
        "crop:keep=0.7..0.95",
        "gaussian_blur:sigma=0.5..2",
        "median",
        "flip:axis=horizontal/both",
        "jpeg:quality=40..95,subsampling=4:2:0/4:2:2/4:4:4",
        "double_jpeg:first=40..80,second=70..99,dy=0..7,dx=0..7",
        "webp:quality=60..90",
        "screenshot:scale=0.5..1.5",
        "social:profile=whatsapp/facebook",
    ]
)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(_STEP, max_size=3),
    container=st.sampled_from(["", " > png", "> iphone_7", ">fujifilm_x_e1/kodak_dx4330/png"]),
    size=st.tuples(st.integers(24, 90), st.integers(24, 90)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_delivery_is_replayed_from_its_record(
    steps: list[str], container: str, size: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3)).astype(np.uint8), (0, 0), 2)
    sample = Sample(soft, mask=rng.random(size) < 0.3)
    delivery = Delivery("|".join(steps) + container)
    data, delivered = delivery.deliver(sample, np.random.default_rng(seed))
    np.testing.assert_array_equal(pixels(data), delivered.rgb)
    assert delivered.mask is not None
    assert delivered.label == int(delivered.mask.any())
    *done, last = delivered.meta["ops"]
    again, sample_again = Drawn(tuple(done), last["container"])(sample)
    assert again == data
    assert sample_again.meta == delivered.meta
    assert delivery.deliver(sample, np.random.default_rng(seed))[0] == data


def pair(host: Sample) -> tuple[Sample, Sample]:
    forged = Removal(fill="lowpass", mask=host.mask)(host, np.random.default_rng(0))
    return forged, Sample(host.rgb, mask=np.zeros(host.size, bool))


@pytest.mark.parametrize("text", COMMON)
def test_a_pair_is_delivered_alike(host: Sample, text: str) -> None:
    forged, twin = pair(host)
    (one, left), (two, right) = Delivery(text).deliver_pair(forged, twin, np.random.default_rng(4))
    assert left.meta["ops"][1:] == right.meta["ops"]
    assert one[:3] == two[:3]
    assert left.size == right.size
    assert (left.label, right.label) == (1, 0)
    if left.jpeg is not None and right.jpeg is not None:
        assert left.jpeg.sampling == right.jpeg.sampling
        for ours, theirs in zip(tables(one), tables(two), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("text", "reach"), [("", 0), ("resize:factor=0.6,interpolation=lanczos", 8), ("jpeg:quality=60 > png", 24)]
)
def test_a_pair_differs_near_the_mask_only(host: Sample, text: str, reach: int) -> None:
    forged, twin = pair(host)
    (one, left), (two, _) = Delivery(text).deliver_pair(forged, twin, np.random.default_rng(4))
    assert left.mask is not None
    far = cv2.dilate(left.mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1))) == 0
    assert far.mean() > 0.3
    np.testing.assert_array_equal(pixels(one)[far], pixels(two)[far])
    assert (pixels(one) != pixels(two)).any()


def test_the_host_s_own_file_does_not_tell_the_twin(host: Sample) -> None:
    """A twin opened from a JPEG file still has coefficients; a forgery made of it has none."""
    opened = media.open(encode_jpeg(host.rgb, 80)).sample
    assert opened.jpeg is not None
    forged = Removal(fill="telea", mask=host.mask)(opened, np.random.default_rng(0))
    (one, _), (two, _) = Delivery("").deliver_pair(forged, opened, np.random.default_rng(0))
    assert one[:4] == two[:4] == b"\x89PNG"


def test_texts_are_chosen_by_weight() -> None:
    weights = {"": 1.0, "jpeg:quality=80": 3.0, "screenshot": 0.0}
    drawn = [str(choose(np.random.default_rng(seed), weights)) for seed in range(400)]
    assert drawn.count("jpeg:quality=80") / 400 == pytest.approx(0.75, abs=0.07)
    assert "screenshot" not in drawn
    assert sum(COMMON.values()) == pytest.approx(1.0)


def test_bad_input_is_told(host: Sample) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'iphone_7'"):
        Delivery("> iphone7")
    with pytest.raises(UnknownNameError, match="unknown attack"):
        Delivery("jpegs")
    with pytest.raises(UnknownNameError, match="unknown container"):
        Delivery("jpeg >")
    with pytest.raises(InvalidValueError, match="from 1 to 100"):
        Delivery(101)
    with pytest.raises(InvalidValueError, match="forgery's size"):
        Delivery().deliver_pair(host, Sample(host.rgb[1:]), np.random.default_rng(0))
    for weights in ({}, {"": 0.0}, {"": -1.0, "jpeg": 2.0}):
        with pytest.raises(InvalidValueError, match="weights"):
            choose(np.random.default_rng(0), weights)


def test_a_history_is_made_recorded_and_read(host: Sample) -> None:
    bare = Sample(host.rgb, id="host")
    assert first_compression(bare) == {"known": "none"}
    once = recompressed(bare, np.random.default_rng(1), (70, 72), ["4:2:0"])
    entry = once.meta["ops"][-1]
    assert 70 <= entry["quality"] <= 72
    assert entry["earlier"] == {"known": "none"}
    np.testing.assert_array_equal(once.rgb, pixels(encode_jpeg(host.rgb, entry["quality"], "4:2:0")))
    assert once.jpeg is not None
    np.testing.assert_array_equal(once.jpeg.qtables[0], ijg_table(entry["quality"]))
    # The record outlives the coefficients.
    edited = Removal(fill="telea")(once, np.random.default_rng(0))
    assert edited.jpeg is None
    expected = {"known": "record", "quality": entry["quality"], "exact": True, "subsampling": "4:2:0"}
    assert first_compression(edited) == expected


def test_a_history_may_have_another_maker_s_tables(host: Sample) -> None:
    once = recompressed(Sample(host.rgb), np.random.default_rng(1), (70, 72), other_tables=True)
    entry = once.meta["ops"][-1]
    assert once.jpeg is not None
    np.testing.assert_array_equal(once.jpeg.qtables[0], drawn(entry["tables"], entry["quality"])[0])
    assert first_compression(once)["exact"] is False
    plain = recompressed(Sample(host.rgb), np.random.default_rng(1), (70, 72)).meta["ops"][-1]
    assert (plain["quality"], plain["subsampling"]) == (entry["quality"], entry["subsampling"])
    assert "tables" not in plain


def test_the_earliest_compression_counts(host: Sample) -> None:
    camera = media.open(Delivery("> canon_ixus_430").encode(host.rgb)).sample
    first = first_compression(camera)
    assert (first["known"], first["exact"], first["subsampling"]) == ("tables", False, "4:2:2")
    twice = recompressed(recompressed(camera, np.random.default_rng(0)), np.random.default_rng(1))
    assert twice.meta["ops"][0]["earlier"] == first
    assert first_compression(twice) == first


def test_drawn_qualities_fill_their_range(host: Sample) -> None:
    small = Sample(host.rgb[:16, :16])
    seen = [recompressed(small, np.random.default_rng(s), (60, 63)).meta["ops"][-1] for s in range(40)]
    assert {entry["quality"] for entry in seen} == {60, 61, 62, 63}
    assert {entry["subsampling"] for entry in seen} == {"4:2:0", "4:4:4"}
    with pytest.raises(InvalidValueError, match="1 to 100"):
        recompressed(small, np.random.default_rng(0), (0, 0))
