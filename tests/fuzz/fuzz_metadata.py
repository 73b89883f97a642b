"""Coverage-guided fuzzing of the metadata and container parsers; needs atheris.

    pip install atheris
    python tests/fuzz/fuzz_metadata.py TARGET CORPUS_FOLDER -max_total_time=600

TARGET is one of ifd, exif, xmp, iptc, photoshop, icc, heif, metadata, container, c2pa; without one, all run by turns
(the first byte of the input chooses). The properties themselves also run under hypothesis in
`tests/media/test_metadata_hostile.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIC", "AVIF", "PDF")
SEVERITIES = ("info", "notice", "warning")


def check_answer(answer: tuple[Any, Any], size: int) -> None:
    """Assert that facts and findings are what the report can hold, and of a bounded size."""
    facts, findings = answer
    written = json.dumps(facts, allow_nan=False, ensure_ascii=False)
    written.encode("utf-8")
    assert len(written) < 8 * 2**20 + 64 * size, len(written)
    for finding in findings:
        assert finding.severity in SEVERITIES
        assert finding.text.endswith(".")
        json.dumps(dict(finding.values), allow_nan=False, ensure_ascii=False).encode("utf-8")


def _quiet(work: Callable[[], Any], size: int) -> None:
    from tamperscope.errors import TamperscopeError

    try:
        answer = work()
    except TamperscopeError:
        return
    if isinstance(answer, tuple):
        check_answer(answer, size)


def check_ifd(data: bytes) -> None:
    """Assert that any block is walked inside its bounds or refused."""
    from tamperscope.errors import DecodeError
    from tamperscope.media import ifd

    try:
        tiff = ifd.walk(data)
    except DecodeError:
        return
    assert len(tiff.ifds) <= ifd.MAX_IFDS
    assert len(tiff.problems) <= ifd.MAX_PROBLEMS
    for directory in tiff.ifds:
        assert len(directory.entries) <= ifd.MAX_ENTRIES
        assert directory.depth < ifd.MAX_DEPTH
        for entry in directory.entries.values():
            assert 0 <= entry.offset <= entry.offset + entry.size <= len(data)
            assert len(tiff.numbers(entry)) <= 64


def check_exif(data: bytes) -> None:
    """Assert that any block gives facts or a finding."""
    from tamperscope.media.exif import read_exif

    check_answer(read_exif(data, "fuzz"), len(data))


def check_xmp(data: bytes) -> None:
    """Assert that any packet gives facts or a finding."""
    from tamperscope.media.xmp import MAX_PROPERTIES, add_extension, read_xmp

    facts, findings = read_xmp(data, "fuzz")
    findings += add_extension(facts, data[len(data) // 2 :], "fuzz")
    assert len(facts["properties"]) <= MAX_PROPERTIES
    check_answer((facts, findings), len(data))


def check_iptc(data: bytes) -> None:
    """Assert that any record gives facts or a finding."""
    from tamperscope.media.iptc import read_iptc

    check_answer(read_iptc(data, "fuzz"), len(data))


def check_photoshop(data: bytes) -> None:
    """Assert that any block of resources gives facts or a finding."""
    from tamperscope.media.iptc import read_photoshop

    check_answer(read_photoshop(data, "fuzz"), len(data))


def check_icc(data: bytes) -> None:
    """Assert that any profile gives facts or a finding."""
    from tamperscope.media.icc import read_icc

    check_answer(read_icc(data, "fuzz"), len(data))


def check_heif(data: bytes) -> None:
    """Assert that any boxes give bounded items."""
    from tamperscope.media.bmff import MAX_EXTENTS, MAX_ITEMS, read_heif

    heif = read_heif(data)
    assert len(heif.items) <= MAX_ITEMS
    for item in heif.items.values():
        assert len(item.extents) <= MAX_EXTENTS
        assert len(heif.content(data, item, 1000)) <= 1000


def check_metadata(data: bytes, formats: tuple[str, ...] = FORMATS[:-1]) -> None:
    """Assert that any file gives facts and findings, or a typed error, whatever format it is said to have."""
    from tamperscope.media.metadata import read_metadata

    for fmt in formats:
        _quiet(lambda fmt=fmt: read_metadata(data, fmt, (48, 64)), len(data))


def check_container(data: bytes, formats: tuple[str, ...] = FORMATS) -> None:
    """Assert the same of the parts of a file, and that offsets lie inside it."""
    from tamperscope.errors import TamperscopeError
    from tamperscope.media.container import MAX_LISTED, inspect_container

    for fmt in formats:
        try:
            facts, findings = inspect_container(data, fmt)
        except TamperscopeError:
            continue
        check_answer((facts, findings), len(data))
        assert len(facts.get("parts", [])) <= MAX_LISTED
        trailing = facts.get("trailing")
        assert trailing is None or 0 < trailing["offset"] + trailing["length"] == len(data)


def check_c2pa(data: bytes, formats: tuple[str, ...] = FORMATS) -> None:
    """Assert the same of the manifest reader."""
    from tamperscope.media.c2pa import read_c2pa

    for fmt in formats:
        check_answer(read_c2pa(data, fmt), len(data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "ifd": check_ifd,
    "exif": check_exif,
    "xmp": check_xmp,
    "iptc": check_iptc,
    "photoshop": check_photoshop,
    "icc": check_icc,
    "heif": check_heif,
    "metadata": check_metadata,
    "container": check_container,
    "c2pa": check_c2pa,
}


def check_any(data: bytes) -> None:
    """Run the target that the first byte chooses on the rest."""
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    """Run the fuzzer with the arguments of the command line."""
    import atheris

    with atheris.instrument_imports(include=["tamperscope"]):
        import tamperscope.media.c2pa
        import tamperscope.media.container
        import tamperscope.media.metadata  # noqa: F401

    named = len(sys.argv) > 1 and sys.argv[1] in TARGETS
    target = TARGETS[sys.argv.pop(1)] if named else check_any
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
