"""Classic manipulation sets: each is read from a miniature of its layout, with the defects that real copies have."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.data.sources.base import Found, Source, Tree, Truth, stem
from tamperscope.data.sources.pairs import beside
from tamperscope.errors import InputError


@dataclass(frozen=True)
class Mini:
    """A miniature: files (a picture is empty, a list has its text), the rows and the notes (kind, path) expected."""

    name: str
    files: str
    rows: list[Found]
    notes: list[tuple[str, str]] = field(default_factory=list)
    lists: Mapping[str, str] = field(default_factory=dict)

    def contents(self) -> dict[str, str]:
        names = [line.strip() for line in self.files.splitlines() if line.strip()]
        return dict.fromkeys(names, "") | dict(self.lists)


def real(image: str, group: str = "", **extra: Any) -> Found:
    return Found(image, 0, group=group, extra=extra)


def fake(image: str, mask: str | None, kind: str, group: str = "", truth: Truth = "white", **extra: Any) -> Found:
    return Found(image, 1, mask, truth, group=group, extra={"kind": kind, **extra})


NIST = "ProbeFileID|ProbeFileName|ProbeMaskFileName|BaseFileName|IsTarget\n"
NIST_REF = "reference/manipulation/NC2016-manipulation-ref.csv"

MINIS = [
    Mini(
        "casia_v1",
        """
        Au/Au_ani_0001.jpg
        Au/Au_cha_0009.JPG
        Modified Tp/Tp/Sp/Sp_D_NRN_A_ani0001_sec0002_0100.jpg
        Modified Tp/Tp/Sp/Sp_D_NRN_A_cha0011_sec0011_0542.jpg
        Modified Tp/Tp/CM/Sp_S_NRN_A_sec0002_sec0002_0101.jpg
        CASIA 1.0 groundtruth/Sp/Sp_D_NRN_A_ani0001_sec0002_0100_gt.png
        CASIA 1.0 groundtruth/CM/Sp_S_NRN_A_sec0002_sec0002_0101_gt.png
        CASIA 1.0 groundtruth/CM/Sp_S_NRN_A_sec0003_sec0003_0555_gt.png
        Modified Tp/Tp/Sp/Thumbs.db
        Modified Tp/Tp/Sp/copy.jpg
        """,
        [
            real("Au/Au_ani_0001.jpg", "ani0001"),
            real("Au/Au_cha_0009.JPG", "cha0009"),
            fake(
                "Modified Tp/Tp/Sp/Sp_D_NRN_A_ani0001_sec0002_0100.jpg",
                "CASIA 1.0 groundtruth/Sp/Sp_D_NRN_A_ani0001_sec0002_0100_gt.png",
                "splicing",
                "ani0001",
            ),
            fake(
                "Modified Tp/Tp/CM/Sp_S_NRN_A_sec0002_sec0002_0101.jpg",
                "CASIA 1.0 groundtruth/CM/Sp_S_NRN_A_sec0002_sec0002_0101_gt.png",
                "copy_move",
                "ani0001",
            ),
        ],
        [
            ("missing", "CASIA 1.0 groundtruth/CM/Sp_S_NRN_A_sec0003_sec0003_0555_gt.png"),
            ("missing", "Modified Tp/Tp/Sp/Sp_D_NRN_A_cha0011_sec0011_0542.jpg"),
            ("unknown", "Modified Tp/Tp/Sp"),
        ],
    ),
    Mini(
        "casia_v1_plus",
        """
        Au/100.jpg
        Tp/Sp_D_NRN_A_ani0001_ani0002_0001.jpg
        Tp/Sp_D_NRN_A_ani0001_ani0003_0002.jpg
        Gt/Sp_D_NRN_A_ani0001_ani0002_0001.png
        Gt/Sp_D_NRN_A_ani0001_ani0002_0001_gt.png
        """,
        [
            real("Au/100.jpg"),
            fake(
                "Tp/Sp_D_NRN_A_ani0001_ani0002_0001.jpg",
                "Gt/Sp_D_NRN_A_ani0001_ani0002_0001.png",
                "splicing",
                "ani0001",
            ),
        ],
        [
            ("missing", "Tp/Sp_D_NRN_A_ani0001_ani0003_0002.jpg"),
            ("skipped", "Gt/Sp_D_NRN_A_ani0001_ani0002_0001_gt.png"),
        ],
    ),
    Mini(
        "casia_v2",
        """
        CASIA2/Au/Au_ani_00001.jpg
        CASIA2/Au/Au_pla_20001.bmp
        CASIA2/Tp/Tp_D_NRN_S_N_ani10171_ani00001_12458.jpg
        CASIA2/Tp/Tp_D_CNN_M_N_ind00091_10647.jpg
        CASIA2/Tp/Tp_S_NNN_S_N_sec00074_sec00074_00751.tif
        CASIA2/Tp/Tp_D_NNN_S_N_sec00099_sec00099_00752.tif
        CASIA2/_list.txt
        CASIA 2 Groundtruth/Tp_D_NRN_S_N_ani10171_ani00001_12458_gt.png
        CASIA 2 Groundtruth/Tp_S_CNN_M_N_ind00091_ind00091_10647_gt.png
        CASIA 2 Groundtruth/Tp_S_NNN_S_N_sec00099_sec00099_00752_gt.png
        CASIA 2 Groundtruth/Tp_S_NNN_S_N_art00001_art00001_00751_gt.png
        """,
        [
            real("CASIA2/Au/Au_ani_00001.jpg", "ani00001"),
            real("CASIA2/Au/Au_pla_20001.bmp", "pla20001"),
            fake(
                "CASIA2/Tp/Tp_D_NRN_S_N_ani10171_ani00001_12458.jpg",
                "CASIA 2 Groundtruth/Tp_D_NRN_S_N_ani10171_ani00001_12458_gt.png",
                "splicing",
                "ani00001",
            ),
            fake(
                "CASIA2/Tp/Tp_D_CNN_M_N_ind00091_10647.jpg",
                "CASIA 2 Groundtruth/Tp_S_CNN_M_N_ind00091_ind00091_10647_gt.png",
                "copy_move",
                "ind00091",
            ),
            fake(
                "CASIA2/Tp/Tp_D_NNN_S_N_sec00099_sec00099_00752.tif",
                "CASIA 2 Groundtruth/Tp_S_NNN_S_N_sec00099_sec00099_00752_gt.png",
                "copy_move",
                "sec00099",
            ),
        ],
        [
            ("missing", "CASIA 2 Groundtruth/Tp_S_NNN_S_N_art00001_art00001_00751_gt.png"),
            ("missing", "CASIA2/Tp/Tp_S_NNN_S_N_sec00074_sec00074_00751.tif"),
            ("repaired", "CASIA2/Tp/Tp_D_CNN_M_N_ind00091_10647.jpg"),
            ("repaired", "CASIA2/Tp/Tp_D_NNN_S_N_sec00099_sec00099_00752.tif"),
        ],
    ),
    Mini(
        "columbia",
        """
        4cam_auth/canong3_02_sub_01.tif
        4cam_auth/edgemask/canong3_02_sub_01_edgemask.jpg
        4cam_splc/canong3_canonxt_sub_01.TIF
        4cam_splc/nikond70_canonxt_sub_02.tif
        4cam_splc/edgemask/canong3_canonxt_sub_01_edgemask.jpg
        4cam_splc/edgemask/nikond70_canonxt_sub_03_edgemask.jpg
        4cam_splc/readme.txt
        """,
        [
            real("4cam_auth/canong3_02_sub_01.tif", "canong3", cameras=["canong3"]),
            fake(
                "4cam_splc/canong3_canonxt_sub_01.TIF",
                "4cam_splc/edgemask/canong3_canonxt_sub_01_edgemask.jpg",
                "splicing",
                "canong3",
                "edges",
                cameras=["canong3", "canonxt"],
            ),
        ],
        [
            ("missing", "4cam_splc/edgemask/nikond70_canonxt_sub_03_edgemask.jpg"),
            ("missing", "4cam_splc/nikond70_canonxt_sub_02.tif"),
        ],
    ),
    Mini(
        "coverage",
        """
        image/1.tif
        image/1t.tif
        image/2t.tif
        image/10t.TIF
        image/test.tif
        mask/1forged.tif
        mask/1copy.tif
        mask/1paste.tif
        mask/10forged.tif
        mask/3forged.tif
        """,
        [
            real("image/1.tif", "1"),
            fake("image/1t.tif", "mask/1forged.tif", "copy_move", "1"),
            fake("image/10t.TIF", "mask/10forged.tif", "copy_move", "10"),
        ],
        [("missing", "image/2t.tif"), ("missing", "mask/3forged.tif"), ("unknown", "image")],
    ),
    Mini(
        "nist16",
        """
        probe/a.jpg
        probe/b.JPG
        probe/c.jpg
        probe/d.jpg
        probe/e.jpg
        world/w1.jpg
        reference/manipulation/mask/a.png
        reference/splice/mask/a.png
        reference/manipulation/mask/b.png
        """,
        [
            fake("probe/a.jpg", "reference/manipulation/mask/a.png", "splicing", "w1", "black"),
            fake("probe/b.JPG", "reference/manipulation/mask/b.png", "removal", "", "black"),
            real("probe/c.jpg"),
        ],
        [("missing", "probe/d.jpg"), ("missing", "probe/z.jpg"), ("unknown", "probe")],
        {
            NIST_REF: NIST + "a|probe/a.jpg|reference/manipulation/mask/a.png|world/w1.jpg|Y\n"
            "b|probe/b.jpg|reference/manipulation/mask/b.png||Y\nc|probe/c.jpg|||N\n"
            "d|probe/d.jpg|reference/manipulation/mask/d.png||Y\nz|probe/z.jpg|||Y\n",
            "reference/removal/NC2016-removal-ref.csv": "ProbeFileName,ProbeMaskFileName\n"
            "probe/b.jpg,reference/manipulation/mask/b.png\nprobe/a.jpg,\n",
            "reference/splice/NC2016-splice-ref.csv": NIST + "a|probe/a.jpg|reference/splice/mask/a.png||Y\n",
        },
    ),
    Mini(
        "imd2020",
        """
        1a3oag/1a3oag_orig.jpg
        1a3oag/c8tt7fg_0.png
        1a3oag/c8tt7fg_0_mask.png
        1a3oag/c8tt7fg_1.jpg
        z14/orig.PNG
        z14/c8tt7fg_1_mask.png
        z14/00030_fake.jpg
        z14/00030_fake_mask.png
        """,
        [
            real("1a3oag/1a3oag_orig.jpg", "1a3oag"),
            fake("1a3oag/c8tt7fg_0.png", "1a3oag/c8tt7fg_0_mask.png", "tampered", "1a3oag"),
            real("z14/orig.PNG", "z14"),
            fake("z14/00030_fake.jpg", "z14/00030_fake_mask.png", "tampered", "z14"),
        ],
        [("missing", "1a3oag/c8tt7fg_1.jpg"), ("missing", "z14/c8tt7fg_1_mask.png")],
    ),
    Mini(
        "dso1",
        """
        DSO-1/normal-01.png
        DSO-1/splicing-01.PNG
        DSO-1/splicing-02.png
        DSO-1-Fake-Images-Masks/splicing-01.png
        DSO-1-Fake-Images-Masks/splicing-03.png
        """,
        [
            real("DSO-1/normal-01.png"),
            fake("DSO-1/splicing-01.PNG", "DSO-1-Fake-Images-Masks/splicing-01.png", "splicing", truth="black"),
        ],
        [("missing", "DSO-1-Fake-Images-Masks/splicing-03.png"), ("missing", "DSO-1/splicing-02.png")],
    ),
    Mini(
        "korus",
        """
        Canon_60D/pristine/r1.TIF
        Canon_60D/tampered-realistic/r1.TIF
        Canon_60D/tampered-realistic/r2.TIF
        Canon_60D/ground-truth/r1.PNG
        Canon_60D/ground-truth/r3.PNG
        Nikon_D90/pristine/r1.tif
        """,
        [
            real("Canon_60D/pristine/r1.TIF", "canon_60d/r1", camera="Canon_60D"),
            fake(
                "Canon_60D/tampered-realistic/r1.TIF",
                "Canon_60D/ground-truth/r1.PNG",
                "tampered",
                "canon_60d/r1",
                "nonzero",
                camera="Canon_60D",
            ),
            real("Nikon_D90/pristine/r1.tif", "nikon_d90/r1", camera="Nikon_D90"),
        ],
        [("missing", "Canon_60D/ground-truth/r3.PNG"), ("missing", "Canon_60D/tampered-realistic/r2.TIF")],
    ),
    Mini(
        "comofod",
        """
        001_O.png
        001_F.PNG
        001_B.png
        001_M.png
        001_F_JC1.jpg
        001_O_NA3.png
        002_F_IB2.png
        003_B.png
        004_F_XX1.png
        """,
        [
            real("001_O.png", "001"),
            real("001_O_NA3.png", "001", attack="noise", level=3),
            fake("001_F.PNG", "001_B.png", "copy_move", "001"),
            fake("001_F_JC1.jpg", "001_B.png", "copy_move", "001", attack="jpeg", level=1),
        ],
        [("missing", "002_F_IB2.png"), ("missing", "003_B.png"), ("unknown", ".")],
    ),
    Mini(
        "micc_f220",
        """
        DSC_0535_scale.jpg
        DSC_0535tamp1.jpg
        CRW_4853tamp27.JPG
        """,
        [
            real("DSC_0535_scale.jpg", "dsc_0535"),
            fake("DSC_0535tamp1.jpg", None, "copy_move", "dsc_0535"),
            fake("CRW_4853tamp27.JPG", None, "copy_move", "crw_4853"),
        ],
        [("missing", "gone.jpg")],
        {"groundtruthDB_220.txt": "DSC_0535_scale.jpg 0\nDSC_0535tamp1.jpg\t1\ngone.jpg 1\n"},
    ),
    Mini(
        "micc_f2000",
        """
        P1000231.jpg
        P1000231tamp1.jpg
        b.jpg
        c.jpg
        """,
        [
            real("P1000231.jpg", "p1000231"),
            fake("P1000231tamp1.jpg", None, "copy_move", "p1000231"),
            fake("b.jpg", None, "copy_move", "b"),
            real("c.jpg", "c"),
        ],
        [],
        {"groundtruthDB_2000.txt": "MICC-F2000\\b.jpg 1\n"},
    ),
    Mini(
        "micc_f600",
        """
        a.png
        a_tamp1.png
        a_tamp2.png
        a_tamp1_gt.png
        a_tamp3_gt.png
        """,
        [real("a.png", "a"), fake("a_tamp1.png", "a_tamp1_gt.png", "copy_move", "a")],
        [("missing", "a_tamp2.png"), ("missing", "a_tamp3_gt.png")],
    ),
    Mini(
        "grip",
        """
        TP_C01_001.png
        TP_C01_001_copy.PNG
        TP_C01_001_gt.png
        TP_C01_002_copy.png
        TP_C01_003_gt.png
        TP_C01_004_orig.png
        banner.png
        """,
        [
            real("TP_C01_001.png", "tp_c01_001"),
            real("TP_C01_004_orig.png", "tp_c01_004"),
            fake("TP_C01_001_copy.PNG", "TP_C01_001_gt.png", "copy_move", "tp_c01_001"),
        ],
        [("missing", "TP_C01_002_copy.png"), ("missing", "TP_C01_003_gt.png"), ("unknown", ".")],
    ),
    Mini(
        "cocoglide",
        """
        real/glide_inpainting_val2017_1000_up.png
        fake/glide_inpainting_val2017_1000_up.png
        fake/glide_inpainting_val2017_1001_up.PNG
        mask/glide_inpainting_val2017_1000_up.png
        mask/glide_inpainting_val2017_1002_up.png
        real/readme.md
        """,
        [
            real("real/glide_inpainting_val2017_1000_up.png", "1000"),
            fake(
                "fake/glide_inpainting_val2017_1000_up.png",
                "mask/glide_inpainting_val2017_1000_up.png",
                "inpainting",
                "1000",
                generator="glide",
            ),
        ],
        [
            ("missing", "fake/glide_inpainting_val2017_1001_up.PNG"),
            ("missing", "mask/glide_inpainting_val2017_1002_up.png"),
        ],
    ),
]
each = pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)


def plant(root: Path, contents: Mapping[str, str]) -> Tree:
    for path, text in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Tree(root)


def read(name: str, tree: Tree) -> list[Found]:
    return list(importlib.import_module(f"tamperscope.data.sources.{name}").read(tree))


@each
def test_miniature_gives_exactly_the_rows_and_notes_expected(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, mini.contents())
    assert sorted(read(mini.name, tree), key=lambda row: row.image) == sorted(mini.rows, key=lambda row: row.image)
    assert sorted((note.kind, note.path) for note in tree.notes) == sorted(mini.notes)


@each
def test_a_folder_around_the_set_changes_nothing_but_the_paths(mini: Mini, tmp_path: Path) -> None:
    rows = read(mini.name, plant(tmp_path, {f"my masks/{path}": text for path, text in mini.contents().items()}))
    facts = {(row.image, row.label, row.mask, row.truth, row.group, str(row.extra)) for row in rows}
    assert facts == {
        (f"my masks/{r.image}", r.label, r.mask and f"my masks/{r.mask}", r.truth, r.group, str(r.extra))
        for r in mini.rows
    }


@each
def test_an_unrelated_copy_gives_nothing(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, {"notes.txt": "", "list.csv": "a,b\n"})
    assert (read(mini.name, tree), tree.notes) == ([], [])


@each
def test_description_is_complete(mini: Mini) -> None:
    source = importlib.import_module(f"tamperscope.data.sources.{mini.name}").SOURCE
    assert isinstance(source, Source)
    assert source.domain == "manipulation"
    assert source.home.startswith("https://")
    assert all((source.title, source.licence, source.size, source.layout))
    assert source.expected.keys() <= {"forged", "pristine"}


@pytest.mark.parametrize(
    ("name", "path", "text", "message"),
    [
        ("nist16", NIST_REF, "ProbeFileName|IsTarget\nprobe/a.jpg|Y\n", "ProbeMaskFileName"),
        ("micc_f220", "groundtruthDB_220.txt", "a.jpg yes\n", "a.jpg yes"),
        ("micc_f600", "groundtruthDB_600.txt", "1\n", "NAME.jpg 1"),
    ],
)
def test_a_list_of_the_wrong_shape_is_an_error_that_names_it(
    name: str, path: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read(name, plant(tmp_path, {path: text}))
    assert path in str(raised.value)


@given(st.sets(st.integers(1, 30), min_size=1), st.sets(st.integers(1, 30), min_size=1))
@settings(max_examples=20, deadline=None)
def test_masks_beside_pictures_pair_by_name_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, images: set[int], masks: set[int]
) -> None:
    files = [f"a/image/{i}t.tif" for i in images] + [f"a/mask/{i}forged.tif" for i in masks]
    tree = plant(tmp_path_factory.mktemp("beside"), dict.fromkeys(files, ""))
    pictures, truths = tree.pictures("a/image/*"), tree.pictures("a/mask/*")
    found = dict(beside(tree, pictures, truths, "../mask/{}forged.*", name=lambda path: stem(path)[:-1]))
    assert found == {f"a/image/{i}t.tif": f"a/mask/{i}forged.tif" if i in masks else None for i in images}
    assert {note.path for note in tree.notes} == {f"a/mask/{i}forged.tif" for i in masks - images}


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_casia_pictures_of_one_source_are_always_of_one_group(
    tmp_path_factory: pytest.TempPathFactory, sources: list[tuple[int, int]]
) -> None:
    names = [f"Tp_D_NRN_S_N_ani{a:05d}_ani{b:05d}_{i:05d}" for i, (a, b) in enumerate(sources)]
    files = [f"Tp/{name}.tif" for name in names] + [f"Gt/{name}_gt.png" for name in names]
    files += [f"Au/Au_ani_{i:05d}.jpg" for i in range(1, 10)]
    rows = read("casia_v2", plant(tmp_path_factory.mktemp("casia"), dict.fromkeys(files, "")))
    groups = defaultdict(set)
    for row in rows:
        parts = [part for part in stem(row.image).replace("ani_", "ani").split("_") if part.startswith("ani")]
        for part in parts:
            groups[part].add(row.group)
    assert len(rows) == len(names) + 9
    assert all(len(of) == 1 and "" not in of for of in groups.values())
    # No more is joined than need be: each link joins at most two groups.
    assert len({row.group for row in rows}) >= 9 - len(set(sources))
