"""What a worker process of the service does with a picture: scan it, and write what can be fetched of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tamperscope import media
from tamperscope.files import write_atomic
from tamperscope.media import Limits
from tamperscope.report import imaging
from tamperscope.report.pdf import compose, materials
from tamperscope.report.schema import Report
from tamperscope.scanning import Scanner

KEPT, TAIL, PREVIEW = 4, 4096, 192
PRINT = "print"
"""Folder of what a PDF is made of."""


class Options(BaseModel):
    """How a picture is to be scanned, as one who asks may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detectors: tuple[str, ...] = Field(default=(), max_length=64, description="Names; all when empty.")
    quick: bool = Field(default=False, description="Only the fast detectors, no stability probe.")
    network: bool = Field(default=True, description="Whether the shipped network is asked.")
    page: int = Field(default=0, ge=0, le=999_999, description="Of a PDF file, from 1; 0 for anything else.")
    image: int = Field(default=0, ge=0, le=999_999, description="A picture on that page, from 1; 0 for the page.")


@dataclass(frozen=True, slots=True)
class Scan:
    """One picture for a worker.

    Attributes:
        path: Where it lies.
        name: What it is called.
        options: Fields of `Options`.
        out: Folder for the page and the maps, or None for neither.
    """

    path: str
    name: str
    options: Mapping[str, Any]
    out: str | None = None


@dataclass(frozen=True, slots=True)
class Print:
    """One report for a worker to print.

    Attributes:
        report: As JSON.
        pictures: What `report.pdf.materials` gave for it.
    """

    report: str
    pictures: Mapping[str, bytes]

    def pdf(self) -> bytes:
        """Return it as PDF."""
        return compose(Report.model_validate_json(self.report), self.pictures)


@dataclass(slots=True)
class Bench:
    """Scanners that are loaded once for each kind of scan; the latest few are kept."""

    limits: Limits
    _scanners: OrderedDict[str, Scanner] = field(default_factory=OrderedDict)

    def __call__(self, task: Scan | Print) -> str | bytes:
        """Return the report as one line of JSON, or as PDF.

        Raises:
            UnsupportedFormatError: What prints is not installed.
            InputError: It is no picture that may be opened.
            UnknownNameError: No detector of a name.
        """
        return task.pdf() if isinstance(task, Print) else self._scanned(task)

    def _scanned(self, scan: Scan) -> str:
        options = Options.model_validate(scan.options)
        scanner, source = self._scanner(options), Path(scan.path)
        if options.page and options.image:
            part = media.Part(options.page, options.image)
            data, suffix = media.extract(source, part, self.limits)
            source = source.with_suffix(suffix)
            source.write_bytes(data)
        report = scanner.scan(source, scan.name, 0 if options.image else options.page)
        if scan.out is not None:
            write_out(report, source, Path(scan.out))
        return report.to_json(indent=None)

    def _scanner(self, options: Options) -> Scanner:
        key = options.model_dump_json(exclude={"page", "image"})
        if key not in self._scanners:
            self._scanners[key] = Scanner(options.detectors, options.quick, limits=self.limits, network=options.network)
            if len(self._scanners) > KEPT:
                self._scanners.popitem(last=False)
        self._scanners.move_to_end(key)
        return self._scanners[key]


def write_out(report: Report, picture: Path, folder: Path) -> None:
    """Write the page and the maps of a report into a folder, and the bytes behind the end of the picture, if any."""
    report.save_html(folder / "report.html")
    for name, data in materials(report).items():
        write_atomic(folder / PRINT / name, data)
    report.save_maps(folder / "maps", upright=True)
    if report.rgb is not None:
        small = imaging.upright(imaging.shrink(report.rgb, PREVIEW), report.picture.orientation)
        write_atomic(folder / "preview.jpg", imaging.jpeg(small, 85))
    for number, values in enumerate(f.values for f in report.findings if f.code.endswith("trailing_bytes")):
        with picture.open("rb") as file:
            file.seek(int(values["offset"]))
            data = file.read(min(int(values["length"]), TAIL))
        write_atomic(folder / f"trailing-{number}.bin", data)


def begin(limits: Limits) -> Bench:
    """Return what a worker process scans with."""
    return Bench(limits)
