"""From a run to an artifact: the best network as a graph that needs no torch, checked, calibrated, measured."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from tamperscope.engine import evaluate, predict, sources
from tamperscope.engine.checkpoint import BEST
from tamperscope.engine.journal import CARD as RUN
from tamperscope.engine.recipe import PIXEL, Data, Recipe
from tamperscope.errors import InputError
from tamperscope.geometry import PIECE, PIECES
from tamperscope.inference.artifact import GRAPH, Artifact, Card, Input, write_artifact
from tamperscope.inference.predictor import Arrays
from tamperscope.metrics import confusion, intervals, ranking
from tamperscope.networks import catalog
from tamperscope.networks.base import Network, parameters
from tamperscope.settings import wrong
from tamperscope.types import Sample
from tamperscope.verdict import fit

OUTPUTS = ("mask", "score", "confidence", "classes", "sequence")
"""What a graph gives where its network does; all else is for training alone."""
PARITY = 1e-3
"""Largest difference of a logit between torch and the graph."""
LEAST, ENOUGH = 20, 100
"""Pictures of each class without which there is no calibration, and from which on it may move a verdict."""
_THRESHOLDS = np.linspace(0.05, 0.95, 19)
_OPSET = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What is not in the run.

    Attributes:
        licence: Of the weights, in words.
        name: That its predictions bear; the system's when empty.
        side: Of its canvases; 0 = that of the run's validation.
        calibrate_on: Manifests for threshold and calibration; the run's validation when empty.
        measure_on: Manifests that it is measured on and that decide nothing.
        notes: What else its users should know.
        faces: Whether it is asked of each face of a picture, a crop of `side` pixels, not of the picture.
        unweighed: Why it is shown and moves no verdict, whatever it was calibrated on; "" where it may.
        alarms: Share of the authentic pictures of the calibration that reach the threshold of what judges whole
            pictures; below it a score says nothing.
        most: A score is worth at most so many to one, whatever the calibration found.
    """

    licence: str
    name: str = ""
    side: int = 0
    calibrate_on: tuple[str, ...] = ()
    measure_on: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    faces: bool = False
    unweighed: str = ""
    alarms: float = 0.05
    most: float = math.inf


def export(run: str | Path, out: str | Path, wish: Wish) -> Artifact:
    """Write the best network of a run as an artifact.

    Args:
        run: Folder of a training.
        out: Folder of the artifact.
        wish: What is not in the run.

    Raises:
        InputError: It is no run, the graph differs from the network, or held-out pictures would calibrate it.
    """
    run = Path(run)
    try:
        stated = json.loads((run / RUN).read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(stated["recipe"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"'{run}': expected the folder of a training: {wrong(error)}; name one that `tamperscope train` wrote"
        ) from error
    network, _ = predict.restored(run / BEST)
    return packed(network, recipe, stated, out, wish)


def packed(network: Network, recipe: Recipe, stated: Mapping[str, Any], out: str | Path, wish: Wish) -> Artifact:
    """Write a network as an artifact.

    Args:
        network: In evaluation mode.
        recipe: Which network it is, how it is shown a picture, and what calibrates it.
        stated: Where its weights are from, for the card.
        out: Folder of the artifact.
        wish: What is not in the recipe.

    Raises:
        InputError: The graph differs from the network, or held-out pictures would calibrate it.
    """
    asked = _input(network, recipe, wish)
    data = tuple(Data(manifest=m) for m in wish.calibrate_on) or recipe.validate_on
    sources.refuse_held_out(data)
    names = tuple(n for n in OUTPUTS if n in network(**_canvas(network, asked, 1)))
    graph = graph_of(network, asked, names)
    about = catalog.about(recipe.network.name)
    card = Card(
        name=wish.name or recipe.network.name,
        title=about.title,
        source=about.source,
        departures=about.departures + (() if wish.faces else about.whole),
        licence=wish.licence,
        notes=wish.notes,
        network=_shareable(recipe.network.model_dump(mode="json")),
        parameters=parameters(network),
        input=asked,
        outputs=names,
        edits=recipe.data.edits,
        training=_shareable(dict(stated)),
    )
    weights = save({key: value.contiguous().clone() for key, value in network.state_dict().items()})
    plain = write_artifact(out, card, graph, weights)
    same = parity(network, plain, _pictures(plain, data, recipe.seed))
    worth = _calibrated(plain, data, recipe.seed, wish)
    if wish.unweighed and worth["calibration"]:
        worth["calibration"] |= {"counts": False, "why": wish.unweighed}
    measured = _measured(plain, worth["threshold"], data, wish, recipe.seed)
    return write_artifact(out, card.model_copy(update={**worth, "parity": same, "measured": measured}), graph, weights)


def _shareable(value: Any) -> Any:
    """Return a card whose paths of this machine are cut to their last two parts, for artifacts go to others."""
    if isinstance(value, dict):
        return {key: _shareable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shareable(inner) for inner in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return "/".join(Path(value).parts[-2:])
    return value


def _input(network: Network, recipe: Recipe, wish: Wish) -> Input:
    """Return how the artifact is asked: as in validation, but for a graph of one size, which tiles what is larger."""
    asked, multiple = recipe.validation, network.multiple
    side = wish.side or asked.side
    side = -(-side // multiple) * multiple
    needs = tuple(network.needs if network.exported is None else network.exported)
    overlap = min(asked.overlap, side // 2)
    how = "face" if wish.faces else asked.how if network.any_size else "tile"
    free, grid = network.any_size and not wish.faces, network.grid
    return Input(how=how, side=side, overlap=overlap, multiple=multiple, fixed=not free, needs=needs, grid=grid)


def _canvas(network: Network, asked: Input, seed: int, side: tuple[int, int] | None = None) -> dict[str, Tensor]:
    """Return a drawn canvas and what the network needs beside it."""
    generator = torch.Generator().manual_seed(seed)
    height, width = side or (min(asked.side, 4 * asked.multiple) if not asked.fixed else asked.side,) * 2
    known = {
        "valid": torch.ones(1, 1, height, width, dtype=torch.bool),
        "qtables": torch.randint(1, 60, (1, 2, 8, 8), generator=generator).float(),
        "mosaic": torch.rand(1, 3, PIECES * PIECE, PIECES * PIECE, generator=generator),
    }
    return {"image": torch.rand(1, 3, height, width, generator=generator), **{n: known[n] for n in asked.needs}}


class _Fixed(nn.Module):
    """A network with its outputs in a stated order."""

    def __init__(self, network: Network, needs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.network, self.needs, self.outputs = network, needs, outputs

    def forward(self, image: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs."""
        found = self.network(image, **dict(zip(self.needs, rest, strict=True)))
        return tuple(found[name].float() for name in self.outputs)


def graph_of(network: Network, asked: Input, outputs: Sequence[str]) -> bytes:
    """Return a network as ONNX: canvases and what it needs in, logits out.

    Args:
        network: In evaluation mode.
        asked: Which canvases the graph takes.
        outputs: Names of the logits, in order.
    """
    drawn = _canvas(network, asked, 2, (6 * asked.multiple, 5 * asked.multiple) if not asked.fixed else None)
    shapes: Any = None
    if not asked.fixed:
        free = {i + 2: asked.multiple * torch.export.Dim(axis, min=1, max=4096) for i, axis in enumerate("hw")}
        shapes = {"image": free}
        if asked.needs:
            shapes["rest"] = tuple(free if n == "valid" else {} for n in asked.needs)
    wrapped = _Fixed(network, asked.needs, outputs).eval()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            wrapped,
            tuple(drawn.values()),
            input_names=list(drawn),
            output_names=list(outputs),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
            dynamic_shapes=shapes,
        )
    assert program is not None
    return _stripped(program.model_proto)


def _stripped(model: Any) -> bytes:
    """Return a graph without what the exporter noted of the code, which holds paths of this machine."""
    parts = [model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info]
    for part in [model, *parts, *model.functions, *(n for f in model.functions for n in f.node)]:
        del part.metadata_props[:]
        part.doc_string = ""
    return bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling of parts that nothing here uses."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _pictures(artifact: Artifact, data: Sequence[Data], seed: int) -> Iterator[tuple[int, Sample]]:
    """Yield every picture of manifests with its place in the whole list; masks are for what gives one."""
    masks = "mask" in artifact.card.outputs
    listed = [(s, item) for s in sources.build(data, [0] * len(data), seed, masks) for item in s.items()]
    for place, (source, item) in enumerate(listed):
        opened = source.open(item, 0)[0]
        assert isinstance(opened, Sample)  # clips are only asked for where a training says so
        yield place, opened


def parity(network: Network, artifact: Artifact, pictures: Iterable[tuple[int, Sample]]) -> dict[str, Any]:
    """Return the largest difference of each output between torch and the graph, and how many pixels change sides.

    Raises:
        InputError: The graph differs.
    """
    largest = dict.fromkeys(artifact.card.outputs, 0.0)
    changed = pixels = count = 0

    def both(arrays: Arrays) -> Arrays:
        nonlocal changed, pixels, count
        got = artifact.forward(arrays)
        with torch.inference_mode():
            wanted = network(**{name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        for name in largest:
            largest[name] = max(largest[name], float(np.abs(got[name] - wanted[name].numpy()).max()))
        if "mask" in got:
            changed += int(((got["mask"] >= 0) != (wanted["mask"].numpy() >= 0)).sum())
            pixels += got["mask"].size
        count += len(arrays["image"])
        return got

    predictor = artifact.predictor()
    predictor.forward = both
    for _, (_, sample) in zip(range(8), pictures, strict=False):
        predictor(sample)
    for seed in (3, 4) if not count else ():
        both({name: value.numpy() for name, value in _canvas(network, artifact.card.input, seed).items()})
    worst = max(largest.values())
    if not worst <= PARITY:
        raise InputError(f"{GRAPH}: expected logits within {PARITY} of the network's, found a difference of {worst}")
    return {"canvases": count, "logits": largest, "pixels_that_change_sides": changed, "pixels": pixels}


def _calibrated(artifact: Artifact, data: Sequence[Data], seed: int, wish: Wish) -> dict[str, Any]:
    """Return `threshold` and `calibration` of a card, chosen on pictures whose truth is known."""
    predictor = artifact.predictor()
    f1s, rows, unasked = [], [], 0
    histograms: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for _, sample in _pictures(artifact, data, seed):
        answer = predictor(sample)
        if answer.status != "ok":
            unasked += 1
            continue
        group, domain = (str(sample.meta.get(key) or "") for key in ("group", "domain"))
        scores = {artifact.card.name: answer.score}
        rows.append(fit.Observation(group or sample.id, domain, bool(sample.label), scores))
        if sample.mask is None or answer.heatmap is None or not sample.mask.any():
            continue
        f1s.append([confusion.counts(answer.heatmap, sample.mask, t).f1 for t in _THRESHOLDS])
        edges = np.linspace(0, 1, 257)
        inside, outside = (np.histogram(answer.heatmap[m], edges)[0] for m in (sample.mask, ~sample.mask))
        histograms.append((inside.astype(np.float64), outside.astype(np.float64)))
    pristine = [scores[artifact.card.name] for scores in (r.scores for r in rows if not r.forged)]
    best = float(_THRESHOLDS[int(np.mean(f1s, 0).argmax())]) if f1s else _seldom(pristine, wish.alarms)
    curve = _curve(artifact.card.name, rows, histograms, best, data, wish.most)
    if curve is not None and unasked:
        curve["population"] += f"; {unasked} more were not asked"
    return {"threshold": round(best, 4), "calibration": curve}


def _seldom(scores: Sequence[float], alarms: float) -> float:
    """Return the least score above all but a share of those of authentic pictures; 0.5 without any."""
    if not scores:
        return 0.5
    return float(np.clip(np.quantile(scores, 1 - alarms, method="higher") + 1e-4, 1e-4, 1 - 1e-4))


def _curve(
    name: str,
    rows: Sequence[fit.Observation],
    histograms: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    threshold: float,
    data: Sequence[Data],
    most: float,
) -> dict[str, Any] | None:
    """Return what a score and a heat are worth; None with too few pictures of a class."""
    forged = sum(row.forged for row in rows)
    least = min(forged, len(rows) - forged)
    if least < LEAST:
        return None
    # Heat is counted as the scan sees it, where the threshold lies at 0.5.
    middle = (np.arange(256) + 0.5) / 256
    moved = middle * (1 - threshold) / (middle * (1 - threshold) + (1 - middle) * threshold)
    bins = np.minimum((moved * 256).astype(int), 255)
    counted = [[np.bincount(bins, weights=part, minlength=256) for part in h] for h in histograms]
    heat = fit.fit_heat(*np.asarray(counted, np.float64).transpose(1, 0, 2)) if counted else (0.0, 0.0)
    counts = least >= ENOUGH
    why = f"calibrated on {forged} forged and {len(rows) - forged} pristine pictures"
    why += "" if counts else f", fewer than {ENOUGH} of each"
    curve = fit.fit_curve(rows, name, "network", counts, why, [float(v) for v in heat])
    # Who judges whole pictures does not look for edits of a part, and its silence is no evidence against these.
    curve = curve if counted else curve.one_sided().from_score(round(threshold, 4))
    sources = len({row.source for row in rows if not row.forged})
    curve = curve.capped(min(sources, most - 1))
    names = ", ".join(Path(d.manifest).parent.name or d.manifest for d in data)
    population = f"{len(rows) - forged} pristine (of {sources} sources) and {forged} forged pictures of {names}"
    return curve.model_copy(update={"population": population}).model_dump(mode="json")


def _measured(artifact: Artifact, threshold: float, data: Sequence[Data], wish: Wish, seed: int) -> dict[str, Any]:
    """Return the metrics of the artifact with its threshold, of pictures that chose it and of those that did not."""
    predictor = artifact.predictor()
    predictor.threshold = threshold
    asked: Mapping[str, Sequence[Data]] = {
        "chose step, threshold and calibration": data,
        "decided nothing": tuple(Data(manifest=m) for m in wish.measure_on),
    }
    found = {}
    for name, manifests in asked.items():
        if manifests:
            groups: dict[int, str] = {}
            asked_of = _noting(groups, _pictures(artifact, manifests, seed))
            tally = evaluate.tally(predictor, asked_of, ordered=bool(predictor.edits))
            known = {k: round(v, 4) for k, v in tally.metrics().items() if not np.isnan(v)}
            counted = {"pictures": len(tally.scores), "forged": sum(bool(label) for _, label in tally.scores.values())}
            counted |= {"not_asked": len(tally.unasked)} if tally.unasked else {}
            found[name] = {**counted, **known, "intervals": _intervals(tally, groups)}
    return found


def _noting(groups: dict[int, str], pictures: Iterable[tuple[int, Sample]]) -> Iterator[tuple[int, Sample]]:
    for place, sample in pictures:
        groups[place] = str(sample.meta.get("group") or sample.id)
        yield place, sample


def _intervals(tally: evaluate.Tally, groups: Mapping[int, str]) -> dict[str, list[float]]:
    """Return the ends of 95 % intervals by group: of means over forged pictures, and of the AUC of scores."""
    places = sorted(tally.rows)
    names = [groups[place[0]] for place in places]
    found = {f"pixel_{n}": intervals.bootstrap([tally.rows[p][n] for p in places], names) for n in PIXEL if places}
    listed = sorted(tally.scores)
    rows = np.array([tally.scores[place] for place in listed], float).reshape(-1, 2)
    forged = int(rows[:, 1].sum())
    if min(forged, len(rows) - forged) >= LEAST:
        named = [groups[place[0]] for place in listed]
        found["image_auc"] = intervals.bootstrap(rows, named, lambda r: ranking.auc(r[:, 0], r[:, 1] > 0))
    return {name: [round(i.low, 4), round(i.high, 4)] for name, i in found.items() if i.n}
