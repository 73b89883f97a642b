"""Scans into an evidence pack."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tamperscope.errors import InputError, TamperscopeError, UnsupportedFormatError
from tamperscope.report.files import plain_name
from tamperscope.report.pack import Pack, load_key
from tamperscope.report.schema import Report
from tamperscope.scanning.one import Scanner
from tamperscope.scanning.places import find


def files_of(report: Report) -> dict[str, bytes]:
    """Return the files that a pack holds of a report, by name: page, data, maps, and a PDF where that can be made."""
    from tamperscope.report.html import render_html
    from tamperscope.report.pdf import render_pdf

    with tempfile.TemporaryDirectory() as folder:
        maps = {f"maps/{path.name}": path.read_bytes() for path in report.save_maps(folder, upright=True)}
    with contextlib.suppress(UnsupportedFormatError):
        maps["report.pdf"] = render_pdf(report)
    page, data = render_html(report).encode("utf-8"), (report.to_json() + "\n").encode("utf-8")
    return {"report.html": page, "report.json": data, **maps}


def told_of(report: Report) -> dict[str, Any]:
    """Return what the manifest of a pack tells of a picture."""
    return {
        "name": report.intake.name,
        "sha256": report.intake.sha256,
        "bytes": report.intake.bytes,
        "level": report.verdict.level,
        "headline": report.verdict.headline,
        "scanned": report.created,
        "command": report.reproduce.command,
    }


def pack(
    paths: Sequence[str], out: Path, key: Path, title: str = "", recursive: bool = False, originals: bool = False
) -> tuple[int, list[str]]:
    """Scan pictures into a signed pack; return how many are in it, and which are not and why.

    Args:
        paths: What `scan` takes.
        out: The pack.
        key: Private key that signs it.
        title: What it is about.
        recursive: Go into subfolders.
        originals: Put the pictures themselves in, too.

    Raises:
        InputError: No pictures, or no such key.
    """
    places, signer, scanner = find(paths, recursive), load_key(key), Scanner()
    if not places:
        raise InputError(f"expected pictures, found none in {', '.join(paths)}; try -r for subfolders")
    packed, failed = 0, []
    with Pack(out, title, signer) as writer:
        for place in places:
            try:
                with place.local(scanner.limits.max_file_bytes) as path:
                    report = scanner.scan(path, place.name, place.page)
                    more = {plain_name(f"original{place.suffix}"): path.read_bytes()} if originals else {}
                files = files_of(report) | more
            except (TamperscopeError, OSError) as error:
                failed.append(f"{place.name}: {error}")
                continue
            writer.add(told_of(report), files)
            packed += 1
    return packed, failed
