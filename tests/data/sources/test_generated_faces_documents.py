"""Each set is read from a miniature of its published layout, with the defects that real copies have."""

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

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import linked, paired, split_of
from tamperscope.errors import InputError

VIA = (
    "{'regions': [{'shape_attributes': {'name': 'rect', 'x': 10, 'y': 20, 'width': 5, 'height': 6}, "
    "'region_attributes': {'Modification type': 'CPI', 'Original area': 'no'}}, "
    "{'shape_attributes': {'name': 'rect', 'x': 90, 'y': 90, 'width': 5, 'height': 6}, "
    "'region_attributes': {'Modification type': 'CPI', 'Original area': 'yes'}}]}"
)
RECEIPTS = "image,digital annotation,handwritten annotation,forged,forgery annotations\n"
COCO = {
    "categories": [{"id": 1, "name": "text"}, {"id": 2, "name": "text_temp"}],
    "images": [{"id": i, "file_name": f"X{i}.jpg"} for i in (1, 2, 3)],
    "annotations": [
        {"image_id": 1, "category_id": 2, "bbox": [10, 20, 5.0, 6.0]},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9]},
    ],
}


@dataclass(frozen=True)
class Mini:
    """A miniature: files (a picture is empty, a list has its text), the rows and the notes (kind, path) expected."""

    name: str
    files: Mapping[str, str] | str | list[str]
    rows: list[Found]
    notes: list[tuple[str, str]] = field(default_factory=list)


def real(image: str, split: str = "", group: str = "", **extra: Any) -> Found:
    return Found(image, 0, split=split, group=group, extra=extra)


def made(image: str, generator: str, split: str = "", group: str = "", **extra: Any) -> Found:
    return Found(image, 1, split=split, group=group, extra={"kind": "generated", "generator": generator, **extra})


def shot(image: str, label: int, video: str, number: int, split: str = "", group: str = "", **extra: Any) -> Found:
    mask = extra.pop("mask", None)
    where = {"video": video, "frame": number}
    return Found(image, label, mask, split=split, group=group or video, extra={**where, **extra})


FF_ORIGINAL = "original_sequences/youtube/c23/frames"
FF_CHANGED = "manipulated_sequences"
SWAP = {"kind": "identity_swap"}
TAMPERED = {"kind": "tampered"}

MINIS = [
    Mini(
        "forensynths",
        """
        train/cat/0_real/1.png
        val/cat/1_fake/1.PNG
        test/stylegan/car/1_fake/1.png
        test/seeingdark/0_real/1.png
        test/progan/train/1_fake/1.png
        train/train/0_real/1.png
        test/readme.txt
        stray.jpg
        """,
        [
            real("test/seeingdark/0_real/1.png", "test", subset="sitd"),
            made("test/stylegan/car/1_fake/1.png", "stylegan", "test", subset="stylegan", category="car"),
            made("test/progan/train/1_fake/1.png", "progan", "test", subset="progan", category="train"),
            real("train/train/0_real/1.png", "train", subset="progan", category="train"),
            real("train/cat/0_real/1.png", "train", subset="progan", category="cat"),
            made("val/cat/1_fake/1.PNG", "progan", "val", subset="progan", category="cat"),
        ],
        [("unknown", ".")],
    ),
    Mini(
        "genimage",
        """
        Midjourney/imagenet_midjourney/train/ai/0_mj.png
        Midjourney/imagenet_midjourney/train/nature/n01.JPEG
        imagenet_ai_0419_sdv4/val/ai/0.png
        ADM/1_fake/0.png
        Midjourney/imagenet_midjourney/x/1.png
        """,
        [
            made("ADM/1_fake/0.png", "adm", subset="adm"),
            made("imagenet_ai_0419_sdv4/val/ai/0.png", "sd1.4", "val", subset="sd1.4"),
            made("Midjourney/imagenet_midjourney/train/ai/0_mj.png", "midjourney", "train", subset="midjourney"),
            real("Midjourney/imagenet_midjourney/train/nature/n01.JPEG", "train", subset="midjourney"),
        ],
        [("unknown", "Midjourney/imagenet_midjourney/x")],
    ),
    Mini(
        "aigcdetectbenchmark",
        """
        progan/cat/0_real/1.png
        progan/train/0_real/1.png
        whichfaceisreal/1_fake/1.jpeg
        test/stable_diffusion_v_1_5/1_fake/1.png
        test/DALLE2/thumbs.db
        test/DALLE2/1.png
        """,
        [
            real("progan/cat/0_real/1.png", "test", subset="progan", category="cat"),
            real("progan/train/0_real/1.png", "test", subset="progan", category="train"),
            made("test/stable_diffusion_v_1_5/1_fake/1.png", "sd1.5", "test", subset="sd1.5"),
            made("whichfaceisreal/1_fake/1.jpeg", "wfir", "test", subset="wfir"),
        ],
        [("unknown", "test/DALLE2")],
    ),
    Mini(
        "chameleon",
        """
        test/0_real/a.jpg
        test/1_fake/a.JPG
        1_fake/b.webp
        a.jpg
        """,
        [
            Found("1_fake/b.webp", 1, split="test", extra={"kind": "generated"}),
            real("test/0_real/a.jpg", "test"),
            Found("test/1_fake/a.JPG", 1, split="test", extra={"kind": "generated"}),
        ],
        [("unknown", ".")],
    ),
    Mini(
        "hires_50k",
        """
        W_0900/0_real/a.jpg
        W>5000/1_fake/b.PNG
        W>5000/preview.png
        """,
        [
            Found("W>5000/1_fake/b.PNG", 1, split="test", extra={"kind": "generated", "category": "W>5000"}),
            real("W_0900/0_real/a.jpg", "test", category="W_0900"),
        ],
        [("unknown", "W>5000")],
    ),
    Mini(
        "cifake",
        ["train/REAL/0001 (2).jpg", "test/FAKE/1.JPG", "test/notes.txt", "test/1.jpg"],
        [
            made("test/FAKE/1.JPG", "sd1.4", "test", subset="sd1.4"),
            real("train/REAL/0001 (2).jpg", "train", subset="sd1.4"),
        ],
        [("unknown", "test")],
    ),
    Mini(
        "synthbuster",
        """
        synthbuster/dalle2/r01t.png
        synthbuster/midjourney-v5/r01t.png
        real_RAISE_1k/r01t.PNG
        prompts/p.png
        synthbuster/prompts.csv
        """,
        [
            real("real_RAISE_1k/r01t.PNG", "test", "r01t"),
            made("synthbuster/dalle2/r01t.png", "dalle2", "test", "r01t"),
            made("synthbuster/midjourney-v5/r01t.png", "midjourney5", "test", "r01t"),
        ],
        [("unknown", "prompts")],
    ),
    Mini(
        "diffusionforensics",
        """
        images/train/lsun_bedroom/real/a.jpg
        images/test/imagenet/sdv1/n01/b.PNG
        images/val/celebahq/if/c.png
        recons/test/imagenet/sdv1/n01/b.png
        dire_test/test/imagenet/sdv1/b.png
        images/test/d.png
        """,
        [
            made("images/test/imagenet/sdv1/n01/b.PNG", "sd1", "test", category="imagenet"),
            real("images/train/lsun_bedroom/real/a.jpg", "train", category="lsun_bedroom"),
            made("images/val/celebahq/if/c.png", "if", "val", category="celebahq"),
        ],
        [
            ("unknown", "dire_test/test/imagenet/sdv1"),
            ("unknown", "images/test"),
            ("unknown", "recons/test/imagenet/sdv1/n01"),
        ],
    ),
    Mini(
        "artifact",
        {
            "coco/metadata.csv": "filename,image_path,target,category\na.jpg,coco2017/a.jpg,0,mixed\n",
            "coco/coco2017/a.JPG": "",
            "StyleGAN2/metadata.csv": "filename,image_path,target,category\nb.jpg,x/b.jpg,6,cat\nc.jpg,x/c.jpg,6,cat\n",
            "StyleGAN2/x/b.jpg": "",
            "StyleGAN2/x/unlisted.jpg": "",
        },
        [
            real("coco/coco2017/a.JPG", subset="coco", category="mixed"),
            made("StyleGAN2/x/b.jpg", "stylegan2", category="cat"),
        ],
        [("missing", "StyleGAN2/x/c.jpg"), ("unknown", "StyleGAN2/x")],
    ),
    Mini(
        "so_fake_set",
        {
            "train/real/a.jpg": "",
            "train/full_synthetic/b.png": "",
            "train/tampered/10_sd_tampered.PNG": "",
            "train/tampered/9_flux_part2_tampered.png": "",
            "train/tampered/7_sd_tampered.png": "",
            "train/masks/10_sd_tampered.png": "",
            "train/masks/9_flux_part2_tampered.png": "",
            "train/masks/8_sd_tampered.png": "",
            "train/cover.png": "",
            "metadata.csv": "filename,generator\nb.png,FLUX.1-dev\na.jpg,\n",
        },
        [
            made("train/full_synthetic/b.png", "flux.1-dev", "train"),
            real("train/real/a.jpg", "train"),
            Found(
                "train/tampered/10_sd_tampered.PNG",
                1,
                "train/masks/10_sd_tampered.png",
                split="train",
                extra={**TAMPERED, "generator": "sd"},
            ),
            Found(
                "train/tampered/9_flux_part2_tampered.png",
                1,
                "train/masks/9_flux_part2_tampered.png",
                split="train",
                extra={**TAMPERED, "generator": "flux"},
            ),
        ],
        [
            ("missing", "train/masks/8_sd_tampered.png"),
            ("missing", "train/tampered/7_sd_tampered.png"),
            ("unknown", "train"),
        ],
    ),
    Mini(
        "so_fake_ood",
        """
        real/reddit_1.jpeg
        full_synthetic/x.png
        tampered/part1_09462_openai_tampered.png
        old/real.jpg
        mask/part1_09462_openai_tampered_mask.png
        mask/tampered/x.png
        """,
        [
            Found("full_synthetic/x.png", 1, split="test", extra={"kind": "generated"}),
            real("real/reddit_1.jpeg", "test"),
            Found(
                "tampered/part1_09462_openai_tampered.png",
                1,
                "mask/part1_09462_openai_tampered_mask.png",
                split="test",
                extra={**TAMPERED, "generator": "openai"},
            ),
        ],
        [("missing", "mask/tampered/x.png"), ("unknown", "old")],
    ),
    Mini(
        "faceforensics_pp",
        {
            f"{FF_ORIGINAL}/000/0000.png": "",
            f"{FF_ORIGINAL}/003/0000.png": "",
            f"{FF_ORIGINAL}/007/0000.png": "",
            f"{FF_ORIGINAL}/009/0000.png": "",
            f"{FF_CHANGED}/Deepfakes/c23/frames/000_003/0001.PNG": "",
            f"{FF_CHANGED}/Deepfakes/c40/000_003/0001.png": "",
            f"{FF_CHANGED}/Deepfakes/c23/masks/000_003/0001.png": "",
            f"{FF_CHANGED}/Deepfakes/c23/masks/003_000/0000.png": "",
            f"{FF_CHANGED}/NeuralTextures/c23/faces/000_003/0001.png": "",
            f"{FF_CHANGED}/DeepFakeDetection/c23/frames/01_02__walk__AB/0000.png": "",
            f"{FF_CHANGED}/Face2Face/c23/videos/000_003.mp4": "",
            f"{FF_CHANGED}/Deepfakes/c23/videos/000_003.mp4": "",
            "splits/train.json": json.dumps([["003", "000"]]),
            "splits/test.json": json.dumps([["007", "009"]]),
            "lists/val.json": json.dumps([{"path": "of another program"}]),
        },
        [
            shot(
                f"{FF_CHANGED}/Deepfakes/c23/frames/000_003/0001.PNG",
                1,
                "Deepfakes/c23/000_003",
                1,
                "train",
                "000",
                mask=f"{FF_CHANGED}/Deepfakes/c23/masks/000_003/0001.png",
                compression="c23",
                method="Deepfakes",
                **SWAP,
            ),
            shot(
                f"{FF_CHANGED}/Deepfakes/c40/000_003/0001.png",
                1,
                "Deepfakes/c40/000_003",
                1,
                "train",
                "000",
                mask=f"{FF_CHANGED}/Deepfakes/c23/masks/000_003/0001.png",
                compression="c40",
                method="Deepfakes",
                **SWAP,
            ),
            shot(
                f"{FF_CHANGED}/NeuralTextures/c23/faces/000_003/0001.png",
                1,
                "NeuralTextures/c23/000_003",
                1,
                "train",
                "000",
                compression="c23",
                kind="reenactment",
                method="NeuralTextures",
            ),
            shot(f"{FF_ORIGINAL}/000/0000.png", 0, "youtube/c23/000", 0, "train", "000", compression="c23"),
            shot(f"{FF_ORIGINAL}/003/0000.png", 0, "youtube/c23/003", 0, "train", "000", compression="c23"),
            shot(f"{FF_ORIGINAL}/007/0000.png", 0, "youtube/c23/007", 0, "test", "007", compression="c23"),
            shot(f"{FF_ORIGINAL}/009/0000.png", 0, "youtube/c23/009", 0, "test", "007", compression="c23"),
        ],
        [("skipped", f"{FF_CHANGED}/Face2Face/c23/videos")],
    ),
    Mini(
        "faceshifter",
        """
        original_sequences/youtube/c23/frames/003/0000.png
        manipulated_sequences/FaceShifter/c23/frames/000_003/7.JPG
        manipulated_sequences/Deepfakes/c23/frames/000_003/0000.png
        manipulated_sequences/FaceShifter/raw/videos/000_003.mp4
        """,
        [
            shot(
                f"{FF_CHANGED}/FaceShifter/c23/frames/000_003/7.JPG",
                1,
                "FaceShifter/c23/000_003",
                7,
                "",
                "000",
                compression="c23",
                method="FaceShifter",
                **SWAP,
            ),
            shot(f"{FF_ORIGINAL}/003/0000.png", 0, "youtube/c23/003", 0, "", "000", compression="c23"),
        ],
        [("skipped", f"{FF_CHANGED}/FaceShifter/raw/videos")],
    ),
    Mini(
        "dfd",
        """
        original_sequences/actors/c23/frames/01__walk/0003.png
        original_sequences/youtube/c23/frames/000/0000.png
        manipulated_sequences/DeepFakeDetection/c23/frames/01_02__walk__AB/0003.PNG
        original_sequences/actors/c23/masks/1.png
        original_sequences/actors/c40/videos/02__sit.mp4
        original_sequences/actors/c40/videos/03__sit.mp4
        """,
        [
            shot(
                f"{FF_CHANGED}/DeepFakeDetection/c23/frames/01_02__walk__AB/0003.PNG",
                1,
                "DeepFakeDetection/c23/01_02__walk__AB",
                3,
                "",
                "01__walk",
                compression="c23",
                method="DeepFakeDetection",
                **SWAP,
            ),
            shot(
                "original_sequences/actors/c23/frames/01__walk/0003.png",
                0,
                "actors/c23/01__walk",
                3,
                "",
                "01__walk",
                compression="c23",
            ),
        ],
        [("skipped", "original_sequences/actors/c40/videos")],
    ),
    Mini(
        "celeb_df",
        {
            "Celeb-real/frames/id0_0000/000.png": "",
            "Celeb-real/id1_0000/001.PNG": "",
            "YouTube-real/frames/00170/000.png": "",
            "Celeb-synthesis/frames/id0_id1_0000/000.png": "",
            "Celeb-synthesis/landmarks/id0_id1_0000/000.npy": "",
            "Celeb-synthesis/id0_id2_0000.mp4": "",
            "List_of_testing_videos.txt": "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n"
            "0 Celeb-synthesis/id0_id2_0000.mp4\n1 Celeb-real/id9_0000.mp4\n",
        },
        [
            shot("Celeb-real/frames/id0_0000/000.png", 0, "Celeb-real/id0_0000", 0, "train"),
            shot("Celeb-real/id1_0000/001.PNG", 0, "Celeb-real/id1_0000", 1, "train"),
            shot(
                "Celeb-synthesis/frames/id0_id1_0000/000.png",
                1,
                "Celeb-synthesis/id0_id1_0000",
                0,
                "test",
                "Celeb-real/id0_0000",
                method="Celeb-DF",
                **SWAP,
            ),
            shot("YouTube-real/frames/00170/000.png", 0, "YouTube-real/00170", 0, "test"),
        ],
        [("missing", "celeb-real/id9_0000"), ("skipped", "Celeb-synthesis")],
    ),
    Mini(
        "dfdc",
        {
            "part_0/metadata.json": json.dumps(
                {
                    "aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
                    "bbb.mp4": {"label": "REAL", "split": "train"},
                }
            ),
            "part_0/aaa/0000.png": "",
            "part_0/frames/bbb/0001.JPG": "",
            "part_0/zzz/0000.png": "",
            "part_0/ccc.mp4": "",
            "test/labels.csv": "filename,label\nddd.mp4,1\n",
            "test/ddd/0000.png": "",
        },
        [
            shot("part_0/aaa/0000.png", 1, "aaa", 0, "train", "bbb", method="DFDC", **SWAP),
            shot("part_0/frames/bbb/0001.JPG", 0, "bbb", 1, "train"),
            shot("test/ddd/0000.png", 1, "ddd", 0, "test", method="DFDC", **SWAP),
        ],
        [("skipped", "part_0"), ("unknown", "part_0/zzz")],
    ),
    Mini(
        "dffd",
        """
        ffhq/train/1.png
        faceapp/test/1.PNG
        pggan_v1/validation/1.png
        train/Real/2.png
        eval/Fake/3.png
        train/Fake/2.png
        train/Mask/2.png
        train/Mask/9.png
        extra/train/1.png
        """,
        [
            Found("eval/Fake/3.png", 1, split="val", extra={"kind": "manipulated"}),
            Found("faceapp/test/1.PNG", 1, split="test", extra={"kind": "attribute_edit", "method": "faceapp"}),
            real("ffhq/train/1.png", "train"),
            Found("pggan_v1/validation/1.png", 1, split="val", extra={"kind": "synthesis", "method": "pggan_v1"}),
            Found("train/Fake/2.png", 1, "train/Mask/2.png", split="train", extra={"kind": "manipulated"}),
            real("train/Real/2.png", "train"),
        ],
        [("missing", "train/Mask/9.png"), ("unknown", "extra/train")],
    ),
    Mini(
        "seq_deepfake",
        """
        facial_components/images/train/nose-eye-lip/1.jpg
        facial_components/images/val/original/1.JPG
        facial_attributes/images/test/Young-Smiling/2.jpg
        facial_components/images/train/nose-wing/1.jpg
        facial_components/annotations/train.csv
        facial_components/images/train/eye-nose/1.jpg
        """,
        [
            Found(
                "facial_attributes/images/test/Young-Smiling/2.jpg",
                1,
                split="test",
                extra={"kind": "attribute_edit", "method": "facial_attributes", "sequence": ["young", "smiling"]},
            ),
            Found(
                "facial_components/images/train/eye-nose/1.jpg",
                1,
                split="train",
                extra={"kind": "attribute_edit", "method": "facial_components", "sequence": ["eye", "nose"]},
            ),
            Found(
                "facial_components/images/train/nose-eye-lip/1.jpg",
                1,
                split="train",
                extra={"kind": "attribute_edit", "method": "facial_components", "sequence": ["nose", "eye", "lip"]},
            ),
            real("facial_components/images/val/original/1.JPG", "val", subset="facial_components", sequence=[]),
        ],
        [("unknown", "facial_components/images/train/nose-wing")],
    ),
    Mini(
        "uadfv",
        """
        real/frames/0000/000.png
        fake/frames/0000_fake/002.PNG
        fake/0001_fake.mp4
        fake/masks/000.png
        """,
        [
            shot("fake/frames/0000_fake/002.PNG", 1, "fake/0000_fake", 2, "", "0000", method="FakeApp", **SWAP),
            shot("real/frames/0000/000.png", 0, "real/0000", 0, "", "0000"),
        ],
        [("skipped", "fake")],
    ),
    Mini(
        "doctamper",
        """
        DocTamperV1-TrainingSet/images/000000010.jpg
        DocTamperV1-TrainingSet/images/000000009.JPG
        DocTamperV1-TrainingSet/masks/000000010.png
        DocTamperV1-TrainingSet/masks/000000008.png
        DocTamperV1-FCD/images/image-000000001.jpg
        DocTamperV1-FCD/masks/label-000000001.png
        DocTamperV1-FCD/data.mdb
        DocTamperV1-SCD/data.mdb
        DocTamperV1-SCD/lock.mdb
        """,
        [
            Found(
                "DocTamperV1-FCD/images/image-000000001.jpg",
                1,
                "DocTamperV1-FCD/masks/label-000000001.png",
                "nonzero",
                "test",
                extra={**TAMPERED, "subset": "fcd"},
            ),
            Found(
                "DocTamperV1-TrainingSet/images/000000010.jpg",
                1,
                "DocTamperV1-TrainingSet/masks/000000010.png",
                "nonzero",
                "train",
                extra={**TAMPERED, "subset": "trainingset"},
            ),
        ],
        [
            ("missing", "DocTamperV1-TrainingSet/images/000000009.JPG"),
            ("missing", "DocTamperV1-TrainingSet/masks/000000008.png"),
            ("skipped", "DocTamperV1-SCD/data.mdb"),
        ],
    ),
    Mini(
        "t_sroie",
        {
            "sroie_test_1011.json": json.dumps(COCO),
            "sroie_train_1011.json": json.dumps(COCO),
            "test/X1.JPG": "",
            "test/X2.jpg": "",
            "test/X3.jpg": "",
            "test_masks/X2.png": "",
            "train/X1.jpg": "",
            "train/X2.jpg": "",
            "train_masks/X1.png": "",
            "T-SROIE_test/images/a.jpg": "",
            "T-SROIE_test/masks/b.png": "",
        },
        [
            Found("test/X1.JPG", 1, split="test", extra={**TAMPERED, "boxes": [[10, 20, 15, 26]]}),
            real("test/X2.jpg", "test"),
            real("test/X3.jpg", "test"),
            Found(
                "train/X1.jpg",
                1,
                "train_masks/X1.png",
                "nonzero",
                "train",
                extra={**TAMPERED, "boxes": [[10, 20, 15, 26]]},
            ),
            real("train/X2.jpg", "train"),
        ],
        [
            ("missing", "T-SROIE_test/images/a.jpg"),
            ("missing", "T-SROIE_test/masks/b.png"),
            ("missing", "train/X3.jpg"),
        ],
    ),
    Mini(
        "real_text_manipulation",
        {
            "JPEGImages/cpmv_0001.jpg": "",
            "JPEGImages/cpmv_0002.jpg": "",
            "JPEGImages/cover_0001.JPG": "",
            "JPEGImages/good_0001.jpg": "",
            "JPEGImages/cat.jpg": "",
            "SegmentationClass/cpmv_0001.png": "",
            "SegmentationClass/cover_0001.png": "",
            "SegmentationClass/good_0001.png": "",
            "train.txt": "cpmv_0001\ngood_0001\n",
            "test.txt": "cover_0001\nedit_0009\n",
        },
        [
            Found(
                "JPEGImages/cover_0001.JPG",
                1,
                "SegmentationClass/cover_0001.png",
                "nonzero",
                "test",
                extra={"kind": "covering"},
            ),
            Found(
                "JPEGImages/cpmv_0001.jpg",
                1,
                "SegmentationClass/cpmv_0001.png",
                "nonzero",
                "train",
                extra={"kind": "copy_move"},
            ),
            real("JPEGImages/good_0001.jpg", "train"),
        ],
        [("missing", "JPEGImages/cpmv_0002.jpg"), ("missing", "edit_0009"), ("unknown", "JPEGImages/cat.jpg")],
    ),
    Mini(
        "find_it_again",
        {
            "train.txt": f'{RECEIPTS}X1.png,0,0,1,"{VIA}"\nX2.png,0,0,0,0\nX3.png,0,0,1,0\n',
            "train/X1.png": "",
            "train/X1.txt": "TOTAL 5.00",
            "train/X2.PNG": "",
            "train/X3.png": "",
            "val.txt": f"{RECEIPTS}X9.png,0,0,0,0\n",
        },
        [
            Found("train/X1.png", 1, split="train", extra={**TAMPERED, "boxes": [[10, 20, 15, 26]], "types": ["CPI"]}),
            real("train/X2.PNG", "train"),
            Found("train/X3.png", 1, split="train", extra=TAMPERED),
        ],
        [("missing", "train/X3.png"), ("missing", "val/X9.png")],
    ),
    Mini(
        "ostf",
        """
        srnet/train/images/10.jpg
        srnet/train/masks/10.png
        srnet/train/images/9.JPG
        srnet/train/masks/8.png
        OSTF_test/images/1.jpg
        OSTF_test/masks/1.png
        mmacc/srnet/srnet_train.pk
        """,
        [
            Found("OSTF_test/images/1.jpg", 1, "OSTF_test/masks/1.png", "nonzero", "test", extra=TAMPERED),
            Found(
                "srnet/train/images/10.jpg",
                1,
                "srnet/train/masks/10.png",
                "nonzero",
                "train",
                extra={**TAMPERED, "method": "srnet"},
            ),
        ],
        [
            ("missing", "srnet/train/images/9.JPG"),
            ("missing", "srnet/train/masks/8.png"),
            ("skipped", "mmacc/srnet/srnet_train.pk"),
        ],
    ),
    Mini(
        "tampered_ic13",
        {
            "train_img/1.jpg": "",
            "train_img/2.JPG": "",
            "train_img/3.jpg": "",
            "train_gt/1.txt": "1,2,3,4,1\n5,6,7,8,2\n",
            "train_gt/2.txt": "1,2,3,4,1\nnonsense\n",
            "train_gt/4.txt": "1,2,3,4,2\n",
            "test_img/1.jpg": "",
            "test_gt/1.txt": "9,9,10,10,2\n",
        },
        [
            Found("test_img/1.jpg", 1, split="test", extra={**TAMPERED, "boxes": [[9, 9, 10, 10]]}),
            Found("train_img/1.jpg", 1, split="train", extra={**TAMPERED, "boxes": [[5, 6, 7, 8]]}),
            real("train_img/2.JPG", "train"),
        ],
        [("missing", "train_gt/4.txt"), ("missing", "train_img/3.jpg"), ("unknown", "train_gt/2.txt")],
    ),
]


def contents(files: Mapping[str, str] | str | list[str]) -> Mapping[str, str]:
    """Return the text of each file; pictures are empty, so that whoever opens one fails."""
    if isinstance(files, Mapping):
        return files
    return dict.fromkeys(files.split() if isinstance(files, str) else files, "")


def plant(root: Path, files: Mapping[str, str] | str | list[str]) -> Tree:
    for path, text in contents(files).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return Tree(root)


def read(name: str, tree: Tree) -> list[Found]:
    return list(importlib.import_module(f"tamperscope.data.sources.{name}").read(tree))


@pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)
def test_miniature_gives_exactly_the_rows_and_notes_expected(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, mini.files)
    assert sorted(read(mini.name, tree), key=lambda row: row.image) == sorted(mini.rows, key=lambda row: row.image)
    assert sorted((note.kind, note.path) for note in tree.notes) == mini.notes


@pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)
def test_a_folder_around_the_set_changes_nothing_but_the_paths(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, {f"downloads/{path}": text for path, text in contents(mini.files).items()})
    rows = read(mini.name, tree)
    facts = sorted((f"{row.image}", row.label, row.split, f"{row.mask}") for row in rows)
    moved = [(f"downloads/{r.image}", r.label, r.split, f"downloads/{r.mask}" if r.mask else "None") for r in mini.rows]
    assert facts == sorted(moved)


@pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)
def test_an_empty_copy_gives_nothing(mini: Mini, tmp_path: Path) -> None:
    tree = plant(tmp_path, ["notes.txt"])
    assert read(mini.name, tree) == []
    assert tree.notes == []


@pytest.mark.parametrize("mini", MINIS, ids=lambda mini: mini.name)
def test_description_is_complete(mini: Mini) -> None:
    source = importlib.import_module(f"tamperscope.data.sources.{mini.name}").SOURCE
    assert isinstance(source, Source)
    assert source.domain in {"generated", "face", "document"}
    assert source.home.startswith("https://")
    assert all((source.title, source.licence, source.size, source.layout))
    assert all(key.rpartition("/")[2] in {"forged", "pristine"} for key in source.expected)


@pytest.mark.parametrize(
    ("name", "path", "text"),
    [
        ("artifact", "coco/metadata.csv", "filename,category\na.jpg,cat\n"),
        ("find_it_again", "train.txt", "image,forged\na.png,1\n"),
        ("dfdc", "metadata.json", "[]"),
        ("dfdc", "metadata.json", '{"a.mp4": {"split": "train"}}'),
        ("faceforensics_pp", "train.json", "{"),
        ("t_sroie", "sroie_test_1011.json", '{"images": []}'),
        ("t_sroie", "sroie_test_1011.json", '{"categories": [], "images": [{"id": 1}], "annotations": []}'),
    ],
)
def test_a_list_of_the_wrong_shape_is_an_error_that_names_it(name: str, path: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=path):
        read(name, plant(tmp_path, {path: text}))


def test_videos_alone_are_counted_once_a_folder_and_told_how_to_extract(tmp_path: Path) -> None:
    tree = plant(tmp_path, [f"{FF_CHANGED}/Deepfakes/c23/videos/00{i}_003.mp4" for i in range(3)])
    assert read("faceforensics_pp", tree) == []
    assert [note.path for note in tree.notes] == [f"{FF_CHANGED}/Deepfakes/c23/videos"]
    assert tree.notes[0].text.startswith("3 ")
    assert "frames/VIDEO/NUMBER.png" in tree.notes[0].text


def test_frames_that_lie_in_no_video_are_noted_but_masks_are_not(tmp_path: Path) -> None:
    below = f"{FF_CHANGED}/Deepfakes/c23"
    tree = plant(tmp_path, [f"{below}/frames/000_003_0001.png", f"{below}/masks/000_003/0001.png", "poster.png"])
    assert read("faceforensics_pp", tree) == []
    assert [(note.kind, note.path) for note in tree.notes] == [("unknown", f"{below}/frames")]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12))
def test_linked_names_are_the_connected_parts(links: list[tuple[int, int]]) -> None:
    names = [tuple(map("{:03d}".format, link)) for link in links]
    groups = linked(names)
    reach = {name: {name} for pair in names for name in pair}
    for _ in names:
        for a, b in names:
            both = reach[a] | reach[b]
            for name in both:
                reach[name] = reach[name] | both
    assert groups == {name: min(parts) for name, parts in reach.items()}


@given(st.permutations([f"{i:03d}" for i in range(6)]), st.sampled_from([True, False]))
@settings(max_examples=15, deadline=None)
def test_no_group_of_faceforensics_is_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], lists: bool
) -> None:
    pairs = [ids[:2], ids[2:4], ids[4:]]
    files = {f"{FF_ORIGINAL}/{video}/0.png": "" for video in ids}
    for a, b in pairs:
        files |= {
            f"{FF_CHANGED}/FaceSwap/c23/frames/{a}_{b}/0.png": "",
            f"{FF_CHANGED}/Face2Face/raw/{b}_{a}/0.png": "",
        }
    if lists:
        files |= {
            f"{split}.json": json.dumps([pair]) for split, pair in zip(("train", "val", "test"), pairs, strict=True)
        }
    rows = read("faceforensics_pp", plant(tmp_path_factory.mktemp("ff"), files))
    splits, videos = defaultdict(set), defaultdict(set)
    for row in rows:
        splits[row.group].add(row.split)
        videos[row.group] |= set(row.extra["video"].rpartition("/")[2].split("_"))
    assert len(rows) == 12
    assert len({row.extra["video"] for row in rows}) == 12
    assert sorted(map(sorted, videos.values())) == sorted(map(sorted, pairs))
    assert sorted(map(sorted, splits.values())) == ([["test"], ["train"], ["val"]] if lists else [[""]] * 3)


@given(st.sets(st.integers(1, 30), min_size=1), st.sets(st.integers(1, 30), min_size=1))
@settings(max_examples=20, deadline=None)
def test_pairs_are_by_name_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, images: set[int], masks: set[int]
) -> None:
    files = [f"a/images/{i}.jpg" for i in images] + [f"a/masks/{i}.png" for i in masks]
    tree = plant(tmp_path_factory.mktemp("pairs"), files)
    found = dict(paired(tree, ("images",), ("masks",)))
    assert found == {f"a/images/{i}.jpg": f"a/masks/{i}.png" if i in masks else None for i in images}
    assert {note.path for note in tree.notes} == {f"a/masks/{i}.png" for i in masks - images}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("T-SROIE_test", "test"),
        ("train_img", "train"),
        ("Validation", "val"),
        ("contest", ""),
        ("", ""),
    ],
)
def test_split_of_reads_whole_words_only(folder: str, split: str) -> None:
    assert split_of([folder]) == split
