"""The verbs of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamperscope.cli.common import fail


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen at [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port [8000].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that scan [2].")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; see docs/serve.md.")] = None,
) -> None:
    """Serve the HTTP API."""
    from tamperscope.errors import TamperscopeError

    try:
        from tamperscope.serve.run import run
        from tamperscope.serve.settings import load
    except ImportError as missing:
        fail(ImportError(f"serve needs the extra `serve`: pip install 'tamperscope[serve]' ({missing})"))
    try:
        run(load(config, {"host": host, "port": port, "workers": workers}))
    except (TamperscopeError, OSError) as error:
        fail(error)


def serve_key(name: Annotated[str, typer.Argument(help="Whose key it is.")]) -> None:
    """Make a key for the service: the key itself, shown once, and the lines for its settings."""
    import secrets

    from tamperscope.serve.settings import hashed

    key = secrets.token_urlsafe(32)
    typer.echo(f"key, for {name} alone: {key}\nfor the settings of the service:\nkeys:")
    typer.echo(f"  - {{name: {name}, sha256: {hashed(key)}}}")
