"""Worker processes: started fresh, one thread of OpenCV each, gone when the process that started them is gone."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def processes(count: int, start: Callable[..., object] | None = None, *args: Any) -> ProcessPoolExecutor:
    """Return a pool of processes.

    Args:
        count: Number of processes.
        start: Called with `args` in each of them, first of all; both must be picklable.
        args: Arguments of `start`.
    """
    # A fresh process: a fork of one that has threads may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(start, args))


def _begin(start: Callable[..., object] | None, args: tuple[Any, ...]) -> None:
    import cv2

    # A worker of a process that was killed would wait for its next task for ever.
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    cv2.setNumThreads(1)
    if start is not None:
        start(*args)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
