"""scripts/invented_cameras.py: no network of a fold may know what it is asked about."""

from __future__ import annotations

import invented_cameras as script

from tamperscope.data.manifest import Entry, Manifest, write


def test_each_camera_is_asked_by_one_network_that_no_part_showed_it(tmp_path):
    for number, part in enumerate(script.PHOTOS):
        entries = [
            Entry(image=f"train/{folder}/images/{number}{i}.jpg", label=0, group=f"{folder}_{number}{i // 2}")
            for folder in ("camera", "web")
            for i in range(8)
        ]
        (tmp_path / "photos").mkdir(exist_ok=True)
        write(tmp_path / "photos" / f"{part}.jsonl", entries)
        for name in {"train": ["train"], "choose": ["choose", "choose_whole"], "measure": []}[part]:
            (tmp_path / name).mkdir()
            write(tmp_path / name / "manifest.jsonl", entries)
    folds = script.folds(tmp_path)
    asked = [path for fold in folds for path, _ in fold]
    assert len(asked) == len(set(asked)) == 24
    groups = [{group for _, group in fold} for fold in folds]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 12
    for number, held in enumerate(groups):
        told = script.parts(tmp_path, tmp_path / str(number), held)
        for part in script.PARTS:
            known = [entry.source_group for entry in Manifest(told[part])]
            assert not held & set(known)
            assert len(known) == sum(e.source_group not in held for e in Manifest(tmp_path / part / "manifest.jsonl"))


def test_a_line_counts_what_reaches_its_own_threshold():
    rows = [
        {"set": "camera", "label": 0, "kind": "a.jpg", "score": s, "threshold": t} for s, t in ((0.9, 0.8), (0.9, 1))
    ]
    for label, kind, score in ((1, "flux", 0.9), (1, "flux", 0.1), (1, "sd3", 0.0), (0, "web", 0.2), (0, "web", 0.3)):
        rows.append({"set": "measure", "label": label, "kind": kind, "score": score, "threshold": 0.5})
    assert [cell.split(" [")[0] for cell in script.line("1", rows)] == [
        "1",
        "0.500",
        "50.0%",
        "0.0%",
        "1 of 2",
        "50.0%",
    ]
