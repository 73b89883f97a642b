"""Packs from the command line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tamperscope import cli
from tamperscope.media.recompress import encode_jpeg
from tamperscope.scanning import Scanner, packing


def run(*words: object):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(cli.app, [str(w) for w in words])


def test_pictures_are_packed_signed_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "Scanner", lambda: Scanner(["ela"]))
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        noise = np.random.default_rng(len(name)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        (folder / name).write_bytes(encode_jpeg(noise, 80))
    (folder / "bad.jpg").write_text("no picture")
    key, out = tmp_path / "key.pem", tmp_path / "case.zip"
    mark = run("report", "key", key).output.split()[-1]
    done = run("report", "pack", folder, "--out", out, "--key", key, "--title", "Case 7", "--originals")
    assert done.exit_code == 1, "not everything is in it"
    assert "2 pictures" in done.output
    assert "bad.jpg" in done.output
    with zipfile.ZipFile(out) as archive:
        assert {"pictures/0001/report.html", "pictures/0002/report.json", "pictures/0001/maps/ela.png"} <= set(
            archive.namelist()
        )
        assert archive.read("pictures/0001/original.jpg") == (folder / "a.jpg").read_bytes()
        manifest = json.loads(archive.read("manifest.json"))
    assert [Path(p["name"]).name for p in manifest["pictures"]] == ["a.jpg", "b.jpg"]
    good = run("report", "verify", out, "--fingerprint", mark)
    assert good.exit_code == 0, good.output
    assert "of the named signer" in good.output
    assert run("report", "verify", out, "--fingerprint", "00").exit_code == 1
    data = bytearray(out.read_bytes())
    data[len(data) // 3] ^= 1
    out.write_bytes(data)
    assert run("report", "verify", out).exit_code == 1
    assert run("report", "verify", tmp_path / "none.zip").exit_code == 1
    assert run("report", "pack", folder, "--out", out, "--key", tmp_path / "none.pem").exit_code == 1
