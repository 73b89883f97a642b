"""NIST16 (Nimble Challenge 2016): splices, removals and copies in camera pictures, told by reference lists.

NIST Media Forensics Challenge, data set NC2016_Test0613.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import join, normpath

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.folders import left_out
from tamperscope.data.sources.pairs import within
from tamperscope.errors import InputError

COLUMNS = {"ProbeFileName", "ProbeMaskFileName"}
KINDS = {"splice": "splicing", "removal": "removal", "clone": "copy_move", "copy": "copy_move"}
SOURCE = Source(
    title="NIST16 (NC2016)",
    domain="manipulation",
    licence="on request, agreement with NIST",
    home="https://www.nist.gov/itl/iad/mig/nimble-challenge-2017-evaluation",
    size="564 manipulated pictures, 500×500 to 5616×3744",
    layout="probe/NAME.jpg, masks (forged is black) and reference/…/*-ref.csv with the columns ProbeFileName, "
    "ProbeMaskFileName and, where there are, IsTarget, BaseFileName; separated by | or ,",
    expected={"forged": 564},
)


@dataclass(slots=True)
class _Probe:
    """What all lists together say of one picture."""

    mask: str = ""
    label: int = 0
    kind: str = "tampered"
    group: str = ""


def read(tree: Tree) -> Iterator[Found]:
    """Yield the pictures that a list names; one that no list calls a target is pristine, its base picture the group."""
    probes: dict[str, _Probe] = {}
    # The list of all manipulations first: its masks cover what those of one kind cover only in part.
    for path in sorted(tree.files("*ref*.csv"), key=lambda p: ("manipulation" not in PurePosixPath(p).name.lower(), p)):
        for row in _rows(tree, path):
            image = _located(tree, path, row["ProbeFileName"])
            if image is None:
                tree.note("missing", row["ProbeFileName"], f"listed in {path}, but there is no such picture")
            else:
                _add(probes.setdefault(image, _Probe()), tree, path, row)
    for image, probe in sorted(probes.items()):
        if probe.label:
            yield from forged(tree, image, probe.mask or None, "black", group=probe.group, kind=probe.kind)
        else:
            yield Found(image, 0, group=probe.group)
    left_out(tree, (image for image in within(tree, "probe") if image not in probes), "no list names them")


def _add(probe: _Probe, tree: Tree, path: str, row: dict[str, str]) -> None:
    probe.group = probe.group or stem(row.get("BaseFileName") or "")
    if (row.get("IsTarget") or ("Y" if row["ProbeMaskFileName"] else "N")).upper() != "Y":
        return
    probe.label = 1
    probe.mask = probe.mask or _located(tree, path, row["ProbeMaskFileName"]) or ""
    name = PurePosixPath(path).name.lower()
    if probe.kind == "tampered":
        probe.kind = next((kind for word, kind in KINDS.items() if word in name), "tampered")


def _rows(tree: Tree, path: str) -> list[dict[str, str]]:
    heading = next(iter(tree.lines(path)), "")
    found = tree.table(path, "|" if "|" in heading else ",")
    if found and (lacking := COLUMNS - found[0].keys()):
        raise InputError(f"{path}: expected the columns {', '.join(sorted(COLUMNS))}; missing: {', '.join(lacking)}")
    return found


def _located(tree: Tree, path: str, name: str | None) -> str | None:
    """Return a file that a list names, relative to a folder around the list."""
    return tree.one_of(*(normpath(join(folder, name)) for folder in PurePosixPath(path).parents)) if name else None
