from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from doctor_sets import encoded, view
from PIL import Image

from tamperscope import media
from tamperscope.data.doctor import formats, leaks
from tamperscope.data.doctor.records import Record
from tamperscope.data.doctor.schema import Leak
from tamperscope.data.manifest import Entry

COUNT = 40
Writer = Callable[[np.ndarray, int, np.random.Generator], bytes]


def _records(writer: Writer, count: int = COUNT, group: Callable[[int], str | None] = lambda k: None) -> list[Record]:
    """Records of real files: `writer` turns (pixels, label, rng) into bytes; labels alternate."""
    rng = np.random.default_rng(17)
    found = []
    for k in range(count):
        opened = media.open(writer(view(k), k % 2, rng))
        entry = Entry(image=f"{k}", label=k % 2, group=group(k))
        found.append(Record(entry, file_type=opened.intake["type"], features=formats.features_of(opened)))
    return found


def _measured(records: list[Record]) -> dict[str, Leak]:
    return {leak.family: leak for leak in leaks.measure(records)}


def _balanced(rgb: np.ndarray, label: int, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.3:
        return encoded(rgb)
    return encoded(rgb, "JPEG", quality=int(rng.integers(70, 96)), subsampling=int(rng.integers(0, 3)))


@pytest.fixture(scope="module")
def balanced() -> list[Record]:
    return _records(_balanced, 100)


def _with_labels(records: list[Record], label: Callable[[Record], int | None]) -> list[Record]:
    return [
        Record(r.entry.model_copy(update={"label": label(r)}), file_type=r.file_type, features=r.features)
        for r in records
    ]


def test_balanced_random_formats_do_not_leak(balanced: list[Record]) -> None:
    for leak in _measured(balanced).values():
        assert leak.auc is not None
        assert leak.severity == "info", leak
        assert 0.3 < leak.auc < 0.65, leak


def test_all_forged_in_another_type_is_a_full_leak_and_is_named() -> None:
    found = _measured(_records(lambda rgb, label, rng: encoded(rgb, "PNG" if label else "JPEG"), 40))
    for family in ("all", "file_type"):
        assert found[family].auc == 1.0
        assert found[family].severity == "warning"
    assert "type: PNG: 100% of forged, 0% of pristine" in found["file_type"].telling
    # No forged picture is a JPEG: nothing can be said of tables among JPEG files.
    assert found["quantization"].auc is None
    assert found["dimensions"].severity == "info"


def test_exchanged_labels_change_no_number(balanced: list[Record]) -> None:
    def numbers(found: dict[str, Leak]) -> list[float | None]:
        return [value for leak in found.values() for value in (leak.auc, leak.low, leak.high)]

    swapped = _with_labels(balanced, lambda r: 1 - (r.entry.label or 0))
    # The scores are equal to the last bit (see the classifier); the sum behind an area is not.
    assert numbers(_measured(swapped)) == pytest.approx(numbers(_measured(balanced)), abs=1e-12)


def test_tables_alone_are_found() -> None:
    """One type, one size, and tables that make no file larger: only their values tell."""
    table = [16] * 64
    other = [16] * 63 + [17]

    def writer(rgb: np.ndarray, label: int, rng: np.random.Generator) -> bytes:
        return encoded(rgb, "JPEG", qtables=[other if label else table] * 2)

    found = _measured(_records(writer))
    assert found["quantization"].auc == 1.0
    assert found["quantization"].severity == found["all"].severity == "warning"
    for family in ("file_type", "pixel_format", "dimensions", "metadata", "subsampling", "coding", "file_size"):
        assert found[family].severity == "info", family


def test_another_quality_is_found_among_files_of_one_type() -> None:
    found = _measured(_records(lambda rgb, label, rng: encoded(rgb, "JPEG", quality=92 if label else 85)))
    assert found["quantization"].auc == 1.0
    assert found["file_type"].auc == 0.5
    assert any("IJG quality ≈ 92" in words for words in found["quantization"].telling)


@pytest.mark.parametrize(
    ("family", "writer"),
    [
        ("subsampling", lambda rgb, label, rng: encoded(rgb, "JPEG", quality=90, subsampling=2 * label)),
        ("coding", lambda rgb, label, rng: encoded(rgb, "JPEG", quality=90, progressive=bool(label))),
        ("dimensions", lambda rgb, label, rng: encoded(rgb[: 32 if label else 40])),
        ("pixel_format", lambda rgb, label, rng: encoded(rgb if label else rgb[..., 0])),
        ("file_size", lambda rgb, label, rng: encoded(rgb, compress_level=9 * label)),
    ],
)
def test_the_family_that_leaks_is_the_one_that_is_named(family: str, writer: Writer) -> None:
    found = _measured(_records(writer, 40))
    assert found[family].auc == 1.0
    assert found["file_type"].severity == found["metadata"].severity == "info"


def test_presence_of_metadata_is_found_even_when_its_content_varies() -> None:
    def writer(rgb: np.ndarray, label: int, rng: np.random.Generator) -> bytes:
        exif = Image.Exif()
        exif[0x010F] = f"Maker {rng.integers(100)}"
        return encoded(rgb, "JPEG", quality=90, exif=exif if label else b"")

    found = _measured(_records(writer, 40))
    assert found["metadata"].auc == 1.0
    assert found["quantization"].severity == found["coding"].severity == "info"


def test_tiff_tags_are_no_metadata() -> None:
    buffer = io.BytesIO()
    Image.fromarray(view(0)).save(buffer, "TIFF")
    assert formats.features_of(media.open(buffer.getvalue()))["metadata"]["EXIF"] == "no"


def test_a_format_that_marks_the_source_is_no_leak_across_sources() -> None:
    """Each source has its own size and one label; told within a source, not between."""

    def records(group: Callable[[int], str | None]) -> list[Record]:
        found = []
        for k in range(72):
            source = k % 24
            features: formats.Features = {"dimensions": {"size": f"{100 + source} × 80"}}
            found.append(Record(Entry(image=f"{k}", label=source % 2, group=group(source)), features=features))
        return found

    assert _measured(records(lambda source: f"s{source}"))["dimensions"].severity == "info"
    assert _measured(records(lambda source: None))["dimensions"].auc == 1.0


def test_too_few_sources_give_no_number() -> None:
    few = _records(_balanced, 2 * leaks.MIN_GROUPS - 2)
    assert {leak.auc for leak in _measured(few).values()} == {None}
    grouped = _records(_balanced, 30, group=lambda k: f"g{k % 6}")
    assert _measured(grouped)["all"].auc is None


def test_unknown_labels_take_no_part(balanced: list[Record]) -> None:
    unknown = _with_labels(balanced[:40], lambda r: None)
    assert _measured([*balanced, *unknown]) == _measured(balanced)
    assert {leak.auc for leak in _measured(unknown).values()} == {None}


def test_many_pictures_are_drawn_from_reproducibly(balanced: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MAX_PICTURES", 60)
    first, again, other = (leaks.measure(balanced, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first[0].pictures == 60


def test_matrix_bins_numbers_and_keeps_frequent_categories() -> None:
    rows = [{"f": {"n": float(k), "c": "a" if k % 3 else "b", "flag": "yes" if k < 4 else "no"}} for k in range(16)]
    rows.append({"f": {"c": "once"}})
    features, names = formats.matrix(rows, ["f"])
    numbers = [k for k, name in enumerate(names) if name.startswith("n:")]
    assert len(numbers) == formats.BINS
    assert features[:16, numbers].sum(axis=1).tolist() == [1.0] * 16
    assert features[:, numbers].sum(axis=0).tolist() == [2.0] * formats.BINS
    assert features[16].sum() == 0.0
    assert [n for n in names if n.startswith(("c:", "flag:"))] == ["c: a", "c: b", "flag: yes"]


def test_matrix_of_what_never_varies_is_empty(tmp_path: Path) -> None:
    features, names = formats.matrix([{"f": {"n": 1.0, "c": "a"}}] * 5, ["f", "absent"])
    assert features.shape == (5, 0)
    assert names == []
