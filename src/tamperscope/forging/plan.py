"""The plan of one forgery: everything that is decided before a picture is opened. With the photographs, it is enough.

Every stage draws from a generator of its own, seeded by (seed, index, attempt, stage), so that a picture depends on
nothing but its plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from tamperscope.forging import operations
from tamperscope.forging.pool import Photo, Pool
from tamperscope.forging.recipe import Pictures, Recipe

Key = TypeVar("Key")
_DRAW, _HOST, _DELIVERY, _STEPS = range(4)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Prepared(_Model):
    """A photograph and what is done to it before it is forged or a piece of it is taken.

    Attributes:
        photo: Its name.
        min_side: It must not be smaller.
        max_side: It is shrunk to this; 0 leaves it.
        cut: Whether it is cut to that size instead.
        qualities: Range of a further JPEG compression's quality, or None.
        other_tables: Whether that one's tables are those of other software.
        object: Whether its known object is used, where it has one.
    """

    photo: str
    min_side: int = 1
    max_side: int = 0
    cut: bool = False
    qualities: tuple[int, int] | None = None
    other_tables: bool = False
    object: bool = False


class Step(_Model):
    """One edit.

    Attributes:
        operation: Its name.
        settings: Its parameters.
        donor: The picture that it takes a piece from, or None.
    """

    operation: str
    settings: dict[str, Any] = {}
    donor: Prepared | None = None


class Plan(_Model):
    """One forgery.

    Attributes:
        seed: Of the run.
        index: Of the picture in the run.
        attempt: How many draws before this one were rejected.
        host: The picture that is forged.
        steps: Edits in order.
        delivery: How it is delivered, as text.
    """

    seed: int
    index: int
    attempt: int
    host: Prepared
    steps: tuple[Step, ...]
    delivery: str

    def host_rng(self) -> np.random.Generator:
        """Return the generator of the host's preparation."""
        return self._rng(_HOST)

    def delivery_rng(self) -> np.random.Generator:
        """Return the generator of the delivery."""
        return self._rng(_DELIVERY)

    def step_rngs(self, number: int) -> tuple[np.random.Generator, np.random.Generator]:
        """Return the generators of the donor's preparation and of the edit of step `number`, from 0."""
        return self._rng(_STEPS + 2 * number), self._rng(_STEPS + 2 * number + 1)

    def _rng(self, stage: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.index, self.attempt, stage])


def draw(recipe: Recipe, pool: Pool, seed: int, index: int, attempt: int) -> Plan | None:
    """Return the plan of a picture, or None where its host has no donor.

    Args:
        recipe: What to draw from.
        pool: The photographs.
        seed: Of the run.
        index: Of the picture.
        attempt: How many draws before this one were rejected.
    """
    from tamperscope.ops.forge.delivery import COMMON

    rng = np.random.default_rng([seed, index, attempt, _DRAW])
    host = pool.host(rng)
    suited = _suited(recipe.operations, host.domain)
    steps = []
    for _ in range(int(rng.integers(recipe.steps[0], recipe.steps[1] + 1))):
        name = _weighted(suited, rng)
        donor = None
        if operations.get(name).donor:
            photo = pool.donor(host, rng)
            if photo is None:
                return None
            donor = _prepared(photo, recipe.donors, rng)
        steps.append(Step(operation=name, settings=recipe.ranges.get(name, {}), donor=donor))
    return Plan(
        seed=seed,
        index=index,
        attempt=attempt,
        host=_prepared(host, recipe.hosts, rng),
        steps=tuple(steps),
        delivery=_weighted(recipe.deliveries or COMMON, rng),
    )


def _prepared(photo: Photo, wanted: Pictures, rng: np.random.Generator) -> Prepared:
    again, known = rng.random(2)
    # Only where it is asked for, so that it changes no draw of other recipes.
    cut = bool(wanted.cut and rng.random() < wanted.cut)
    other_tables = bool(wanted.other_tables and rng.random() < wanted.other_tables)
    return Prepared(
        photo=photo.id,
        min_side=wanted.min_side,
        max_side=wanted.max_side,
        cut=cut,
        qualities=wanted.qualities if again < wanted.recompressed else None,
        other_tables=other_tables,
        object=bool(photo.object_mask is not None and known < wanted.objects),
    )


def _suited(weights: Mapping[str, float], domain: str) -> Mapping[str, float]:
    """Return the operations for pictures of a domain: those made for it, else those for any, else all."""
    for wanted in (domain, ""):
        suited = {name: weight for name, weight in weights.items() if operations.get(name).hosts == wanted}
        if sum(suited.values()) > 0:
            return suited
    return weights


def _weighted(weights: Mapping[Key, float], rng: np.random.Generator) -> Key:
    """Return a key drawn by its weight."""
    shares = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))]
