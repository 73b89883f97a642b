"""Sets of generative edits and of news, each read from a miniature of its layout, and what holds for all sets."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.data import sources
from tamperscope.data.sources.base import Found, Source, Tree, Truth
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


def real(image: str, group: str = "", split: str = "", **extra: Any) -> Found:
    return Found(image, 0, group=group, split=split, extra=extra)


def fake(
    image: str,
    mask: str | None,
    kind: str,
    group: str = "",
    split: str = "",
    truth: Truth = "white",
    **extra: Any,
) -> Found:
    return Found(image, 1, mask, truth, split, group, {"kind": kind, **extra})


CHANGED = {
    "id": 7,
    "image": "DGM4/manipulation/HFGI/7-HFGI.jpg",
    "text": "a b c",
    "fake_image_box": [1, 2, 3, 4],
    "mtcnn_boxes": [[1, 2, 3, 4], [5, 6, 7, 8]],
}
DGM4 = [
    {**CHANGED, "fake_cls": "face_attribute&text_attribute", "fake_text_pos": [1]},
    {"id": 7, "image": "DGM4/origin/bbc/0001/7.jpg", "text": "a x c", "fake_cls": "text_swap", "fake_text_pos": [1]},
    {"id": 8, "image": "DGM4/origin/bbc/0001/8.JPG", "text": "d", "fake_cls": "orig", "fake_image_box": []},
    {"id": 9, "image": "DGM4/origin/bbc/0001/9.jpg", "text": "e", "fake_cls": "orig"},
]
SAMM = [
    {
        "id": 13,
        "image": "swap_jpg/65039.jpg",
        "text": "f",
        "fake_cls": "swap_manipulation",
        "fake_image_box": [5, 6, 7, 8],
        "fake_text_pos": [0, 1],
    },
    {"id": 14, "image": "orig_output/65039.jpg", "text": "g", "fake_cls": "orig", "fake_text_pos": []},
]
MANIPBENCH = [
    {"image": "raw/1.jpg"},
    {
        "image": "edits/1_a.png",
        "original": "raw/1.jpg",
        "editor": "flux-kontext",
        "category": "removal",
        "boxes": [[1, 2, 3, 4]],
        "cues": ["blur", "light"],
        "text": "The shadow is gone.",
        "mask": "masks/1_a.png",
    },
    {"image": "edits/1_b.png", "original": "raw/1.jpg", "editor": "seededit", "mask": "masks/1_b.png"},
    {"image": "edits/9.png", "editor": "seededit"},
]
MANIPULATIONS = ("orig", "face_swap", "face_attribute", "text_swap", "text_attribute")
MMTD = [
    {
        "id": "1",
        "image": "dataset/photoshop/CASIAv2_Tp/image/b.jpg",
        "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "The edge is blurred."}],
    },
    {"id": "2", "image": "FFHQ_Train/image/1.jpg", "conversations": [{"from": "human", "value": "?"}]},
]

MINIS = [
    Mini(
        "diffseg30k",
        """
        train/images/1.png
        train/images/2.PNG
        train/images/3.png
        train/masks/1.png
        train/masks/2.png
        train/masks/4.png
        validation/images/1.jpg
        validation/masks/1.png
        """,
        [
            fake("train/images/1.png", "train/masks/1.png", "inpainting", split="train", truth="labels"),
            fake(
                "train/images/2.PNG",
                "train/masks/2.png",
                "inpainting",
                split="train",
                truth="labels",
                turns=["sdxl", "flux"],
            ),
            fake("validation/images/1.jpg", "validation/masks/1.png", "inpainting", split="val", truth="labels"),
        ],
        [("missing", "train/images/3.png"), ("missing", "train/masks/4.png")],
        {"metadata.csv": "filename,turns\n2.png,sdxl; flux\n5.png,glide\n1.png,\n"},
    ),
    Mini(
        "manipbench",
        """
        raw/1.JPG
        edits/1_a.png
        edits/1_b.png
        masks/1_a.png
        raw/unlisted.jpg
        """,
        [
            real("raw/1.JPG", "raw/1.jpg", "test"),
            fake(
                "edits/1_a.png",
                "masks/1_a.png",
                "editing",
                "raw/1.jpg",
                "test",
                editor="flux-kontext",
                category="removal",
                boxes=[[1, 2, 3, 4]],
                cues=["blur", "light"],
                text="The shadow is gone.",
            ),
            fake("edits/1_b.png", None, "editing", "raw/1.jpg", "test", editor="seededit"),
        ],
        [("missing", "edits/9.png"), ("missing", "masks/1_b.png")],
        {"annotations_test.json": json.dumps(MANIPBENCH)},
    ),
    Mini(
        "dgm4",
        """
        DGM4/manipulation/HFGI/7-HFGI.jpg
        DGM4/manipulation/HFGI/6-HFGI.jpg
        DGM4/origin/bbc/0001/7.jpg
        DGM4/origin/bbc/0001/8.jpg
        """,
        [
            fake(
                "DGM4/manipulation/HFGI/7-HFGI.jpg",
                None,
                "attribute_edit",
                "7",
                "val",
                text="a b c",
                manipulation="face_attribute&text_attribute",
                boxes=[[1, 2, 3, 4]],
                text_positions=[1],
                face_boxes=[[1, 2, 3, 4], [5, 6, 7, 8]],
            ),
            real(
                "DGM4/origin/bbc/0001/7.jpg",
                "7",
                "val",
                text="a x c",
                manipulation="text_swap",
                text_positions=[1],
            ),
            real("DGM4/origin/bbc/0001/8.jpg", "8", "val", text="d", manipulation="orig"),
        ],
        [("missing", "DGM4/DGM4/origin/bbc/0001/9.jpg")],
        {"DGM4/metadata/val.json": json.dumps(DGM4)},
    ),
    Mini(
        "samm",
        """
        swap_jpg/65039.JPG
        orig_output/65039.jpg
        emotion_jpg/1.jpg
        people_imgs/Terri Butler/0.jpg
        """,
        [
            fake(
                "swap_jpg/65039.JPG",
                None,
                "identity_swap",
                "65039",
                "train",
                text="f",
                manipulation="swap_manipulation",
                boxes=[[5, 6, 7, 8]],
                text_positions=[0, 1],
            ),
            real("orig_output/65039.jpg", "65039", "train", text="g", manipulation="orig"),
        ],
        [("missing", "swap_jpg/2.jpg")],
        {
            "jsons/train.json": json.dumps(SAMM),
            "jsons/test.json": json.dumps([{**SAMM[0], "image": "swap_jpg/2.jpg"}]),
        },
    ),
    Mini(
        "br_gen",
        """
        train/real/1.jpg
        train/fake/LaMa/1.png
        train/fake/LaMa/2.png
        train/mask/LaMa/1.png
        train/mask/LaMa/3.png
        fake/1.PNG
        mask/1.png
        """,
        [
            real("train/real/1.jpg", "1", "train"),
            fake("train/fake/LaMa/1.png", "train/mask/LaMa/1.png", "inpainting", "1", "train", generator="lama"),
            fake("fake/1.PNG", "mask/1.png", "inpainting", "1"),
        ],
        [("missing", "train/fake/LaMa/2.png"), ("missing", "train/mask/LaMa/3.png")],
    ),
    Mini(
        "tgif",
        """
        orig/training/dog/1_orig.png
        orig/training/dog/1_orig_512.png
        sd2-sp/training/dog/1_mask_segm.png_ps_mask.png_sd2_0.png
        ps-sp/training/dog/1_mask_segm.png_ps_2.PNG
        sd2-fr/training/dog/1_mask_bbox.png_sd2-512_0.png
        sdxl-fr/training/dog/1_mask_bbox.png_sdxl-1024_0.png
        flux1dev-fr/testing/cat/2_mask_segm.png_flux1dev-1024_1.png
        sd2-fr/testing/cat/2_mask_random.png_sd2-512_0.png
        masks/training/dog/1_mask_segm.png_ps_mask.png
        masks/training/dog/1_mask_segm.png
        masks/training/dog/1_mask_bbox_512.png
        masks/training/dog/1_mask_512.png
        masks-flux/testing/cat/2_mask_segm_1024.png
        masks/testing/cat/2_mask_512.png
        masks/testing/cat/3_mask_512.png
        sd2-sp/training/dog/contact sheet.png
        """,
        [
            real("orig/training/dog/1_orig.png", "1", "train"),
            real("orig/training/dog/1_orig_512.png", "1", "train"),
            *(
                fake(
                    image,
                    mask,
                    "inpainting",
                    image.split("/")[3][0],
                    "train" if "training" in image else "test",
                    generator=generator,
                    shape=shape,
                    regenerated="-fr/" in image,
                )
                for image, mask, generator, shape in (
                    (
                        "sd2-sp/training/dog/1_mask_segm.png_ps_mask.png_sd2_0.png",
                        "masks/training/dog/1_mask_segm.png_ps_mask.png",
                        "sd2",
                        "segm",
                    ),
                    (
                        "ps-sp/training/dog/1_mask_segm.png_ps_2.PNG",
                        "masks/training/dog/1_mask_segm.png_ps_mask.png",
                        "firefly",
                        "segm",
                    ),
                    (
                        "sd2-fr/training/dog/1_mask_bbox.png_sd2-512_0.png",
                        "masks/training/dog/1_mask_bbox_512.png",
                        "sd2",
                        "bbox",
                    ),
                    (
                        "flux1dev-fr/testing/cat/2_mask_segm.png_flux1dev-1024_1.png",
                        "masks-flux/testing/cat/2_mask_segm_1024.png",
                        "flux1dev",
                        "segm",
                    ),
                    (
                        "sd2-fr/testing/cat/2_mask_random.png_sd2-512_0.png",
                        "masks/testing/cat/2_mask_512.png",
                        "sd2",
                        "random",
                    ),
                )
            ),
        ],
        [
            ("missing", "masks/testing/cat/3_mask_512.png"),
            ("missing", "sdxl-fr/training/dog/1_mask_bbox.png_sdxl-1024_0.png"),
            ("unknown", "sd2-sp/training/dog"),
        ],
    ),
    Mini(
        "sid_set",
        """
        train/real/000000000009.jpg
        train/full_synthetic/1.png
        train/tampered/2.PNG
        train/tampered/3.png
        train/masks/2.png
        train/masks/4.png
        validation/real/1.jpg
        real/7.JPEG
        """,
        [
            real("train/real/000000000009.jpg", split="train"),
            fake("train/full_synthetic/1.png", None, "generated", split="train"),
            fake("train/tampered/2.PNG", "train/masks/2.png", "tampered", split="train"),
            real("validation/real/1.jpg", split="val"),
            real("real/7.JPEG"),
        ],
        [("missing", "train/masks/4.png"), ("missing", "train/tampered/3.png")],
    ),
    Mini(
        "mmtd_set",
        """
        photoshop/CASIAv2_Tp/image/a.jpg
        photoshop/CASIAv2_Tp/image/b.JPG
        photoshop/CASIAv2_Tp/mask/b.png
        photoshop/CASIAv2_Tp/mask/c.png
        photoshop/CASIAv2_Au/image/d.jpg
        photoshop/CASIAv1+_Tp/image/e.jpg
        photoshop/CASIAv1+_Tp/mask/e.png
        deepfake/FFHQ_Train/image/1.jpg
        aigc/SD_inpaint_Val/image/2.png
        aigc/SD_inpaint_Val/mask/2.png
        other/image/9.png
        """,
        [
            fake(
                "photoshop/CASIAv2_Tp/image/b.JPG",
                "photoshop/CASIAv2_Tp/mask/b.png",
                "tampered",
                split="train",
                subset="casiav2_tp",
                text="The edge is blurred.",
            ),
            real("photoshop/CASIAv2_Au/image/d.jpg", split="train", subset="casiav2_au"),
            fake(
                "photoshop/CASIAv1+_Tp/image/e.jpg",
                "photoshop/CASIAv1+_Tp/mask/e.png",
                "tampered",
                split="test",
                subset="casiav1+_tp",
            ),
            real("deepfake/FFHQ_Train/image/1.jpg", split="train", subset="ffhq_train"),
            fake(
                "aigc/SD_inpaint_Val/image/2.png",
                "aigc/SD_inpaint_Val/mask/2.png",
                "inpainting",
                split="val",
                subset="sd_inpaint_val",
            ),
        ],
        [("missing", "photoshop/CASIAv2_Tp/image/a.jpg"), ("missing", "photoshop/CASIAv2_Tp/mask/c.png")],
        {"MMTD_Set/MMTD-Set-34k.json": json.dumps(MMTD).replace("b.jpg", "b.JPG")},
    ),
    Mini(
        "ps_battles",
        """
        originals/100c1k.jpg
        originals/100d24.PNG
        originals.tsv
        photoshops/100c1k/a_0.jpg
        photoshops/100c1k/b_0.PNG
        photoshops/gone/c_0.jpg
        photoshops/gone/d_0.jpg
        photoshops/loose.jpg
        """,
        [
            real("originals/100c1k.jpg", "100c1k"),
            real("originals/100d24.PNG", "100d24"),
            fake("photoshops/100c1k/a_0.jpg", None, "tampered", "100c1k", original="originals/100c1k.jpg"),
            fake("photoshops/100c1k/b_0.PNG", None, "tampered", "100c1k", original="originals/100c1k.jpg"),
            fake("photoshops/gone/c_0.jpg", None, "tampered", "gone"),
            fake("photoshops/gone/d_0.jpg", None, "tampered", "gone"),
        ],
        [("missing", "photoshops/gone")],
    ),
]
# Published names of two sets whose simpler form is tested elsewhere.
PUBLISHED = [
    Mini(
        "cocoglide",
        """
        fake/glide_inpainting_val2017_357501_up.png
        fake/glide_inpainting_val2017_79408_up.png
        fake/glide_inpainting_val2017_9_up.png
        mask/scissors_357501_mask.png
        mask/stop sign_79408_mask.png
        mask/apple_1_mask.png
        real/scissors_357501.png
        """,
        [
            real("real/scissors_357501.png", "357501"),
            fake(
                "fake/glide_inpainting_val2017_357501_up.png",
                "mask/scissors_357501_mask.png",
                "inpainting",
                "357501",
                generator="glide",
            ),
            fake(
                "fake/glide_inpainting_val2017_79408_up.png",
                "mask/stop sign_79408_mask.png",
                "inpainting",
                "79408",
                generator="glide",
            ),
        ],
        [("missing", "fake/glide_inpainting_val2017_9_up.png"), ("missing", "mask/apple_1_mask.png")],
    ),
    Mini(
        "grip",
        """
        images/IMG_C01_001.png
        images/IMG_C09_009.png
        forged_images/TP_C01_001_copy.png
        forged_images/TP_C01_001_gt.png
        """,
        [
            real("images/IMG_C01_001.png", "tp_c01_001"),
            fake("forged_images/TP_C01_001_copy.png", "forged_images/TP_C01_001_gt.png", "copy_move", "tp_c01_001"),
        ],
        [("unknown", "images")],
    ),
]
each = pytest.mark.parametrize("mini", [*MINIS, *PUBLISHED], ids=lambda mini: mini.name)


def plant(root: Path, contents: Mapping[str, str]) -> Tree:
    for path, text in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Tree(root)


def read(name: str, tree: Tree) -> list[Found]:
    return list(importlib.import_module(f"tamperscope.data.sources.{name}").read(tree))


def ordered(rows: list[Found]) -> list[Found]:
    return sorted(rows, key=lambda row: row.image)


@each
def test_miniature_gives_exactly_the_rows_and_notes_expected(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, mini.contents())
    assert ordered(read(mini.name, tree)) == ordered(mini.rows)
    assert sorted((note.kind, note.path) for note in tree.notes) == sorted(mini.notes)


@each
def test_a_folder_around_the_set_changes_nothing_but_the_paths(mini: Mini, tmp_path: Path) -> None:
    rows = read(mini.name, plant(tmp_path, {f"my sets/{path}": text for path, text in mini.contents().items()}))
    facts = {(row.image, row.label, row.mask, row.truth, row.split, row.group) for row in rows}
    assert facts == {
        (f"my sets/{r.image}", r.label, r.mask and f"my sets/{r.mask}", r.truth, r.split, r.group) for r in mini.rows
    }


@pytest.mark.parametrize(
    "mini", [mini for mini in (*MINIS, *PUBLISHED) if any(row.mask for row in mini.rows)], ids=lambda mini: mini.name
)
def test_taking_a_mask_away_takes_only_its_own_pictures(mini: Mini, tmp_path: Path) -> None:
    gone = next(row.mask for row in ordered(mini.rows) if row.mask)
    contents = {path: text for path, text in mini.contents().items() if path != gone}
    rows = read(mini.name, plant(tmp_path, contents))
    kept = [row for row in mini.rows if row.mask != gone]
    assert [row for row in ordered(rows) if row.mask] == [row for row in ordered(kept) if row.mask]
    assert {row.image for row in kept} <= {row.image for row in rows}


@each
def test_an_unrelated_copy_gives_nothing(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, {"notes.txt": "", "list.csv": "a,b\n"})
    assert (read(mini.name, tree), tree.notes) == ([], [])


def test_every_set_is_described() -> None:
    names = sources.names()
    assert {mini.name for mini in MINIS} <= set(names)
    for name in names:
        source = sources.describe(name)
        assert isinstance(source, Source)
        assert all((source.title, source.licence, source.size, source.layout)), name
        assert source.home.startswith("https://"), name
        assert {part.rpartition("/")[2] for part in source.expected} <= {"forged", "pristine"}, name
        assert all(count > 0 for count in source.expected.values()), name
        assert callable(sources.load(name).read), name
    assert {sources.describe(mini.name).domain for mini in MINIS} == {"manipulation"}


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("dgm4", "metadata/train.json", '[{"image": "a.jpg", "text": "", "fake_cls": "orig"}]'),
        ("dgm4", "metadata/test.json", '["a.jpg"]'),
        ("samm", "jsons/val.json", '[{"image": "a.jpg", "text": ""}]'),
        ("samm", "jsons/val.json", "{"),
        ("manipbench", "annotations.json", '["a.jpg"]'),
        ("manipbench", "annotations_train.json", '{"editor": "x"}'),
        ("mmtd_set", "MMTD_Set/MMTD-Set-34k.json", '[{"image": "a.jpg"}]'),
        ("diffseg30k", "metadata.csv", "filename,editor\n1.png,flux\n"),
    ],
)
def test_a_list_of_the_wrong_shape_is_an_error_that_names_it(name: str, path: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(name, plant(tmp_path, {path: text}))
    assert path in str(raised.value)


@given(st.sets(st.sampled_from(MANIPULATIONS), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_a_news_picture_counts_as_forged_only_where_the_picture_itself_was_changed(
    tmp_path_factory: pytest.TempPathFactory, parts: set[str]
) -> None:
    pair = {"id": 1, "image": "DGM4/a.jpg", "text": "t", "fake_cls": "&".join(sorted(parts)), "fake_image_box": [0] * 4}
    contents = {"DGM4/a.jpg": "", "metadata/train.json": json.dumps([pair])}
    [row] = read("dgm4", plant(tmp_path_factory.mktemp("dgm4"), contents))
    changed = any(part.startswith("face") for part in parts)
    assert row.label == changed
    assert ("kind" in row.extra, "boxes" in row.extra) == (changed, changed)


@given(
    st.sets(st.tuples(st.integers(1, 30), st.sampled_from(["bbox", "segm"])), min_size=1, max_size=12),
    st.sets(st.tuples(st.integers(1, 30), st.sampled_from(["bbox", "segm"])), max_size=12),
)
@settings(max_examples=20, deadline=None)
def test_inpainted_pictures_take_the_mask_of_their_number_and_shape_or_are_noted(
    tmp_path_factory: pytest.TempPathFactory, pictures: set[tuple[int, str]], masks: set[tuple[int, str]]
) -> None:
    image, mask = "sd2-fr/testing/{}_mask_{}.png_sd2-512_0.png", "masks/testing/{}_mask_{}_512.png"
    files = [image.format(*made) for made in pictures] + [mask.format(*made) for made in masks]
    tree = plant(tmp_path_factory.mktemp("tgif"), dict.fromkeys(files, ""))
    rows = read("tgif", tree)
    assert {(row.image, row.mask) for row in rows} == {
        (image.format(*made), mask.format(*made)) for made in pictures & masks
    }
    lonely = {mask.format(*made) for made in masks if made[0] not in {number for number, _ in pictures}}
    assert {note.path for note in tree.notes} == {image.format(*made) for made in pictures - masks} | lonely
