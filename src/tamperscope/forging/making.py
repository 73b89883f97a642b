"""Make one forgery of its plan, delivered like its authentic twin; make it again of its record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from tamperscope.data import text_boxes
from tamperscope.data.manifest import Entry
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.forging import operations
from tamperscope.forging.plan import Plan, Prepared
from tamperscope.forging.pool import Photo, Pool
from tamperscope.ops import attack, augment
from tamperscope.ops.forge import delivery, histories
from tamperscope.ops.record import record
from tamperscope.report import imaging
from tamperscope.settings import wrong
from tamperscope.types import BoolArray, Sample, UInt8Array

OUTPUT = "forged"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A photograph as it is worked with.

    Attributes:
        photo: Which.
        sample: Upright, shrunk and compressed as planned; its mask is all False.
        object: (H, W) bool, its known object, or None.
        sha256: Of its file.
        first: What is known of its file's compression (`histories.first_compression`).
    """

    photo: Photo
    sample: Sample
    object: BoolArray | None
    sha256: str
    first: Mapping[str, Any]

    @property
    def history(self) -> dict[str, Any]:
        """What it went through: `first`, its file's compression, then the preparation, step by step."""
        return {"first": dict(self.first), "ops": list(self.sample.meta.get("ops", ()))}


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A forgery with its twin.

    Attributes:
        plan: What it was made of.
        data: Bytes of its file.
        sample: As decoded from them; the mask marks all edits.
        twin_data: Bytes of the authentic twin's file.
        twin: As decoded from them.
        before: The prepared host.
        after: The forgery before delivery; the mask marks all edits.
        turns: (H, W) uint8, the number of the last edit of each pixel, from 1; 0 = untouched.
        edits: What each edit recorded, in order.
        sources: The host, then the donors in the order of the edits.
    """

    plan: Plan
    data: bytes
    sample: Sample
    twin_data: bytes
    twin: Sample
    before: Sample
    after: Sample
    turns: UInt8Array
    edits: tuple[Mapping[str, Any], ...]
    sources: tuple[Source, ...]

    @property
    def suffix(self) -> str:
        """Of the files' names."""
        return ".png" if self.data.startswith(b"\x89PNG") else ".jpg"

    @property
    def editors(self) -> UInt8Array:
        """(H, W) uint8, the place in `operations.classes()` of the operation that edited each pixel last."""
        known = operations.classes()
        table = [0, *(known.index(step.operation) for step in self.plan.steps)]
        return np.asarray(table, np.uint8)[self.turns]


def make(plan: Plan, pool: Pool) -> Made:
    """Return the forgery of a plan: the same bytes every time.

    Raises:
        InputError: A photograph cannot be opened.
        InvalidValueError: A photograph is too small, or an operation finds no place in it.
    """
    host = prepare(plan.host, pool, plan.host_rng())
    sample, sources = host.sample, [host]
    masks: list[BoolArray] = []
    edits: list[Mapping[str, Any]] = []
    for number, step in enumerate(plan.steps):
        donor_rng, rng = plan.step_rngs(number)
        donor = None if step.donor is None else prepare(step.donor, pool, donor_rng)
        sources += [donor] if donor is not None else []
        sample = operations.build(step.operation, step.settings, _material(host, donor, masks))(sample, rng)
        masks.append(_own(sample.mask, step.operation))
        edits.append(sample.meta["ops"][-1])
    after = replace(sample, mask=np.logical_or.reduce(masks), label=1)
    drawn = delivery.Delivery(plan.delivery).draw(plan.delivery_rng())
    (data, sent), (twin_data, twin) = drawn(after), drawn(host.sample)
    delivered = [sent.mask] if len(masks) == 1 else [drawn(replace(after, mask=mask))[1].mask for mask in masks]
    turns = np.zeros(sent.size, np.uint8)
    for number, mask in enumerate(delivered, 1):
        turns[_own(mask, plan.delivery)] = number
    sent = replace(sent, mask=turns > 0)
    return Made(plan, data, sent, twin_data, twin, host.sample, after, turns, tuple(edits), tuple(sources))


def replay(entry: Entry, photos: str | Path | Pool) -> Sample:
    """Return the forgery that a line of a forged manifest records: the same pixels, mask and record.

    Raises:
        InputError: The line records no forgery, or the photographs or the code are not those that it was made with.
        UnknownNameError: A photograph is missing.
    """
    return remake(entry, photos).sample


def remake(entry: Entry, photos: str | Path | Pool) -> Made:
    """Return all of a recorded forgery, also its twin's and both files' bytes; errors are those of `replay`."""
    stored, wanted = entry.extra.get("plan"), entry.extra.get("sha256")
    if not isinstance(stored, dict) or not isinstance(wanted, dict):
        raise InputError(
            f"'{entry.image}': expected the record of a forgery with its plan, found none; twins have none"
        )
    try:
        plan = Plan.model_validate(stored)
    except ValidationError as error:
        raise InputError(
            f"'{entry.image}': expected the plan of a forgery: {wrong(error)}; take the line as the run wrote it"
        ) from error
    made = make(plan, photos if isinstance(photos, Pool) else Pool.of(photos))
    found = digests(made)
    changed = [name for name in found if wanted.get(name) != found[name]]
    if changed == [OUTPUT]:
        raise InputError(
            f"'{entry.image}': other bytes were made; `forge.json` says which versions made the first ones"
        )
    if changed:
        names = ", ".join(name for name in changed if name != OUTPUT)
        raise InputError(f"'{entry.image}': expected the photographs that it was made of; others are now: {names}")
    return made


def digests(made: Made) -> dict[str, str]:
    """Return the SHA-256 of the photographs' files, by name, and of the forgery's, as `OUTPUT`."""
    return {source.photo.id: source.sha256 for source in made.sources} | {OUTPUT: hashlib.sha256(made.data).hexdigest()}


def prepare(wanted: Prepared, pool: Pool, rng: np.random.Generator) -> Source:
    """Return a photograph upright, shrunk or cut, and compressed as planned."""
    photo = pool.get(wanted.photo)
    opened, outline = pool.open(photo, wanted.object)
    # As the mask, the outline of the object follows the geometry; lines of text do, too.
    sample = replace(opened.sample, id=photo.id, mask=outline, label=0, thumbnail=None)
    if min(sample.size) < wanted.min_side:
        raise InvalidValueError(f"'{photo.id}': expected sides from {wanted.min_side} pixels, found {sample.size}")
    known = pool.lines(photo)
    # Where the page is turned, they lie elsewhere.
    level = int(sample.meta.get("orientation", 1)) == 1
    if level and (lines := text_boxes.lines(known, sample.size)):
        sample = replace(sample, meta={**sample.meta, "lines": lines})
    sample = _upright(sample)
    if wanted.max_side and max(sample.size) > wanted.max_side and wanted.cut and not known:
        sample = augment.Window(wanted.max_side, grid=8)(sample, rng)
    elif wanted.max_side and max(sample.size) > wanted.max_side:
        factor = wanted.max_side / max(sample.size)
        sample = attack.replay(sample, [{"op": "resize", "factor": factor, "interpolation": "area"}])
    if wanted.qualities is not None:
        sample = histories.recompressed(sample, rng, wanted.qualities, other_tables=wanted.other_tables)
    outline = sample.mask if sample.mask is not None and sample.mask.any() else None
    authentic = replace(sample, mask=np.zeros(sample.size, np.bool_), label=0)
    first = histories.first_compression(opened.sample)
    return Source(photo, authentic, outline, str(opened.intake["sha256"]), first)


def _upright(sample: Sample) -> Sample:
    """Return a sample turned as its EXIF orientation says, for what is delivered has no EXIF."""
    turn = int(sample.meta.get("orientation", 1))
    if turn == 1:
        return sample
    mask = None if sample.mask is None else imaging.upright(sample.mask.astype(np.uint8), turn) > 0
    after = sample.with_pixels(imaging.upright(sample.rgb, turn), mask=mask)
    return record(sample, replace(after, meta={**sample.meta, "orientation": 1}), "upright", orientation=turn)


def _material(host: Source, donor: Source | None, edited: Sequence[BoolArray]) -> operations.Material:
    """Return what an edit works with; an object that an earlier edit touched is no longer what it was."""
    outline = host.object
    if outline is not None and any((outline & mask).any() for mask in edited):
        outline = None
    if donor is None:
        # The name is that of the known object, so without one there is none.
        named = host.photo if outline is not None else None
        pieces: tuple[Sample | None, BoolArray | None] = (None, None)
    else:
        named = donor.photo if donor.object is not None else None
        pieces = (donor.sample, donor.object)
    noun, attributes = ("", ()) if named is None else (named.noun, named.attributes)
    return operations.Material(outline, *pieces, noun, attributes)


def _own(mask: BoolArray | None, name: str) -> BoolArray:
    if mask is None or not mask.any():
        raise InvalidValueError(f"{name}: expected a mask that marks a pixel, found none; it was cut off")
    return mask
