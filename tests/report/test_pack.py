"""Evidence packs: what was signed is what is read, and every change is found."""

from __future__ import annotations

import io
import json
import subprocess
import time
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamperscope.errors import DecodeError, InputError
from tamperscope.report import pack

FILES = {"report.html": b"<!doctype html>" * 50, "report.json": b"{}", "maps/ela.png": bytes(range(256)) * 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("pack")
    mark = pack.new_key(folder / "key.pem")
    with pack.Pack(folder / "case.zip", "A case", pack.load_key(folder / "key.pem")) as writer:
        writer.add({"name": "a.jpg", "level": "suspicious"}, FILES)
        writer.add({"name": "b\u202e.jpg", "level": "no_evidence"}, {"report.json": b"[]"})
    return folder / "case.zip", mark


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path: Path, target: Path, change: dict[str, bytes | None]) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in (contents(path) | change).items():
            if data is not None:
                archive.writestr(name, data)
    return target


def test_a_whole_pack_is_good(made: tuple[Path, str]) -> None:
    path, mark = made
    found = pack.verify(path, mark)
    assert found.good
    assert found.trusted is True
    assert (found.title, found.fingerprint) == ("A case", mark)
    assert [p["name"] for p in found.pictures] == ["a.jpg", "b\u202e.jpg"]
    assert contents(path)["pictures/0001/maps/ela.png"] == FILES["maps/ela.png"]
    assert pack.verify(path).trusted is None
    assert pack.verify(path, mark.upper() + "\n").good
    other = pack.verify(path, "0" * 64)
    assert (other.good, other.trusted, other.faults) == (False, False, [])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"pictures/0001/report.json": b"{ }"}, "is not as it was signed"),
        ({"pictures/0001/report.json": None}, "is missing"),
        ({"pictures/0001/more.txt": b"x"}, "is not in the manifest"),
        ({"pictures/0001/maps/ela.png": bytes(1024)}, "is not as it was signed"),
    ],
)
def test_changed_files_are_named(
    made: tuple[Path, str], tmp_path: Path, change: dict[str, bytes | None], fault: str
) -> None:
    found = pack.verify(rewritten(made[0], tmp_path / "x.zip", change))
    assert not found.good
    assert found.faults == [f"{next(iter(change))}: {fault}"]


def test_a_changed_manifest_and_a_foreign_signature_are_found(made: tuple[Path, str], tmp_path: Path) -> None:
    path, mark = made
    manifest = contents(path)["manifest.json"].replace(b"suspicious", b"no_evidence")
    assert "signature" in pack.verify(rewritten(path, tmp_path / "a.zip", {"manifest.json": manifest})).faults[0]
    pack.new_key(tmp_path / "other.pem")
    other = pack.load_key(tmp_path / "other.pem")
    signed = {"public_key": pack.public_bytes(other).hex(), "signature": other.sign(manifest).hex()}
    forged = rewritten(
        path, tmp_path / "b.zip", {"manifest.json": manifest, "manifest.sig": json.dumps(signed).encode()}
    )
    assert pack.verify(forged).faults == [], "it is whole, of another signer"
    assert not pack.verify(forged, mark).good


def test_a_name_that_is_there_twice_is_found(made: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    path.write_bytes(made[0].read_bytes())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("pictures/0001/report.json", b"{}")
    assert "pictures/0001/report.json: is there more than once" in pack.verify(path).faults


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_passes_as_whole(made: tuple[Path, str], tmp_path: Path, data: st.DataObject) -> None:
    whole = made[0].read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path / "damaged.zip"
    path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    try:
        good = pack.verify(path, made[1]).good
    except DecodeError:
        return
    if good:
        assert contents(path) == contents(made[0]), "only what holds nothing may change, such as a date"


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 500])
def test_what_is_no_pack_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DecodeError):
        pack.verify(tmp_path / "x.zip")


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{}", b"{" * 100_000, b'{"kind": "other", "files": []}', b'{"kind": 3, "files": {"a": 1}}'],
)
def test_manifests_that_cannot_be_are_told(tmp_path: Path, manifest: bytes) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("manifest.json", manifest)
        archive.writestr("manifest.sig", json.dumps({"public_key": "00" * 32, "signature": "00" * 64}))
    (tmp_path / "x.zip").write_bytes(stream.getvalue())
    with pytest.raises(DecodeError, match=r"evidence pack|of kind"):
        pack.verify(tmp_path / "x.zip")


@pytest.mark.parametrize(
    "told",
    [
        '"pictures": null, "files": []',
        '"pictures": 3, "files": []',
        '"pictures": [], "files": [{"name": "a", "bytes": Infinity, "sha256": ""}]',
        '"pictures": [], "files": [{"name": "a", "bytes": 1e999, "sha256": ""}]',
    ],
)
def test_hostile_manifests_are_told(tmp_path: Path, told: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("manifest.json", f'{{"kind": "{pack.KIND}", {told}}}')
        archive.writestr("manifest.sig", json.dumps({"public_key": "00" * 32, "signature": "00" * 64}))
    with pytest.raises(DecodeError, match="expected an evidence pack"):
        pack.verify(tmp_path / "x.zip")


def test_the_time_of_a_check_is_linear_in_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many names that going through all of them for each takes minutes."""
    names = [f"a{number}" for number in range(40_000)]
    listed = [{"name": name, "bytes": 0, "sha256": ""} for name in names]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [*names, names[0]]:
            archive.writestr(zipfile.ZipInfo(name), b"")
        archive.writestr("manifest.json", json.dumps({"kind": pack.KIND, "files": listed}))
        archive.writestr("manifest.sig", json.dumps({"public_key": "00" * 32, "signature": "00" * 64}))
    monkeypatch.setattr(pack, "_digest", lambda *_: "")
    start = time.process_time()
    found = pack.verify(tmp_path / "x.zip")
    assert time.process_time() - start < 10
    assert found.faults == ["a0: is there more than once"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "a\\b", "a//b", "./a", "a\0b"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    pack.new_key(tmp_path / "k")
    with (
        pytest.raises(InputError, match="plain name"),
        pack.Pack(tmp_path / "x.zip", "", pack.load_key(tmp_path / "k")) as w,
    ):
        w.add({}, {name: b""})
    assert not (tmp_path / "x.zip").exists(), "a pack that failed leaves nothing"
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    pack.new_key(tmp_path / "k")
    assert (tmp_path / "k").stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="new name"):
        pack.new_key(tmp_path / "k")
    (tmp_path / "bad").write_text("no key")
    with pytest.raises(InputError, match="PEM"):
        pack.load_key(tmp_path / "bad")


def test_openssl_agrees(made: tuple[Path, str], tmp_path: Path) -> None:
    files = contents(made[0])
    signed = json.loads(files["manifest.sig"])
    # The fixed head of a public key of Ed25519 in DER (RFC 8410).
    (tmp_path / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100" + signed["public_key"]))
    (tmp_path / "sig").write_bytes(bytes.fromhex(signed["signature"]))
    (tmp_path / "manifest").write_bytes(files["manifest.json"])
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.der", "-keyform", "DER", "-rawin"]
    try:
        done = subprocess.run(
            [*words, "-in", "manifest", "-sigfile", "sig"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert "Successfully" in done.stdout, done.stderr
