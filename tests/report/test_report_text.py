"""Hostile strings are visible and harmless in every output."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.report.text import formula_safe, safe, shell_command, shell_quote

ANY = st.text(st.characters(codec=None), max_size=80)


@given(ANY)
def test_safe_text_is_one_line_of_visible_characters(text):
    shown = safe(text)
    assert all(unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in shown)
    assert safe(shown) == shown
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(ANY, st.integers(1, 40))
def test_safe_text_is_bounded(text, limit):
    shown = safe(text, limit)
    assert len(shown) <= limit
    if len(safe(text, 10_000)) <= limit:
        assert shown == safe(text, 10_000)
    else:
        assert shown.endswith("…")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("a\u200bb\ufeffc\u2066d", r"a\u200bb\ufeffc\u2066d"),
        ("\x9b2J", r"\x9b2J"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("\u3164", r"\u3164"),
        ("Zoë 日本 😀 مرحبا", "Zoë 日本 😀 مرحبا"),
    ],
)
def test_known_tricks_become_visible(text, shown):
    assert safe(text) == shown


def test_stacked_marks_are_cut():
    assert len(safe("a" + "\u0301" * 500)) <= 6


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d", "\uff20"])
def test_cells_that_start_like_a_formula_get_an_apostrophe(start):
    assert formula_safe(f"{start}1+1") == f"'{start}1+1"


@given(ANY)
def test_no_cell_of_a_csv_is_a_formula(text):
    buffer = io.StringIO()
    csv.writer(buffer).writerow([formula_safe(safe(text)), "end"])
    rows = list(csv.reader(io.StringIO(buffer.getvalue())))
    assert len(rows) == 1
    assert rows[0][1] == "end"
    assert not rows[0][0].lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30), min_size=1, max_size=3))
def test_quoted_arguments_reach_a_shell_unchanged(arguments):
    line = shell_command(["printf", "%s|", *arguments])
    assert safe(line, 10_000) == line
    result = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert result.stdout == "".join(f"{argument}|" for argument in arguments).encode()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_name_that_is_no_utf8_reaches_a_shell_unchanged():
    name = b"a\xff'\\b\x1b.jpg".decode("utf-8", "surrogateescape")
    result = subprocess.run(["bash", "-c", f"printf %s {shell_quote(name)}"], capture_output=True, check=True)
    assert result.stdout == b"a\xff'\\b\x1b.jpg"


def test_plain_arguments_are_quoted_as_shlex_does():
    assert shell_command(["tamperscope", "scan", "my photo.jpg"]) == "tamperscope scan 'my photo.jpg'"
