"""Settings of a service: where they come from, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tamperscope import cli
from tamperscope.errors import InputError
from tamperscope.serve.settings import Settings, hashed, load

KEY = f"keys: [{{name: a, sha256: {hashed('k')}}}]\n"


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("port: 1\nworkers: 5\nqueue: 7\n")
    monkeypatch.setenv("TAMPERSCOPE_SERVE_PORT", "2")
    monkeypatch.setenv("TAMPERSCOPE_SERVE_WORKERS", "6")
    monkeypatch.setenv("TAMPERSCOPE_SERVE_DATA", "1")
    found = load(file, {"port": 3, "host": None})
    assert (found.port, found.workers, found.queue, found.data, found.host) == (3, 6, 7, "1", "127.0.0.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_an_open_service_needs_keys(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match="expected `keys`"):
        load(None, {"host": host})
    (tmp_path / "s.yaml").write_text(KEY)
    assert not load(tmp_path / "s.yaml", {"host": host}).loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_needs_none(host: str) -> None:
    assert load(None, {"host": host}).loopback


@pytest.mark.parametrize(
    "text", ["prt: 1", "port: 99999", "keys: [{name: 'a b', sha256: x}]", "- 1", "port: [", "workers: 0"]
)
def test_settings_that_cannot_be_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError):
        load(tmp_path / "s.yaml")
    with pytest.raises(InputError):
        load(tmp_path / "none.yaml")


def test_what_is_wrong_is_said_in_one_line() -> None:
    with pytest.raises(InputError) as told:
        load(None, {"port": 99999999, "prt": 1})
    assert str(told.value).partition("service: ")[2].split("; ") == [
        "port: Input should be less than or equal to 65535, found 99999999",
        "prt: no field of that name is known",
    ]


def test_a_new_key_fits_the_settings(tmp_path: Path) -> None:
    lines = CliRunner().invoke(cli.app, ["serve-key", "bob"]).output.splitlines()
    key = lines[0].rpartition(" ")[2]
    (tmp_path / "s.yaml").write_text("\n".join(lines[2:]))
    assert load(tmp_path / "s.yaml").keys[0].sha256 == hashed(key)
    assert len(key) > 40


def test_the_command_refuses_to_be_open() -> None:
    done = CliRunner().invoke(cli.app, ["serve", "--host", "0.0.0.0"])
    assert done.exit_code == 1
    assert "keys" in done.output


def test_every_setting_is_explained() -> None:
    assert all(field.description for field in Settings.model_fields.values())
