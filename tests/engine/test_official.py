"""Published weights on our networks: names and shapes fit, and values land where they mean the same."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import official_references as references
import pytest
import torch
import torch.nn.functional as F
from official_listings import LISTINGS, Listing, stand_in
from safetensors.torch import save, save_file
from torch import Tensor
from typer.testing import CliRunner

from tamperscope import scan
from tamperscope.cli import app
from tamperscope.engine import official
from tamperscope.engine.official import exporting, load_official, mapping, reading
from tamperscope.engine.official.mapping import Edit, Sheet
from tamperscope.engine.recipe import Wanted
from tamperscope.errors import InputError, UnknownNameError
from tamperscope.inference.artifact import open_artifact
from tamperscope.networks import catalog

FITTING = [name for name in official.names() if not official.sheet(name).misfit]
REFUSED = [name for name in official.names() if official.sheet(name).misfit]


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Write weights of a system as safetensors."""

    def _file(name: str, held: dict[str, Tensor]) -> Path:
        path = tmp_path / f"{name}.safetensors"
        save_file(held, path)
        return path

    return _file


def test_every_map_is_of_a_system_and_has_a_listing_or_a_reason() -> None:
    assert set(official.names()) <= set(catalog.names())
    assert set(FITTING) == set(LISTINGS)
    assert {"mvss_net", "pscc_net"} <= set(REFUSED)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "univfd" else ()) for n in FITTING])
def test_published_names_and_shapes_fit_and_every_rule_has_its_use(name: str) -> None:
    known, shapes = official.sheet(name), LISTINGS[name]()
    with torch.device("meta"), warnings.catch_warnings():
        # What a network ships with has no place on this device.
        warnings.simplefilter("ignore")
        network = official._built(Wanted(name=name, size="full", settings=known.settings), known)
        found = {key: torch.empty(shape) for key, shape in shapes.items()}
    made = mapping.mapped(known, found, network.state_dict(), name)
    assert made.keys() <= network.state_dict().keys()
    left = [k for k in network.state_dict().keys() - made if not k.endswith("num_batches_tracked")]
    assert all(any(re.fullmatch(p, key) for p in known.elsewhere) for key in left)
    seen = list(shapes)
    for edit in known.edits:
        assert any(re.fullmatch(edit.key, key) for key in seen), edit.key
        seen += [re.sub(edit.key, to, k) for to in edit.to for k in seen if re.fullmatch(edit.key, k)]
    for pattern, replacement in known.renames:
        assert any(re.search(pattern, key) for key in seen), pattern
        seen = [re.sub(pattern, replacement, key) for key in seen]
    # Of each rule one tensor, and one that none but renames are for.
    for lost in {next(k for k in found if re.fullmatch(e.key, k)) for e in known.edits} | {list(found)[-1]}:
        rest = {k: v for k, v in found.items() if k != lost}
        with pytest.raises(InputError, match="missing"):
            mapping.mapped(known, rest, network.state_dict(), name)


def test_the_counts_of_parameters_are_the_published_ones() -> None:
    published = {"npr": 1.44e6, "freqnet": 1.85e6, "iml_vit": 91.75e6, "cat_net": 114.3e6, "trufor": 68.7e6}
    for name, count in published.items():
        counted = [v for k, v in LISTINGS[name]().items() if "running" not in k and "tracked" not in k]
        assert sum(torch.Size(shape).numel() for shape in counted) == pytest.approx(count, rel=4e-3)


def test_npr_says_what_the_published_network_says(file: Callable[..., Path]) -> None:
    held, image = stand_in(LISTINGS["npr"]()), torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network = load_official("npr", file("npr", held))
        assert not network.training
        wanted = references.npr(held, image)
        torch.testing.assert_close(network(image)["score"], wanted, atol=1e-4, rtol=1e-5)
        # A value in another place would tell.
        held["layer2.1.bn2.running_mean"], held["layer2.2.bn2.running_mean"] = (
            held["layer2.2.bn2.running_mean"],
            held["layer2.1.bn2.running_mean"],
        )
        assert (references.npr(held, image) - wanted).abs().max() > 1e-3


def test_freqnet_says_what_the_published_network_says(file: Callable[..., Path]) -> None:
    held, image = stand_in(LISTINGS["freqnet"]()), torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network, wanted = load_official("freqnet", file("freqnet", held)), references.freqnet(held, image)
        torch.testing.assert_close(network(image)["score"], wanted, atol=1e-4, rtol=1e-4)
        held["realconv3.weight"], held["imagconv3.weight"] = held["imagconv3.weight"], held["realconv3.weight"]
        assert (references.freqnet(held, image) - wanted).abs().max() > 5e-3


@pytest.mark.parametrize("prefix", ["backbone.", ""])
def test_xception_says_what_the_published_network_says(file: Callable[..., Path], prefix: str) -> None:
    told = {k.replace("backbone.", prefix): v for k, v in stand_in(LISTINGS["xception"]()).items()}
    held = told if prefix else {k: v for k, v in told.items() if "adjust" not in k}
    image = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network, wanted = load_official("xception", file("xception", held)), references.xception(held, image)
        torch.testing.assert_close(network(image)["score"], wanted[:, 1] - wanted[:, 0], atol=1e-4, rtol=1e-4)
        key = f"{prefix}block7.rep.4.conv1.weight"
        held[key] = held[key].flip(0)
        assert (references.xception(held, image) - wanted).abs().max() > 1e-3


def test_a_last_layer_that_is_never_asked_is_left_out(file: Callable[..., Path]) -> None:
    held = stand_in(LISTINGS["npr"]())
    held |= {"fc.weight": torch.zeros(1, 2048), "fc.bias": torch.zeros(1)}
    assert load_official("npr", file("npr", held)).state_dict()["last.bias"] == held["fc1.bias"]


def test_patchcraft_says_what_the_published_network_says(file: Callable[..., Path]) -> None:
    held = stand_in(LISTINGS["patchcraft"]()) | {"group1.hpf.weight": references.filters()}
    assert held["group1.hpf.weight"].shape == LISTINGS["patchcraft"]()["group1.hpf.weight"]
    poor, rich = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        network: Any = load_official("patchcraft", file("patchcraft", held))
        found, wanted = network.judged(poor, rich), references.patchcraft(held, poor, rich)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_univfd_takes_its_head_from_the_file_and_its_tower_from_a_folder(
    tmp_path: Path, file: Callable[..., Path]
) -> None:
    import transformers

    from tamperscope.nn.backbone_sizes import FAMILIES

    config = transformers.CLIPVisionConfig(**FAMILIES["clip"].sizes["tiny"], projection_dim=40)
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    model.save_pretrained(tmp_path)
    held = stand_in(Listing({"fc.weight": (1, 40), "fc.bias": (1,)}))
    path, image = file("univfd", held), torch.rand(2, 3, 128, 128)
    network = load_official("univfd", path, weights=str(tmp_path), backbone="tiny")
    with torch.inference_mode():
        wanted = model(network.normalized(image)).image_embeds @ held["fc.weight"].T + held["fc.bias"]
        torch.testing.assert_close(network(image)["score"], wanted[:, 0], atol=1e-4, rtol=1e-3)
    with pytest.raises(InputError, match=r"expected the setting `weights`: a folder with CLIP"):
        load_official("univfd", path)
    held["tower.projection.weight"] = torch.ones(2)
    with pytest.raises(InputError, match=r"1 unexpected: tower\.projection\.weight"):
        load_official("univfd", file("univfd", held), weights=str(tmp_path), backbone="tiny")


@pytest.mark.slow
def test_iml_vit_says_what_the_published_network_says(file: Callable[..., Path]) -> None:
    held, image = stand_in(LISTINGS["iml_vit"]()), torch.rand(1, 3, 320, 288)
    network = load_official("iml_vit", file("iml_vit", held))
    with torch.inference_mode():
        padded = F.pad(image, (0, 32, 0, 0))
        valid = F.pad(torch.ones_like(image[:, :1], dtype=torch.bool), (0, 32, 0, 0))
        found, wanted = network(padded, valid=valid)["mask"], references.iml_vit(held, padded)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_cat_net_says_what_the_published_network_says(file: Callable[..., Path]) -> None:
    held = {k: v * 0.5 if v.ndim == 4 else v for k, v in stand_in(LISTINGS["cat_net"]()).items()}
    network: Any = load_official("cat_net", file("cat_net", held))
    image, steps = torch.rand(1, 3, 96, 64), torch.randint(1, 30, (1, 2, 8, 8)).float()
    with torch.inference_mode():
        found = network(image, qtables=steps, valid=torch.ones(1, 1, 96, 64, dtype=torch.bool))["mask"]
        plane = F.pixel_shuffle(network.coefficients(image, steps), 8)[:, 0]
        classes = references.resized(references.cat_net(held, image, plane, steps[:, 0]), image.shape[-2:])
    wanted = classes[:, 1:] - classes[:, :1]
    torch.testing.assert_close(found / wanted.std(), wanted / wanted.std(), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_trufor_says_what_the_published_network_says(file: Callable[..., Path]) -> None:
    held, image = stand_in(LISTINGS["trufor"]()), torch.rand(1, 3, 96, 64)
    network = load_official("trufor", file("trufor", held))
    with torch.inference_mode():
        found, wanted = network(image), references.trufor(held, image)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=3e-4, rtol=1e-4)


# Rules.


def ours(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name.replace("_", "."): torch.empty(shape) for name, shape in shapes.items()}


def test_steps_parts_and_joins() -> None:
    known = Sheet(
        source="a test",
        edits=(
            Edit(key=r"(\w)\.qkv", to=(r"\1.q", r"\1.k", r"\1.v")),
            Edit(key="q", to=("all",), part=(0, 2)),
            Edit(key="k", to=("all",), part=(1, 2), do=({"transpose": [0, 1]},)),
            Edit(key="rows", do=({"order": [0, 1, 0]}, {"times": 2.0})),
            Edit(key="two", do=({"difference": 0},)),
            Edit(key="half", do=({"swap": [1]},)),
            Edit(key="table", do=({"narrow": [0, 1, 4]}, {"shape": [2, 2]}, {"plus": [1]})),
            Edit(key="bias", less="mean"),
        ),
        renames=((r"^a\.", "b."), (r"^b\.", "c.")),
        unused={"left.*": "for a test"},
    )
    numbers = torch.arange(6.0)
    given = {
        "a.qkv": numbers.reshape(3, 2),
        "q": torch.ones(1, 2),
        "k": torch.tensor([[3.0], [4.0]]),
        "rows": numbers[:4],
        "two": torch.tensor([[1.0, 2], [5, 9]]),
        "half": torch.tensor([[1.0, 2, 3, 4]]),
        "table": torch.arange(5.0),
        "bias": torch.ones(2),
        "mean": torch.tensor([5.0, 6]),
        "left.out": numbers,
        "x.num_batches_tracked": torch.tensor(7),
    }
    wanted = ours(c_q=(1, 2), c_k=(1, 2), c_v=(1, 2), all=(2, 2), rows=(4,), two=(1, 2), half=(1, 4), table=(2, 2))
    made = mapping.mapped(known, given, wanted | ours(mean=(2,)), "test")
    assert made["c.k"].tolist() == [[2, 3]]
    assert made["all"].tolist() == [[1, 1], [3, 4]]
    assert made["rows"].tolist() == [2, 0, 6, 4]
    assert made["two"].tolist() == [[4, 7]]
    assert made["half"].tolist() == [[3, 4, 1, 2]]
    assert made["table"].tolist() == [[2, 3], [4, 5]]
    assert made["mean"].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": (2,)}, r"1 missing: b \(3,\)"),
        ({"a": (2,), "b": (3,), "c": (1,)}, "1 unexpected: c"),
        ({"a": (2,), "b": (4,)}, r"1 of another shape: b expected \(3,\), found \(4,\)"),
        ({"a": (2,), "A": (2,), "b": (3,)}, r"1 doubled: A \(here a\)"),
        ({f"n{i}": (1,) for i in range(14)}, r"14 unexpected: (n\d+, ){9}n\d+ and 4 more; 2 missing"),
        ({"a": (2,), "b": (3,), "cut": (3,)}, r"cut expected 2 equal parts, found \(3,\)"),
        ({"a": (2,), "b": (3,), "bent": (3,)}, r"bent \(3,\) cannot take the step shape \[2, 2\]"),
        ({"a": (2,), "b": (3,), "bias": (2,)}, r"1 of another shape: bias expected \(3,\), found \(2,\)"),
        ({"a": (2,), "bias": (3,)}, "3 missing: b, 1 of 2 as bias, b"),
        ({"a": (2,), "b": (3,), "bias": (3,)}, "1 missing: 1 of 2 as bias"),
        ({"a": (2,), "b": (3,), "first": (1,)}, "1 of 2 parts of whole"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, tuple[int, ...]], message: str) -> None:
    edits = (
        Edit(key="cut", to=("d", "e")),
        Edit(key="bent", do=({"shape": [2, 2]},)),
        Edit(key="bias", less="b", count=2),
        Edit(key="first", to=("whole",), part=(0, 2)),
    )
    edits = tuple(edit for edit in edits if edit.key in given)
    known = Sheet(source="a test", edits=edits, renames=(("^A$", "a"),))
    with pytest.raises(InputError, match=f"'test'.*{message}"):
        mapping.mapped(known, {k: torch.zeros(v) for k, v in given.items()}, ours(a=(2,), b=(3,)), "test")


@pytest.mark.parametrize(
    "edit",
    [
        {"less": "b", "to": ["c"]},
        {"part": [0, 2]},
        {"part": [2, 2], "to": ["c"]},
        {"do": [{"eval": [1]}]},
        {"do": [{}]},
    ],
)
def test_edits_that_say_nothing_clear_are_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Edit.model_validate({"key": "a", **edit})


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_depart_say_so_before_a_file_is_read(name: str) -> None:
    reason = official.sheet(name).misfit[0][:40]
    with pytest.raises(InputError, match=f"'{name}' cannot be used: ours is another network. {re.escape(reason)}"):
        load_official(name, "nowhere.pth")


def test_unknown_systems_and_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"known: .*trufor"):
        load_official("truefor", tmp_path)
    with pytest.raises(UnknownNameError, match=r"'meso': nothing is known here of published weights.*train meso"):
        load_official("meso", tmp_path / "x.pt")
    with pytest.raises(UnknownNameError):
        load_official("../npr", tmp_path)
    with pytest.raises(InputError, match="expected size full, found 'tiny'"):
        load_official("npr", tmp_path, "tiny")


# Files.

PLAIN = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Hostile:
    """Makes a folder where it is read as Python reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {f"module.{k}": v for k, v in w.items()},
        lambda w: {"state_dict": w, "epoch": 3, "best": np.float64(0.5), "curve": np.zeros(3)},
        lambda w: {"model": {f"_orig_mod.module.{k}": v for k, v in w.items()}, "args": argparse.Namespace(lr=1)},
        lambda w: {"optimizer": {"state": {0: torch.zeros(9)}}, "network": {"state_dict": w}},
        lambda w: {"netC": w, "model": {"other": torch.zeros(1)}},
        lambda w: {**w, "epoch": 4},
    ],
)
def test_weights_are_found_in_whatever_they_lie(wrap: Callable[..., Any], zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth.tar"
    torch.save(wrap(PLAIN), path, _use_new_zipfile_serialization=zipped)
    found = reading.read(path, ["netC"])
    assert found.weights.keys() == PLAIN.keys()
    assert all(torch.equal(found.weights[k], v) for k, v in PLAIN.items())
    assert found.name == "weights.pth.tar"
    assert len(found.sha256) == 64


def test_safetensors_are_known_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(save({f"model.{k}": v for k, v in PLAIN.items()}))
    assert reading.read(path).weights.keys() == PLAIN.keys()


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_of_a_pickle_is_run(zipped: bool, tmp_path: Path) -> None:
    path, folder = tmp_path / "hostile.pt", tmp_path / "made"
    torch.save({"state_dict": PLAIN, "more": Hostile(folder)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"found '\w+\.mkdir', which is code or an object; nothing of it was run"):
        reading.read(path)
    path.write_bytes(pickle.dumps(Hostile(folder)))
    with pytest.raises(InputError, match="expected"):
        reading.read(path)
    assert not folder.exists()
    assert pickle.loads(path.read_bytes()) is None
    assert folder.is_dir(), "it would have run"


def test_whole_networks_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"found 'torch\.nn\.modules\.linear\.Linear'"):
        reading.read(tmp_path / "whole.pt")


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    for zipped in (True, False, None):
        if zipped is None:
            save_file(PLAIN, path)
        else:
            torch.save(PLAIN, path, _use_new_zipfile_serialization=zipped)
        data = path.read_bytes()
        for length in (12, len(data) // 2, len(data) - 5):
            path.write_bytes(data[:length])
            with pytest.raises(InputError, match="expected"):
                reading.read(path)


def test_claims_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, path)
    with pytest.raises(InputError, match="found claims of 4398046511104"):
        reading.read(path)
    torch.save({"a": torch.zeros(77)}, path, _use_new_zipfile_serialization=False)
    told, more = b"KM", b"\x8a\x06" + (1 << 40).to_bytes(6, "little")
    assert path.read_bytes().count(told) == 2
    path.write_bytes(path.read_bytes().replace(told, more))
    with pytest.raises(InputError, match="broken one"):
        reading.read(path)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    for length in (len(header), 1 << 60):
        path.write_bytes(struct.pack("<Q", length) + header + bytes(64))
        with pytest.raises(InputError, match="broken one"):
            reading.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 20))
    with pytest.raises(InputError, match="found compressed ones"):
        reading.read(path)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"a\nb": torch.ones(2)}, r"expected names of letters, digits and points, found 'a\\nb'"),
        ({"a" * 300: torch.ones(2)}, "expected names"),
        ({"\x1b[31m": torch.ones(2)}, r"found '\\x1b\[31m'"),
        ({"a": torch.tensor([1.0, float("nan")])}, "a: expected finite numbers"),
        ({"a": torch.ones(3).to_sparse()}, "a: expected plain numbers"),
        ({"a": torch.ones(3, device="meta")}, "a: expected plain numbers"),
        ({"first": {"second": PLAIN}}, "found 'first' alone"),
        ([1, 2], "found 'list'"),
        ({"epoch": 3}, "found 'epoch' alone"),
    ],
)
def test_what_is_no_weights_is_refused(held: Any, message: str, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=message) as caught:
        reading.read(tmp_path / "odd.pt")
    assert str(caught.value).isprintable()


def test_what_holds_itself_ends(tmp_path: Path) -> None:
    held: dict[str, Any] = {}
    held["model"] = held
    torch.save(held, tmp_path / "round.pt")
    with pytest.raises(InputError, match="found 'model' alone"):
        reading.read(tmp_path / "round.pt")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"no weights at all", "something else"),
        (b"<!DOCTYPE html><html>", "a page of the web; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"\x1f\x8b\x08\x00", "unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it"),
    ],
)
def test_other_files_are_told_by_what_they_are(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_bytes(data)
    with pytest.raises(InputError, match=message):
        reading.read(tmp_path / "file.pth")


def test_archives_of_other_things_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    for parts, message in (
        (["a/readme.txt"], "an archive of other files"),
        (["a/data.pkl", "a/constants.pkl", "a/code/x.py"], "a TorchScript program"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for part in parts:
                archive.writestr(part, b"1")
        with pytest.raises(InputError, match=message):
            reading.read(path)


def test_what_is_no_file_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="found a folder"):
        reading.read(tmp_path)
    with pytest.raises(InputError, match="found none"):
        reading.read(tmp_path / "nothing")
    torch.save(PLAIN, tmp_path / "plain.pt")
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    with pytest.raises(InputError, match=r"at most 100 bytes, found \d+; keep its weights alone"):
        reading.read(tmp_path / "plain.pt")


# Artifacts.


def test_settings_are_told_as_yaml() -> None:
    assert exporting.settings(["weights=a=b", "norm=layer", "factor=2.5"]) == {
        "weights": "a=b",
        "norm": "layer",
        "factor": 2.5,
    }
    for text in ("weights", "=3", "a.b=1"):
        with pytest.raises(InputError, match="expected NAME=VALUE"):
            exporting.settings([text])
    with pytest.raises(InputError, match="expected YAML"):
        exporting.settings(["a=[1"])


@pytest.mark.slow
def test_a_file_becomes_an_artifact_that_scans_use(tmp_path: Path, encode: Any, rng: np.random.Generator) -> None:
    held = stand_in(LISTINGS["npr"]())
    held["fc1.weight"] *= 0.01
    torch.save(held, tmp_path / "NPR.pth")
    asked = ["export", "npr", "--official", str(tmp_path / "NPR.pth"), "--out", str(tmp_path / "out"), "--name", "npr"]
    done = CliRunner().invoke(app, [*asked, "--note", "a stand-in"])
    assert done.exit_code == 0, done.output
    assert "no calibration" in done.output
    card = open_artifact(tmp_path / "out").card
    sha256 = reading.read(tmp_path / "NPR.pth").sha256
    assert card.licence == exporting.LICENCE
    assert card.notes[0] == "a stand-in"
    assert sha256 in card.notes[1]
    assert any("resized to 256" in note for note in card.notes)
    assert card.training["official"] == {"file": "NPR.pth", "sha256": sha256, "source": official.sheet("npr").source}
    assert card.calibration is None
    assert card.measured == {}
    assert card.network["size"] == "full"
    rgb = rng.integers(0, 256, (96, 64, 3), dtype=np.uint8)
    (tmp_path / "picture.png").write_bytes(encode(rgb))
    report = scan(tmp_path / "picture.png", quick=True, models=[tmp_path / "out"])
    row = next(p for p in report.predictions if p.detector == "npr")
    wanted = references.npr(held, torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255).sigmoid()
    assert row.score == pytest.approx(float(wanted), abs=1e-3)


def test_the_command_line_asks_for_what_is_missing(tmp_path: Path) -> None:
    none = CliRunner().invoke(app, ["export", "npr", "--official", str(tmp_path / "no.pth")])
    assert none.exit_code == 1
    assert "expected a file of weights, found none" in none.output
    other = CliRunner().invoke(app, ["export", "mvss_net", "--official", str(tmp_path / "no.pth")])
    assert other.exit_code == 1
    assert "ours is another network" in other.output
    for wrong in (["export", str(tmp_path)], ["export", str(tmp_path), "--licence", "CC0", "--set", "a=1"]):
        assert CliRunner().invoke(app, wrong).exit_code == 2
