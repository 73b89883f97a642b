"""What the verbs share."""

from __future__ import annotations

from typing import NoReturn

import typer


def fail(error: Exception) -> NoReturn:
    """Say what went wrong on standard error and leave with code 1."""
    from tamperscope.report.text import safe

    typer.echo(f"error: {safe(str(error), 2000)}", err=True)
    raise typer.Exit(1)
