"""What a training writes down beside its weights: the run card, a line of JSON now and then, TensorBoard if asked."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tamperscope.engine.recipe import Recipe
from tamperscope.engine.sources import Source
from tamperscope.errors import InputError
from tamperscope.files import write_atomic

CARD, LOG = "run.json", "log.jsonl"
# What may differ between a run and its continuation, for it changes no number.
_FREE = ("log", "tensorboard", "checkpoint")
_PACKAGES = ("tamperscope", "torch", "accelerate", "numpy", "opencv-python-headless", "pillow")


def card(
    recipe: Recipe, train: Sequence[Source], validation: Sequence[Source], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the run card: the resolved recipe, what the data are, commit, versions, and other facts of the run."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "data": [source.about() for source in train],
        "validation": [source.about() for source in validation],
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{n: v for n in _PACKAGES if (v := _version(n))}},
        **facts,
    }


def begin(out: Path, made: Mapping[str, Any], resume: bool) -> None:
    """Write the run card, or check that a run that goes on is the same one.

    Raises:
        InputError: The folder holds another run, or this one and it is not to go on.
    """
    path = out / CARD
    if not path.is_file():
        write_atomic(path, (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode())
        return
    if not resume:
        raise InputError(f"'{out}': expected no run in the folder, found one; go on with --resume, or choose another")
    old = json.loads(path.read_text(encoding="utf-8"))
    for part in ("recipe", "data", "validation", "processes"):
        if _fixed(old.get(part)) != _fixed(json.loads(json.dumps(made[part]))):
            raise InputError(f"'{out}': expected to go on with the same {part}, found another one; see {CARD}")


def _fixed(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if key not in _FREE}
    if isinstance(kept.get("data"), dict):
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "workers"}
    return kept


class Journal:
    """Lines of JSON in a file, and the same numbers for TensorBoard.

    Args:
        out: Folder of the run.
        tensorboard: Whether TensorBoard is written for.
        step: Lines after this step are dropped: they are of a run that was killed, and come again.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """

    def __init__(self, out: Path, tensorboard: bool, step: int) -> None:
        self.path = out / LOG
        kept = [line for line in _lines(self.path) if int(json.loads(line)["step"]) <= step] if step else []
        write_atomic(self.path, "".join(f"{line}\n" for line in kept).encode())
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InputError('tensorboard: not installed; pip install "tamperscope[train]"') from error
            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Write a line; what is no number becomes null."""
        line = {"kind": kind, "step": step, **{key: _finite(value) for key, value in values.items()}}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(f"{kind}/{key}", value, step)

    def close(self) -> None:
        """Write out what TensorBoard holds."""
        if self._board is not None:
            self._board.close()


def _lines(path: Path) -> list[str]:
    """Return the whole lines of a log; a kill may have left a part of one at the end."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return text.split("\n")[:-1]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Return the commit that this code is at, with `+` where files differ from it; "" where there is none."""
    folder = Path(__file__).parent
    try:
        asked = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "-uno"]]
        commit, changed = (
            subprocess.run(a, cwd=folder, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
            for a in asked
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}+" if changed else commit
