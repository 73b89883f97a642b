"""Every hostile case gives an `Opened` or a typed error: no crash, no hang, no sample of what is no picture."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from cases import NAMES, Case, cases, documents, valid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamperscope import media
from tamperscope.errors import TamperscopeError
from tamperscope.media import isolate

SLOWEST = 10.0


def outcome(case: Case) -> str:
    """Open a case, check what comes back, and return `picture` or the name of the error."""
    started = time.perf_counter()
    opened, name, words = None, "picture", ""
    try:
        opened = media.open(case.data, name=case.file_name)
    except TamperscopeError as error:
        name, words = type(error).__name__, str(error)
    assert time.perf_counter() - started < SLOWEST, f"{case.name}: took too long"
    if opened is None:
        assert words.strip(), f"{case.name}: an error without a word"
    else:
        check(opened)
    return name


def check(opened: media.Opened) -> None:
    rgb = opened.sample.rgb
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.size
    # Reports write all of this; nothing may be unserialisable, and nothing may be a lone surrogate or nan.
    json.dumps([opened.intake, opened.facts, [asdict(f) for f in opened.findings]], allow_nan=False)
    json.dumps(opened.facts, ensure_ascii=False).encode("utf-8")
    assert opened.intake["complete"] == ("damaged" not in opened.sample.meta)
    assert opened.sample.jpeg is None or opened.intake["complete"]


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """Outcome by case; one warm decoder process serves them all."""
    isolate.shutdown()
    found = {case.name: outcome(case) for case in cases()}
    assert len(found) == len(cases()), "two cases share a name"
    return found


def test_there_are_enough_cases_and_both_outcomes(results: dict[str, str]) -> None:
    assert len(results) >= 200
    counts = Counter(results.values())
    assert counts["picture"] >= 100
    assert counts["DecodeError"] >= 30
    assert counts["BudgetError"] >= 15
    assert counts["UnsupportedFormatError"] >= 25


def test_outcomes_are_the_expected_ones(results: dict[str, str]) -> None:
    wrong = {
        case.name: results[case.name]
        for case in cases()
        if case.outcome != "either" and (case.outcome == "picture") != (results[case.name] == "picture")
    }
    assert not wrong


def test_the_decoder_process_stayed_small(results: dict[str, str]) -> None:
    status = Path(f"/proc/{isolate.pid()}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    assert peak * 1024 < 1.5e9


def test_cut_pictures_are_marked_or_refused(results: dict[str, str]) -> None:
    # Half of the picture data is missing: it may be shown, but never examined as if it were whole.
    for name in ("jpeg", "jpeg_progressive", "png", "gif", "bmp", "tiff", "webp_lossless"):
        data = valid()[name]
        if results[f"cut_{name}_0.5"] == "picture":
            opened = media.open(data[: len(data) // 2])
            assert opened.sample.meta["damaged"]
            assert {"media.truncated", "media.corrupt"} & {f.code for f in opened.findings}


def test_documents() -> None:
    pytest.importorskip("pypdfium2")
    for case in documents():
        started = time.perf_counter()
        try:
            pages = list(itertools.islice(media.open_pages(case.data), 3))
        except TamperscopeError:
            pages = []
        assert time.perf_counter() - started < SLOWEST, case.name
        for opened in pages:
            check(opened)
        assert case.outcome == "either" or (case.outcome == "picture") == bool(pages), case.name


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_on_disk_are_kept_raw_and_harmless(tmp_path: Path, name: str) -> None:
    base = name.rpartition("/")[2]
    path = tmp_path / base
    try:
        path.write_bytes(valid()["jpeg_grey"])
    except (OSError, ValueError):
        pytest.skip("the file system does not allow this name")
    assert media.open(path).intake["name"] == base


@given(
    name=st.sampled_from(["jpeg", "jpeg_progressive", "png", "png_palette", "gif", "webp_lossless", "tiff_lzw", "bmp"]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 6)), max_size=8),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_arbitrary_mutations(name: str, edits: list[tuple[float, bytes, int]]) -> None:
    raw = bytearray(valid()[name])
    for place, new, removed in edits:
        at = int(place * len(raw))
        raw[at : at + removed] = new
    outcome(Case("mutation", bytes(raw)))
