"""Arbitrary and mutated bytes: every reader answers or raises a typed error, in bounded time and memory."""

from __future__ import annotations

import importlib.util
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_builders import XMP, camera_exif, iim, png_chunk, resource, seeds, srgb_profile

from tamperscope.media.chunks import bmff_boxes, gif_blocks, png_chunks, riff_chunks
from tamperscope.media.container import inspect_container
from tamperscope.media.metadata import read_metadata
from tamperscope.media.values import MAX_RATIO, Inflater, clean_text, decode_text, json_ready

_SPEC = importlib.util.spec_from_file_location("fuzz_metadata", Path(__file__).parents[1] / "fuzz" / "fuzz_metadata.py")
assert _SPEC is not None
assert _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)

BLOCKS = {
    "ifd": camera_exif().tobytes(),
    "exif": camera_exif(">").tobytes(),
    "xmp": XMP.encode(),
    "iptc": iim((1, 90, b"\x1b%G"), (2, 25, b"key"), (2, 120, b"caption")),
    "photoshop": resource(0x0404, iim((2, 25, b"key"))) + resource(0x0406, bytes(7)),
    "icc": srgb_profile(),
    "heif": seeds()["HEIC"][0],
}
STEADY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bytes, cut, repeat, insert large numbers, or splice two places."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(0, max(1, len(out))))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            out[at : at + 1] = bytes([int(rng.integers(0, 256))])
        elif kind == 1:
            out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"])
        elif kind == 2:
            del out[at : at + int(rng.integers(1, 64))]
        elif kind == 3:
            out[at:at] = out[at : at + int(rng.integers(1, 64))]
        elif kind == 4:
            out = out[: max(1, at)]
        else:
            other = int(rng.integers(0, max(1, len(out))))
            out[at : at + 16] = out[other : other + 16]
    return bytes(out)


@pytest.mark.parametrize("target", sorted(BLOCKS))
@STEADY
@given(data=st.binary(max_size=400), seed=st.integers(0, 2**32 - 1))
def test_blocks(target, data, seed):
    check = fuzz.TARGETS[target]
    check(data)
    check(mutate(BLOCKS[target], np.random.default_rng(seed)))
    check(BLOCKS[target][:12] + data)


@pytest.mark.parametrize("fmt", sorted(seeds()))
@STEADY
@given(data=st.binary(max_size=300), seed=st.integers(0, 2**32 - 1))
def test_files(fmt, data, seed):
    mutated = mutate(seeds_of(fmt), np.random.default_rng(seed))
    formats = (fmt,)
    for sample in (data, seeds_of(fmt)[:40] + data, mutated):
        fuzz.check_metadata(sample, formats)
        fuzz.check_container(sample, formats)


_CACHE: dict[str, bytes] = {}


def seeds_of(fmt: str) -> bytes:
    if not _CACHE:
        _CACHE.update({name: files[0] for name, files in seeds().items()})
    return _CACHE[fmt]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), fmt=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "HEIC"]))
def test_manifests(seed, fmt):
    from test_c2pa import encode, identity, sign

    if fmt not in _SIGNED:
        _SIGNED[fmt] = sign(encode(fmt), fmt, identity())
    fuzz.check_c2pa(mutate(_SIGNED[fmt], np.random.default_rng(seed)), (fmt,))


_SIGNED: dict[str, bytes] = {}


@STEADY
@given(data=st.binary(max_size=500))
def test_walks_move_forward_and_stay_inside(data):
    for walk in (png_chunks, riff_chunks, gif_blocks, bmff_boxes):
        last = -1
        for part in walk(data):
            assert last < part.offset < len(data)
            assert part.offset <= part.start
            assert part.stop <= len(data)
            last = part.offset


@STEADY
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=50),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
        max_leaves=30,
    )
)
def test_json_ready_makes_any_value_writable(value):
    fuzz.check_answer((json_ready(value), []), 0)


def test_json_ready_bounds_depth_length_and_numbers():
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert str(json_ready(deep)).count("[") == 8
    assert len(json_ready(list(range(1000)))) == 64
    assert json_ready(10**400) == "…"
    assert json_ready(2**100) == str(2**100)
    assert json_ready("\ud800x") == "?x"
    assert len(clean_text("x" * 10_000, 100)) == 100
    assert decode_text(b"caf\xe9\0rest") == "café"
    assert decode_text("東".encode() * 10_000, 100) == "東" * 99 + "…"


def test_the_inflater_bounds_ratio_and_total():
    import zlib

    inflater = Inflater(budget=300_000)
    packed = zlib.compress(bytes(200_000))
    assert len(packed) * MAX_RATIO < 200_000
    assert inflater.inflate(packed, "a") == b""
    assert "inflate to more than" in inflater.refused[0]
    noise = np.random.default_rng(1).bytes(150_000)
    assert inflater.inflate(zlib.compress(noise), "b") == noise
    assert inflater.inflate(zlib.compress(noise), "c") == b""
    assert inflater.inflate(b"garbage", "d") == b""
    assert inflater.inflate(zlib.compress(noise)[:1000], "e") != b"garbage"
    assert len(inflater.refused) == 4


def box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


# 512 items of 65535 extents each, all of which take no byte in the file.
EXTENTS = box(
    b"meta",
    bytes(4)
    + box(
        b"iinf",
        b"\0\0\0\0\2\0" + b"".join(box(b"infe", b"\2\0\0\0%c%c\0\0Exif\0" % divmod(i, 256)) for i in range(512)),
    )
    + box(b"iloc", b"\0\0\0\0\0\0\2\0" + b"".join(b"%c%c\0\0\xff\xff" % divmod(i, 256) for i in range(512))),
)


def texts(**by_key: str) -> bytes:
    chunks = (png_chunk(b"tEXt", key.encode() + b"\0" + text.encode()) for key, text in by_key.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


HEAVY = {
    "texts that make patterns backtrack": (
        "PNG",
        texts(
            Comment="\n" * 900_000,
            Dream="x -s 1 -S 1" * 80_000,
            parameters="\n Steps: " * 100_000,
            prompt='"class_type" ' * 70_000 + " " * 100_000,
            Software="Gemini " + "1" * 900_000,
            Description="Job ID: 0123abcd-" * 50_000,
            AIGC='"Label"' + " " * 900_000,
        ),
    ),
    "many empty extents": ("HEIC", b"\0\0\0\x0cftypheic" + EXTENTS),
    "many chunks": ("PNG", b"\x89PNG\r\n\x1a\n" + png_chunk(b"abCd", b"") * 500_000),
    "many text chunks": ("PNG", b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"a\0b") * 300_000),
    "many riff chunks": ("WEBP", b"RIFF\xff\xff\xff\x7fWEBP" + b"ABCD\0\0\0\0" * 700_000),
    "many sub-blocks": ("GIF", b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xfe" + b"\1a" * 3_000_000),
    "many gif blocks": ("GIF", b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xfe\1a\0" * 1_000_000),
    "many boxes": ("HEIC", b"\0\0\0\x0cftypheic" + b"\0\0\0\x08free" * 700_000),
    "nested boxes": (
        "HEIC",
        b"\0\0\0\x0cftypheic"
        + b"".join((6_000_000 - 8 * i).to_bytes(4, "big") + b"moov" for i in range(100_000)).ljust(6_000_000, b"\0"),
    ),
    "many segments": ("JPEG", b"\xff\xd8" + b"\xff\xfe\0\3a" * 1_000_000),
    "many markers in pdf": ("PDF", b"%PDF-1.7\n" + b"%%EOF" * 1_000_000 + b"<x:xmpmeta" * 100_000),
    "zeros": ("TIFF", b"II*\0\x08\0\0\0" + bytes(6_000_000)),
}


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_heavy_files_cost_little(name):
    fmt, data = HEAVY[name]

    def work() -> None:
        fuzz._quiet(lambda: inspect_container(data, fmt), len(data))
        fuzz._quiet(lambda: read_metadata(data, fmt, None), len(data))

    began = time.process_time()
    work()
    assert time.process_time() - began < 3
    if name in ("many segments", "many markers in pdf", "nested boxes", "zeros"):
        # The others make very many small objects one after another, which tracemalloc slows down too much.
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 24 * 2**20
