"""From a published checkpoint straight to an artifact, which scans use without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tamperscope.engine import export, official
from tamperscope.engine.recipe import Recipe, Validation
from tamperscope.errors import InputError
from tamperscope.inference.artifact import Artifact
from tamperscope.networks import catalog

LICENCE = "not known: that of the published weights, which the user gave as a file"


def write(name: str, path: str | Path, out: str | Path, wish: export.Wish, **settings: Any) -> Artifact:
    """Write the published weights of a file, on our network, as an artifact.

    Nothing is measured and nothing calibrates it but what `wish` names; the card tells the file's hash.

    Args:
        name: Of the system, one of `official.names()`.
        path: Of the file.
        out: Folder of the artifact.
        wish: Licence, name, side, and manifests to calibrate and measure on.
        settings: Of the network.

    Raises:
        InputError: As of `official.load_official`; or the graph differs from the network, or held-out pictures would
            calibrate it.
        InvalidValueError: A setting is out of range.
        UnknownNameError: Nothing is known of published weights of that name.
    """
    got = official.opened(name, path, settings=settings)
    known = got.sheet
    view = Validation.model_validate({"how": known.how, "side": known.side, "overlap": known.overlap})
    recipe = Recipe(title=catalog.about(name).title, network=got.wanted, validation=view)
    notes = [
        f"Published weights that the user gave as the file {got.file}, SHA-256 {got.sha256}; names and shapes after "
        f"{known.source}. What their licence allows, and what they were trained on, this package does not know.",
        "Run on this package's own network of that system; no published number was measured with it.",
        *known.remaining,
    ]
    if known.extractor:
        notes.append("Its extractor of residuals is none that a recipe builds: it can be used, not trained on.")
    whole = replace(wish, licence=wish.licence or LICENCE, notes=(*wish.notes, *notes))
    stated = {"official": {"file": got.file, "sha256": got.sha256, "source": known.source}}
    return export.packed(got.network, recipe, stated, out, whole)


def settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return settings of a network by name, told as `NAME=VALUE` where values are YAML.

    Raises:
        InputError: One is told otherwise.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {text}: expected YAML after the sign: {error}") from error
        if not equals or not name.isidentifier():
            raise InputError(f"--set: expected NAME=VALUE, found '{text}'")
    return found
