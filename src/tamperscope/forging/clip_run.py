"""Draw, examine and store forged clips; how `run` makes them where a recipe asks for clips."""

from __future__ import annotations

from collections import Counter

from tamperscope.data import masks
from tamperscope.data.manifest import Entry
from tamperscope.errors import InvalidValueError, UnsupportedFormatError
from tamperscope.files import write_atomic
from tamperscope.forging import clip_making, gate, operations, plan
from tamperscope.forging.clip_making import ClipMade
from tamperscope.forging.clips import Clips
from tamperscope.forging.gate import Measured, Outcome
from tamperscope.forging.making import Made
from tamperscope.forging.recipe import Gate, Recipe
from tamperscope.forging.store import Store
from tamperscope.media import video

PREFIX = "clip_"
"""How names of operations on clips begin."""


Frames = tuple[Measured | None, ...]
"""What the gate measured of each frame; None for an intact one."""


def check(recipe: Recipe) -> None:
    """Check that a recipe's operations are all for clips, or all for pictures, as its field `clips` says.

    Raises:
        InvalidValueError: They are not, or a clip would be edited more than once.
        UnsupportedFormatError: Clips are to be encoded, and PyAV is not installed.
    """
    wrong = [
        name
        for name, weight in recipe.operations.items()
        if weight and name.startswith(PREFIX) != bool(recipe.clips.frames)
    ]
    if wrong:
        kind = "clips" if recipe.clips.frames else "pictures; set clips.frames for clips"
        raise InvalidValueError(f"recipe.operations: expected operations on {kind}, found {', '.join(wrong)}")
    if recipe.clips.frames and recipe.steps != (1, 1):
        raise InvalidValueError(f"recipe.steps: expected [1, 1] for clips, found {list(recipe.steps)}")
    if recipe.clips.frames and recipe.clips.encoded and not video.available():
        raise UnsupportedFormatError(
            'recipe.clips.encoded: H.264 needs PyAV: pip install "tamperscope[video]", or set it to 0'
        )


def one(store: Store, recipe: Recipe, clips: Clips, seed: int, index: int) -> None:
    """Make and write one clip."""
    outcome = pick(recipe, clips, seed, index)
    entries = [] if outcome.made is None else save(store, index, outcome.made, outcome)
    store.keep(index, entries, outcome)


def pick(recipe: Recipe, clips: Clips, seed: int, index: int) -> Outcome[ClipMade, Frames]:
    """Draw forgeries for one clip until one passes; a frame that cannot be opened costs one draw."""

    def make(drawn: plan.Plan) -> ClipMade:
        return clip_making.make(drawn, clip_making.draw(drawn, clips, recipe.clips), clips)

    def judge(made: ClipMade, limits: Gate) -> tuple[Frames, str]:
        found = tuple(gate.measure(frame, limits.level) if frame.turns.any() else None for frame in made.frames)
        return found, reason(made, found, limits)

    return gate.first(recipe, lambda attempt: plan.draw(recipe, clips.keys, seed, index, attempt), make, judge)


def reason(made: ClipMade, found: tuple[Measured | None, ...], limits: Gate) -> str:
    """Return why a clip is turned away, in one word, or "" where it passes.

    No frame may differ from its twin in format, or before delivery outside of its mask; other faults count where most
    of the forged frames have them, for an object may leave the picture or hide behind another for a while.
    """
    if any(_leaks(frame) for frame in made.frames):
        return "spill"
    faults = Counter(gate.reason(measured, limits) for measured in found if measured is not None)
    for name in ("format", "spill"):
        if faults[name]:
            return name
    forged = faults.total()
    why, count = max(((name, n) for name, n in faults.items() if name), key=lambda pair: pair[1], default=("", 0))
    return "area" if not forged else why if 2 * count > forged else ""


def _leaks(frame: Made) -> bool:
    """Return whether a pixel outside of the mask changed: the masks of clips are exact."""
    mask = frame.after.mask
    return bool(mask is not None and (frame.after.rgb[~mask] != frame.before.rgb[~mask]).any())


def save(store: Store, index: int, made: ClipMade, outcome: Outcome[ClipMade, Frames]) -> list[Entry]:
    """Write the files of a clip and its twin; return one entry for each frame of both.

    An intact frame whose twin has the same bytes is its own `twin` and has one entry.

    Beside the files of pictures there are `objects/` and `effects/`: what was removed or pasted, and its shadow or
    reflection; and for encoded clips `clips/` and `clip_twins/`, the video files.

    Args:
        store: Where.
        index: Of the clip.
        made: The clip.
        outcome: What the gate measured of it.
    """
    clip = f"{index:06d}"
    files = {f"clips/{clip}.mp4": made.file, f"clip_twins/{clip}.mp4": made.twin_file}
    for path, data in files.items():
        if data is not None:
            write_atomic(store.root / path, data)
    encoded = [path if data is not None else None for path, data in files.items()]
    entries = []
    for number, (frame, measured) in enumerate(zip(made.frames, outcome.measured or (), strict=True)):
        name = f"{clip}_{number:04d}"
        if measured is None:
            pair = _intact(store, name, frame)
        else:
            pair = store.save(name, frame, measured, outcome.level)
        maps = {"object": made.objects[number], "effect": made.effects[number]}
        paths = {kind: f"{kind}s/{name}.png" for kind, mask in maps.items() if mask.any()}
        for kind, path in paths.items():
            write_atomic(store.root / path, masks.png(maps[kind]))
        common = {"frame": number, "fps": made.cut.fps}
        inconsistency = frame.edits[0].get("inconsistency", [])
        told = {"clip": clip, "cut": made.cut.model_dump(mode="json"), "inconsistency": inconsistency, **paths}
        extras = ({**told, "video": encoded[0]}, {"clip": f"{clip}_twin", "video": encoded[1]})
        entries += [
            Entry.model_validate(entry.model_dump(exclude_defaults=True) | common | _stated(extra))
            for entry, extra in zip(pair, extras, strict=False)
        ]
    return entries


def _intact(store: Store, name: str, made: Made) -> list[Entry]:
    """Write a frame of a forged clip that nothing was done to, and its twin; return their entries.

    Where both have the same bytes, there is one file, and its entry alone: a copy would count twice.
    """
    image, twin = f"images/{name}{made.suffix}", f"twins/{name}{made.suffix}"
    photo = made.sources[0].photo
    domain = operations.get(made.plan.steps[0].operation).domain
    common = {"label": 0, "domain": domain, "split": photo.split, "group": photo.group, "host": photo.id}
    common["delivery"] = made.plan.delivery
    write_atomic(store.root / image, made.data)
    if made.data == made.twin_data:
        return [Entry.model_validate({"image": image, "twin": image, "intact": True, **common})]
    write_atomic(store.root / twin, made.twin_data)
    return [
        Entry.model_validate({"image": image, "twin": twin, "intact": True, **common}),
        Entry.model_validate({"image": twin, "twin_of": image, **common}),
    ]


def _stated(fields: dict[str, object]) -> dict[str, object]:
    """Return the fields that hold something."""
    return {name: value for name, value in fields.items() if value not in (None, [])}
