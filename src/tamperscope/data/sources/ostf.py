"""OSTF: scene text rewritten by networks and diffusion models, to test detectors on unseen ones.

Qu et al., "Revisiting Tampered Scene Text Detection in the Era of Generative AI", AAAI 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import masked

METHODS = ("srnet", "stefann", "mostel", "derend", "diffste", "anytext", "udifftext", "textdiffuser")
SOURCE = Source(
    title="OSTF",
    domain="document",
    licence="CC BY-NC 4.0, on request",
    home="https://github.com/qcf-568/OSTF",
    size="not stated by the makers",
    layout="[METHOD/]SPLIT/images/NAME.jpg and …/masks/NAME.png, METHOD such as srnet, anytext. The makers' .pk lists "
    "are pickles and are not opened: draw their boxes into masks first",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield rewritten pictures; `method` is what rewrote them, where a folder states it."""
    for found in masked(tree):
        method = next((folder for folder in found.image.lower().split("/")[:-1] if folder in METHODS), "")
        yield replace(found, extra={**found.extra, "method": method}) if method else found
    for path in tree.files("*.pk", "*.pkl"):
        tree.note("skipped", path, "a pickle can run code, so it is not opened; draw its boxes into masks")
