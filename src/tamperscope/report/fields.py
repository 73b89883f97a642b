"""Field types of the report: values that are always strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Model(BaseModel):
    """What every part of a report is: frozen, and refusing unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def json_ready(value: Any) -> Any:
    """Return `value` as strict JSON data: numpy to Python, not-finite floats to None, anything else to text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        # A file name that is no UTF-8 reaches Python with lone surrogates, which no JSON text may hold.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {json_ready(str(key)): json_ready(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((json_ready(item) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return json_ready(value.tolist())
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    return json_ready(str(value))


Text = Annotated[str, BeforeValidator(json_ready)]
"""Text; bytes of a name that are no UTF-8 appear as escapes."""

Number = Annotated[float | None, BeforeValidator(json_ready)]
"""A finite float, or null where there is none."""

JsonDict = Annotated[dict[str, Any], BeforeValidator(json_ready)]
"""A mapping of strict JSON values."""

Pixels = Annotated[int, Field(ge=1)]
"""A side of a picture."""

Share = Annotated[Annotated[float, Field(ge=0.0, le=1.0)] | None, BeforeValidator(json_ready)]
"""A share or probability in [0, 1], or null where there is none."""


def json_text(data: dict[str, Any], indent: int | None) -> str:
    """Return `data` as strict JSON in ASCII, so that nothing in it can steer a terminal that prints it."""
    return json.dumps(data, indent=indent, ensure_ascii=True, allow_nan=False)
