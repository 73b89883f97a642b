"""The report as data: what a machine reads, documented field by field in its own JSON schema.

Every model is frozen and refuses unknown fields; floats that are not finite become null, so the JSON is always
strict JSON. Pictures are not in the JSON: a `Report` carries them beside its fields (`with_pictures`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PrivateAttr, TypeAdapter

from tamperscope.errors import InvalidValueError, unknown_name
from tamperscope.report.fields import JsonDict, Model, Number, Share, Text, json_ready, json_text
from tamperscope.report.intake import Intake as Intake
from tamperscope.report.intake import Picture as Picture
from tamperscope.report.intake import Tool as Tool
from tamperscope.report.maps import Maps
from tamperscope.report.timeline import FramePictures, Timeline
from tamperscope.types import FloatArray, UInt8Array
from tamperscope.verdict.card import Level

if TYPE_CHECKING:
    from tamperscope.detectors.base import Guide
    from tamperscope.types import Finding, Prediction, Region

SCHEMA_VERSION = "1.3"
FUSED = "fused"
CONFIDENCE = "_confidence"
"""Ends the name of a map that says how sure a detector is of its other one."""
EXIT_CODES = {"no_evidence": 0, "inconclusive": 2, "suspicious": 3, "strong_evidence": 3}


class FindingModel(Model):
    """One stated fact or reason, with the values that it rests on."""

    code: Text = Field(description="Stable dotted name, such as exif.software_editor.")
    text: Text = Field(description="One plain sentence.")
    severity: Literal["info", "notice", "warning"] = Field(
        default="info",
        description="info: neutral; notice: worth a look; warning: contradicts an untouched file.",
    )
    values: JsonDict = Field(default_factory=dict, description="The evidence behind the sentence.")
    origin: Text = Field(default="", description="Detector or part of the container that states it.")

    @classmethod
    def of(cls, finding: Finding) -> FindingModel:
        """Return the model of a `Finding`."""
        return cls(
            code=finding.code,
            text=finding.text,
            severity=finding.severity,
            values=dict(finding.values),
            origin=finding.origin,
        )


class RegionModel(Model):
    """A part of the picture that stands out."""

    box: Annotated[tuple[int, int, int, int], BeforeValidator(json_ready)] = Field(
        description="x0, y0, x1, y1 in pixels as stored, origin top left, half-open."
    )
    area_share: Share = Field(default=None, description="Area of the region as a share of the picture, 0 to 1.")
    score: Number = Field(default=None, description="Higher is more suspicious; null when the origin gives none.")
    words: Text = Field(default="", description="What a person would call it.")
    values: JsonDict = Field(
        default_factory=dict,
        description="Evidence; regions that share a value `pair` are copies of each other.",
    )
    origin: Text = Field(default="", description="Who found it.")

    @classmethod
    def of(cls, region: Region, size: tuple[int, int]) -> RegionModel:
        """Return the model of a `Region` of a picture of `size` (H, W)."""
        return cls(
            box=region.box,
            area_share=min(1.0, region.area / (size[0] * size[1])),
            score=region.score,
            words=region.words,
            values=dict(region.values),
            origin=region.origin,
        )


class GuideModel(Model):
    """How a person should read a detector's map."""

    looks_at: Text = Field(default="", description="The trace that the detector reads.")
    how_to_read: Text = Field(default="", description="What bright and dark areas of the map mean.")
    when_it_lies: Text = Field(default="", description="What fools it, in either direction.")


class Calibrated(Model):
    """A detector's score on a common scale, fitted on a stated population."""

    llr: Number = Field(
        description="Natural logarithm of the likelihood ratio, altered over untouched; 0 says nothing."
    )
    probability: Share = Field(default=None, description="Probability of alteration at even prior odds, 0 to 1.")
    low: Number = Field(default=None, description="Lower end of the 95 % interval of llr.")
    high: Number = Field(default=None, description="Upper end of the 95 % interval of llr.")
    population: Text = Field(description="The pictures that the calibration was fitted on, with counts.")


class PredictionModel(Model):
    """What one detector says of the picture."""

    detector: Text = Field(description="Registry name of the detector.")
    summary: Text = Field(default="", description="One sentence on the detector.")
    guide: GuideModel = Field(default_factory=GuideModel, description="How to read its map.")
    family: Text = Field(default="", description="The trace that it reads; detectors of one family count once.")
    status: Literal["ok", "not_applicable", "failed"] = Field(
        default="ok", description="ok: it ran; not_applicable: the trace cannot exist here; failed: it broke."
    )
    cause: Text = Field(default="", description="Why it does not apply or how it failed.")
    score: Number = Field(default=None, description="Raw statistic, higher is more suspicious; null when it has none.")
    calibrated: Calibrated | None = Field(
        default=None, description="The score on a common scale, or null when it is uncalibrated."
    )
    counts: bool = Field(default=False, description="Whether this detector may push the verdict.")
    regions: list[RegionModel] = Field(default_factory=list, description="Parts that stand out.")
    reasons: list[FindingModel] = Field(default_factory=list, description="What the score rests on, in words.")
    evidence: JsonDict = Field(default_factory=dict, description="Numbers behind the score.")
    seconds: Number = Field(default=None, description="Time it took.")

    @classmethod
    def of(
        cls,
        prediction: Prediction,
        *,
        summary: str = "",
        guide: Guide | None = None,
        family: str = "",
        calibrated: Calibrated | None = None,
        counts: bool = False,
        seconds: float | None = None,
    ) -> PredictionModel:
        """Return the model of a `Prediction`; its maps belong into `Report.with_pictures`."""
        told = guide and GuideModel(
            looks_at=guide.looks_at, how_to_read=guide.how_to_read, when_it_lies=guide.when_it_lies
        )
        return cls(
            detector=prediction.detector,
            summary=summary,
            guide=told or GuideModel(),
            family=family,
            status=prediction.status,
            cause=prediction.cause,
            score=prediction.score,
            calibrated=calibrated,
            counts=counts,
            regions=[RegionModel.of(region, prediction.size) for region in prediction.regions],
            reasons=[FindingModel.of(reason) for reason in prediction.reasons],
            evidence=prediction.evidence,
            seconds=seconds,
        )


class Reason(Model):
    """One reason for or against the verdict."""

    text: Text = Field(description="One plain sentence.")
    weight: Number = Field(default=None, description="Its share of llr; positive speaks for alteration. Null: none.")
    origin: Text = Field(default="", description="Detector or part of the container that states it.")


class Threshold(Model):
    """Where a level of the verdict begins, and how often untouched pictures reach it."""

    level: Level = Field(description="Level that begins here.")
    llr: Number = Field(description="Smallest llr of that level.")
    false_alarm_rate: Share = Field(default=None, description="Share of untouched pictures at or above it.")
    low: Share = Field(default=None, description="Lower end of the 95 % interval of that share.")
    high: Share = Field(default=None, description="Upper end of the 95 % interval of that share.")
    population: Text = Field(default="", description="The pictures that the share was measured on, with counts.")


class NotChecked(Model):
    """Something that this scan did not look at."""

    what: Text = Field(description="What was not checked.")
    why: Text = Field(default="", description="Why not.")


class Trial(Model):
    """The verdict on a re-delivered copy of the picture."""

    delivery: Text = Field(description="What was done to the copy, such as JPEG quality 80.")
    level: Level = Field(description="Level that the copy received.")
    llr: Number = Field(default=None, description="llr that the copy received.")


class Stability(Model):
    """Whether the verdict survives what delivery does to a picture."""

    status: Literal["stable", "unstable", "not_run"] = Field(
        default="not_run",
        description="unstable: no_evidence became another level on a copy, or the reverse; stable: on none, though "
        "other levels can change.",
    )
    trials: list[Trial] = Field(default_factory=list, description="The copies and their verdicts.")


class Verdict(Model):
    """The answer, with what speaks for and against it and how far it can be trusted."""

    level: Level = Field(description="One of four levels; the absence of evidence is not evidence of absence.")
    headline: Text = Field(description="The answer in one plain sentence.")
    llr: Number = Field(default=None, description="Natural log likelihood ratio of all that counts; null: none.")
    probability: Share = Field(default=None, description="Probability of alteration at the prior; null: none.")
    prior: Share = Field(default=None, description="Prior probability that `probability` assumes; null: none.")
    start: Number = Field(
        default=None, description="llr before any detector is asked; the reasons' weights add to it. Null: none."
    )
    reasons_for: list[Reason] = Field(default_factory=list, description="Strongest first.")
    reasons_against: list[Reason] = Field(default_factory=list, description="Strongest first.")
    thresholds: list[Threshold] = Field(default_factory=list, description="Where each level begins.")
    not_checked: list[NotChecked] = Field(default_factory=list, description="What was not looked at.")
    regions: list[RegionModel] = Field(default_factory=list, description="Regions of the fused map.")
    stability: Stability = Field(default_factory=Stability, description="Does the verdict survive delivery?")


class Reproduce(Model):
    """How to get the same report again."""

    command: Text = Field(description="Command line, quoted for a POSIX shell.")
    options: JsonDict = Field(default_factory=dict, description="Every option in force, defaults included.")


class Report(Model):
    """Everything that a scan says of one picture, or of one video."""

    status: Literal["ok"] = Field(default="ok", description="Tells a report from the record of a failed file.")
    schema_version: Text = Field(default=SCHEMA_VERSION, description="Version of this schema.")
    tool: Tool = Field(description="Name and versions of the software.")
    created: Text = Field(description="When, ISO 8601 in UTC.")
    intake: Intake = Field(description="The file as received and what was done to it.")
    picture: Picture = Field(description="Size and orientation of the picture.")
    facts: JsonDict = Field(default_factory=dict, description="Container facts as observed, by part.")
    findings: list[FindingModel] = Field(default_factory=list, description="What the container facts say.")
    predictions: list[PredictionModel] = Field(default_factory=list, description="One per detector.")
    verdict: Verdict = Field(description="The answer.")
    timeline: Timeline | None = Field(default=None, description="Of a video: its sampled frames; null for a picture.")
    reproduce: Reproduce = Field(description="Command line and options of this scan.")
    limits: Text = Field(default="", description="What this kind of answer cannot do, in plain words.")

    _rgb: UInt8Array | None = PrivateAttr(None)
    _maps: Maps = PrivateAttr(default_factory=lambda: Maps((0, 0)))
    _frames: tuple[FramePictures, ...] = PrivateAttr(())

    def with_pictures(
        self, rgb: UInt8Array | None, maps: Mapping[str, FloatArray | UInt8Array] | None = None
    ) -> Report:
        """Return a copy that carries the picture and its maps, all as stored.

        Args:
            rgb: (H, W, 3) uint8 pixels, or None.
            maps: Per detector (and `fused`) an (H, W) map: float in [0, 1], or uint8 with 255 = 1.0.

        Raises:
            InvalidValueError: A picture or map that has another size than `picture` states.
        """
        size = (self.picture.height, self.picture.width)
        if rgb is not None and (rgb.shape != (*size, 3) or rgb.dtype != np.uint8):
            raise InvalidValueError(f"rgb: expected uint8 {(*size, 3)}, found {rgb.dtype} {rgb.shape}")
        copy = self.model_copy()
        copy._rgb = rgb
        copy._maps = maps if isinstance(maps, Maps) and maps.size == size else Maps(size, maps)
        copy._frames = ()
        return copy

    def with_frames(self, frames: Sequence[FramePictures]) -> Report:
        """Return a copy of a video's report that carries the pictures of its sampled frames, in their order."""
        copy = self.with_pictures(None)
        copy._frames = tuple(frames)
        return copy

    def __eq__(self, other: object) -> bool:
        """Compare what the JSON says; pictures do not count."""
        return isinstance(other, Report) and self.to_dict() == other.to_dict()

    @property
    def rgb(self) -> UInt8Array | None:
        """(H, W, 3) uint8 pixels as stored; None in a report that was read back from JSON."""
        return self._rgb

    @property
    def frames(self) -> tuple[FramePictures, ...]:
        """Pictures of a video's sampled frames, in the order of `timeline.frames`; none for a picture."""
        return self._frames

    @property
    def maps(self) -> Mapping[str, UInt8Array]:
        """(H, W) uint8 maps as stored, 255 = heatmap 1.0, by detector and `fused`; above 127 = above 0.5.

        `NAME_confidence` is how sure a detector is of each pixel, where it says so.
        """
        return self._maps

    def map(self, name: str) -> FloatArray:
        """Return the (H, W) float32 map in [0, 1] of a detector, or the fused one.

        Raises:
            UnknownNameError: The report carries no map of that name.
        """
        if name not in self._maps:
            raise unknown_name("map", name, self._maps)
        return self._maps[name].astype(np.float32) / np.float32(255.0)

    @property
    def exit_code(self) -> int:
        """0 no evidence, 2 inconclusive, 3 suspicious or strong evidence (1 is for errors)."""
        return EXIT_CODES[self.verdict.level]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data, without pictures."""
        return self.model_dump(mode="json")

    def to_json(self, indent: int | None = 2) -> str:
        """Return the report as strict JSON text, without pictures."""
        return json_text(self.to_dict(), indent)

    def save_html(self, path: str | Path) -> Path:
        """Write the self-contained HTML report atomically and return its path."""
        from tamperscope.files import write_atomic
        from tamperscope.report.html import render_html

        return write_atomic(path, render_html(self).encode("utf-8"))

    def save_pdf(self, path: str | Path) -> Path:
        """Write the report as PDF atomically and return its path (extra `pdf`).

        Raises:
            UnsupportedFormatError: What prints it is not installed.
        """
        from tamperscope.report.pdf import save_pdf

        return save_pdf(self, path)

    def save_maps(self, folder: str | Path, upright: bool = False) -> list[Path]:
        """Write every map as a greyscale PNG of the picture's own size, and return the paths.

        The fused map is also laid over the picture: `fused_overlay.jpg`, made smaller where a side is over the 65500
        pixels of a JPEG. A video's are named by frame and detector.

        Args:
            folder: Made when missing.
            upright: Turn the maps as the EXIF orientation says; otherwise they lie as the pixels are stored.
        """
        from tamperscope.report.files import save_maps

        return save_maps(self, folder, upright)


class ErrorReport(Model):
    """The record of a file that could not be scanned; it is no verdict."""

    status: Literal["error"] = Field(default="error", description="Tells this record from a report.")
    schema_version: Text = Field(default=SCHEMA_VERSION, description="Version of this schema.")
    name: Text = Field(description="File name as given; untrusted text.")
    error: Text = Field(description="Type of the error, such as DecodeError.")
    message: Text = Field(description="What was expected, what was found, how to mend it.")
    sha256: Text | None = Field(default=None, description="SHA-256 of the file's bytes, when they could be read.")

    @property
    def exit_code(self) -> int:
        """Always 1."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready data."""
        return self.model_dump(mode="json")

    def to_json(self, indent: int | None = 2) -> str:
        """Return the record as strict JSON text."""
        return json_text(self.to_dict(), indent)


Row = Annotated[Report | ErrorReport, Field(discriminator="status")]
"""One scanned file: a report, or the record of why there is none."""

ROW: TypeAdapter[Report | ErrorReport] = TypeAdapter(Row)
