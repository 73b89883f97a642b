"""From bytes to `Sample`, safely: `open`, the parts of PDF files, `Opened` and `Limits`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamperscope.media.documents import Part, extract, open_page, open_pages, parts
    from tamperscope.media.limits import Limits
    from tamperscope.media.opening import Opened, open  # noqa: A004

__all__ = ["Limits", "Opened", "Part", "extract", "open", "open_page", "open_pages", "parts"]


def __getattr__(name: str) -> Any:
    """Load the public names on first use: the decoder process imports this package and needs none of them."""
    if name == "Limits":
        from tamperscope.media.limits import Limits

        return Limits
    if name in ("Opened", "open"):
        from tamperscope.media import opening

        return getattr(opening, name)
    if name in __all__:
        from tamperscope.media import documents

        return getattr(documents, name)
    raise AttributeError(f"module 'tamperscope.media' has no attribute '{name}'")
