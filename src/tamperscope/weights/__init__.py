"""Data that the package ships: the calibration card, and weights of small networks with a card each."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Any

from tamperscope.errors import InvalidValueError


def shipped(name: str) -> tuple[bytes, bytes]:
    """Return the bytes of a file of this folder and of the card beside it, which has its name and ends in `json`."""
    folder = resources.files(__name__)
    return folder.joinpath(name).read_bytes(), folder.joinpath(f"{name.rpartition('.')[0]}.json").read_bytes()


def checked(weights: bytes, card: bytes, name: str) -> dict[str, Any]:
    """Return what a card states of weights, which must be those that it was written for.

    Args:
        weights: Bytes of their file.
        card: JSON with the `sha256` of these.
        name: Of the file, for the message.

    Raises:
        InvalidValueError: The weights are others.
    """
    stated: dict[str, Any] = json.loads(card)
    found = hashlib.sha256(weights).hexdigest()
    if found != stated["sha256"]:
        raise InvalidValueError(f"{name}: expected sha256 {stated['sha256']}, found {found}; install the package again")
    return stated
