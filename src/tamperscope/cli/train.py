"""`tamperscope train` and `tamperscope export`: train a network after a recipe; make an artifact of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamperscope.cli.common import fail

if TYPE_CHECKING:
    from tamperscope.inference.artifact import Card


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

    from tamperscope.errors import TamperscopeError
    from tamperscope.report.text import safe

    _need("torch", "accelerate")
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


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training; with --official, name of the system.")],
    licence: Annotated[str, typer.Option(help="Of the weights; what the pictures it learned from allow.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the artifact; RUN/artifact if not said.")] = None,
    name: Annotated[str, typer.Option(help="That reports call it by; the system's name if not said.")] = "",
    side: Annotated[int, typer.Option(min=0, help="Side of its canvases in pixels; 0 = as in validation.")] = 0,
    calibrate_on: Annotated[
        list[str] | None, typer.Option(help="Manifest for threshold and calibration; the run's own if not said.")
    ] = None,
    measure_on: Annotated[list[str] | None, typer.Option(help="Manifest to measure on that decides nothing.")] = None,
    faces: Annotated[bool, typer.Option("--faces", help="Ask it of each face, cut out and aligned.")] = False,
    unweighed: Annotated[str, typer.Option(help="Why scans show it and never weigh it.")] = "",
    alarms: Annotated[
        float,
        typer.Option(min=0, max=1, help="Of authentic pictures, what who judges whole ones may call forged."),
    ] = 0.05,
    most: Annotated[float, typer.Option(min=1, help="A score is worth at most so many to one.")] = math.inf,
    note: Annotated[list[str] | None, typer.Option(help="What else its users should know, such as failures.")] = None,
    official: Annotated[
        Path | None, typer.Option(help="File of published weights, used in place of a run's: safetensors, .pt or .pth.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Of the network, with --official: weights=FOLDER.")
    ] = None,
) -> None:
    """Make an artifact of a run's best network, or of published weights: `scan --model` uses it without torch."""
    from tamperscope.errors import TamperscopeError
    from tamperscope.report.text import safe

    if official is None and not licence:
        raise typer.BadParameter("a run's weights need one", param_hint="--licence")
    if official is None and setting:
        raise typer.BadParameter("a run knows its own settings", param_hint="--set")
    _need("torch", "onnx", "onnxscript")
    from tamperscope.engine.export import Wish
    from tamperscope.engine.export import export as write
    from tamperscope.engine.official import exporting

    manifests = tuple(calibrate_on or ()), tuple(measure_on or ())
    wish = Wish(licence, name, side, *manifests, tuple(note or ()), faces, unweighed, alarms, most)
    try:
        if official is None:
            made = write(run, out or run / "artifact", wish)
        else:
            told = exporting.settings(setting or [])
            made = exporting.write(str(run), official, out or run / "artifact", wish, **told)
    except (TamperscopeError, OSError) as error:
        fail(error)
    card = made.card
    size = (made.folder / "network.onnx").stat().st_size
    typer.echo(safe(f"{made.folder}: {card.title}, {card.parameters:,} parameters, graph of {size:,} bytes", 2000))
    for line in _said(card):
        typer.echo(safe(line, 2000))
    if card.calibration is None:
        typer.echo("no calibration: too few pictures of known truth; scans show it and do not weigh it")


def _said(card: Card) -> Iterator[str]:
    """Yield what a card says of the graph beside the network, and each number with its interval."""
    same, worst = card.parity, max(card.parity["logits"].values())
    text = f"against the network: logits differ by at most {worst:.1e} on {same['canvases']} canvases"
    pixels = f"; {same['pixels_that_change_sides']:,} of {same['pixels']:,} pixels change sides"
    yield text + (pixels if same["pixels"] else "")
    for kind, told in card.measured.items():
        numbers, intervals = dict(told), told["intervals"]
        counts = [f"{numbers.pop(name, 0)} {name.replace('_', ' ')}" for name in ("pictures", "forged", "not_asked")]
        yield f"{kind}: {', '.join(counts)}"
        del numbers["intervals"]
        for name, value in numbers.items():
            ends = " [{:.4f}, {:.4f}]".format(*intervals[name]) if name in intervals else ""
            yield f"  {name}: {value:.4f}{ends}"


def _need(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        from tamperscope.errors import InputError

        fail(InputError(f'{", ".join(missing)}: not installed; pip install "tamperscope[train]"'))
