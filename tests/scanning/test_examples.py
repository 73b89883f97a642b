"""The examples of the documentation do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_the_hook_stops_at_signs_and_at_errors(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    images = tmp_path / "images"
    images.mkdir()

    def hooked(reports: str) -> int:
        words = [str(EXAMPLES / "pre-publish.sh"), str(images), str(tmp_path / reports)]
        return subprocess.run(words, env=environment, capture_output=True, timeout=300, check=False).returncode

    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(images / "flat.png")
    assert hooked("a") == 0
    (images / "bad.jpg").write_text("no picture")
    assert hooked("b") == 1
    shutil.copy(Path(__file__).parents[2] / "docs/demo/forged.jpg", images)
    assert hooked("c") == 3
    assert len(list((tmp_path / "c").glob("*.html"))) == 2


def test_the_action_can_be_read() -> None:
    steps = yaml.safe_load((EXAMPLES / "action.yml").read_text())["runs"]["steps"]
    assert any("tamperscope scan" in step.get("run", "") for step in steps)
