"""From bytes to `Sample`, safely: `open`, `open_pages`, `Opened` and `Limits`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamperscope.media.limits import Limits
    from tamperscope.media.opening import Opened, open, open_pages  # noqa: A004

__all__ = ["Limits", "Opened", "open", "open_pages"]


def __getattr__(name: str) -> Any:
    """Load the public names on first use: the decoder process imports this package and needs none of them."""
    if name == "Limits":
        from tamperscope.media.limits import Limits

        return Limits
    if name in __all__:
        from tamperscope.media import opening

        return getattr(opening, name)
    raise AttributeError(f"module 'tamperscope.media' has no attribute '{name}'")
