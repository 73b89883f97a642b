"""`tamperscope train`: train a network after a recipe."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tamperscope.cli.common import fail


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints, log.jsonl and run.json; runs/RECIPE if not said.")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Change a field: optimizer.lr=1e-4.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run was stopped or killed.")] = False,
) -> None:
    """Train a network; ends with the validation metrics of the best one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tamperscope.errors import InputError, TamperscopeError
    from tamperscope.report.text import safe

    if find_spec("torch") is None or find_spec("accelerate") is None:
        fail(InputError('train: torch and accelerate are not installed; pip install "tamperscope[train]"'))
    from tamperscope.engine import recipe as recipes
    from tamperscope.engine import train as engine

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        chosen = recipes.load(recipe, setting or [])
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("training", total=None)
            found = engine.train(
                chosen,
                out or Path("runs") / Path(recipe).stem,
                resume,
                advance=lambda step, steps, text: bar.update(task, completed=step, total=steps, description=text),
            )
    except (TamperscopeError, OSError) as error:
        fail(error)
    for line in found.text().splitlines():
        typer.echo(safe(line, 2000))
