"""Published weights of systems that are built anew here: a file that the user has, onto our network of the same name.

What fits, under which names, and what still differs is data: `maps/NAME.yaml`. No weights come with this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamperscope.engine.official import mapping, reading
from tamperscope.engine.official.mapping import Sheet, names, sheet
from tamperscope.engine.recipe import Wanted
from tamperscope.errors import InputError
from tamperscope.networks import catalog
from tamperscope.networks.base import Network
from tamperscope.nn.dncnn import DnCnn
from tamperscope.nn.extractors import Frozen

__all__ = ["Opened", "Sheet", "load_official", "names", "opened", "sheet"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A network with published weights, and where these came from.

    Attributes:
        network: In evaluation mode.
        wanted: As a recipe would ask for it.
        sheet: What is known of the weights.
        file: Name of the user's file.
        sha256: Of it.
    """

    network: Network
    wanted: Wanted
    sheet: Sheet
    file: str
    sha256: str


def load_official(name: str, path: str | Path, size: str = "full", **settings: Any) -> Network:
    """Return our network of a system with the published weights of a file, in evaluation mode.

    Args:
        name: Of the system, one of `names()`.
        path: A safetensors file, or what `torch.save` wrote; nothing in it is run.
        size: Published weights are those of `full`.
        settings: Of the network, where its map asks for some or its head differs.

    Raises:
        InputError: The file cannot be read, its weights do not fit, or ours departs from the published system so that
            they could not mean the same.
        InvalidValueError: A setting is out of range.
        UnknownNameError: Nothing is known of published weights of that name.
    """
    return opened(name, path, size, settings).network


def opened(name: str, path: str | Path, size: str = "full", settings: dict[str, Any] | None = None) -> Opened:
    """Return the same with all that is known of it; arguments and errors are those of `load_official`."""
    known, told = sheet(name), settings or {}
    if known.misfit:
        raise InputError(
            f"the published weights of '{name}' cannot be used: ours is another network. {' '.join(known.misfit)}"
        )
    if size != "full":
        raise InputError(f"published weights: expected size full, found '{size}'")
    for asked, what in known.asks.items():
        if not told.get(asked):
            raise InputError(f"'{name}': expected the setting `{asked}`: {what}; found none")
    checkpoint = reading.read(path, known.roots)
    wanted = Wanted(name=name, size="full", settings={**known.settings, **told})
    network = _built(wanted, known)
    held = network.state_dict()
    made = mapping.mapped(known, checkpoint.weights, held, name)
    network.load_state_dict({key: made.get(key, value) for key, value in held.items()})
    return Opened(network.eval(), wanted, known, checkpoint.name, checkpoint.sha256)


def _built(wanted: Wanted, known: Sheet) -> Network:
    """Return the network that the weights are for, with whatever weights it begins with."""
    network = catalog.build(wanted.name, wanted.size, **wanted.settings)
    if known.extractor:
        network.residual = Frozen(DnCnn(**known.extractor))
    for numbers in (network.mean, network.std):
        # Ours are of levels over 255; that of a level over 256 is so what is published.
        numbers.mul_(known.levels / 255)
    return network
