"""Spectrum: lines that a generator's up-sampling leaves in the whole picture, and a tail that interpolation cuts off.

How. The residual of the luma under a median filter is cut into windows; their power spectra are averaged. Up-sampling
by two, or by four, leaves power at multiples of a half, or a quarter, of the sampling rate. Each of these is set
against frequencies at the same distance from zero: z is how many robust deviations of the log power it stands out, and
the number of false alarms (NFA) is that of frequencies times the Gaussian tail. The blocks of JPEG leave power at all
multiples of an eighth: what the odd multiples stand out by is taken off. A half both down and across is left out, for
the green pixels of a camera's sensor leave it in every photograph that was not resized.

Limits. It judges a picture as a whole and shows no map. Resizing moves the lines, strong compression buries them, and
generators that end with a smooth filter leave none. Up-sampling by eight alone looks like JPEG and is not judged.
Patterns of a fabric, a screen or a printed page have lines, too. A steep tail is that of any picture that was enlarged.

Source. X. Zhang, S. Karaman, S.-F. Chang, "Detecting and simulating artifacts in GAN fake images", WIFS 2019 (lines);
R. Durall, M. Keuper, J. Keuper, "Watch your up-convolution", CVPR 2020 (tail). Departures: no learned classifier; the
lines are tested a contrario; the tail is reported and not scored.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import special

from tamperscope.detectors.base import Detector, Guide, NotApplicable
from tamperscope.signal.blocks import luma
from tamperscope.types import Finding, FloatArray, Prediction, Sample

SIDE = 128
"""Of a window, pixels; its quarters and eighths are whole frequencies."""
_STEP = SIDE // 8
_BAND = 2 * SIDE  # rows of pixels at once
_AROUND = 160  # frequencies that one is set against
_TAIL, _BODY = (0.9, 1.0), (0.6, 0.7)  # of the Nyquist frequency


class Spectrum(Detector):
    """Lines of up-sampling in the averaged spectrum of the residual.

    Args:
        nfa: Number of false alarms below which lines are told of.
    """

    family = "upsampling"
    min_side = 2 * SIDE
    localizes = False
    guide = Guide(
        looks_at="Lines in the frequencies of the whole picture, as the up-sampling of generators leaves them.",
        how_to_read="It has no map: the number tells how far the lines stand out from the frequencies around them.",
        when_it_lies="Fabrics, screens and print have lines of their own; resizing and compression remove these.",
    )

    def __init__(self, nfa: float = 1e-6) -> None:
        self.nfa = nfa

    def analyze(self, sample: Sample) -> Prediction:
        """Return how far the lines stand out, as -log10 of their NFA, and the tail; see `Detector.analyze`."""
        residual, whole = spectra(sample)
        z = stand_out(residual)
        place = max(z, key=lambda k: z[k])
        score = -(math.log10(len(z)) + float(special.log_ndtr(-z[place])) / math.log(10))
        rate = "half" if all(k % (SIDE // 2) == 0 for k in place) else "quarter"
        tail = tail_of(whole)
        values = {"log10_nfa": -score, "frequency": [k / SIDE for k in place], "z": z[place], "tail": tail}
        if -score < math.log10(self.nfa):
            text = f"A {rate} of the sampling rate stands out by {z[place]:.0f} deviations, as after up-sampling."
        else:
            text = "No frequency that up-sampling would leave stands out from those around it."
        reasons = [Finding("spectrum.lines", text, "info", values, self.name)]
        return Prediction(self.name, sample.size, score, reasons=reasons, evidence=values)


def spectra(sample: Sample) -> tuple[FloatArray, FloatArray]:
    """Return the mean power spectra (SIDE, SIDE) of the residual and of the luma, over windows that are not flat.

    Raises:
        NotApplicable: All are.
    """
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE)).astype(np.float32)
    total, count = np.zeros((2, SIDE, SIDE // 2 + 1)), 0
    height, width = (n // SIDE * SIDE for n in sample.size)
    for top in range(0, height, _BAND):
        band = sample.rgb[top : min(top + _BAND, height), :width]
        grey = luma(band)
        residual = grey - cv2.medianBlur(grey, 3)
        parts = np.stack([_windows(residual), _windows(grey)])
        # What is clipped or drawn has no residual that tells anything.
        parts = parts[:, parts[0].std((1, 2)) > 0.25]
        parts -= parts.mean((2, 3), keepdims=True)
        total += (np.abs(np.fft.rfft2(parts * window)) ** 2).sum(1)
        count += parts.shape[1]
    if not count:
        raise NotApplicable("the picture is flat: there are no residuals")
    half = (total / count).astype(np.float32)
    full = np.empty((2, SIDE, SIDE), np.float32)
    full[..., : SIDE // 2 + 1] = half
    # A real picture's spectrum is symmetric about zero.
    mirrored = np.roll(half[:, ::-1, ::-1], 1, 1)
    full[..., SIDE // 2 + 1 :] = mirrored[..., 1:-1]
    return full[0], full[1]


def stand_out(power: FloatArray) -> dict[tuple[int, int], float]:
    """Return by how many robust deviations each quarter of the sampling rate stands out, less what JPEG blocks explain.

    Args:
        power: (SIDE, SIDE), as `numpy.fft.fft2` orders it.

    Returns:
        Of (down, across), one of each two that are symmetric.
    """
    log = np.log(power.astype(np.float64) + 1e-12)
    frequency = np.fft.fftfreq(SIDE, 1 / SIDE)
    radius = np.hypot(frequency[:, None], frequency[None])
    near = _near_eighths(frequency)
    z: dict[tuple[int, int], float] = {}
    for down, across in _lattice():
        farther = np.where(near, np.inf, np.abs(radius - math.hypot(down, across)))
        around = log.ravel()[np.argpartition(farther, _AROUND, None)[:_AROUND]]
        middle = float(np.median(around))
        spread = 1.4826 * float(np.median(np.abs(around - middle))) + 1e-3
        z[down, across] = (float(log[down, across]) - middle) / spread
    found = {}
    for place in z:
        if all(k % (2 * _STEP) == 0 for k in place) and place != (SIDE // 2, SIDE // 2):
            odd = [z[other] for other in z if _kind(other) == _kind(place) and any(k % (2 * _STEP) for k in other)]
            found[place] = z[place] - max(0.0, max(odd))
    return found


def tail_of(power: FloatArray) -> float:
    """Return how much the log power at the end of a spectrum exceeds that before it, both means over all directions.

    About -1 to -2 for a photograph, less for one that was enlarged, more after a transposed convolution.
    """
    frequency = np.fft.fftfreq(SIDE)
    radius = 2 * np.hypot(frequency[:, None], frequency[None])
    log = np.log(power.astype(np.float64) + 1e-12)
    end, body = (log[(radius >= low) & (radius < high)].mean() for low, high in (_TAIL, _BODY))
    return float(end - body)


def _windows(plane: FloatArray) -> FloatArray:
    rows, columns = (n // SIDE for n in plane.shape)
    cut = plane[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2)
    return cut.reshape(-1, SIDE, SIDE)


def _lattice() -> list[tuple[int, int]]:
    """Return all multiples of an eighth but zero, one of each two that are symmetric."""
    half = SIDE // 2
    whole = [(d, a) for d in range(-half + _STEP, half + 1, _STEP) for a in range(-half + _STEP, half + 1, _STEP)]
    seen: set[tuple[int, int]] = {(0, 0)}
    kept = []
    for place in sorted(whole, reverse=True):
        opposite = tuple((-k + half - 1) % SIDE - half + 1 for k in place)
        if place not in seen:
            kept.append(place)
            seen |= {place, (opposite[0], opposite[1])}
    return kept


def _kind(place: tuple[int, int]) -> str:
    """Return whether a frequency lies on an axis, where JPEG's blocks leave most, and on which."""
    return "down" if place[1] == 0 else "across" if place[0] == 0 else "both"


def _near_eighths(frequency: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return (SIDE, SIDE): what lies beside a multiple of an eighth, where a window spreads its power."""
    close = np.abs((frequency + _STEP / 2) % _STEP - _STEP / 2) <= 2
    return np.asarray(close[:, None] & close[None], np.bool_)
