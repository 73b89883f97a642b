"""Recent manipulation sets: each is read from a miniature of its layout, with the defects that real copies have."""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.data.sources.base import Found, Source, Tree, Truth
from tamperscope.data.sources.listed import coco, coco_ids, located
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
        return dict.fromkeys(self.files.split(), "") | dict(self.lists)


def real(image: str, group: str = "", split: str = "", **extra: Any) -> Found:
    return Found(image, 0, split=split, group=group, extra=extra)


def fake(
    image: str, mask: str | None, kind: str, group: str = "", split: str = "", truth: Truth = "nonzero", **extra: Any
) -> Found:
    return Found(image, 1, mask, truth, split, group, {"kind": kind, **extra})


DALLE = {"generator": "dalle2"}
PIX2PIX = {"generator": "instructpix2pix"}
OUTLINE = [[1, 1, 4, 1, 4, 5]]
FACES = {
    "categories": [{"id": 0, "name": "Real"}, {"id": 1, "name": "Fake"}],
    "images": [{"id": i, "file_name": f"Images/Train/{i}.jpg"} for i in (1, 2, 3)],
    "annotations": [
        {"image_id": 1, "category_id": 1, "bbox": [10, 20, 5.4, 6], "segmentation": OUTLINE},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": {"counts": "x", "size": [2, 2]}},
        {"image_id": 1, "category_id": 0, "bbox": [50, 50, 9, 9], "segmentation": OUTLINE},
        {"image_id": 2, "category_id": 0, "bbox": [50, 50, 9, 9], "segmentation": OUTLINE},
    ],
}
NO_FACES = {**FACES, "images": [{"id": 9, "file_name": "4.jpg"}], "annotations": []}
COCO_A, COCO_B, COCO_C = "000000000009", "000000000025", "000000000030"

MINIS = [
    Mini(
        "autosplice",
        """
        Authentic/10.jpg Authentic/9.JPG
        Forged_JPEG100/10_0.jpg Forged_JPEG100/9_0.jpg Forged_JPEG100/9_1.jpg
        Forged_JPEG75/10_0.jpg Forged_JPEG75/7_0.jpg
        Mask/10_0_mask.png Mask/9_mask.png Mask/9_1.png Mask/8_0_mask.png
        readme.txt
        """,
        [
            real("Authentic/10.jpg", "10"),
            real("Authentic/9.JPG", "9"),
            fake("Forged_JPEG100/10_0.jpg", "Mask/10_0_mask.png", "inpainting", "10", quality=100, **DALLE),
            fake("Forged_JPEG100/9_0.jpg", "Mask/9_mask.png", "inpainting", "9", quality=100, **DALLE),
            fake("Forged_JPEG100/9_1.jpg", "Mask/9_1.png", "inpainting", "9", quality=100, **DALLE),
            fake("Forged_JPEG75/10_0.jpg", "Mask/10_0_mask.png", "inpainting", "10", quality=75, **DALLE),
        ],
        [("missing", "Forged_JPEG75/7_0.jpg"), ("missing", "Mask/8_0_mask.png")],
    ),
    Mini(
        "openforensics",
        "Images/Train/1.JPG Images/Train/2.jpg Images/Train/5.jpg Images/Test-Challenge/4.jpg",
        [
            Found(
                "Images/Train/1.JPG",
                1,
                split="train",
                extra={
                    "kind": "face_swap",
                    "subset": "train",
                    "boxes": [[10, 20, 15, 26], [0, 0, 2, 2]],
                    "polygons": OUTLINE,
                },
            ),
            real("Images/Train/2.jpg", split="train", subset="train"),
            real("Images/Test-Challenge/4.jpg", split="test", subset="test-challenge"),
        ],
        [("missing", "Images/Train/3.jpg"), ("unknown", "Images/Train")],
        {"Train_poly.json": json.dumps(FACES), "Test-Challenge_poly.json": json.dumps(NO_FACES)},
    ),
    Mini(
        "defacto",
        f"""
        splicing_1_img/img/{COCO_A}_{COCO_B}.tif splicing_1_annotations/probe_mask/{COCO_A}_{COCO_B}.jpg
        splicing_1_annotations/donor_mask/{COCO_A}_{COCO_B}.tif splicing_1_annotations/graph/{COCO_A}.json
        splicing_2_img/img/{COCO_A}_{COCO_B}.TIF
        copymove_img/img/0_{COCO_B}.tif copymove_annotations/probe_mask/0_{COCO_B}.jpg
        copymove_annotations/probe_mask/1_{COCO_B}.jpg
        inpainting/images/{COCO_C}.jpg inpainting/inpaint_mask/{COCO_C}.png
        face_morphing_img/img/ann.tif face_morphing_annotations/probe_mask/ann.jpg
        splicing_1_img/contact_sheet.jpg
        """,
        [
            fake(
                f"splicing_1_img/img/{COCO_A}_{COCO_B}.tif",
                f"splicing_1_annotations/probe_mask/{COCO_A}_{COCO_B}.jpg",
                "splicing",
                "25",
                truth="white",
            ),
            fake(
                f"copymove_img/img/0_{COCO_B}.tif",
                f"copymove_annotations/probe_mask/0_{COCO_B}.jpg",
                "copy_move",
                "25",
                truth="white",
            ),
            fake(
                f"inpainting/images/{COCO_C}.jpg",
                f"inpainting/inpaint_mask/{COCO_C}.png",
                "inpainting",
                "30",
                truth="white",
            ),
            fake(
                "face_morphing_img/img/ann.tif",
                "face_morphing_annotations/probe_mask/ann.jpg",
                "morphing",
                truth="white",
            ),
        ],
        [
            ("missing", f"copymove_annotations/probe_mask/1_{COCO_B}.jpg"),
            ("missing", f"splicing_2_img/img/{COCO_A}_{COCO_B}.TIF"),
        ],
    ),
    Mini(
        "fantastic_reality",
        """
        dataset/ColorRealImages/1.jpg
        dataset/ColorFakeImages/10.jpg dataset/ColorFakeImages/2.JPG dataset/ColorFakeImages/3.jpg
        dataset/ColorFakeImages/4.jpg
        dataset/SegmentationFake/10.png dataset/SegmentationFake/10.npz dataset/SegmentationFake/3.npz
        dataset/SegmentationFake/5.png dataset/masks/2.png
        dataset/ColorFakeImages/list.txt
        """,
        [
            real("dataset/ColorRealImages/1.jpg"),
            fake("dataset/ColorFakeImages/10.jpg", "dataset/SegmentationFake/10.png", "splicing"),
            fake("dataset/ColorFakeImages/2.JPG", "dataset/masks/2.png", "splicing"),
        ],
        [
            ("missing", "dataset/ColorFakeImages/4.jpg"),
            ("missing", "dataset/SegmentationFake/5.png"),
            ("skipped", "dataset/SegmentationFake"),
        ],
    ),
    Mini(
        "tampcoco",
        f"""
        cm_images/{COCO_A}_1.jpg cm_images/{COCO_B}_1.jpg cm_images/unlisted.jpg
        cm_masks/{COCO_A}_1.png
        sp_images/{COCO_A}_{COCO_C}.JPG sp_masks/{COCO_A}_{COCO_C}.png sp_masks/other.png
        bcmc_images/r1.jpg bcmc_masks/r1.png
        """,
        [
            fake(
                f"cm_images/{COCO_A}_1.jpg",
                f"cm_masks/{COCO_A}_1.png",
                "copy_move",
                "30",
                "train",
                subset="cm",
            ),
            fake(
                f"sp_images/{COCO_A}_{COCO_C}.JPG",
                f"sp_masks/{COCO_A}_{COCO_C}.png",
                "splicing",
                "30",
                subset="sp",
            ),
            fake("bcmc_images/r1.jpg", "bcmc_masks/r1.png", "copy_move", split="val", subset="bcmc"),
        ],
        [
            ("missing", f"cm_images/{COCO_B}_1.jpg"),
            ("missing", "sp_images/gone.jpg"),
            ("unknown", "cm_images"),
            ("unknown", "sp_masks"),
        ],
        {
            "cm_COCO_list.txt": f"cm_images/{COCO_A}_1.jpg,cm_masks/{COCO_A}_1.png\n"
            f"cm_images/{COCO_B}_1.jpg,cm_masks/{COCO_B}_1.png\n",
            "cm_COCO_train_list.txt": f"cm_images/{COCO_A}_1.jpg,cm_masks/{COCO_A}_1.png\n",
            "sp_COCO_list.txt": f"sp_images/{COCO_A}_{COCO_C}.jpg,sp_masks/{COCO_A}_{COCO_C}.png\n"
            "sp_images/gone.jpg,sp_masks/other.png\n",
            "bcmc_COCO_valid_list.txt": "tampCOCO/bcmc_images/r1.jpg, tampCOCO/bcmc_masks/r1.png\n",
        },
    ),
    Mini(
        "compraise",
        "r000da54ft.jpg a/r000da54ft_2.JPG a/other.jpg a/list.txt",
        [real("r000da54ft.jpg", "r000da54ft"), real("a/r000da54ft_2.JPG", "r000da54ft"), real("a/other.jpg")],
    ),
    Mini(
        "mimlv2",
        "part1/imgs/10.jpg part1/imgs/9.JPG part1/masks/10.png part1/masks/8.png test/images/1.jpg test/gt/1.png x.txt",
        [
            fake("part1/imgs/10.jpg", "part1/masks/10.png", "tampered"),
            fake("test/images/1.jpg", "test/gt/1.png", "tampered", split="test"),
        ],
        [("missing", "part1/imgs/9.JPG"), ("missing", "part1/masks/8.png")],
    ),
    Mini(
        "deal_300k",
        f"""
        train/{COCO_A}.jpg train/{COCO_A}_qwen120.jpg train/{COCO_A}_qwen180.JPG train/cat.jpg train/list.txt
        label/train/{COCO_A}_qwen120.png label/train/{COCO_B}_qwen120.png
        val/{COCO_C}_qwen180.jpg val/{COCO_C}_qwen180.png
        test/{COCO_B}_qwen120.jpg label/{COCO_B}_qwen120.png
        """,
        [
            real(f"train/{COCO_A}.jpg", "9", "train"),
            fake(
                f"train/{COCO_A}_qwen120.jpg",
                f"label/train/{COCO_A}_qwen120.png",
                "editing",
                "9",
                "train",
                **PIX2PIX,
            ),
            fake(f"val/{COCO_C}_qwen180.jpg", f"val/{COCO_C}_qwen180.png", "editing", "30", "val", **PIX2PIX),
            fake(f"test/{COCO_B}_qwen120.jpg", f"label/{COCO_B}_qwen120.png", "editing", "25", "test", **PIX2PIX),
        ],
        [
            ("missing", f"label/train/{COCO_B}_qwen120.png"),
            ("missing", f"train/{COCO_A}_qwen180.JPG"),
            ("unknown", "train"),
        ],
    ),
]


def plant(root: Path, files: Mapping[str, str]) -> Tree:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Tree(root)


def read(name: str, tree: Tree) -> list[Found]:
    return list(importlib.import_module(f"tamperscope.data.sources.{name}").read(tree))


@pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)
def test_miniature_gives_exactly_the_rows_and_notes_expected(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, mini.contents())
    assert sorted(read(mini.name, tree), key=lambda row: row.image) == sorted(mini.rows, key=lambda row: row.image)
    assert sorted((note.kind, note.path) for note in tree.notes) == mini.notes


@pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)
def test_a_folder_around_the_set_changes_nothing_but_the_paths(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, {f"downloads/{path}": text for path, text in mini.contents().items()})
    facts = sorted((r.image, r.label, r.split, r.group, f"{r.mask}") for r in read(mini.name, tree))
    assert facts == sorted(
        (f"downloads/{r.image}", r.label, r.split, r.group, f"downloads/{r.mask}" if r.mask else "None")
        for r in mini.rows
    )


@pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)
def test_an_empty_copy_gives_nothing_and_the_description_is_complete(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, {"notes.txt": ""})
    assert read(mini.name, tree) == []
    assert tree.notes == []
    source = importlib.import_module(f"tamperscope.data.sources.{mini.name}").SOURCE
    assert isinstance(source, Source)
    assert source.domain == "manipulation"
    assert source.home.startswith("https://")
    assert all((source.title, source.licence, source.size, source.layout))


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("openforensics", "Val_poly.json", "{"),
        ("openforensics", "Val_poly.json", '{"images": []}'),
        ("openforensics", "Val_poly.json", '{"categories": [], "images": [], "annotations": []}'),
        (
            "openforensics",
            "Val_poly.json",
            json.dumps({**FACES, "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}]}),
        ),
        ("tampcoco", "cm_COCO_list.txt", "cm_images/1.jpg\n"),
    ],
)
def test_a_list_of_the_wrong_shape_is_an_error_that_names_it(name: str, path: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=path):
        read(name, plant(tmp_path, {path: text}))


def test_packed_masks_are_told_how_to_unpack(tmp_path: Path) -> None:
    names = ["ColorFakeImages/1.jpg", "SegmentationFake/1.npz", "ColorFakeImages/2.jpg", "SegmentationFake/2.npz"]
    tree = plant(tmp_path, dict.fromkeys(names, ""))
    assert read("fantastic_reality", tree) == []
    assert [note.kind for note in tree.notes] == ["skipped"]
    assert tree.notes[0].text.startswith("2 ")
    assert "arr_0" in tree.notes[0].text


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8, unique=True))
@settings(max_examples=25, deadline=None)
def test_pictures_that_share_a_source_are_never_in_two_groups(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]
) -> None:
    names = [f"{a:012d}_{b:012d}" for a, b in pairs]
    files = {f"splicing_1_img/img/{name}.tif": "" for name in names}
    files |= {f"splicing_1_annotations/probe_mask/{name}.jpg": "" for name in names}
    groups = defaultdict(set)
    rows = read("defacto", plant(tmp_path_factory.mktemp("defacto"), files))
    for row in rows:
        for number in coco_ids(row.image):
            groups[number].add(row.group)
    assert len(rows) == len(names)
    assert all(len(found) == 1 and found != {""} for found in groups.values())


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("a/000000000009_qwen120.jpg", "9"),
        ("0_000000577322.tif", "577322"),
        ("COCO_val2014_000000000139.png", "139"),
        ("000000000000.jpg", "0"),
        ("0000000000091.jpg", ""),
        ("000000000009/cat.jpg", ""),
    ],
)
def test_a_number_of_coco_is_exactly_twelve_digits_of_the_file_name(name: str, number: str) -> None:
    assert coco(name) == number


@pytest.mark.parametrize("name", ["set/a/1.jpg", "a/1.jpg", "A\\1.JPG"])
def test_a_listed_name_is_found_below_any_folder_around_its_list(name: str, tmp_path: Path) -> None:
    tree = plant(tmp_path, {"a/1.jpg": "", "lists/x/list.txt": "", "b/1.jpg": ""})
    assert located(tree, "lists/x/list.txt", name) == "a/1.jpg"
    assert located(tree, "lists/x/list.txt", "../../../etc/1.jpg") is None
