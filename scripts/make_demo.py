"""Make the bundled demo: a second spoon beside the cup, in a picture that may be given away (CC0).

    python scripts/make_demo.py

The host is saved as JPEG 72 first, as a picture from the web would be; the spoon comes from the picture before that
save, is turned and pasted, and the whole is saved as JPEG 92. So two traces are there: the copy, and a region that
went through one compression less.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tamperscope.media.recompress import encode_jpeg, recompress

ROOT = Path(__file__).parents[1]
SPOON = ((416, 66), (424, 74), (412, 124), (390, 222), (404, 252), (407, 284), (396, 312), (372, 327), (346, 322))
SPOON_REST = ((329, 304), (326, 276), (336, 254), (356, 244), (374, 236), (394, 150), (400, 90))
TURN, CENTRE, TARGET = -38.0, (370.0, 200.0), (508.0, 232.0)


def main() -> None:
    with Image.open(ROOT / "tests/data/coffee.png") as picture:
        rgb = np.asarray(picture.convert("RGB"))
    source = np.zeros(rgb.shape[:2], np.uint8)
    cv2.fillPoly(source, [np.array([*SPOON, *SPOON_REST], np.int32)], 255)
    warp = cv2.getRotationMatrix2D(CENTRE, TURN, 1.0)
    warp[:, 2] += np.subtract(TARGET, CENTRE)
    flip = (rgb.shape[1], rgb.shape[0])
    moved = cv2.warpAffine(rgb, warp, flip, flags=cv2.INTER_CUBIC)
    mask = cv2.warpAffine(source, warp, flip, flags=cv2.INTER_LINEAR)
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32)[..., None] / 255
    host = recompress(rgb, 72, "4:2:0")
    forged = np.rint(host + alpha * (moved.astype(np.float32) - host)).astype(np.uint8)
    out = ROOT / "docs/demo"
    (out / "forged.jpg").write_bytes(encode_jpeg(forged, 92, "4:2:0"))
    (out / "untouched.jpg").write_bytes(encode_jpeg(host, 92, "4:2:0"))
    Image.fromarray(np.where(mask > 127, 255, 0).astype(np.uint8)).save(out / "mask.png", optimize=True)
    print(f"turned by {math.fabs(TURN)} degrees, {np.mean(mask > 127):.1%} of the picture")


if __name__ == "__main__":
    main()
