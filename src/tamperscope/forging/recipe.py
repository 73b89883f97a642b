"""Recipes: which forgeries to make of which pictures, how they are delivered, and which are good enough; short YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

from tamperscope.errors import InvalidValueError
from tamperscope.forging import operations
from tamperscope.settings import Shelf

_SHELF = Shelf("recipe", "tamperscope.forging", "recipes", "operations")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pictures(_Model):
    """How hosts or donors are prepared.

    Attributes:
        min_side: Pictures with a shorter side are not used.
        max_side: Pictures with a longer side are shrunk to it; 0 leaves them.
        recompressed: How often a picture is compressed once more before it is forged, so that its history is known.
        qualities: Range of the JPEG quality of that.
        objects: How often the known object of a picture is used, where it has one.
    """

    min_side: PositiveInt = 64
    max_side: int = Field(default=1024, ge=0)
    recompressed: float = Field(default=0.5, ge=0, le=1)
    qualities: tuple[int, int] = (60, 95)
    objects: float = Field(default=0.7, ge=0, le=1)


class Gate(_Model):
    """What a forgery must fulfil; `gate.examine` says how it is measured.

    Attributes:
        level: Grey levels by which a pixel must differ from the twin to count as changed.
        agreement: Range of the intersection over union of mask and changed pixels.
        change: Least mean absolute difference from the twin inside of the mask, grey levels.
        area: Range of the mask's share of the picture.
        halo: Greatest colour step across the mask's outline, as a multiple of the twin's.
    """

    level: int = Field(default=8, ge=0, le=254)
    agreement: tuple[float, float] = (0.1, 1.0)
    change: float = Field(default=2.0, ge=0)
    area: tuple[float, float] = (0.002, 0.6)
    halo: float = Field(default=8.0, gt=0)


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
        tries: Draws until a picture is given up.
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
    tries: PositiveInt = 20


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
    blank = Recipe(title="", operations={"splice": 1}).model_dump(mode="json", exclude={"title", "operations"})
    recipe = _SHELF.load(Recipe, name, overrides, blank)
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Check what the shape of a recipe does not tell.

    Raises:
        InvalidValueError: A range is upside down, or no weight is above 0.
        UnknownNameError: No operation, setting or delivery of a name.
    """
    from tamperscope.ops.forge.delivery import Delivery

    for name in recipe.operations:
        operations.get(name)
    for name, settings in recipe.ranges.items():
        operations.check(name, settings)
    for text in recipe.deliveries:
        Delivery(text)
    for field, weights in (("operations", recipe.operations), ("deliveries", recipe.deliveries)):
        if weights and not sum(weights.values()) > 0:
            raise InvalidValueError(f"recipe.{field}: expected a weight above 0, found {weights}")
    spans: dict[str, tuple[tuple[float, float], float, float]] = {
        "steps": (recipe.steps, 1, 3),
        "hosts.qualities": (recipe.hosts.qualities, 1, 100),
        "donors.qualities": (recipe.donors.qualities, 1, 100),
        "gate.agreement": (recipe.gate.agreement, 0, 1),
        "gate.area": (recipe.gate.area, 0, 1),
    }
    for field, (span, least, most) in spans.items():
        if not least <= span[0] <= span[1] <= most:
            raise InvalidValueError(f"recipe.{field}: expected a range inside [{least:g}, {most:g}], found {span}")
