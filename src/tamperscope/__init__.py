"""Tamperscope tells whether an image was altered, where, how, and on what evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamperscope.detectors.base import Detector
    from tamperscope.registry import names as list_detectors
    from tamperscope.scanning import scan

__version__ = "0.1.0"
__all__ = ["__version__", "list_detectors", "load", "scan"]


def load(name: str, **options: Any) -> Detector:
    """Return the detector called `name`, built with `options`.

    Raises:
        UnknownNameError: No detector or no option of that name; the nearest one is offered.
    """
    from tamperscope import registry

    detector: Detector = registry.load(name, **options)
    return detector


def __getattr__(name: str) -> Any:
    """Load the rest of the public surface on first use, so that the import stays light."""
    if name == "scan":
        from tamperscope.scanning import scan

        return scan
    if name == "list_detectors":
        from tamperscope.registry import names

        return names
    raise AttributeError(f"module 'tamperscope' has no attribute '{name}'")
