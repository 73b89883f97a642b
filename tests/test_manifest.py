"""Manifests stream, keep what they do not know, and name the bad line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamperscope.data import manifest
from tamperscope.errors import InputError


def test_entries_keep_unknown_fields_and_group_falls_back_to_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"image": "a.jpg", "label": 1, "group": "g", "kind": "splice"}\n\n{"image": "b.jpg"}\n')
    first, second = manifest.read(path)
    assert (first.source_group, first.extra) == ("g", {"kind": "splice"})
    assert (second.source_group, second.label, second.mask) == ("b.jpg", None, None)


@pytest.mark.parametrize("line", ["{", '["a.jpg"]', '{"label": 1}', '{"image": "a", "label": "yes"}'])
def test_bad_lines_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"image": "ok.jpg"}\n' + line + "\n")
    reader = manifest.read(path)
    next(reader)
    with pytest.raises(InputError, match=r"m\.jsonl, line 2"):
        next(reader)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"label": 1}', "image: Field required"),
        ('["a.jpg"]', "Input should be a valid dictionary or instance of Entry, found ['a.jpg']"),
        ('{"image": "a", "label": ' + "1" * 5000 + "}", "Exceeds the limit"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_bad_line_is_told_in_one_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InputError) as told:
        list(manifest.read(path))
    message = str(told.value)
    assert message.startswith(f"m.jsonl, line 1: expected one JSON object a line: {said}")
    assert message.endswith("; mend it or drop it")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["", "none.jsonl"])
def test_no_file_is_told_as_such(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected a manifest, found no file"):
        list(manifest.read(tmp_path / name))
