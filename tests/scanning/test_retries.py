"""Which errors may be gone when a run is started again."""

from __future__ import annotations

import pytest

from tamperscope.errors import BudgetError, DecodeError, InputError, UnsupportedFormatError, WorkerLostError
from tamperscope.scanning.many import failure
from tamperscope.scanning.retries import problem, settled

SUM = "0" * 64


@pytest.mark.parametrize("error", [InputError("empty"), UnsupportedFormatError("a text"), DecodeError("damaged")])
def test_what_is_no_picture_stays_so_once_its_bytes_were_read(error: Exception) -> None:
    assert settled(problem(failure("a.png", error, SUM)), SUM)
    assert not settled(problem(failure("a.png", error)), None)


@pytest.mark.parametrize(
    "error",
    [
        FileExistsError("pages"),
        PermissionError("a.png"),
        MemoryError(),
        BudgetError("took longer than 1800 s"),
        WorkerLostError("died"),
        UnsupportedFormatError("HEIC needs the extra 'heif': python -m pip install 'tamperscope[heif]'"),
    ],
)
def test_time_memory_disk_and_missing_packages_may_be_other_ones_next_time(error: Exception) -> None:
    assert not settled(problem(failure("a.png", error, SUM)), SUM)


def test_a_report_stands() -> None:
    assert settled(None, SUM)
