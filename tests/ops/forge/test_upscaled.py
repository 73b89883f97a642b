"""Learned upscalers: what a known network makes of a picture, at any size and from any tile, and what is recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.ops.forge import upscalers
from tamperscope.ops.forge.upscaled import NETWORKS, Upscaled, found
from tamperscope.ops.forge.upscalers import Upscaler
from tamperscope.types import Sample

pytest.importorskip("ncnn")

REGION = np.zeros((150, 200), bool)
REGION[31:90, 43:121] = True
Writer = Callable[..., Path]


@pytest.fixture
def host(photo: Callable[[str], np.ndarray]) -> Sample:
    return Sample(np.ascontiguousarray(photo("coffee")[100:250, 100:300]), id="coffee")


def forge(host: Sample, seed: int = 0, **values: Any) -> tuple[Sample, dict[str, Any]]:
    forged = Upscaled(**{"region": REGION, **values})(host, np.random.default_rng(seed))
    return forged, forged.meta["ops"][-1]


def repeated(rgb: np.ndarray, factor: int) -> np.ndarray:
    """What the network of the fixture makes: each pixel of the reduced picture stands for its whole cell."""
    size = (rgb.shape[1] // factor, rgb.shape[0] // factor)
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    return small.repeat(factor, 0).repeat(factor, 1)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("padded", [True, False])
def test_a_known_network_does_what_it_is_known_for(write_upscaler: Writer, factor: int, padded: bool) -> None:
    net = Upscaler(write_upscaler(factor=factor, padded=padded))
    assert (net.factor, net.lost) == (factor, 0 if padded else 2 * factor)
    rgb = np.random.default_rng(0).integers(0, 256, (24 * factor, 36 * factor, 3), dtype=np.uint8)
    np.testing.assert_array_equal(net.passed(rgb), repeated(rgb, factor))


def test_tiles_leave_no_seams(write_upscaler: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Upscaler(write_upscaler(blur=0.2))
    rgb = np.random.default_rng(1).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    whole = net.passed(rgb)
    assert (whole != repeated(rgb, 2)).any()
    monkeypatch.setattr(upscalers, "TILE", 28)
    np.testing.assert_array_equal(net.passed(rgb), whole)


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_size_is_kept(session_upscaler: Path, size: tuple[int, int]) -> None:
    rgb = np.full((*size, 3), 77, np.uint8)
    np.testing.assert_array_equal(upscalers.opened(str(session_upscaler)).passed(rgb), rgb)


def test_pasted_back_is_bit_equal_outside_and_as_in_the_whole(host: Sample, write_upscaler: Writer) -> None:
    file = write_upscaler(blur=0.2)
    forged, entry = forge(host, networks=file)
    np.testing.assert_array_equal(forged.rgb[~REGION], host.rgb[~REGION])
    assert entry["reencoded"] is False
    whole, told = forge(host, networks=[file], whole=True)
    assert told["reencoded"] is True
    assert "rest of the picture" in told["words"]["relation"]
    assert (whole.rgb != host.rgb).any(axis=2)[~REGION].mean() > 0.5
    np.testing.assert_array_equal(whole.mask, REGION)
    np.testing.assert_array_equal(forged.rgb[REGION], whole.rgb[REGION])


@pytest.mark.parametrize("whole", [False, True])
def test_a_record_replays_and_names_no_folder(host: Sample, write_upscaler: Writer, whole: bool) -> None:
    files = [write_upscaler(name="a"), write_upscaler(name="b", factor=4)]
    folder = files[0].parent
    (first, entry), (again, same) = (forge(host, 3, region=None, networks=folder, whole=whole) for _ in range(2))
    assert json.loads(json.dumps(entry)) == entry == same
    assert str(folder) not in json.dumps(entry)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert first.mask is not None
    np.testing.assert_array_equal(Upscaled.replay(host, first.mask, entry, folder), first.rgb)
    drawn = {forge(host, seed, networks=folder)[1]["network"] for seed in range(12)}
    assert drawn == {"a", "b"}
    with pytest.raises(InvalidValueError, match="record of upscaled"):
        Upscaled.replay(host, first.mask, {"op": "trace_blur"}, folder)
    with pytest.raises(InvalidValueError, match="with sha256 00"):
        Upscaled.replay(host, first.mask, entry | {"weights": "00"}, folder)


def test_networks_come_from_a_setting_or_the_environment(
    host: Sample, write_upscaler: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_upscaler()
    monkeypatch.delenv(NETWORKS, raising=False)
    for missing in ((), "", [file.parent / "none"]):
        with pytest.raises(InputError, match=r"\.param"):
            forge(host, networks=missing)
    monkeypatch.setenv(NETWORKS, str(file.parent))
    assert found(()) == [str(file)]
    Upscaled().ready()
    assert forge(host)[1]["network"] == file.stem


def test_files_that_are_no_upscaler_are_refused(
    write_upscaler: Writer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.param").write_text("hello")
    (tmp_path / "text.bin").write_bytes(b"")
    with pytest.raises(InputError, match="with one input"):
        Upscaler(tmp_path / "text.param")
    with pytest.raises(InputError, match=r"with its \.bin beside it"):
        Upscaler(tmp_path / "text.bin")
    with pytest.raises(InputError, match="3 channels"):
        Upscaler(write_upscaler(channels=1))
    with pytest.raises(InputError, match="enlarges 2 to 4 times"):
        Upscaler(write_upscaler(name="same", factor=1))
    with pytest.raises(InvalidValueError, match="whole: expected"):
        Upscaled(whole="yes")  # type: ignore[arg-type]


def test_without_ncnn_the_error_says_what_to_install(write_upscaler: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_upscaler()
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(InputError, match=r"pip install \"tamperscope\[upscale\]\""):
        Upscaler(file)
