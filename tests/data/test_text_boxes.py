"""Boxes of text lines are read as ICDAR stores them, and anything else is a clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.data import text_boxes
from tamperscope.errors import InputError


def test_corners_become_a_box_and_the_text_keeps_its_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf87,341,694,342,693,377,86,376,ONE, TWO\r\n\r\n1,2,5,2,5,9,1,9,\n")
    assert text_boxes.read(path) == [((86, 341, 694, 377), "ONE, TWO"), ((1, 2, 5, 9), "")]


@pytest.mark.parametrize(
    "line",
    ["1,2,3", "a,b,c,d,e,f,g,h,text", "1,2,3,4,5,6,7,nan,text", "1,2,3,4,5,6,7,1e999,text", "1,2,3,4,5,6,7,1e300,text"],
)
def test_another_line_is_an_error_that_names_it(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"1,2,5,2,5,9,1,9,fine\n{line}\n")
    with pytest.raises(InputError, match=r"'a.csv', line 2: expected eight numbers"):
        text_boxes.read(path)


def test_a_missing_or_huge_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected text boxes"):
        text_boxes.read(tmp_path / "none.csv")
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(5 * 2**20)
    with pytest.raises(InputError, match="larger"):
        text_boxes.read(path)


def test_what_is_no_file_is_never_read(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError, match=f"'{path.name}': expected text boxes, found no file"):
            text_boxes.read(path)


def test_only_ends_of_lines_part_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("1,2,5,2,5,9,1,9,page\x0cbreak\u2028here\r\n1,2,5,2,5,9,1,9,next\r".encode())
    assert [text for _, text in text_boxes.read(path)] == ["page\x0cbreak\u2028here", "next"]


def test_lines_are_cut_off_at_the_edges_of_the_page() -> None:
    known = [((10, 20, 110, 40), "ONE"), ((-5, 180, 250, 230), "TWO"), ((300, 10, 320, 20), "outside")]
    assert text_boxes.lines(known, (200, 220)) == [
        {"box": [10, 20, 110, 40], "text": "ONE"},
        {"box": [0, 180, 220, 200], "text": "TWO"},
    ]


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("boxes") / "a.csv"
    path.write_bytes(data)
    try:
        found = text_boxes.read(path)
    except InputError:
        return
    assert all(box[0] <= box[2] and box[1] <= box[3] for box, _ in found)
