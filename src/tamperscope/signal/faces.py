"""Faces in a picture, each with five points: given, found by YuNet where its file is at hand, or by a small network.

The five points are the right eye, the left eye, the tip of the nose, and the right and left corner of the mouth; right
and left are the person's own.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tamperscope import weights
from tamperscope.errors import InputError, InvalidValueError
from tamperscope.types import FloatArray, Sample, UInt8Array

VARIABLE = "TAMPERSCOPE_YUNET"
"""Environment variable that names YuNet's file."""
SIDE = 192
"""Longer side, in pixels, of what the built-in network looks at first; the second look is twice as fine."""
STRIDE = 8
LAYERS = ((2, 1), (2, 1), (2, 1), (1, 1), (1, 2), (1, 4), (1, 1))
"""(stride, dilation) of the built-in network's layers; all but the last, which is 1 x 1, are 3 x 3 with ReLU."""
POINTING = 4
"""Layers of the second network, which finds the points: three of 3 x 3 and stride 2, and one of all cells."""
UNIT = 32.0
"""Pixels that one unit of a predicted offset stands for."""
_FILE = "faces.npz"
_YUNET_SIDE, _YUNET_SCORE = 640, 0.7
_CLOSE = 48  # pixels a side of the closer look
_LOCK = threading.Lock()

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face.

    Attributes:
        box: (x0, y0, x1, y1) in pixels; pixel centres have whole coordinates.
        points: (5, 2) float64, (x, y): right eye, left eye, nose, right and left corner of the mouth.
        score: How sure its finder is, in [0, 1]; 1 where it was given.
        finder: `given`, `yunet` or `built_in`.
    """

    box: tuple[float, float, float, float]
    points: Points
    score: float = 1.0
    finder: str = "given"


def find(sample: Sample, detector: str = "") -> list[Face]:
    """Return the faces of a picture, the largest first.

    Those in `meta["faces"]` are taken where there are some: a list of {"box": [x0, y0, x1, y1], "points": five [x, y]}.

    Args:
        sample: The picture.
        detector: Path of YuNet's ONNX file; "" takes the one that the environment variable `TAMPERSCOPE_YUNET` names,
            or the built-in network where it names none.

    Raises:
        InputError: The file is not there, or OpenCV cannot read it.
        InvalidValueError: A given face is not of that shape.
    """
    path = detector or os.environ.get(VARIABLE, "")
    if "faces" in sample.meta:
        found = [_given(entry) for entry in sample.meta["faces"]]
    else:
        found = yunet(sample.rgb, path) if path else built_in(sample.rgb)
    return sorted(found, key=lambda face: (face.box[0] - face.box[2]) * (face.box[3] - face.box[1]))


def _given(entry: Mapping[str, Any]) -> Face:
    try:
        box, points = np.asarray(entry["box"], np.float64), np.asarray(entry["points"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValueError(f"face: expected numbers `box` and `points`, found {entry!r}") from error
    if box.shape != (4,) or points.shape != (5, 2) or not np.isfinite(points).all():
        raise InvalidValueError(f"face: expected a box of 4 and 5 points of 2, found {box.shape} and {points.shape}")
    x0, y0, x1, y1 = box.tolist()
    return Face((x0, y0, x1, y1), points)


# YuNet.


def yunet(rgb: UInt8Array, path: str, score: float = _YUNET_SCORE) -> list[Face]:
    """Return the faces that YuNet (Wu et al., 2023) finds in a picture, shrunk to 640 pixels a side.

    Args:
        rgb: (H, W, 3) uint8.
        path: Of its ONNX file.
        score: Least score.

    Raises:
        InputError: The file is not there, or OpenCV cannot read it.
    """
    small, factor = _shrunk(rgb, _YUNET_SIDE)
    # One network serves all sizes, and it is no good for two threads at once.
    with _LOCK:
        network = _yunet(path)
        network.setInputSize((small.shape[1], small.shape[0]))
        network.setScoreThreshold(score)
        rows = network.detect(np.ascontiguousarray(small[..., ::-1]))[1]
    faces = []
    for row in () if rows is None else np.asarray(rows, np.float64):
        x, y, width, height = _back(row[:4].reshape(2, 2), factor, lengths=1).ravel().tolist()
        points = _back(row[4:14].reshape(5, 2), factor)
        faces.append(Face((x, y, x + width, y + height), points, float(row[14]), "yunet"))
    return faces


@cache
def _yunet(path: str) -> Any:
    if not Path(path).is_file():
        raise InputError(f"face detector: expected YuNet's ONNX file, found nothing at '{path}'")
    try:
        return cv2.FaceDetectorYN.create(path, "", (320, 320), _YUNET_SCORE, 0.3, 100)
    except cv2.error as error:
        raise InputError(f"face detector: OpenCV cannot read '{path}' as YuNet") from error


def _shrunk(rgb: UInt8Array, side: int) -> tuple[UInt8Array, NDArray[np.float64]]:
    """Return a picture shrunk to a longest side, and the factors that take its (x, y) back."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    return np.asarray(small, np.uint8), np.array([width / size[0], height / size[1]])


def _back(points: NDArray[np.float64], factor: NDArray[np.float64], lengths: int = 0) -> NDArray[np.float64]:
    """Return points, and at the end `lengths` rows of widths and heights, of a shrunk picture in the full one."""
    out = (points + 0.5) * factor - 0.5
    if lengths:
        out[-lengths:] = points[-lengths:] * factor
    return out


# The built-in network.


def built_in(rgb: UInt8Array) -> list[Face]:
    """Return the faces that the small network of this package finds; its card says how well it does.

    It looks at the picture 192 pixels a side, then at 384 where it found nothing. A second, smaller network looks at
    each face once more for its points. A face should have at least a 30th of the longer side.

    Args:
        rgb: (H, W, 3) uint8.
    """
    for side in (SIDE, 2 * SIDE):
        small, factor = _shrunk(rgb, side)
        coarse = _decoded(forward(small))
        if coarse:
            break
    faces = [Face(_wide(box, factor), _back(points, factor), score, "built_in") for box, points, score in coarse]
    return _distinct([_pointed(rgb, face) for face in faces])


def forward(rgb: UInt8Array) -> FloatArray:
    """Return what the network answers to a picture: (14, h, w) float32, one cell for 8 x 8 pixels.

    Channels: how likely the middle of a face is in the cell (a logit), the logarithm of the face's size in units of 32
    pixels, (x, y) from the cell's middle to the face's, and to its five points, in the same units.
    """
    x = np.asarray(rgb, np.float32).transpose(2, 0, 1) / 127.5 - 1
    x = np.pad(x, ((0, 0), *((0, -n % STRIDE) for n in x.shape[1:])))
    layers = _network()[: len(LAYERS)]
    for number, ((stride, dilation), (weight, bias)) in enumerate(zip(LAYERS, layers, strict=True)):
        x = _convolved(x, weight, stride, dilation) + bias[:, None, None]
        if number < len(LAYERS) - 1:
            x = np.maximum(x, 0)
    return x


def _convolved(x: FloatArray, weight: FloatArray, stride: int, dilation: int) -> FloatArray:
    """Return the correlation of (C, H, W) with (D, C, k, k), zeros around, as `torch.nn.functional.conv2d` has it."""
    side = weight.shape[2]
    around = dilation * (side // 2)
    x = np.pad(x, ((0, 0), (around, around), (around, around)))
    height, width = ((n - 2 * around - 1) // stride + 1 for n in x.shape[1:])
    taps = [
        x[:, i * dilation :: stride, j * dilation :: stride][:, :height, :width].reshape(len(x), -1)
        for i in range(side)
        for j in range(side)
    ]
    flat = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.asarray((flat @ np.concatenate(taps)).reshape(-1, height, width), np.float32)


@cache
def _network() -> list[tuple[FloatArray, FloatArray]]:
    """Return weights and biases of all layers."""
    data, card = weights.shipped(_FILE)
    weights.checked(data, card, _FILE)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        numbers = range(len(LAYERS) + POINTING)
        return [(arrays[f"w{i}"].astype(np.float32), arrays[f"b{i}"].astype(np.float32)) for i in numbers]


def _decoded(answer: FloatArray, score: float = 0.4) -> list[tuple[NDArray[np.float64], Points, float]]:
    """Return (middle and (size, size) as (2, 2), points, score) of every peak."""
    heat = 1 / (1 + np.exp(-np.clip(answer[0].astype(np.float64), -30, 30)))
    peaks = (heat >= score) & (heat == cv2.dilate(heat, np.ones((3, 3), np.uint8)))
    found = []
    for row, column in np.argwhere(peaks):
        cell = (np.array([column, row]) + 0.5) * STRIDE - 0.5
        values = answer[1:, row, column].astype(np.float64)
        size = UNIT * np.exp(np.clip(values[0], -4, 4))
        places = cell + UNIT * values[1:].reshape(6, 2)
        found.append((np.array([places[0], [size, size]]), places[1:], float(heat[row, column])))
    return found


def _wide(box: NDArray[np.float64], factor: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the box of a middle and a size (the root of its area; faces are 0.72 times as wide as they are high)."""
    (x, y), (size, _) = _back(box, factor, lengths=1)
    half = np.array([np.sqrt(0.72), 1 / np.sqrt(0.72)]) * size / 2
    x0, y0, x1, y1 = (float(v) for v in (x - half[0], y - half[1], x + half[0], y + half[1]))
    return x0, y0, x1, y1


def _pointed(rgb: UInt8Array, face: Face) -> Face:
    """Return a face with points from a closer look, which is taken twice: the second time about the first's answer."""
    (x0, y0, x1, y1), points = face.box, face.points
    middle, size = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), float(np.sqrt((x1 - x0) * (y1 - y0)))
    angle = 0.0
    for _ in range(2):
        near, warp = closeup(rgb, middle, size, angle)
        turn = warp[:, :2]
        points = (pointed(near) - warp[:, 2]) @ np.linalg.inv(turn).T
        across = points[1] - points[0]
        angle = float(np.arctan2(across[1], across[0]))
    return Face(face.box, points, face.score, face.finder)


def closeup(rgb: UInt8Array, middle: Points, size: float, angle: float) -> tuple[UInt8Array, NDArray[np.float64]]:
    """Return a face brought to 36 pixels in the middle of 48, (48, 48, 3), and the affine map (2, 3) that does so.

    Args:
        rgb: (H, W, 3) uint8.
        middle: (2,), of the face's box.
        size: Root of the box's area.
        angle: Of the line through the eyes, radians, which becomes level.
    """
    scale = _CLOSE * 0.75 / size
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    warp = np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])
    warp[:, 2] = (_CLOSE - 1) / 2 - warp[:, :2] @ middle
    reach = size
    low = np.clip(np.floor(middle - reach), 0, np.array(rgb.shape[1::-1]) - 2).astype(int)
    high = np.maximum(np.ceil(middle + reach).astype(int), low + 2)
    part, factor = _shrunk(rgb[low[1] : high[1], low[0] : high[0]], max(2, round(4 * _CLOSE)))
    # From the shrunk part to the picture, then on.
    back = np.array([[factor[0], 0, (factor[0] - 1) / 2 + low[0]], [0, factor[1], (factor[1] - 1) / 2 + low[1]]])
    whole = warp @ np.vstack([back, [0, 0, 1]])
    soft = 0.4 / np.sqrt(abs(np.linalg.det(whole[:, :2])))
    part = np.asarray(cv2.GaussianBlur(part, (0, 0), soft), np.uint8) if soft > 0.5 else part
    near = cv2.warpAffine(part, whole, (_CLOSE, _CLOSE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(near, np.uint8), warp


def pointed(rgb: UInt8Array) -> Points:
    """Return the five points, (5, 2), of a face of about 36 pixels in a picture of (48, 48, 3)."""
    x = np.asarray(rgb, np.float32).transpose(2, 0, 1) / 127.5 - 1
    *layers, (weight, bias) = _network()[len(LAYERS) :]
    for kernel, shift in layers:
        x = np.maximum(_convolved(x, kernel, 2, 1) + shift[:, None, None], 0)
    places = weight.reshape(10, -1) @ x.ravel() + bias
    return np.asarray((_CLOSE - 1) / 2 + _CLOSE / 2 * places.reshape(5, 2), np.float64)


def _distinct(faces: list[Face], overlap: float = 0.3) -> list[Face]:
    """Return faces of which none overlaps a surer one by an intersection over union above `overlap`."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda one: -one.score):
        if all(_overlap(face.box, other.box) <= overlap for other in kept):
            kept.append(face)
    return kept


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
