"""`scripts/invented.py`: parts that never meet, one form for all pictures, and files out of packages."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import invented


def test_parts_share_no_generator_no_package_of_photographs_and_no_file() -> None:
    generators, packages, files = defaultdict(set), defaultdict(set), []
    for part in invented.PARTS:
        for row in invented.listed(part):
            (generators if row["generator"] else packages)[part].add(row["generator"] or row["package"])
            files.append((row["package"], row["member"]))
    files += [(row["package"], row["member"]) for row in invented.listed("elsewhere")]
    assert len(set(files)) == len(files)
    for known in (generators, packages):
        assert set(known) == set(invented.PARTS)
        assert len(set.union(*known.values())) == sum(len(names) for names in known.values())


@pytest.mark.parametrize(("size", "small"), [((900, 1300), False), ((120, 90), False), ((400, 400), True)])
def test_all_have_one_form_without_what_is_written_above(size: tuple[int, int], small: bool) -> None:
    rgb = np.zeros((*size, 3), np.uint8)
    rgb[: size[0] * 23 // 100] = 255
    drawn = invented.Drawn(rgb, 1, "flux", "a", small)
    found = invented.formed(drawn, np.random.default_rng(0))
    assert (found.shape, found.dtype) == ((300, 300, 3), np.uint8)
    top = (size[0] - min(size)) // 2 + min(size) // 4
    assert (found.mean() < 1) == (top > size[0] * 23 // 100)


def test_small_ones_are_not_compressed_a_second_time_before_they_are_cut() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    found = invented.formed(invented.Drawn(rgb, 1, "flux", "a", True), np.random.default_rng(0))
    assert (found == rgb[100:, 50:350]).all()


def test_files_come_out_of_wheels_and_tarballs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("a/x.webp", b"one")
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as tarball:
        told = tarfile.TarInfo("package/y.jpg")
        told.size = 3
        tarball.addfile(told, io.BytesIO(b"two"))
    assert invented.taken(tmp_path / "a.whl", "a/x.webp") == b"one"
    assert invented.taken(tmp_path / "b.tgz", "package/y.jpg") == b"two"


def test_colours_are_shares_of_the_picture() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    found = np.reshape(invented.colours(rgb), (5, 8))
    np.testing.assert_allclose(found.sum(1), 1)
    assert invented.colours(rgb[::-1, ::-1]) == pytest.approx(found.ravel().tolist())
