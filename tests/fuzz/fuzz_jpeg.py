"""Coverage-guided fuzzing of the JPEG parser; needs atheris.

    pip install atheris
    python tests/fuzz/fuzz_jpeg.py CORPUS_FOLDER -max_total_time=600

The property itself, `check`, also runs under hypothesis in `tests/media/test_jpeg.py`.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def check(data: bytes) -> dict[str, Any] | None:
    """Assert that any bytes give JSON-ready facts and findings or a typed error; return the facts."""
    from tamperscope.errors import TamperscopeError
    from tamperscope.media.jpeg import embedded_thumbnail, inspect_jpeg

    try:
        facts, findings = inspect_jpeg(data)
    except TamperscopeError:
        assert data[:2] != b"\xff\xd8", "a file with SOI is always described"
        return None
    json.dumps(facts, allow_nan=False)
    for finding in findings:
        assert finding.code.startswith("jpeg.")
        assert finding.text.endswith(".")
        json.dumps(dict(finding.values), allow_nan=False)
    for row in facts["markers"]["segments"]:
        assert 0 <= row["offset"] <= row["offset"] + row["length"] <= len(data)
    for block in facts["trailing"]:
        assert 0 < block["length"] <= len(data) - block["offset"]
    thumbnail = embedded_thumbnail(data)
    assert thumbnail is None or thumbnail in data
    return facts


def main() -> None:
    """Run the fuzzer with the arguments of the command line."""
    import atheris

    with atheris.instrument_imports(include=["tamperscope"]):
        import tamperscope.media.jpeg  # noqa: F401

    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
