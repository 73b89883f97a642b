"""Columbia uncompressed: splices of pictures from four cameras, unprocessed.

Hsu and Chang, "Detecting Image Splicing Using Geometry Invariants and Camera Characteristics Consistency", ICME 2006.
"""

from __future__ import annotations

from collections.abc import Iterator

from tamperscope.data.sources.base import Found, Source, Tree, forged, stem
from tamperscope.data.sources.pairs import beside, within

SOURCE = Source(
    title="Columbia Uncompressed Image Splicing",
    domain="manipulation",
    licence="research only",
    home="https://www.ee.columbia.edu/ln/dvmm/downloads/authsplcuncmp/",
    size="363 TIFF pictures, 757×568 to 1152×768",
    layout="4cam_auth/canong3_02_sub_01.tif, 4cam_splc/canong3_canonxt_sub_01.tif, "
    "4cam_splc/edgemask/canong3_canonxt_sub_01_edgemask.jpg",
    expected={"forged": 180, "pristine": 183},
)


def read(tree: Tree) -> Iterator[Found]:
    """Yield pictures with the cameras that took them; a splice is in the group of the camera named first."""
    for image in within(tree, "4cam_auth"):
        camera = stem(image).lower().split("_")[0]
        yield Found(image, 0, group=camera, extra={"cameras": [camera]})
    outlines = within(tree, "4cam_splc/edgemask")
    for image, mask in beside(tree, within(tree, "4cam_splc"), outlines, "edgemask/{}_edgemask.*", "edgemask/{}.*"):
        cameras = stem(image).lower().split("_")[:2]
        yield from forged(tree, image, mask, "edges", group=cameras[0], kind="splicing", cameras=cameras)
