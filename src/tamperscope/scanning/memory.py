"""Memory that a scan of a large picture gives back."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from tamperscope.report.maps import LARGE


def release(pixels: int) -> None:
    """Give what a step on a large picture has freed back to the system, which the C library of Linux keeps otherwise.

    Args:
        pixels: Of the picture; nothing is done for small ones.
    """
    if pixels >= LARGE and (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # a system that opens no program as a library
        return None
