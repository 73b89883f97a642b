"""`tamperscope evaluate` and `tamperscope bench`: measure detectors on labelled pictures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tamperscope.cli.common import fail

Data = Annotated[Path, typer.Option(help="Folder in which test sets are looked up.")]
Out = Annotated[Path, typer.Option(help="Folder for results, tables, the page and the cache.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Take what an earlier run here has measured.")]


class _RunByDefault(TyperGroup):
    """`bench PROTOCOL` is `bench run PROTOCOL`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before a first word that is no command."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Run a protocol; compare and rank results.", no_args_is_help=True, cls=_RunByDefault)


def evaluate(
    manifest: Annotated[Path, typer.Argument(help="Manifest of labelled pictures (.jsonl).")],
    detector: Annotated[list[str] | None, typer.Option("--detector", "-d", help="Name; all when left out.")] = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", "-s", help="Named metrics; imdl when left out.")] = None,
    attack: Annotated[list[str] | None, typer.Option("--attack", "-a", help="Grid, or jpeg:quality=75.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Folder of saved maps of another tool.")] = None,
    split: Annotated[str, typer.Option(help="Only entries of this split.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many pictures; 0 = all.")] = 0,
    out: Out = Path("evaluation"),
    workers: Workers = 1,
    resume: Resume = True,
) -> None:
    """Measure detectors, or saved maps of any other tool, on one manifest."""
    from tamperscope.bench import job
    from tamperscope.bench.subjects import SavedMaps
    from tamperscope.errors import TamperscopeError

    try:
        if not manifest.is_file():
            fail(FileNotFoundError(f"expected a manifest, found no file '{manifest}'"))
        names = {
            "detectors": tuple(detector or ()),
            "suites": tuple(suite or ("imdl",)),
            "attacks": tuple(attack or ()),
        }
        protocol = job.evaluation(manifest, split, limit or None, names)
        folder = SavedMaps(predictions) if predictions else None
        found = job.execute(protocol, manifest.parent, out, _command(), workers, resume, folder)
    except (TamperscopeError, OSError) as error:
        fail(error)
    _say(job.summary(found), out)


@app.command("run")
def run(
    protocol: Annotated[str, typer.Argument(help="Name of a shipped protocol, or a YAML file.")],
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Folder for the output; bench/PROTOCOL when left out.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Change a field: tests.0.limit=20.")] = None,
    workers: Workers = 1,
    resume: Resume = True,
) -> None:
    """Run a protocol: every test set, attack, detector and suite; go on where an earlier run stopped."""
    from tamperscope.bench import job
    from tamperscope.bench import protocol as protocols
    from tamperscope.errors import TamperscopeError

    try:
        chosen = protocols.load(protocol, setting or [])
        where = out or Path("bench") / Path(protocol).stem
        found = job.execute(chosen, data, where, _command(), workers, resume)
    except (TamperscopeError, OSError) as error:
        fail(error)
    _say(job.summary(found), where)


@app.command("list")
def list_protocols() -> None:
    """List the shipped protocols and suites."""
    from tamperscope.bench import protocol as protocols
    from tamperscope.metrics.suites import named

    for name in protocols.shipped():
        typer.echo(f"{name:20} {protocols.load(name).title}")
    typer.echo("\nsuites:")
    for name in named.names():
        typer.echo(f"{name:20} {named.load(name).about}")


@app.command()
def compare(first: Path, second: Path) -> None:
    """Compare two results.json: differences, what only one has, what was not measured alike."""
    from tamperscope.bench import comparing, results
    from tamperscope.errors import TamperscopeError

    try:
        typer.echo(comparing.compare(results.load(first), results.load(second)))
    except TamperscopeError as error:
        fail(error)


@app.command()
def leaderboard(
    files: Annotated[list[Path], typer.Argument(help="results.json files.")],
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
) -> None:
    """Rank the subjects of many results on one page."""
    from tamperscope.bench import comparing, results
    from tamperscope.errors import TamperscopeError
    from tamperscope.files import write_atomic

    try:
        found = {str(path): results.load(path) for path in files}
        typer.echo(comparing.leaderboard(found))
        if html:
            write_atomic(html, comparing.leaderboard_html(found).encode())
    except (TamperscopeError, OSError) as error:
        fail(error)


@app.command()
def page(
    file: Annotated[Path, typer.Argument(help="A results.json.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables and the page.")],
) -> None:
    """Write tables and page of results again, without pictures: fit to be published whatever the pictures' licence."""
    from tamperscope.bench import job, results
    from tamperscope.errors import TamperscopeError

    try:
        job.write(results.load(file), out)
    except (TamperscopeError, OSError) as error:
        fail(error)
    typer.echo(f"page: {out / 'index.html'}")


@app.command()
def complexity(
    detectors: Annotated[list[str] | None, typer.Argument(help="Names; all when left out.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Measure parameters, MACs, CPU time and peak memory per megapixel."""
    from tamperscope import registry
    from tamperscope.bench import complexity as costs
    from tamperscope.errors import TamperscopeError

    try:
        found = costs.measure(detectors or registry.names())
    except TamperscopeError as error:
        fail(error)
    typer.echo(costs.to_json(found) if json else costs.markdown(found))


def _command() -> str:
    return shlex.join(["tamperscope", *sys.argv[1:]])


def _say(lines: list[str], out: Path) -> None:
    for line in lines:
        typer.echo(line)
    typer.echo(f"page: {out / 'index.html'}")
