"""Recipes: which forgeries to make of which pictures, how they are delivered, and which are good enough; short YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, ValidationError

from tamperscope.errors import InputError, InvalidValueError
from tamperscope.forging import operations
from tamperscope.settings import Shelf, wrong

_SHELF = Shelf("recipe", "tamperscope.forging", "recipes", "operations")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pictures(_Model):
    """How hosts or donors are prepared.

    Attributes:
        min_side: Pictures with a shorter side are not used.
        max_side: Pictures with a longer side are shrunk to it; 0 leaves them.
        cut: How often such a picture is cut instead, at a place drawn on the grid of its blocks, so that it keeps its
            own resolution and what its camera left; pages whose lines are known are always shrunk.
        recompressed: How often a picture is compressed once more before it is forged, so that its history is known.
        qualities: Range of the JPEG quality of that.
        other_tables: How often its tables are such as other software writes, not the IJG's.
        objects: How often the known object of a picture is used, where it has one.
    """

    min_side: PositiveInt = 64
    max_side: int = Field(default=1024, ge=0)
    cut: float = Field(default=0.0, ge=0, le=1)
    recompressed: float = Field(default=0.5, ge=0, le=1)
    qualities: tuple[int, int] = (60, 95)
    other_tables: float = Field(default=0.0, ge=0, le=1)
    objects: float = Field(default=0.7, ge=0, le=1)


class Gate(_Model):
    """What a forgery must fulfil; `gate.examine` says how it is measured.

    Attributes:
        level: Grey levels by which a pixel must differ from the twin to count as changed.
        agreement: Range of the intersection over union of mask and changed pixels.
        change: Least mean absolute difference from the twin inside of the mask, grey levels.
        certainty: Least share of the changed pixels that changed decidedly (`gate.certainty`).
        area: Range of the mask's share of the picture.
        halo: Greatest colour step across the mask's outline, as a multiple of the twin's.
    """

    level: int = Field(default=8, ge=0, le=254)
    agreement: tuple[float, float] = (0.1, 1.0)
    change: float = Field(default=2.0, ge=0)
    certainty: float = Field(default=0.0, ge=0, le=1)
    area: tuple[float, float] = (0.002, 0.6)
    halo: float = Field(default=8.0, gt=0)


class Clipped(_Model):
    """How clips are forged, where a recipe is for clips.

    Attributes:
        frames: Of a forged clip, at most; 0 = the recipe is for pictures.
        fps: Frames a second of clips that state none.
        encoded: How often a clip is delivered as an H.264 file; else its frames go through a delivery of pictures.
        crf: Range of the rate factor of H.264, 0 (best) to 51.
        gop: Range of the greatest number of frames from one intra frame to the next.
    """

    frames: int = Field(default=0, ge=0, le=1000)
    fps: float = Field(default=25.0, gt=0)
    encoded: float = Field(default=0.0, ge=0, le=1)
    crf: tuple[int, int] = (18, 32)
    gop: tuple[int, int] = (4, 24)


class Recipe(_Model):
    """What to forge.

    Attributes:
        title: As people call it.
        source: What it follows, and where it departs.
        where: Fields that an entry of the photographs' manifest must have, such as {"split": "train"}.
        operations: Weight of each operation.
        ranges: Settings of operations by name; a text `LOW..HIGH` is a range, a list holds choices or both ends.
        steps: Range of the number of edits a picture.
        hosts: The pictures that are forged.
        donors: The pictures that pieces are taken from.
        deliveries: Weight of each delivery, as text (see `ops.forge.delivery`); empty = its own table.
        gate: What a forgery must fulfil.
        gates: Fields of the gate that differ where the first edit is a certain operation, by its name.
        tries: Draws until a picture is given up.
        clips: Whether clips are forged, and how.
    """

    title: str
    source: str = ""
    where: dict[str, str | int] = Field(default_factory=dict)
    operations: dict[str, NonNegativeFloat] = Field(min_length=1)
    ranges: dict[str, dict[str, Any]] = Field(default_factory=dict)
    steps: tuple[int, int] = (1, 1)
    hosts: Pictures = Pictures()
    donors: Pictures = Pictures()
    deliveries: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    gate: Gate = Gate()
    gates: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tries: PositiveInt = 20
    clips: Clipped = Clipped()

    def gate_of(self, operation: str) -> Gate:
        """Return the gate of forgeries that begin with an operation.

        Raises:
            InputError: A field of its own is no field of a gate.
        """
        try:
            return Gate.model_validate(self.gate.model_dump() | self.gates.get(operation, {}))
        except ValidationError as error:
            raise InputError(f"recipe.gates.{operation}: {wrong(error)}") from error


def shipped() -> list[str]:
    """Return the names of the recipes inside the package."""
    return _SHELF.names()


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe by name or path.

    Args:
        name: Of a shipped recipe, or the path of a YAML file. `inherits: NAME` takes another one's fields first.
        overrides: Dotted settings such as `gate.change=1`, `operations.removal=0`; values are YAML.

    Raises:
        InputError: The file is no YAML of the expected shape.
        InvalidValueError: A range is upside down, or no weight is above 0.
        UnknownNameError: No recipe, operation, setting or delivery of a name.
    """
    recipe = _SHELF.load(Recipe, name, overrides)
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Check what the shape of a recipe does not tell.

    Raises:
        InputError: What `gates` says of an operation is no gate.
        InvalidValueError: A range is upside down, or no weight is above 0.
        UnknownNameError: No operation, setting or delivery of a name.
    """
    from tamperscope.ops.forge.delivery import Delivery

    for name in recipe.operations:
        operations.get(name)
    for name, settings in recipe.ranges.items():
        operations.check(name, settings)
    for name in recipe.gates:
        operations.get(name)
        _check_gate(f"gates.{name}", recipe.gate_of(name))
    _check_gate("gate", recipe.gate)
    for text in recipe.deliveries:
        Delivery(text)
    for field, weights in (("operations", recipe.operations), ("deliveries", recipe.deliveries)):
        if weights and not sum(weights.values()) > 0:
            raise InvalidValueError(f"recipe.{field}: expected a weight above 0, found {weights}")
    spans: dict[str, tuple[tuple[float, float], float, float]] = {
        "steps": (recipe.steps, 1, 5),
        "hosts.qualities": (recipe.hosts.qualities, 1, 100),
        "donors.qualities": (recipe.donors.qualities, 1, 100),
        "clips.crf": (recipe.clips.crf, 0, 51),
        "clips.gop": (recipe.clips.gop, 1, 1000),
    }
    _check_spans(spans)


def _check_gate(name: str, gate: Gate) -> None:
    _check_spans({f"{name}.agreement": (gate.agreement, 0, 1), f"{name}.area": (gate.area, 0, 1)})


def _check_spans(spans: Mapping[str, tuple[tuple[float, float], float, float]]) -> None:
    for field, (span, least, most) in spans.items():
        if not least <= span[0] <= span[1] <= most:
            raise InvalidValueError(f"recipe.{field}: expected a range inside [{least:g}, {most:g}], found {span}")
