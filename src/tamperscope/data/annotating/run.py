"""Goes through a list of pairs: masks, a manifest of what can be trained on, and why the rest cannot."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tamperscope import __version__
from tamperscope.data import manifest, masks, sources
from tamperscope.data.annotating import judging
from tamperscope.data.annotating.judging import Facts, Limits
from tamperscope.data.manifest import Entry
from tamperscope.data.sources.base import Tree
from tamperscope.errors import InputError, InvalidValueError, TamperscopeError
from tamperscope.files import write_atomic
from tamperscope.workers import processes

MANIFEST, REJECTED = "manifest.jsonl", "rejected.jsonl"
MASKS, RECORDS = "masks", "records"
_FOLDERS = "originals/NAME.jpg beside photoshops/NAME/ANY.jpg"


@dataclass(frozen=True, slots=True)
class Pair:
    """An edited picture, its original, and what else the list says of the edited one.

    Attributes:
        edited: Path.
        original: Path.
        split: Of the edited picture.
        group: Name shared by all pictures of one source; they never go to different splits.
    """

    edited: Path
    original: Path
    split: str = ""
    group: str = ""

    def key(self) -> str:
        """Return a digest of both files' names, sizes and times, and of the version; it changes with them."""
        facts = [__version__, judging.SIDE, *(_stamp(path) for path in (self.edited, self.original))]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@dataclass(slots=True)
class Summary:
    """What a run came to.

    Attributes:
        manifest: The file that was written.
        kept: Pairs in the manifest.
        rejected: Pairs that are not, by reason.
    """

    manifest: Path
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """Return the summary for a person."""
        lines = [f"{self.kept} pictures with masks in {self.manifest}"]
        if self.rejected:
            lines.append(f"{sum(self.rejected.values())} rejected, each with its reason in {REJECTED}:")
            lines += [f"  {count}: {why}" for why, count in self.rejected.most_common()]
        return "\n".join(lines)


def read(path: str | Path) -> list[Pair]:
    """Return the pairs of a list or folder.

    A table (CSV) or manifest (JSONL) names the edited picture as `image` and the other one as `original`, relative to
    the list; manifests that `data prepare` made of sets with originals will do. A folder is laid out as PS-Battles is,
    originals/NAME.jpg beside photoshops/NAME/ANY.jpg.

    Args:
        path: Of the list or folder.

    Raises:
        InputError: There is no such list, or it has no pair.
    """
    path = Path(path)
    if path.is_dir():
        tree = Tree(path)
        found = sources.load("ps_battles").read(tree)
        pairs = [
            Pair(path / x.image, path / x.extra["original"], x.split, x.group) for x in found if "original" in x.extra
        ]
        expected = f"pictures as {_FOLDERS}"
    else:
        entries = manifest.from_csv(path) if path.suffix.lower() in (".csv", ".tsv") else manifest.read(path)
        pairs = [_pair(path, entry) for entry in entries if entry.extra.get("original")]
        expected = "entries with `image` and `original`"
    if not pairs:
        raise InputError(f"'{path}': expected {expected}, found none")
    return pairs


def _pair(path: Path, entry: Entry) -> Pair:
    edited = manifest.inside(path.parent, entry.image)
    name = str(entry.extra["original"])
    # Prepared sets state it relative to the set's own folder, which is one above the picture.
    places = [manifest.inside(folder, name) for folder in (path.parent, *edited.parents)]
    # One that is nowhere is met again when the pair is opened, which says so.
    original = next((place for place in places if place.is_file()), places[0])
    return Pair(edited, original, entry.split, entry.group or name)


def annotate(
    pairs: str | Path | Sequence[Pair],
    out: str | Path,
    limits: Limits | None = None,
    workers: int = 1,
    advance: Callable[[int], None] = lambda done: None,
) -> Summary:
    """Write masks, `manifest.jsonl` and `rejected.jsonl` of pairs of pictures; return what came of them.

    A pair that has been judged is not judged again, unless one of its files has changed: a run that was stopped goes
    on, and other limits take no time. Pictures stay where they are; one that is missing or broken is a reason too.

    Args:
        pairs: List or folder, see `read`, or the pairs.
        out: Folder for what is written.
        limits: What is kept.
        workers: Processes; the output is the same for any number.
        advance: Called with the number of pairs done.

    Raises:
        InputError: The list cannot be read.
        InvalidValueError: There are no workers.
    """
    if workers < 1:
        raise InvalidValueError(f"annotate: expected at least 1 worker, found {workers}")
    listed = read(pairs) if isinstance(pairs, (str, Path)) else list(pairs)
    out, limits = Path(out), limits or Limits()
    out.mkdir(parents=True, exist_ok=True)
    todo = [pair for pair in listed if not _record(out, pair).is_file()]
    advance(len(listed) - len(todo))
    for done, _ in enumerate(_judged(todo, out, workers), len(listed) - len(todo) + 1):
        advance(done)
    return _write(listed, out, limits)


def _judged(todo: Sequence[Pair], out: Path, workers: int) -> Iterator[Path]:
    if workers == 1:
        yield from (_one(pair, out) for pair in todo)
        return
    with processes(workers) as pool:
        yield from pool.map(_one, todo, [out] * len(todo))


def _one(pair: Pair, out: Path) -> Path:
    """Judge a pair and return its record, which is written last: a pair with a record is finished."""
    from tamperscope import media

    record: dict[str, Any] = {"image": manifest.relative(pair.edited, out)}
    try:
        edited, original = media.open(pair.edited).sample, media.open(pair.original).sample
        found = judging.judge(original.rgb, edited.rgb)
    except (TamperscopeError, OSError) as error:
        record["error"] = str(error)
    else:
        record["facts"] = asdict(found.facts)
        if found.mask.any():
            write_atomic(out / MASKS / f"{pair.key()}.png", masks.png(found.mask))
    return write_atomic(_record(out, pair), json.dumps(record, ensure_ascii=False).encode())


def _write(pairs: Sequence[Pair], out: Path, limits: Limits) -> Summary:
    summary, kept, rejected = Summary(out / MANIFEST), [], []
    for pair in pairs:
        record = json.loads(_record(out, pair).read_bytes())
        facts, original = record.get("facts"), manifest.relative(pair.original, out)
        why = record["error"] if facts is None else judging.reason(Facts(**facts), limits)
        if why:
            summary.rejected["a picture cannot be used" if facts is None else why] += 1
            rejected.append({"image": record["image"], "original": original, "reason": why, "annotated": facts})
            continue
        fields = {"image": record["image"], "mask": f"{MASKS}/{pair.key()}.png", "label": 1, "domain": "manipulation"}
        more = {"split": pair.split, "group": pair.group or original, "original": original, "annotated": facts}
        kept.append(Entry.model_validate(fields | more))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rejected)
    write_atomic(out / REJECTED, lines.encode())
    summary.kept = manifest.write(out / MANIFEST, kept)
    return summary


def _record(out: Path, pair: Pair) -> Path:
    return out / RECORDS / f"{pair.key()}.json"


def _stamp(path: Path) -> list[Any]:
    try:
        stat = path.stat()
    except OSError:
        return [str(path.resolve())]
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
