"""A training learns, repeats itself, goes on after a kill, and says what is wrong with what it was given."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import LabelNet, TinyNet, log, make_set, recipe, weights
from torch import Tensor, nn
from typer.testing import CliRunner

from tamperscope.cli import app
from tamperscope.engine.train import NonFiniteError, _Trainer, train
from tamperscope.errors import InputError


def net(kind: type[TinyNet] = TinyNet, **settings: Any) -> TinyNet:
    torch.manual_seed(5)
    return kind(**settings)


def same(first: Any, second: Any) -> bool:
    """Tell whether nested states are equal bit for bit."""
    if isinstance(first, Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second) or first != first


def test_it_learns_and_keeps_the_best(pictures: Path, judged: Path, tmp_path: Path) -> None:
    asked = recipe(
        pictures,
        validate_on=[{"manifest": str(judged)}],
        steps=40,
        validation={"side": 32, "overlap": 8, "every": 20, "metric": "pooled_auc"},
    )
    found = train(asked, tmp_path, network=net())
    validations = {line["step"]: line["pooled_auc"] for line in log(tmp_path, "validation")}
    assert list(validations) == [0, 20, 40]
    assert found.progress.best["pooled_auc"] > max(0.85, validations[0] + 0.1)
    assert found.progress.best_step == max(validations, key=lambda step: validations[step])
    kept = weights(tmp_path / "best.pt")
    assert (kept["step"], kept["metrics"]) == (found.progress.best_step, found.progress.best)
    assert "pooled_auc" in found.text()


@pytest.mark.parametrize(("bias", "what"), [(-50.0, "forged"), (50.0, "authentic"), (0.0, "")])
def test_maps_that_are_all_alike_are_told_of(
    bias: float, what: str, pictures: Path, judged: Path, tmp_path: Path
) -> None:
    """A network that learns from its own decisions may end so, and its loss is then the smallest."""
    network, told = net(), []
    with torch.no_grad():
        network.second.bias.add_(bias)
    asked = recipe(pictures, validate_on=[{"manifest": str(judged)}], steps=1, optimizer={"lr": 1e-6})
    found = train(asked, tmp_path, network=network, advance=lambda step, steps, text: told.append(text))
    warned = log(tmp_path, "warning")
    assert [line["step"] for line in warned] == ([0, 1] if what else [])
    for text in (found.text(), told[-1], *(line["text"] for line in warned)):
        assert (f"hardly a pixel is called {what}" in text) is bool(what)


KILLED = """
import os, signal, sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_training import TinyNet, recipe
from tamperscope.engine import checkpoint
from tamperscope.engine.recipe import Recipe
from tamperscope.engine.train import train
torch.set_num_threads(1)

def halfway(held, stream):
    stream.write(b"half of a checkpoint")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)

def advance(step, steps, text):
    if sys.argv[4] == "step" and step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[4] == "write" and step == 5:
        torch.save = halfway

torch.manual_seed(5)
asked = Recipe.model_validate_json(Path(sys.argv[2]).read_text())
train(asked, sys.argv[3], network=TinyNet(drop=0.3), advance=advance)
"""


@pytest.mark.parametrize("moment", ["step", "write"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    moment: str, pictures: Path, judged: Path, tmp_path: Path
) -> None:
    """Killed between checkpoints, and in the middle of writing one; with dropout, augmentation and EMA."""
    asked = recipe(
        pictures,
        validate_on=[{"manifest": str(judged)}],
        steps=10,
        checkpoint=3,
        accumulate=2,
        batch=2,
        data={"side": 32, "augment": {"flip": 0.5, "gaussian_noise": 0.5}},
        validation={"side": 32, "overlap": 8, "every": 4},
    )
    (tmp_path / "asked.json").write_text(asked.model_dump_json())
    arguments = [str(Path(__file__).parent), str(tmp_path / "asked.json"), str(tmp_path / "killed"), moment]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, timeout=300)
    assert killed.returncode == -9, killed.stderr.decode()
    assert weights(tmp_path / "killed" / "last.pt")["progress"]["step"] == 4
    resumed = train(asked, tmp_path / "killed", resume=True, network=net(drop=0.3))
    whole = train(asked, tmp_path / "whole", network=net(drop=0.3))
    for name in ("last.pt", "best.pt"):
        assert same(weights(tmp_path / "killed" / name), weights(tmp_path / "whole" / name))
    assert same(resumed.network.state_dict(), whole.network.state_dict())
    for kind in ("train", "validation"):
        assert same(log(tmp_path / "killed", kind), log(tmp_path / "whole", kind))


def test_another_seed_gives_another_network(pictures: Path, tmp_path: Path) -> None:
    one, again, other = (
        train(recipe(pictures, seed=seed), tmp_path / name, network=net()).network.state_dict()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert same(one, again)
    assert not same(one, other)


def test_accumulation_changes_nothing(tmp_path: Path) -> None:
    """8 = 4 x 2 where canvases hold different numbers of valid pixels, which the test makes sure of."""
    path = make_set(tmp_path / "set", 16, smallest=16)
    fields = {"steps": 3, "optimizer": {"lr": 0.01, "clip": 0.5}}
    once = train(recipe(path, batch=8, **fields), tmp_path / "a", network=net()).network.state_dict()
    parts = train(recipe(path, batch=2, accumulate=4, **fields), tmp_path / "b", network=net()).network.state_dict()
    for name, value in once.items():
        torch.testing.assert_close(value, parts[name], atol=1e-5, rtol=0)
    first, second = (log(tmp_path / n, "train")[-1] for n in "ab")
    assert first["loss"] == pytest.approx(second["loss"], abs=1e-5)
    assert first["norm"] == pytest.approx(second["norm"], abs=1e-5)


def test_labels_never_open_a_mask(tmp_path: Path) -> None:
    path = make_set(tmp_path / "set")
    for mask in path.parent.glob("*_mask.png"):
        mask.unlink()
    found = train(recipe(path), tmp_path / "label", network=net(LabelNet))
    assert found.progress.replaced == 0
    with pytest.raises(InputError, match="in a row"):
        train(recipe(path), tmp_path / "mask", network=net())


def test_judging_by_scores_needs_no_masks(pictures: Path, tmp_path: Path) -> None:
    path = make_set(tmp_path / "set", 8, "val", seed=1)
    for mask in path.parent.glob("*_mask.png"):
        mask.unlink()
    judging = {"side": 32, "overlap": 8, "metric": "image_auc"}
    asked = recipe(pictures, steps=1, validate_on=[{"manifest": str(path)}], validation=judging)
    best = train(asked, tmp_path / "run", network=net()).progress.best
    assert 0 <= best["image_auc"] <= 1
    assert math.isnan(best["pixel_f1"])


def test_what_is_not_defined_is_never_the_best_for_long(pictures: Path, judged: Path, tmp_path: Path) -> None:
    trainer = _Trainer(recipe(pictures), tmp_path, False, net(), lambda *_: None)
    trainer.judges = trainer.stream.sources
    values = iter([math.nan, 0.2, 0.1, math.nan, 0.3])
    trainer._validated = lambda: {"pixel_f1": next(values)}  # type: ignore[method-assign]
    chosen = []
    for step in range(5):
        trainer.progress.step = step
        trainer._choose()
        chosen.append(trainer.progress.best_step)
    assert chosen == [0, 1, 1, 1, 4]


def test_tensorboard_gets_the_same_numbers(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(recipe(pictures, steps=2, tensorboard=True), tmp_path, network=net())
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    shown = [event.value for event in board.Scalars("train/loss")]
    assert shown == pytest.approx([line["loss"] for line in log(tmp_path, "train")])


class Poisoned(TinyNet):
    """Gives no number in its third step of training, and spoils a buffer with it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.norm = nn.BatchNorm2d(8)

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        self.calls += self.training
        return super().forward(image * (float("nan") if self.training and self.calls == 3 else 1))


def test_what_is_no_number_stops_with_the_pictures_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"step 3: .*nan.*train\d+\.png"):
        train(recipe(pictures), tmp_path, network=Poisoned())
    held = json.loads((tmp_path / "nonfinite.json").read_text())
    assert held["step"] == 3
    assert len(held["ids"]) == 4


def test_what_is_no_number_can_be_skipped(pictures: Path, tmp_path: Path) -> None:
    found = train(recipe(pictures, nonfinite="skip"), tmp_path, network=Poisoned())
    assert found.progress.skipped == 1
    assert all(torch.isfinite(v).all() for v in found.network.state_dict().values())
    assert [line["loss"] is None for line in log(tmp_path, "train")] == [False, False, True, False, False, False]


def test_a_held_out_split_chooses_no_network(pictures: Path, tmp_path: Path) -> None:
    held = make_set(tmp_path / "set", 4, "dev")
    asked = {"validate_on": [{"manifest": str(held)}], "steps": 1}
    with pytest.raises(InputError, match=r"'dev': 4.*allow_held_out"):
        train(recipe(pictures, **asked), tmp_path / "a", network=net())
    allowed = {"side": 32, "overlap": 8, "allow_held_out": True}
    assert train(recipe(pictures, **asked, validation=allowed), tmp_path / "b", network=net()).progress.best


def test_a_folder_holds_one_run(pictures: Path, tmp_path: Path) -> None:
    train(recipe(pictures, steps=2), tmp_path / "run", network=net())
    with pytest.raises(InputError, match="--resume"):
        train(recipe(pictures, steps=2), tmp_path / "run", network=net())
    with pytest.raises(InputError, match="same recipe"):
        train(recipe(pictures, steps=2, seed=1), tmp_path / "run", resume=True, network=net())
    again = train(recipe(pictures, steps=2, log=5), tmp_path / "run", resume=True, network=net())
    assert again.progress.step == 2


def test_half_precision_stays_close_and_is_not_the_same(pictures: Path, tmp_path: Path) -> None:
    full, half = (
        train(recipe(pictures, precision=p), tmp_path / p, network=net()).network.state_dict() for p in ("no", "bf16")
    )
    assert not same(full, half)
    torch.testing.assert_close(full["first.weight"], half["first.weight"], atol=0.03, rtol=0)


def test_channels_last_is_the_same_training(pictures: Path, tmp_path: Path) -> None:
    trained = []
    for last in (False, True):
        seen: list[bool] = []
        made = net()
        made.first.register_forward_pre_hook(
            lambda module, given, seen=seen: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
        )
        train(recipe(pictures, steps=4, channels_last=last), tmp_path / str(last), network=made)
        assert seen == [last] * 4
        trained.append(made.state_dict())
    for key, value in trained[0].items():
        torch.testing.assert_close(trained[1][key], value, atol=1e-5, rtol=1e-4)


def test_the_run_card_tells_what_was_done(pictures: Path, tmp_path: Path) -> None:
    import hashlib

    train(recipe(pictures, steps=1), tmp_path, network=net())
    card = json.loads((tmp_path / "run.json").read_text())
    assert card["data"][0]["sha256"] == hashlib.sha256(pictures.read_bytes()).hexdigest()
    assert card["data"][0]["labels"] == {"0": 6, "1": 6}
    assert card["recipe"]["optimizer"]["lr"] == 0.01
    assert card["parameters"] == sum(p.numel() for p in TinyNet().parameters())
    assert card["versions"]["torch"] == torch.__version__


class Needy(TinyNet):
    """Counts the tables that it is given."""

    needs = ("qtables", "valid")

    def forward(self, image: Tensor, **needs: Any) -> dict[str, Tensor]:
        assert needs["qtables"].shape == (len(image), 2, 8, 8)
        assert needs["valid"].shape == (len(image), 1, *image.shape[-2:])
        return super().forward(image)


def test_a_network_gets_what_it_needs(pictures: Path, judged: Path, tmp_path: Path) -> None:
    asked = recipe(pictures, steps=1, validate_on=[{"manifest": str(judged)}])
    assert train(asked, tmp_path, network=net(Needy)).progress.best


def test_the_command_line_trains_a_system_by_name(pictures: Path, judged: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"inherits: unet\ntrain_on: [{{manifest: {pictures}}}]\nvalidate_on: [{{manifest: {judged}}}]\n"
    )
    fields = ("epochs=0", "steps=2", "batch=2", "data.side=32", "data.workers=0", "validation.side=32")
    changed = [a for f in (*fields, "validation.overlap=8", "network.settings.width=4") for a in ("--set", f)]
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["train", str(tmp_path / "mine.yaml"), "--out", str(out), *changed])
    assert done.exit_code == 0, done.output
    assert "pixel_f1" in done.output
    from tamperscope import media
    from tamperscope.engine import predict

    sample = media.open(judged.parent / "val1.png").sample
    answer = predict.load(out / "best.pt", side=32, overlap=8)(sample)
    assert answer.heatmap is not None
    assert answer.heatmap.shape == sample.size


SHARED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny_training import TinyNet
from tamperscope.engine.recipe import Recipe
from tamperscope.engine.train import train
torch.set_num_threads(1)
torch.manual_seed(5)
train(Recipe.model_validate_json(Path(sys.argv[2]).read_text()), sys.argv[3], network=TinyNet())
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(judged: Path, tmp_path: Path) -> None:
    """Through the launcher of torch; gradients and metrics are those of one process with twice the batch."""
    path = make_set(tmp_path / "set", 16, smallest=16)
    fields: dict[str, Any] = {"steps": 3, "validate_on": [{"manifest": str(judged)}]}
    alone = train(recipe(path, batch=8, **fields), tmp_path / "alone", network=net())
    (tmp_path / "asked.json").write_text(recipe(path, batch=2, accumulate=2, **fields).model_dump_json())
    (tmp_path / "shared.py").write_text(SHARED)
    # On machines without a GPU accelerate's own launcher starts one process only, or asks for MPI.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    arguments = [str(Path(__file__).parent), str(tmp_path / "asked.json"), str(tmp_path / "two")]
    command = [*launcher, str(tmp_path / "shared.py"), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    card = json.loads((tmp_path / "two" / "run.json").read_text())
    assert card["processes"] == 2
    together = weights(tmp_path / "two" / "last.pt")["parts"]["network"]
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(value, together[name], atol=1e-5, rtol=0)
    shown = log(tmp_path / "two", "validation")
    assert shown[-1] == pytest.approx(log(tmp_path / "alone", "validation")[-1], abs=1e-4)
