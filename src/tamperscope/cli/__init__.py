"""The command line: `scan`, `detectors`, `doctor`, `schema`, and the groups of the other files here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from tamperscope.cli import bench, data, forge, report, serve, train
from tamperscope.cli.common import fail
from tamperscope.imports import uncollected
from tamperscope.media.limits import Limits

app = typer.Typer(
    help="Tell whether a picture was altered, where, how, and on what evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.add_typer(report.app, name="report")

EXIT_CODES = "Exit: 0 no evidence, 1 error, 2 inconclusive, 3 suspicious or stronger; of many files the worst."


@app.command(epilog=EXIT_CODES)
def scan(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, patterns, manifests, s3://…, or - (stdin).")],
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Go into subfolders.")] = False,
    detectors: Annotated[str, typer.Option(help="Comma-separated names; all when empty.")] = "",
    html: Annotated[Path | None, typer.Option(help="Write the report: a file, or for many pictures a folder.")] = None,
    pdf: Annotated[Path | None, typer.Option(help="Write the report as PDF: a file, or for many a folder.")] = None,
    json: Annotated[str, typer.Option(help="Write the report as JSON to a file, or - for standard output.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Append a row a picture to a .jsonl, .csv or .parquet; goes on where it stopped."),
    ] = None,
    save_maps: Annotated[Path | None, typer.Option(help="Write every map as a PNG into this folder.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the fast detectors, no stability probe.")] = False,
    no_model: Annotated[bool, typer.Option("--no-model", help="Leave out the shipped networks.")] = False,
    model: Annotated[list[Path] | None, typer.Option(help="Folder of an exported network to ask, too.")] = None,
    frames: Annotated[int, typer.Option(help="How many frames of a video to look at, evenly in time.")] = 16,
    max_pixels: Annotated[int | None, typer.Option(help="Largest picture to open, in pixels.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that scan many pictures.")] = 1,
    engine: Annotated[str, typer.Option(help="local, or ray for the machines of a cluster.")] = "local",
    timeout: Annotated[float, typer.Option(help="Longest time for one file in a worker, in seconds.")] = 1800.0,
    memory: Annotated[float, typer.Option(help="GiB that a worker may take, 0 for no limit (Linux).")] = 0.0,
) -> None:
    """Scan pictures and videos: an honest verdict, a map or a timeline, reasons, a report."""
    from tamperscope.errors import TamperscopeError

    try:
        limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels)
        prepared = _prepare(workers, engine, limits)
        with uncollected():
            from tamperscope.scanning import Command

        command = Command(
            paths=paths,
            recursive=recursive,
            detectors=[d.strip() for d in detectors.split(",") if d.strip()],
            quick=quick,
            limits=limits,
            html=html,
            pdf=pdf,
            json=json,
            out=out,
            save_maps=save_maps,
            network=not no_model,
            models=model or [],
            frames=frames,
            workers=workers,
            engine=engine,
            timeout=timeout,
            memory=round(memory * 2**30),
            prepared=prepared,
        )
        code = command.run()
    except (TamperscopeError, OSError) as error:
        fail(error)
    raise typer.Exit(code)


def _prepare(workers: int, engine: str, limits: Limits) -> bool:
    """Start the processes of a scan before this one imports the same; return whether the workers are prepared."""
    if engine != "local":
        return False
    if workers == 1:
        from tamperscope.media import isolate

        isolate.start(limits)
        return False
    from tamperscope import workers as crew

    return crew.prepare(("tamperscope.scanning.prepared",))


@app.command()
def detectors(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the detectors."""
    from tamperscope import registry

    entries = registry.entries()
    if json:
        import json as codec

        rows = [{"name": e.name, "summary": e.summary, "source": e.source} for e in entries]
        typer.echo(codec.dumps(rows, indent=2))
        return
    width = max(len(e.name) for e in entries)
    for entry in entries:
        typer.echo(f"{entry.name:{width}}  {entry.summary}")


@app.command()
def schema() -> None:
    """Print the JSON schema of a report."""
    import json as codec

    from tamperscope.report.schema import Report

    typer.echo(codec.dumps(Report.model_json_schema(), indent=2))


@app.command()
def doctor() -> None:
    """Check that this installation works: versions, the isolated decoder, extras, one scan."""
    from tamperscope.scanning.doctor import checks

    worst = 0
    for name, good, text in checks():
        typer.echo(f"{'ok  ' if good else 'FAIL'}  {name}: {text}")
        worst = max(worst, int(not good))
    raise typer.Exit(worst)


def version(show: bool) -> None:
    """Print the version and leave."""
    if show:
        from tamperscope import __version__

        typer.echo(f"tamperscope {__version__}")
        raise typer.Exit


app.command("evaluate")(bench.evaluate)
app.command("forge")(forge.forge)
app.command("train")(train.train)
app.command("export")(train.export)
app.command("serve")(serve.serve)
app.command("serve-key")(serve.serve_key)


@app.callback()
def _root(
    show: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tell whether a picture was altered, where, how, and on what evidence."""


def main() -> None:
    """Run the command line."""
    # Our matrices are small: threads of the linear algebra library would cost more than they give.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Click's own status of a wrong option is that of an inconclusive verdict.
    usage_error: Any = typer.BadParameter.__mro__[1]
    usage_error.exit_code = 1
    app()
