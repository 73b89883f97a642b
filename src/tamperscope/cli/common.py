"""What the verbs share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: modules that are imported leave none, and to search them costs a tenth more."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def fail(error: Exception) -> NoReturn:
    """Say what went wrong on standard error and leave with code 1."""
    from tamperscope.report.text import safe

    typer.echo(f"error: {safe(str(error), 2000)}", err=True)
    raise typer.Exit(1)
