"""DiffusionForensics: bedrooms, ImageNet and faces against some fifteen generators.

Wang et al., "DIRE for Diffusion-Generated Image Detection", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree
from tamperscope.data.sources.folders import GENERATORS, SPLITS, left_out

SOURCE = Source(
    title="DiffusionForensics",
    domain="generated",
    licence="none stated",
    home="https://github.com/ZhendongWang6/DIRE",
    size="about 600 000 pictures with their reconstructions",
    layout="images/SPLIT/CONTENT/real and images/SPLIT/CONTENT/GENERATOR, such as images/test/imagenet/sdv1/n01440764; "
    "recons and dire, which hold no new pictures, are passed over",
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield real and generated pictures; `category` is what they show."""
    rest = []
    for image in tree.pictures("*"):
        folders = image.lower().split("/")[:-1]
        place = next((i for i, folder in enumerate(folders) if folder in SPLITS), len(folders))
        derived = {"recons", "dire"} & {part for folder in folders[:place] for part in folder.split("_")}
        if derived or len(folders) < place + 3:
            rest.append(image)
            continue
        split, content, name = folders[place : place + 3]
        extra = {} if name == "real" else {"kind": "generated", "generator": GENERATORS.get(name, name)}
        yield Found(image, int(name != "real"), split=SPLITS[split], extra={**extra, "category": content})
    left_out(tree, rest, "reconstructions, or not in SPLIT/CONTENT/GENERATOR")
