"""Every operation of the table keeps the contract on which labels, gate and records rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.forging import gate, operations
from tamperscope.ops.forge.upscaled import NETWORKS
from tamperscope.types import Sample


def painter(image: Any, mask_image: Any, generator: Any, **asked: Any) -> Any:
    """Stand in for a pipeline of diffusers: paint the region in a colour that follows from the seed."""
    colour = tuple(int(c) for c in np.random.default_rng(generator.initial_seed()).integers(0, 255, 3))
    painted = image.copy()
    painted.paste(colour, mask=mask_image.convert("L"))
    return SimpleNamespace(images=[painted])


# What may leave a picture as it is, as a control, is asked not to; what needs a pipeline is given one.
SETTINGS: dict[str, dict[str, Any]] = {
    "upsampled": {"kind": ["bilinear", "transposed"]},
    "repainted": {"pipeline": painter},
}
FACE = {"box": [60, 40, 160, 160], "points": [[90, 80], [130, 80], [110, 105], [94, 130], [126, 130]]}
TRACES = {
    "duplication",
    "foreign_noise",
    "foreign_grid",
    "jpeg_history",
    "resampling",
    "cfa",
    "blur",
    "sharpening",
    "median",
    "upsampling",
    "edge_halo",
    "statistics",
}


@pytest.fixture
def host(photo: Callable[[str], np.ndarray]) -> Sample:
    return Sample(photo("astronaut")[:192, 100:356].copy(), np.zeros((192, 256), np.bool_), id="host")


@pytest.fixture
def material(photo: Callable[[str], np.ndarray]) -> operations.Material:
    outline = np.zeros((192, 256), np.bool_)
    outline[60:110, 90:150] = True
    donor = Sample(photo("coffee")[100:270, 100:300].copy(), id="donor", meta={"faces": [FACE]})
    cut = np.zeros(donor.size, np.bool_)
    cut[40:100, 50:120] = True
    return operations.Material(outline, donor, cut, "a person", ("old",))


@pytest.fixture
def page() -> Sample:
    rgb = np.full((192, 256, 3), 235, np.uint8)
    for row, text in enumerate(("Total 123.40", "Tax 17.05", "Paid by card", "No 55871 of 9")):
        cv2.putText(rgb, text, (12, 36 + 44 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (30, 30, 30), 2, cv2.LINE_AA)
    noise = np.random.default_rng(0).normal(0, 2, rgb.shape)
    rgb = np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)
    return Sample(rgb, np.zeros((192, 256), np.bool_), id="page")


@pytest.fixture(autouse=True)
def _upscalers(session_upscaler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NETWORKS, str(session_upscaler))


# Those on clips take clips: see tests/ops/forge/test_video_ops.py.
PICTURES = {n: o for n, o in operations.OPERATIONS.items() if not n.startswith("clip_")}


@pytest.mark.parametrize("name", PICTURES)
def test_contract(name: str, host: Sample, page: Sample, material: operations.Material) -> None:
    host = page if ".document." in operations.get(name).at else host
    settings = SETTINGS.get(name, {})
    made = operations.build(name, settings, material)(host, np.random.default_rng(5))
    assert made.mask is not None
    assert made.mask.any()
    (entry,) = made.meta["ops"]
    changed = (made.rgb != host.rgb).any(axis=2)
    assert changed.any()
    if not entry.get("reencoded"):
        size = 2 * gate.FEATHER + 1
        reach = cv2.dilate(made.mask.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)
        assert not (changed & ~reach).any()
    assert json.loads(json.dumps(entry)) == entry
    assert entry["trace"]
    assert set(entry["trace"]) <= TRACES
    assert {"noun", "attributes", "place", "relation"} <= entry["words"].keys()
    again = operations.build(name, settings, material)(host, np.random.default_rng(5))
    assert np.array_equal(made.rgb, again.rgb)
    assert np.array_equal(made.mask, again.mask)
    assert again.meta == made.meta
    loose = replace(material, object=None)
    drawn = [operations.build(name, settings, loose)(host, np.random.default_rng(seed)).rgb for seed in (6, 7)]
    assert not np.array_equal(*drawn)


def test_what_is_known_of_an_object_is_recorded(host: Sample, material: operations.Material) -> None:
    for name in ("splice", "copy_move", "jitter"):
        told = operations.build(name, {}, material)(host, np.random.default_rng(1)).meta["ops"][0]["words"]
        assert (told["noun"], told["attributes"]) == ("a person", ["old"])


@pytest.mark.parametrize("name", [n for n, o in PICTURES.items() if o.donor])
def test_what_takes_a_donor_records_it(name: str, host: Sample, material: operations.Material) -> None:
    made = operations.build(name, {}, material)(host, np.random.default_rng(0))
    assert made.meta["ops"][0]["donor"] == "donor"


@pytest.mark.parametrize("name", [n for n, o in operations.OPERATIONS.items() if o.object == "mask"])
def test_a_known_object_of_the_host_is_what_goes(name: str, host: Sample, material: operations.Material) -> None:
    made = operations.build(name, {}, material)(host, np.random.default_rng(0))
    assert made.mask is not None
    assert material.object is not None
    assert (made.mask & material.object).sum() == material.object.sum()
    assert made.meta["ops"][0]["words"]["noun"] == "a person"


def test_a_text_is_a_range_and_a_list_is_what_it_is(host: Sample, material: operations.Material) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        made = operations.build("trace_noise", {"sigma": "7.5..8.5", "first": ["keep"]}, material)(host, rng)
        entry = made.meta["ops"][0]
        assert 7.5 <= entry["sigma"] <= 8.5
        assert entry["first"] == "keep"
    grid = operations.build("trace_grid", {"quality": "70..72"}, material)(host, np.random.default_rng(1))
    assert grid.meta["ops"][0]["quality"] in (70, 71, 72)


def test_mixed_traces_are_named(host: Sample, material: operations.Material) -> None:
    steps = ["trace_blur", "trace_noise"]
    made = operations.build("trace_mixed", {"steps": steps}, material)(host, np.random.default_rng(1))
    assert [step["op"] for step in made.meta["ops"][0]["steps"]] == steps
    with pytest.raises(UnknownNameError, match="trace_blur"):
        operations.build("trace_mixed", {"steps": ["trace_blurr"]}, material)


def test_names_and_settings_that_do_not_exist(material: operations.Material) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'splice'"):
        operations.build("slpice", {}, material)
    with pytest.raises(UnknownNameError, match="did you mean 'share'"):
        operations.build("splice", {"shares": [0.1, 0.2]}, material)
    with pytest.raises(UnknownNameError, match="setting of splice 'donor_mask'"):
        operations.build("splice", {"donor_mask": None}, material)
    with pytest.raises(InvalidValueError, match=r"splice\.share"):
        operations.build("splice", {"share": [0.5, 0.1]}, material)


def test_numbers_of_editors_stay_in_place() -> None:
    assert operations.classes()[:5] == ["authentic", "splice", "copy_move", "removal", "jitter"]
