"""DFFD: faces that are real, exchanged, re-enacted, edited or wholly synthesized.

Dang et al., "On the Detection of Digital Face Manipulation", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import left_out, paired, split_of

REAL = ("real", "ffhq", "celeba", "celeba_2w", "youtube", "original")
KINDS = {
    **dict.fromkeys(("deepfakes", "faceswap"), "identity_swap"),
    "face2face": "reenactment",
    **dict.fromkeys(("faceapp", "stargan"), "attribute_edit"),
    **dict.fromkeys(("pggan_v1", "pggan_v2", "stylegan_celeba", "stylegan_ffhq"), "synthesis"),
}
SOURCE = Source(
    title="DFFD",
    domain="face",
    licence="research only, on request",
    home="https://cvlab.cse.msu.edu/dffd-dataset.html",
    size="about 300 000 pictures",
    layout="SOURCE/SPLIT/NAME.png with SOURCE ffhq, celeba_2w, youtube, faceapp, stargan, pggan_v1, pggan_v2, "
    "stylegan_celeba, stylegan_ffhq, Deepfakes, FaceSwap or Face2Face; or SPLIT/Real, SPLIT/Fake and SPLIT/Mask",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield faces; a mask of the same name is taken from `Mask` beside `Fake`, where there is one."""
    masks = dict(paired(tree, ("fake",), ("mask",)))
    rest = []
    for image in tree.pictures("*"):
        folders = image.lower().split("/")[:-1]
        split = "val" if "eval" in folders else split_of(folders)
        method = next((folder for folder in folders if folder in KINDS), None)
        if method:
            yield Found(image, 1, split=split, extra={"kind": KINDS[method], "method": method})
        elif image in masks:
            yield Found(image, 1, masks[image], split=split, extra={"kind": "manipulated"})
        elif set(folders) & set(REAL):
            yield Found(image, 0, split=split)
        elif "mask" not in folders:
            rest.append(image)
    left_out(tree, rest, "no folder above names a known source")
