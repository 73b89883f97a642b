"""Train a network after a recipe: on CPU or GPU, one process or several; go on after a kill as if there was none."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor

from tamperscope.data.loader import Sampling
from tamperscope.engine import batches, checkpoint, evaluate, journal, optim, predict, sources
from tamperscope.engine.canvas import Canvas
from tamperscope.engine.checkpoint import BEST, LAST, Progress
from tamperscope.engine.recipe import SEQUENCE, SMALLER_IS_BETTER, Recipe, check
from tamperscope.engine.stream import Preparation, Stream
from tamperscope.errors import InputError, TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.inference.predictor import View
from tamperscope.networks.base import Network, parameters
from tamperscope.ops import augment

BAD = "nonfinite.json"
Advance = Callable[[int, int, str], None]


class NonFiniteError(TamperscopeError):
    """A loss or a gradient that is no number; the message names the pictures of the step."""


@dataclass(slots=True)
class Finished:
    """What came of a training.

    Attributes:
        progress: How far it came, with the metrics at first and at best.
        metric: By which the best was chosen.
        network: As it was after the last step.
        seconds: Time by what it was spent on; `total` is all of it.
        alike: What all maps of the last validation say alike; "" where they do not.
    """

    progress: Progress
    metric: str
    network: Network
    seconds: dict[str, float]
    alike: str = ""

    def text(self) -> str:
        """Return a table for a person: the metrics of the best network, beside those of the untrained one."""
        done = self.progress
        head = f"{done.step} steps"
        head += f", {done.skipped} skipped as not finite" if done.skipped else ""
        head += f", {done.replaced} pictures replaced" if done.replaced else ""
        head += f"; at the end {self.alike}" if self.alike else ""
        if not done.best:
            return f"{head}; nothing to validate on"
        return f"{head}; best {self.metric} after step {done.best_step}:\n{evaluate.table(done.best, done.first)}"


def train(
    recipe: Recipe,
    out: str | Path,
    resume: bool = False,
    network: Network | None = None,
    advance: Advance = lambda step, steps, text: None,
) -> Finished:
    """Train, and leave `last.pt`, `best.pt`, `log.jsonl` and `run.json` in a folder.

    Args:
        recipe: What to do.
        out: Folder of the run.
        resume: Whether to go on where a run of the same recipe was stopped or killed. On a CPU the result is the same
            bit for bit.
        network: Trained in place of the recipe's; its file cannot be loaded by name then.
        advance: Called after each step with its number, the number of steps, and a few words.

    Raises:
        InputError: The data are not there or lack truth, a held-out picture would choose the network, or the folder
            holds another run.
        NonFiniteError: A loss or gradient is no number.
        UnknownNameError: No such system, size, metric, or need of a network.
    """
    check(recipe)
    return _Trainer(recipe, Path(out), resume, network, advance).run()


def _told(network: Network, recipe: Recipe) -> tuple[tuple[str, ...], int]:
    """Return the editors whose maps a network is told, and of how many frames its canvases are.

    Raises:
        InputError: It tells another number of editors apart, or the order of another number of edits.
    """
    editors, known = recipe.data.editors, network.editors
    if len(editors) != known and not (known == 1 and not editors):
        raise InputError(
            f"data.editors: expected the {known} editors that the network tells apart, found {len(editors)}; "
            "network.settings.editors is their number"
        )
    if len(recipe.data.edits) != network.edits:
        found = f"expected the {network.edits} edits whose order the network tells, found {len(recipe.data.edits)}"
        raise InputError(f"data.edits: {found}")
    return editors, recipe.data.frames if network.clips else 1


@dataclass(slots=True)
class _Clock:
    """Seconds by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


class _Trainer:
    """One run: what is held between its steps."""

    def __init__(self, recipe: Recipe, out: Path, resume: bool, network: Network | None, advance: Advance) -> None:
        self.recipe, self.out, self.advance = recipe, out, advance
        # Precision is ours, so that several trainings of one process need not share it.
        self.accelerator = Accelerator(mixed_precision="no")
        self.device, self.main = self.accelerator.device, self.accelerator.is_main_process
        checkpoint.seed_step(recipe.seed, 0, 0)
        self.network = predict.build(recipe.network) if network is None else network
        optim.freeze(self.network, recipe.optimizer.frozen)
        self.network.to(self.device)
        if recipe.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optim.build(self.network, recipe.optimizer)
        self.masks = self.network.supervision != "label"
        self.editors, self.frames = _told(self.network, recipe)
        self.stream = self._stream()
        self.judges = self._judges()
        length = self.stream.epoch_length
        self.steps = recipe.steps or max(1, round(recipe.epochs * length / self.stream.step))
        self.scheduler = optim.scheduler(self.optimizer, recipe.schedule, self.steps)
        self.ema = optim.Ema(self.network, recipe.optimizer.ema) if recipe.optimizer.ema else None
        self.model: Any = self.accelerator.prepare_model(self.network)
        self.progress, self.clock, self.alike = Progress(), _Clock(), ""
        if self.main:
            journal.begin(out, self._card(), resume)
        self.accelerator.wait_for_everyone()
        if resume and (out / LAST).is_file():
            self._restore()
        self.replaced = self.progress.replaced
        self.journal = journal.Journal(out, recipe.tensorboard, self.progress.step) if self.main else None

    def _stream(self) -> Stream:
        recipe, data = self.recipe, self.recipe.data
        if data.paired and (self.frames > 1 or recipe.batch % 2 or data.augment_pristine):
            raise InputError("data.paired: expected pictures, an even batch, and nothing done to authentic ones alone")
        if data.swap and not (data.paired and self.masks):
            raise InputError("data.swap: expected data.paired, and a network that looks at masks")
        told = recipe.seed, self.masks, self.editors, self.frames, data.change, data.edits, data.paired
        stated = sources.build(recipe.train_on, [d.count for d in recipe.train_on], *told)
        if data.total:
            counts = Sampling.ratio([d.weight for d in recipe.train_on], data.total).counts
        else:
            counts = tuple(d.count or len(s.items()) for d, s in zip(recipe.train_on, stated, strict=True))
        made = sources.build(recipe.train_on, counts, *told)
        prepare = Preparation(
            augment.parse(data.augment, data.augment_pristine),
            augment.Window(data.side, data.focus if self.masks else 0.0, self.network.grid),
            tuple(self.network.needs),
            self.masks,
            recipe.seed,
            self.frames,
            data.mirror,
            data.edits,
            data.paired,
            data.swap,
        )
        if data.side % self.network.multiple:
            raise InputError(f"data.side: expected a multiple of {self.network.multiple}, found {data.side}")
        step = recipe.batch * recipe.accumulate * self.accelerator.num_processes
        return Stream(made, counts, prepare, step, data.balanced, recipe.seed, data.workers)

    def _judges(self) -> list[sources.Source]:
        recipe = self.recipe
        if not recipe.validation.allow_held_out:
            sources.refuse_held_out(recipe.validate_on)
        # Whatever the network learns from: what it is judged by teaches it nothing.
        masks = not recipe.validation.metric.startswith(("image_", SEQUENCE))
        editors = self.editors if masks else ()
        counts = [0] * len(recipe.validate_on)
        edits = recipe.data.edits if recipe.validation.metric.startswith(SEQUENCE) else ()
        told = recipe.seed, masks, editors, self.frames
        return sources.build(recipe.validate_on, counts, *told, edits=edits)

    def _card(self) -> dict[str, Any]:
        facts = {
            "steps": self.steps,
            "processes": self.accelerator.num_processes,
            "device": str(self.device),
            "parameters": parameters(self.network),
            "trainable": parameters(self.network, trainable=True),
        }
        return journal.card(self.recipe, self.stream.sources, self.judges, facts)

    def run(self) -> Finished:
        """Train from where the run is to its end."""
        begun, done = time.perf_counter(), self.progress
        if done.step == 0 and not done.first and self.judges:
            done.first = self._validated()
        stream = self.stream.steps(done.step, self.accelerator.process_index, self.accelerator.num_processes)
        try:
            while done.step < self.steps:
                with self.clock("data"):
                    canvases = next(stream)
                line = self._step(canvases)
                done.step += 1
                done.replaced = self.replaced + len(self.stream.failures)
                self._after(line)
        finally:
            stream.close()
            if self.journal is not None:
                self.journal.close()
        self.clock.seconds["total"] = time.perf_counter() - begun
        return Finished(done, self.recipe.validation.metric, self.network, self.clock.seconds, self.alike)

    def _step(self, canvases: list[Canvas]) -> dict[str, float]:
        """Do one step of the optimizer; return what the log says of it."""
        recipe = self.recipe
        checkpoint.seed_step(recipe.seed, self.progress.step + 1, self.accelerator.process_index)
        optim.training_mode(self.network)
        kept = self._buffers() if recipe.nonfinite == "skip" else {}
        with self.clock("data"):
            cut = range(0, len(canvases), recipe.batch)
            parts = [batches.tensors(canvases[i : i + recipe.batch], self.device) for i in cut]
        terms = self._backward(parts)
        with self.clock("update"):
            trained = [p for p in self.network.parameters() if p.requires_grad]
            norm = float(self.accelerator.clip_grad_norm_(trained, recipe.optimizer.clip or float("inf")))
            loss = float(sum(terms.values()))
            line: dict[str, float] = {"loss": loss, **terms, "norm": norm, "lr": float(self.scheduler.get_last_lr()[0])}
            # Every process sees the same sum, so that all stop or none.
            shared = self.accelerator.reduce(torch.tensor([loss, norm], device=self.device), "sum")
            if bool(torch.isfinite(shared).all()):
                self.optimizer.step()
            else:
                self._bad(canvases, line, kept)
            self.optimizer.zero_grad(set_to_none=True)
            self.scheduler.step()
            if self.ema is not None:
                self.ema.update(self.network)
        return line

    def _backward(self, parts: list[dict[str, Tensor]]) -> dict[str, float]:
        """Add up the gradients of a step's batches; return the terms of the loss of this process."""
        share = [batches.size(part, self.network.supervision) for part in parts]
        processes = self.accelerator.num_processes
        total = float(self.accelerator.reduce(torch.tensor(sum(share), device=self.device), "sum"))
        terms: dict[str, Tensor] = {}
        for number, (part, own) in enumerate(zip(parts, share, strict=True)):
            last = number == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.clock("forward"):
                    found = self._losses(part)
                    # Gradients of processes are averaged, so each counts as often as there are processes.
                    weighted = {name: term * (own / total * processes) for name, term in found.items()}
                with self.clock("backward"):
                    self.accelerator.backward(torch.stack(list(weighted.values())).sum())
            for name, term in weighted.items():
                terms[name] = terms.get(name, torch.zeros((), device=self.device)) + term.detach()
        return {name: float(value) for name, value in terms.items()}

    def _losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        needs = {name: batch[name] for name in self.network.needs}
        image = batch["image"]
        if self.recipe.channels_last and image.ndim == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        half = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            outputs = self.model(image, **needs)
        outputs = {name: value.float() if value.is_floating_point() else value for name, value in outputs.items()}
        return self.network.loss(outputs, batch, self.progress.step / self.steps)

    def _buffers(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.named_buffers()}

    def _bad(self, canvases: list[Canvas], line: dict[str, float], kept: dict[str, Tensor]) -> None:
        """Say which pictures a step was of that gave no number, and stop, or undo what it left."""
        ids = [c.id for c in canvases]
        step = self.progress.step + 1
        held = {"step": step, "ids": ids, "values": {k: str(v) for k, v in line.items()}}
        suffix = f".{self.accelerator.process_index}" if self.accelerator.num_processes > 1 else ""
        write_atomic(self.out / f"{BAD}{suffix}", (json.dumps(held, indent=1, ensure_ascii=False) + "\n").encode())
        if self.recipe.nonfinite == "stop":
            values = ", ".join(f"{k} {v:.4g}" for k, v in line.items())
            raise NonFiniteError(f"step {step}: expected finite numbers, found {values}; pictures: {', '.join(ids)}")
        self.progress.skipped += 1
        for name, value in self.network.named_buffers():
            value.copy_(kept[name])

    def _after(self, line: dict[str, float]) -> None:
        """Log, validate and keep what is due after a step."""
        recipe, done = self.recipe, self.progress
        last = done.step == self.steps
        if self.journal is not None and (done.step % recipe.log == 0 or last):
            self.journal.write("train", done.step, line)
        due = last or bool(recipe.validation.every and done.step % recipe.validation.every == 0)
        if due:
            self._choose()
        if due or (recipe.checkpoint and done.step % recipe.checkpoint == 0):
            self._keep()
        best = done.best.get(recipe.validation.metric)
        text = f"loss {line['loss']:.3f}" + (f" best {best:.3f}" if best is not None else "")
        self.advance(done.step, self.steps, text + (f"; {self.alike}" if self.alike else ""))

    def _choose(self) -> None:
        """Validate, and keep the network where it is the best so far; without validation the last one is."""
        done, metric = self.progress, self.recipe.validation.metric
        found = self._validated() if self.judges else {}
        value, old = (m.get(metric, float("nan")) for m in (found, done.best))
        better = value < old if metric in SMALLER_IS_BETTER else value > old
        if better or not done.best or (math.isnan(old) and not math.isnan(value)):
            done.best, done.best_step = found, done.step
            if self.main:
                weights = self.network.state_dict() if self.ema is None else self.ema.weights
                held = {name: value.cpu() for name, value in weights.items()}
                checkpoint.write(self.out / BEST, predict.saved(self.recipe.network, held, done.step, found))

    def _validated(self) -> dict[str, float]:
        """Return the metrics of the network as it is now; processes share the pictures."""
        asked = self.recipe.validation
        with self.clock("validation"):
            network = copy.deepcopy(self.network)
            if self.ema is not None:
                network.load_state_dict(self.ema.weights)
            view = View(asked.how, asked.side, asked.overlap)
            predictor = predict.asked(network.eval(), self.recipe.network.name, view, asked.batch, self.device)
            predictor.classes, predictor.edits = bool(self.editors), self.recipe.data.edits
            listed = [(source, item) for source in self.judges for item in source.items()]
            own = range(self.accelerator.process_index, len(listed), self.accelerator.num_processes)
            pictures = ((i, listed[i][0].open(listed[i][1], 0)[0]) for i in own)
            told = len(self.editors), bool(predictor.edits)
            tally = evaluate.tally(predictor, pictures, predictor.frames, *told)
            first, *others = gather_object([tally])
            for other in others:
                first.join(other)
            found: dict[str, float] = first.metrics()
            self.alike = first.alike
        if self.journal is not None:
            self.journal.write("validation", self.progress.step, found)
            if self.alike:
                self.journal.write("warning", self.progress.step, {"text": self.alike})
        return found

    def _keep(self) -> None:
        with self.clock("checkpoint"):
            parts: dict[str, Any] = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "ema": None if self.ema is None else self.ema.state(),
            }
            if self.main:
                checkpoint.write(self.out / LAST, checkpoint.state(self.progress, parts))
            self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        self.progress, parts = checkpoint.read(self.out / LAST)
        self.network.load_state_dict(parts["network"])
        self.optimizer.load_state_dict(parts["optimizer"])
        self.scheduler.load_state_dict(parts["scheduler"])
        if self.ema is not None:
            self.ema.load(parts["ema"])
