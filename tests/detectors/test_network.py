"""What is said of a network that was asked of faces, and of one that was asked of the whole picture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tamperscope.detectors.network import Network
from tamperscope.types import Prediction, Sample


@pytest.mark.parametrize(
    ("how", "evidence", "said"),
    [
        ("face", {"faces": [0.2, 0.9]}, "was asked of 2 faces; the worst one counts"),
        ("face", {"faces": [0.9]}, "was asked of 1 face;"),
        ("tile", {}, "judges the picture as a whole"),
    ],
)
def test_the_reason_says_what_was_judged(how: str, evidence: dict[str, Any], said: str) -> None:
    card = SimpleNamespace(
        name="judge", title="Judge", threshold=0.5, licence="CC0", input=SimpleNamespace(how=how), calibration=None
    )

    class Asked:
        confidence = False

        def __call__(self, sample: Sample) -> Prediction:
            return Prediction("judge", sample.size, 0.9, evidence=evidence)

    artifact: Any = SimpleNamespace(card=card, sha256="0" * 64, predictor=Asked)
    network = Network.__new__(Network)
    network.artifact, network._ask = artifact, Asked()
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (reason,) = network.predict(Sample(rgb)).reasons
    assert said in reason.text
