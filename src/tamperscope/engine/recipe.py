"""Recipes of trainings: which network, on what, how, and by which number the best one is chosen; short YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tamperscope.errors import InputError, unknown_name
from tamperscope.metrics import classes, image, pixel
from tamperscope.ops import augment
from tamperscope.settings import Shelf

_SHELF = Shelf("training recipe", "tamperscope.engine", "recipes", "network")
PIXEL = ("f1", "iou", "mcc", "auc", "ap")
IMAGE = ("auc", "ap", "f1", "balanced_accuracy", "eer")
POOLED = ("f1", "iou", "auc")
CLASS = "class_"
SEQUENCE = "sequence_"
METRICS = (
    *(f"pixel_{n}" for n in PIXEL if n in pixel.METRICS),
    *(f"pooled_{n}" for n in POOLED),
    *(f"image_{n}" for n in IMAGE if n in image.METRICS),
    *(f"{CLASS}{n}" for n in classes.METRICS),
    *(f"{SEQUENCE}{n}" for n in ("fixed", "adaptive")),
)
"""`pixel_…`: mean over forged pictures; `pooled_…`: over all pixels of all pictures; `image_…`: of scores; `class_…`:
of maps of editors, over all pixels whose editor is known; `sequence_…`: mean over pictures whose edits are known. A
frame of a clip counts as a picture."""
SMALLER_IS_BETTER = frozenset({"image_eer"})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(_Model):
    """Low-rank adaptation; all else is frozen.

    Attributes:
        layers: Own names of the linear layers, such as `qkv`.
        rank: Of each difference.
        alpha: Its scale, times the rank.
        trained: Parts of the names of parameters that train beside it, such as a head.
    """

    layers: tuple[str, ...]
    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    trained: tuple[str, ...] = ()


class Wanted(_Model):
    """The network.

    Attributes:
        name: Of a system of `networks.catalog`.
        size: `tiny` or `full`.
        settings: Of the system's own.
        weights: File of a trained one to begin with (`best.pt`), or none.
        lora: Whether and how only low-rank differences are learned.
    """

    name: str
    size: Literal["tiny", "full"] = "tiny"
    settings: dict[str, Any] = Field(default_factory=dict)
    weights: str = ""
    lora: Lora | None = None


class Forge(_Model):
    """Forgeries made while training.

    Attributes:
        photos: Manifest or folder of authentic photographs.
        recipe: Of `forging`.
        change: Fields of that recipe that differ, such as `where.split=train`.
    """

    photos: str
    recipe: str = "splice"
    change: tuple[str, ...] = ()


class Data(_Model):
    """One source of pictures: a manifest, or a forge.

    Attributes:
        manifest: Path.
        where: Fields that its entries must have; `under` is a part of the picture's path.
        forge: What to forge instead.
        count: Pictures an epoch; of a forge, forgeries, each with its twin. 0 = every entry once.
        weight: Share of `data.total`, where that is set.
    """

    manifest: str = ""
    where: dict[str, str | int] = Field(default_factory=dict)
    forge: Forge | None = None
    count: NonNegativeInt = 0
    weight: NonNegativeFloat = 1.0


class Training(_Model):
    """How the pictures that a network is trained on are drawn and brought to it.

    Attributes:
        total: Pictures an epoch, shared by weight among the sources; 0 = each source's own count.
        balanced: Whether pristine and forged pictures of a manifest come equally often.
        paired: Whether each forgery is followed by its authentic twin, which is augmented and cut as the forgery is, so
            that nothing but the edit tells them apart; what has no twin is left out.
        swap: How often such a forgery shows cells of 16 pixels of its twin (random patch swap of HiDA-Net). Above 0 the
            truth is where it differs from its twin, in the same cells: all of what was generated as a whole.
        side: Of the square canvas in pixels.
        focus: How often a window is centred on a forged pixel.
        augment: Chance of each operation, by its text (`ops.augment.parse`).
        augment_pristine: The same for what happens after those, and to authentic pictures alone.
        mirror: How often a canvas is mirrored after it was cut. Unlike `flip`, which mirrors the picture before, that
            leaves the blocks of a JPEG in their places; its table is then still told.
        workers: Processes that open, forge and augment; 0 = none.
        editors: What has a number in maps of editors, from 1 in this order: names of `tamperscope forge`'s operations,
            or what a manifest calls `editors`. Pixels of any other editor do not count. Without one no map is opened.
        change: Whether maps of changes are told beside masks: by how many grey levels each pixel differs from the
            authentic twin, where that is known; else the mask stands in.
        edits: What has a number in sequences of edits, from 1 in this order: names in a manifest's lists `sequence`,
            or parts of faces that `tamperscope forge` edited. Without one no sequence is told.
        frames: Of a clip, for networks that take clips; any other one, and 1, is told frames as pictures. A manifest's
            entries of one `clip` (or `video`) go together, in the order of `frame`; one without is a clip of one
            frame, and what a clip lacks is filled up and not looked at.
    """

    total: NonNegativeInt = 0
    balanced: bool = False
    paired: bool = False
    swap: float = Field(default=0, ge=0, le=1)
    side: PositiveInt = 192
    focus: float = Field(default=0.5, ge=0, le=1)
    augment: dict[str, float] = Field(default_factory=dict)
    augment_pristine: dict[str, float] = Field(default_factory=dict)
    mirror: float = Field(default=0, ge=0, le=1)
    workers: NonNegativeInt = 0
    editors: tuple[str, ...] = ()
    change: bool = False
    edits: tuple[str, ...] = ()
    frames: PositiveInt = 1


class Optimizer(_Model):
    """How weights are changed.

    Attributes:
        name: `adamw` or `sgd` (Nesterov).
        lr: Learning rate.
        weight_decay: Of weights; norms and biases have none.
        betas: Of AdamW.
        momentum: Of SGD.
        rates: Factor of the learning rate of parameters whose name fits a pattern, such as `backbone.*`; first wins.
        frozen: Patterns of the names of parameters that do not train.
        clip: Greatest norm of the gradient; 0 = any.
        ema: Decay of the moving average of the weights, which is then what is validated; 0 = none.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    rates: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    clip: NonNegativeFloat = 1.0
    ema: float = Field(default=0.0, ge=0, lt=1)


class Schedule(_Model):
    """How the learning rate goes.

    Attributes:
        name: After the warm-up: `cosine`, `poly` or `constant`.
        warmup: Steps of a linear rise.
        power: Of `poly`.
        least: Share of the learning rate at the end.
    """

    name: Literal["cosine", "poly", "constant"] = "cosine"
    warmup: NonNegativeInt = 0
    power: PositiveFloat = 0.9
    least: float = Field(default=0.0, ge=0, le=1)


class Validation(_Model):
    """How the best network is chosen.

    Attributes:
        every: Steps between validations; 0 = only at the end.
        metric: Of `METRICS`; for an `image_…` or a `sequence_…` one no mask is opened.
        how: `tile`; `pad`: the whole picture at once; or `scale`: the whole one in one size.
        side: Of a tile; of `scale` the shorter side.
        overlap: Of tiles, pixels.
        batch: Tiles at once.
        allow_held_out: Whether entries of the splits `dev` and `test` may choose the network.
    """

    every: NonNegativeInt = 0
    metric: str = "pixel_f1"
    how: Literal["tile", "pad", "scale"] = "tile"
    side: PositiveInt = 512
    overlap: NonNegativeInt = 64
    batch: PositiveInt = 4
    allow_held_out: bool = False


class Recipe(_Model):
    """A training.

    Attributes:
        title: As people call it.
        source: What it follows, and where it departs.
        network: What is trained.
        train_on: Where pictures come from.
        validate_on: Manifests by which the best one is chosen; a forge is none.
        data: How they are drawn.
        batch: Canvases of one forward pass of one process.
        accumulate: Passes of one step of the optimizer.
        steps: Of the optimizer; 0 = `epochs` tells.
        epochs: Times that the data are gone through; 0 = `steps` tells.
        optimizer: How weights are changed.
        schedule: How the learning rate goes.
        precision: `bf16` computes in 16 bits where that is safe.
        channels_last: Whether maps are kept with their channels last, which speeds up convolutions.
        seed: Of all that is random.
        nonfinite: `stop` at a loss or gradient that is no number, or `skip` the step and count it.
        validation: How the best one is chosen.
        checkpoint: Steps between checkpoints; 0 = at every validation.
        log: Steps between lines of the log.
        tensorboard: Whether to write for TensorBoard too.
    """

    title: str
    source: str = ""
    network: Wanted
    train_on: tuple[Data, ...] = ()
    validate_on: tuple[Data, ...] = ()
    data: Training = Training()
    batch: PositiveInt = 8
    accumulate: PositiveInt = 1
    steps: NonNegativeInt = 0
    epochs: NonNegativeFloat = 0
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    precision: Literal["no", "bf16"] = "no"
    channels_last: bool = False
    seed: NonNegativeInt = 0
    nonfinite: Literal["stop", "skip"] = "stop"
    validation: Validation = Validation()
    checkpoint: NonNegativeInt = 0
    log: PositiveInt = 10
    tensorboard: bool = False


def shipped() -> list[str]:
    """Return the names of the recipes inside the package."""
    return _SHELF.names()


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe by name or path, checked.

    Args:
        name: Of a shipped recipe, or the path of a YAML file. `inherits: NAME` takes another one's fields first.
        overrides: Dotted settings such as `optimizer.lr=1e-4`, `train_on.0.count=100`.

    Raises:
        InputError: The file is no YAML of the expected shape, or fields contradict each other.
        InvalidValueError: A setting of an augmentation is out of range.
        UnknownNameError: No recipe, field, metric or operation of a name.
    """
    recipe = _SHELF.load(Recipe, name, overrides)
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Check what the shape of a recipe does not tell; errors are those of `load`."""
    if bool(recipe.steps) == bool(recipe.epochs):
        found = f"found {recipe.steps} and {recipe.epochs:g}"
        mend = "set the other one to 0" if recipe.steps else "set one of them"
        raise InputError(f"training recipe: expected steps or epochs, {found}; {mend}")
    if not recipe.train_on:
        raise InputError("training recipe: expected `train_on`, such as [{manifest: train.jsonl}], found none")
    if recipe.validation.metric not in METRICS:
        raise unknown_name("validation metric", recipe.validation.metric, METRICS)
    if recipe.validation.how == "tile" and recipe.validation.overlap >= recipe.validation.side:
        raise InputError("training recipe: expected validation.overlap < validation.side")
    for data in (*recipe.train_on, *recipe.validate_on):
        if bool(data.manifest) == (data.forge is not None):
            raise InputError("training recipe: expected a manifest or a forge for each source, found both or none")
        if data.forge is not None and (data in recipe.validate_on or not (data.count or recipe.data.total)):
            raise InputError("training recipe: expected a count for each forge, and only manifests to validate on")
    augment.parse(recipe.data.augment, recipe.data.augment_pristine)
    _check_data(recipe)


def _check_data(recipe: Recipe) -> None:
    data, metric = recipe.data, recipe.validation.metric
    for field, names in (("editors", data.editors), ("edits", data.edits)):
        if len(set(names)) < len(names):
            raise InputError(f"data.{field}: expected different names, found {list(names)}")
    if metric.startswith(CLASS) and not data.editors:
        raise InputError(f"validation metric {metric}: expected data.editors, the names of the classes, found none")
    if metric.startswith(SEQUENCE) and not data.edits:
        raise InputError(f"validation metric {metric}: expected data.edits, the names of the edits, found none")
    asked = [*data.augment.items(), *data.augment_pristine.items()]
    forged = [text for text, chance in asked if chance and text.strip() in augment.FORGERIES]
    if data.frames > 1 and forged:
        raise InputError(f"data.augment: expected no forgeries of single frames in clips, found {', '.join(forged)}")
    if data.edits and forged:
        raise InputError(f"data.augment: expected no forgeries beside data.edits, found {', '.join(forged)}")
