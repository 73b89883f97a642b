"""The verbs of `report`: evidence packs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamperscope.cli.common import fail

app = typer.Typer(help="Make and check evidence packs.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def key(path: Annotated[Path, typer.Argument(help="New file for the private key.")]) -> None:
    """Make a key that signs packs, and print its fingerprint."""
    from tamperscope.errors import TamperscopeError
    from tamperscope.report import pack

    try:
        typer.echo(f"fingerprint: {pack.new_key(path)}")
    except (TamperscopeError, OSError) as error:
        fail(error)


@app.command("pack")
def pack_(
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders, patterns.")],
    out: Annotated[Path, typer.Option(help="The pack, a .zip file.")],
    key: Annotated[Path, typer.Option(help="Private key made by `report key`.")],
    title: Annotated[str, typer.Option(help="What it is about.")] = "",
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Go into subfolders.")] = False,
    originals: Annotated[bool, typer.Option("--originals", help="Put the pictures themselves in, too.")] = False,
) -> None:
    """Scan pictures and put reports, maps and hashes into one signed pack."""
    from tamperscope.errors import TamperscopeError
    from tamperscope.report.text import safe
    from tamperscope.scanning.packing import pack

    try:
        packed, failed = pack(paths, out, key, title, recursive, originals)
    except (TamperscopeError, OSError) as error:
        fail(error)
    typer.echo(f"{packed} pictures in {out}")
    for line in failed:
        typer.echo(f"not in it: {safe(line)}", err=True)
    raise typer.Exit(1 if failed else 0)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="The pack.")],
    fingerprint: Annotated[str, typer.Option(help="Of the signer's key; without it any signer will do.")] = "",
) -> None:
    """Check that a pack is whole and who signed it; exit 0 if so, 1 if not."""
    from tamperscope.errors import TamperscopeError
    from tamperscope.report import pack
    from tamperscope.report.text import safe

    try:
        found = pack.verify(path, fingerprint)
    except (TamperscopeError, OSError) as error:
        fail(error)
    typer.echo(f"title:       {safe(found.title)}\ncreated:     {safe(found.created)}")
    typer.echo(f"signed by:   {found.fingerprint}")
    typer.echo(f"pictures:    {len(found.pictures)}")
    for fault in found.faults:
        typer.echo(f"FAULT        {safe(fault)}")
    who = {None: "whole; compare the fingerprint with the signer's", True: "whole, and of the named signer"}
    wrong = "signed by another key" if found.trusted is False and not found.faults else "not as it was signed"
    typer.echo(who[found.trusted] if found.good else wrong)
    raise typer.Exit(0 if found.good else 1)
