"""Weights of a file into a network: all of them, and no other."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from tamperscope.errors import InputError, InvalidValueError


def restore(module: nn.Module, data: bytes, name: str) -> None:
    """Load the bytes of a safetensors file into a network; every weight must be there, and no other.

    Args:
        module: The network.
        data: Of the file.
        name: Of the file, for messages.

    Raises:
        InputError: It is no safetensors file.
        InvalidValueError: A weight is missing, unknown or has another shape.
    """
    try:
        found = load(data)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"'{name}': expected a safetensors file, found {len(data)} other bytes: {error}") from error
    wanted = module.state_dict()
    for kind, names in (("is missing", wanted.keys() - found), ("is unknown", found.keys() - wanted)):
        if names:
            listed = ", ".join(sorted(names)[:3])
            raise InvalidValueError(
                f"'{name}': expected {len(wanted)} weights, found {len(found)}; what {kind} begins with {listed}"
            )
    for key, value in wanted.items():
        if found[key].shape != value.shape:
            raise InvalidValueError(f"'{name}': {key}: expected {tuple(value.shape)}, found {tuple(found[key].shape)}")
    module.load_state_dict({key: value.float() for key, value in found.items()})
