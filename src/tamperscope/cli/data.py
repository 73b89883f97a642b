"""`tamperscope data`: list, prepare, annotate, part, convert and examine labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamperscope.cli.common import fail

app = typer.Typer(help="Labelled pictures: list, prepare, annotate, convert and examine them.", no_args_is_help=True)

MANIFEST = "manifest"


@app.command("list")
def list_sources(json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the public data sets that can be prepared."""
    from dataclasses import asdict

    from tamperscope.data import sources

    found = {name: sources.describe(name) for name in sources.names()}
    if json:
        import json as codec

        rows = [{"name": name, **asdict(source)} for name, source in found.items()]
        typer.echo(codec.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(map(len, found), default=0)
    for domain in dict.fromkeys(sorted(source.domain for source in found.values())):
        typer.echo(f"{domain}:")
        for name, source in found.items():
            if source.domain == domain:
                typer.echo(f"  {name:{width}}  {source.size}; {source.licence}")


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="Data set; `tamperscope data list` names them.")],
    src: Annotated[Path, typer.Option(help="Folder of your copy of it.")],
    out: Annotated[Path, typer.Option(help="Folder for the manifest and repaired masks.")],
    mend_polarity: Annotated[
        bool, typer.Option("--mend-polarity", help="Invert masks that mark more than half of the picture.")
    ] = False,
) -> None:
    """Make a manifest of a public data set: pair files, check sizes, repair masks."""
    from tamperscope.data import prepare as preparing
    from tamperscope.errors import TamperscopeError
    from tamperscope.report.text import safe

    try:
        summary = preparing.prepare(name, src, out, mend_polarity=mend_polarity)
    except (TamperscopeError, OSError) as error:
        fail(error)
    for line in summary.text().splitlines():
        typer.echo(safe(line, 2000))


@app.command()
def annotate(
    pairs: Annotated[
        Path,
        typer.Argument(
            help="List with columns image and original (CSV, JSONL), or a folder laid out as PS-Battles is."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for masks, manifest.jsonl and rejected.jsonl.")],
    keep: Annotated[float, typer.Option(min=0, max=1, help="Least quality score of a mask.")] = 0.5,
    agree: Annotated[float, typer.Option(min=0, max=1, help="Least agreement with the mirrored pair's map.")] = 0.5,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the output is the same for any number.")] = 1,
) -> None:
    """Make masks of edited pictures from their originals; an interrupted run goes on where it stopped."""
    from rich.console import Console
    from rich.progress import Progress

    from tamperscope.data.annotating import run
    from tamperscope.data.annotating.judging import Limits
    from tamperscope.errors import TamperscopeError
    from tamperscope.report.text import safe

    try:
        listed = run.read(pairs)
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("annotating", total=len(listed))
            found = run.annotate(
                listed, out, Limits(keep, agree), workers, lambda done: bar.update(task, completed=done)
            )
    except (TamperscopeError, OSError) as error:
        fail(error)
    for line in found.text().splitlines():
        typer.echo(safe(line, 2000))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="What to convert.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="What to write.")],
    source_format: Annotated[str, typer.Option("--from", help="Format of IN, or manifest.")] = MANIFEST,
    target_format: Annotated[str, typer.Option("--to", help="Format of OUT, or manifest.")] = MANIFEST,
) -> None:
    """Turn another tool's data set into a manifest (--from), or a manifest into one (--to)."""
    from tamperscope.data import exchange
    from tamperscope.errors import InvalidValueError, TamperscopeError
    from tamperscope.report.text import safe

    try:
        if (source_format == MANIFEST) == (target_format == MANIFEST):
            known = ", ".join(f"{f.name} ({f.about})" for f in exchange.formats())
            raise InvalidValueError(f"expected either --from FORMAT or --to FORMAT, one of: {known}")
        if target_format == MANIFEST:
            count, notes = exchange.to_manifest(source, target, source_format)
        else:
            count, notes = exchange.from_manifest(source, target, target_format), []
    except (TamperscopeError, OSError) as error:
        fail(error)
    for note in notes:
        typer.echo(safe(f"{note.kind}: {note.path}: {note.text}"), err=True)
    typer.echo(f"{count} pictures in {target}")


@app.command()
def faces(
    manifest: Annotated[Path, typer.Argument(help="Pictures or frames of people.")],
    out: Annotated[Path, typer.Option(help="Folder for the crops and their manifest.jsonl.")],
    side: Annotated[int, typer.Option(min=32, help="Of the crops, pixels.")] = 256,
    of: Annotated[str | None, typer.Option(help="Only entries of this split.")] = None,
) -> None:
    """Cut out and align every face, with its part of the mask, to train networks of faces on."""
    from rich.progress import track

    from tamperscope.data.face_crops import crop
    from tamperscope.data.manifest import Manifest
    from tamperscope.errors import TamperscopeError
    from tamperscope.report.text import safe

    try:
        pictures = Manifest(manifest).where(of)
        found = crop(pictures, track(list(pictures), "faces"), out, side)
    except (TamperscopeError, OSError) as error:
        fail(error)
    typer.echo(f"{found.faces} faces of {found.pictures} pictures in {out}; {found.without} show none")
    for name, why in found.unreadable.items():
        typer.echo(safe(f"{name}: {why}", 2000), err=True)
    if not found.faces:
        typer.echo("no face was found: expected pictures of people, with faces that are large enough", err=True)
    if found.unreadable or not found.faces:
        raise typer.Exit(1)


@app.command()
def propose(
    manifest: Annotated[Path, typer.Argument(help="Pictures whose regions nobody drew.")],
    network: Annotated[Path, typer.Option(help="Folder of an exported network that shows a map.")],
    out: Annotated[Path, typer.Option(help="Folder for regions and manifest.jsonl.")],
    use: Annotated[
        str, typer.Option("--as", help="object: outlines that forge takes; mask: weak labels of forged pictures.")
    ] = "object",
    least: Annotated[float, typer.Option(min=0, max=1, help="Least share of the picture.")] = 0.01,
    most: Annotated[float, typer.Option(min=0, max=1, help="Largest share of the picture.")] = 0.6,
    of: Annotated[str | None, typer.Option(help="Only entries of this split.")] = None,
) -> None:
    """Let a network mark regions where a manifest has none; they are no truth, and each says who proposed it."""
    from rich.progress import track

    from tamperscope.data import proposing
    from tamperscope.data.manifest import Manifest
    from tamperscope.errors import TamperscopeError
    from tamperscope.inference.artifact import open_artifact
    from tamperscope.report.text import safe

    try:
        pictures = Manifest(manifest).where(of)
        entries = track(list(pictures), "regions")
        found = proposing.propose(pictures, entries, open_artifact(network), out, proposing.use(use), (least, most))
    except (TamperscopeError, OSError) as error:
        fail(error)
    typer.echo(f"{found.regions} regions in {out}; {found.known} pictures needed none; {len(found.refused)} have none")
    for name, why in found.refused.items():
        typer.echo(safe(f"{name}: {why}", 2000), err=True)
    if not found.regions and found.refused:
        raise typer.Exit(1)


@app.command()
def split(
    manifest: Annotated[Path, typer.Argument(help="What to part.")],
    out: Annotated[Path, typer.Option(help="Folder for PART.jsonl of every part.")],
    part: Annotated[list[str], typer.Option(help="Name and share of the groups: train=0.8. May be repeated.")],
    of: Annotated[str | None, typer.Option(help="Only entries of this split.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
) -> None:
    """Part a manifest by group, so that pictures of one source are in one part; nothing is copied."""
    from tamperscope.data.manifest import Manifest
    from tamperscope.data.splitting import split as write
    from tamperscope.errors import InputError, TamperscopeError
    from tamperscope.report.text import safe

    try:
        pairs = [text.partition("=") for text in part]
        try:
            shares = {name: float(share) for name, _, share in pairs}
        except ValueError as error:
            raise InputError(f"--part: expected NAME=SHARE, such as train=0.8, found {part}") from error
        found = write(Manifest(manifest).where(of), out, shares, seed)
    except (TamperscopeError, OSError) as error:
        fail(error)
    for name, count in found.items():
        typer.echo(safe(f"{name}: {count} pictures in {out / name}.jsonl", 2000))


@app.command()
def doctor(
    manifest: Annotated[Path, typer.Argument(help="Manifest (.jsonl), or a folder with a manifest.jsonl.")],
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    json: Annotated[str, typer.Option(help="Write the findings as JSON to a file, or - for standard output.")] = "",
    split: Annotated[str, typer.Option(help="Only entries of this split.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Examine a manifest and its pictures before anything is trained or measured on them."""
    from tamperscope.data.doctor import examine
    from tamperscope.errors import TamperscopeError
    from tamperscope.files import write_atomic

    try:
        found = examine(manifest, workers=workers, split=split or None)
        if html:
            write_atomic(html, found.html().encode())
        if json and json != "-":
            write_atomic(json, found.to_json().encode())
    except (TamperscopeError, OSError) as error:
        fail(error)
    typer.echo(found.to_json() if json == "-" else found.text())
