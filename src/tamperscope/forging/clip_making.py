"""Make one forged clip of its plan, delivered frame by frame or as one video file, like its authentic twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from tamperscope.data.manifest import Entry
from tamperscope.errors import InputError
from tamperscope.forging import making, operations
from tamperscope.forging.clips import Clips
from tamperscope.forging.making import Made, Source
from tamperscope.forging.plan import Plan
from tamperscope.media import video
from tamperscope.ops.forge.delivery import Delivery, Drawn
from tamperscope.ops.forge.video.clip import Clip, ClipOp
from tamperscope.ops.record import record
from tamperscope.settings import wrong
from tamperscope.types import BoolArray, Sample

if TYPE_CHECKING:
    from tamperscope.forging.recipe import Clipped

_CUT = 1000  # stage of the generator, beyond those of the plan's


class Cut(BaseModel):
    """What a clip needs beside its plan.

    Attributes:
        host: Number of the host's first frame, and of the one after the last.
        donor: The same of the donor, or None.
        fps: Frames a second.
        codec: Rate factor and greatest distance of intra frames of H.264, or None where frames are delivered singly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: tuple[int, int]
    donor: tuple[int, int] | None = None
    fps: float = 25.0
    codec: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClipMade:
    """A forged clip with its twin.

    Attributes:
        cut: What it was made of beside the plan, which every frame has.
        frames: One each, also those that are intact: their `turns` are 0.
        objects: (H, W) bool of each frame as delivered, what was removed or pasted.
        effects: (H, W) bool of each frame as delivered, what it casts.
        file: Bytes of the forgery's video file, or None.
        twin_file: Of the twin's.
    """

    cut: Cut
    frames: tuple[Made, ...]
    objects: tuple[BoolArray, ...]
    effects: tuple[BoolArray, ...]
    file: bytes | None = None
    twin_file: bytes | None = None


def draw(plan: Plan, clips: Clips, wanted: Clipped) -> Cut:
    """Return which frames of host and donor are used, and how they are encoded.

    Args:
        plan: Of the clip; its pictures are first frames.
        clips: All clips.
        wanted: The recipe's field `clips`.
    """
    rng = np.random.default_rng([plan.seed, plan.index, plan.attempt, _CUT])
    donor = plan.steps[0].donor
    names = [plan.host.photo, *([] if donor is None else [donor.photo])]
    parts = []
    for name in names:
        length = len(clips.get(name))
        count = min(wanted.frames, length)
        start = int(rng.integers(0, length - count + 1))
        parts.append((start, start + count))
    crf, gop = (int(rng.integers(low, high + 1)) for low, high in (wanted.crf, wanted.gop))
    return Cut(
        host=parts[0],
        donor=parts[1] if donor is not None else None,
        fps=clips.fps.get(plan.host.photo, wanted.fps),
        codec=(crf, gop) if rng.random() < wanted.encoded else None,
    )


def make(plan: Plan, cut: Cut, clips: Clips) -> ClipMade:
    """Return the forged clip of a plan: the same bytes every time.

    Raises:
        InputError: A frame cannot be opened.
        InvalidValueError: Frames are too small, or the operation finds no object or place.
        UnsupportedFormatError: It is encoded, and PyAV is not installed.
    """
    host, sources = clips.open(plan.host, cut.host, plan.host_rng, cut.fps)
    step, donor = plan.steps[0], None
    given: list[Source] = []
    if step.donor is not None and cut.donor is not None:
        donor, given = clips.open(step.donor, cut.donor, lambda: plan.step_rngs(0)[0], cut.fps)
    named = (given or sources)[0].photo
    # Operations of clips take clips where those of pictures take samples.
    material = operations.Material(donor=cast("Any", donor), noun=named.noun, attributes=named.attributes)
    operation = cast("ClipOp", operations.build(step.operation, step.settings, material))
    after = operation(host, plan.step_rngs(0)[1])
    return _delivered(plan, cut, host, after, sources, given[:1])


def _delivered(
    plan: Plan, cut: Cut, before: Clip, after: Clip, sources: Sequence[Source], donors: Sequence[Source]
) -> ClipMade:
    """Return a forged clip and its twin after one and the same delivery."""
    files: list[bytes | None] = [None, None]
    sent, twins = after, before
    if cut.codec is None:
        drawn = Delivery(plan.delivery).draw(plan.delivery_rng())
    else:
        drawn = Drawn((), "png")
        plan = plan.model_copy(update={"delivery": "h264:crf={},gop={} > png".format(*cut.codec)})
        (sent, files[0]), (twins, files[1]) = (_encoded(clip, cut) for clip in (after, before))
    frames, labels = [], ([], [])  # type: tuple[list[Made], tuple[list[BoolArray], list[BoolArray]]]
    for number, (frame, twin) in enumerate(zip(sent.frames, twins.frames, strict=True)):
        (data, picture), (twin_data, twin_picture) = drawn(frame), drawn(twin)
        mask = _of(picture)
        for kept, masks in zip(labels, (after.objects, after.effects), strict=True):
            assert masks is not None
            moved = drawn(replace(frame, mask=masks[number]))[1] if masks[number].any() else None
            kept.append(np.zeros_like(mask) if moved is None else _of(moved))
        told = after.frames[number].meta["ops"][-1]
        frames.append(
            Made(
                plan=plan,
                data=data,
                sample=replace(picture, mask=mask, label=int(mask.any())),
                twin_data=twin_data,
                twin=twin_picture,
                before=before.frames[number],
                after=after.frames[number],
                turns=mask.astype(np.uint8),
                edits=(told,),
                sources=(sources[number], *donors),
            )
        )
    return ClipMade(cut, tuple(frames), tuple(labels[0]), tuple(labels[1]), files[0], files[1])


def _encoded(clip: Clip, cut: Cut) -> tuple[Clip, bytes]:
    """Return a clip as decoded from a video file, and the file."""
    assert cut.codec is not None
    crf, gop = cut.codec
    data = video.write(clip.rgb, cut.fps, crf, gop)
    decoded = video.read(data).frames
    height, width = clip.size
    frames = [
        record(frame, frame.with_pixels(rgb[:height, :width].copy()), "h264", crf=crf, gop=gop, fps=cut.fps)
        for frame, rgb in zip(clip.frames, decoded, strict=True)
    ]
    return replace(clip, frames=tuple(frames)), data


def _of(sample: Sample) -> BoolArray:
    return np.zeros(sample.size, np.bool_) if sample.mask is None else sample.mask


def replay(entry: Entry, clips: Clips) -> Sample:
    """Return the frame that a line of a forged manifest records: the same pixels, mask and record.

    Raises:
        InputError: The line records no frame of a forged clip, or the photographs or the code are not those that it
            was made with.
    """
    extra: Mapping[str, Any] = entry.extra
    try:
        plan, cut = Plan.model_validate(extra.get("plan")), Cut.model_validate(extra.get("cut"))
    except ValidationError as error:
        raise InputError(
            f"'{entry.image}': expected the record of a forged clip: {wrong(error)}; twins have none, "
            "others are to be taken as the run wrote them"
        ) from error
    made = make(plan, cut, clips).frames[int(extra["frame"])]
    if extra.get("sha256") != making.digests(made):
        raise InputError(
            f"'{entry.image}': expected the frames and the code that it was made with, found others; "
            "`forge.json` says which versions made it"
        )
    return made.sample
