"""`tamperscope forge`: labelled forgeries made to order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamperscope.cli.common import fail


def forge(
    photos: Annotated[Path, typer.Argument(help="Authentic photographs or clips: folder, manifest.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures, maps, manifest.jsonl and forge.json.")],
    recipe: Annotated[str, typer.Option(help="Name of a shipped recipe, or a YAML file.")] = "everything",
    count: Annotated[int, typer.Option(min=1, help="Number of forgeries; each gets an authentic twin.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the output is the same for any number.")] = 1,
    shards: Annotated[bool, typer.Option("--shards", help="Write webdataset shards too.")] = False,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Change a field: gate.change=1.")] = None,
    page: Annotated[Path | None, typer.Option("--sheet", help="Write a contact sheet (PNG) of the first ones.")] = None,
) -> None:
    """Make forgeries with exact masks and authentic twins; an interrupted run goes on where it stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tamperscope.errors import TamperscopeError
    from tamperscope.forging import recipe as recipes
    from tamperscope.forging import run, sheet, store
    from tamperscope.report.text import safe

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        chosen = recipes.load(recipe, setting or [])
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("forging", total=count)
            found = run.forge(
                photos, chosen, count, seed, out, workers, shards, lambda done: bar.update(task, completed=done)
            )
        if page is not None and found.made:
            sheet.write(out / store.MANIFEST, page)
    except (TamperscopeError, OSError) as error:
        fail(error)
    for line in found.text().splitlines():
        typer.echo(safe(line, 2000))
    if not found.made:
        raise typer.Exit(1)
