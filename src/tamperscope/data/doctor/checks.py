"""Each check takes the records of an examination and gives the problems that it found, with how to mend them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from tamperscope.data.doctor import duplicates
from tamperscope.data.doctor.duplicates import Kind, Pairs
from tamperscope.data.doctor.masks import MASK_KINDS
from tamperscope.data.doctor.records import Record
from tamperscope.data.doctor.schema import KEPT_EXAMPLES, Example, Leak, Problem, View, printable
from tamperscope.types import Severity

_LABELS: dict[int | None, str] = {0: "pristine", 1: "forged", None: "unlabelled"}
_NEAR_WORDS: dict[Kind, tuple[Severity, str, str]] = {
    "splits": (
        "warning",
        "pairs of pictures in different splits show the same view",
        "Give both one group and put the group into one split.",
    ),
    "labels": (
        "warning",
        "pairs of different groups show the same view with different labels",
        "If one was made from the other, give both one group; otherwise one label is wrong.",
    ),
    "within": (
        "notice",
        "pairs of different groups show the same view",
        "Give both one group, so that folds and intervals keep them together, or drop one.",
    ),
}
_EXACT_WORDS: dict[Kind, tuple[Severity, str, str]] = {
    "labels": (
        "warning",
        "pictures have the bytes of another one that has the other label",
        "The same file cannot be both: correct the label and drop the copy.",
    ),
    "splits": (
        "warning",
        "pictures have the bytes of one in another split",
        "Keep the picture in one split; results on the other are worth nothing.",
    ),
    "within": (
        "notice",
        "pictures have the bytes of another one",
        "Drop the copies: they count twice.",
    ),
}


def example(record: Record, note: str = "", other: str | None = None) -> Example:
    """Return a record as an example that any output may print."""
    shown = None if other is None else printable(other)
    return Example(image=printable(record.entry.image), other=shown, note=printable(note))


def problem(
    code: str, severity: Severity, text: str, mend: str, examples: Sequence[Example], view: View = "names"
) -> Iterator[Problem]:
    """Yield the problem that the examples show; nothing without an example."""
    if examples:
        kept = list(examples[:KEPT_EXAMPLES])
        yield Problem(code=code, severity=severity, text=text, mend=mend, count=len(examples), examples=kept, view=view)


def files(records: Sequence[Record]) -> Iterator[Problem]:
    """Yield pictures that are missing, unreadable, damaged or misnamed."""
    missing = [example(r) for r in records if r.fault == "missing"]
    mend = "Correct the paths (they are relative to the manifest) or fetch the files."
    yield from problem("file.missing", "warning", "pictures are missing", mend, missing)
    bad = [example(r, r.cause) for r in records if r.fault == "unreadable"]
    mend = "Fetch them again, or take their lines out of the manifest."
    yield from problem("file.unreadable", "warning", "pictures cannot be opened", mend, bad)
    hurt = [example(r, r.damaged) for r in records if r.damaged]
    mend = "Fetch them again; a part of each is missing or was made up by the decoder."
    yield from problem("file.damaged", "warning", "pictures could be decoded only in part", mend, hurt)
    wrong = [
        example(r, f"named {r.named_type}, is {r.file_type}")
        for r in records
        if r.named_type and r.named_type != r.file_type
    ]
    mend = "Rename them, so that no program chooses a decoder by the name."
    yield from problem("file.name", "notice", "file names promise another type than the bytes have", mend, wrong)


def masks(records: Sequence[Record]) -> Iterator[Problem]:
    """Yield what is wrong with masks; the kinds and their tests are those of `masks.MASK_KINDS`."""
    for kind in MASK_KINDS:
        found = [(r, note) for r in records if (note := kind.test(r)) is not None]
        examples = [example(r, note, r.entry.mask) for r, note in found]
        yield from problem(kind.code, kind.severity, kind.text, kind.mend, examples, kind.view)


def groups(records: Sequence[Record]) -> Iterator[Problem]:
    """Yield groups that lie in more than one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    first: dict[str, Record] = {}
    for record in records:
        if record.entry.group:
            splits[record.entry.group].add(record.entry.split)
            first.setdefault(record.entry.group, record)
    shared = [
        example(first[name], f"group {name!r} in {', '.join(repr(s) for s in sorted(homes))}")
        for name, homes in splits.items()
        if len(homes) > 1
    ]
    mend = "Put each group into one split: pictures of one source teach the answer to each other."
    yield from problem("group.across_splits", "warning", "groups lie in more than one split", mend, shared)


def copies(records: Sequence[Record]) -> Iterator[Problem]:
    """Yield exact and near duplicates, by whether splits or labels differ."""
    pairs = duplicates.exact(records)
    for kind, (severity, text, mend) in _EXACT_WORDS.items():
        yield from _copies(f"duplicate.exact.{kind}", severity, text, mend, pairs.get(kind), records)
    pairs, cut = duplicates.near(records)
    for kind, (severity, text, mend) in _NEAR_WORDS.items():
        for found in _copies(f"duplicate.near.{kind}", severity, text, mend, pairs.get(kind), records):
            yield found.model_copy(update={"text": f"at least these {text}"}) if cut else found


def _copies(
    code: str, severity: Severity, text: str, mend: str, pairs: Pairs | None, records: Sequence[Record]
) -> Iterator[Problem]:
    if pairs is None:
        return
    examples = [
        example(records[a], _pair_note(records[a], records[b], value), records[b].entry.image)
        for a, b, value in pairs.kept
    ]
    for found in problem(code, severity, text, mend, examples, "pair"):
        yield found.model_copy(update={"count": pairs.count})


def _pair_note(first: Record, second: Record, correlation: float) -> str:
    sides = [f"{r.entry.split} {_LABELS.get(r.entry.label, 'odd label')}".strip() for r in (first, second)]
    same = "same bytes" if first.sha256 == second.sha256 else f"correlation {correlation:.3f}"
    return f"{sides[0]} | {sides[1]}; {same}"


def labels(records: Sequence[Record]) -> Iterator[Problem]:
    """Yield pictures without a label, with an impossible one, and splits that hold one class only."""
    odd = [example(r, f"label {r.entry.label}") for r in records if r.entry.label not in (0, 1, None)]
    mend = "Use 0 for pristine, 1 for forged or generated, null for unknown."
    yield from problem("label.value", "warning", "labels are neither 0 nor 1", mend, odd)
    unknown = [example(r) for r in records if r.entry.label is None]
    mend = "Label them, or leave them out of measurements."
    yield from problem("label.unknown", "info", "pictures have no label", mend, unknown)
    classes: dict[str, set[int]] = defaultdict(set)
    for record in records:
        if record.entry.label in (0, 1):
            classes[record.entry.split].add(record.entry.label)
    single = [
        Example(image=printable(split) or "(no split)", note=f"only {_LABELS[next(iter(held))]} pictures")
        for split, held in classes.items()
        if len(held) == 1
    ]
    mend = "Add pictures of the other class; no rate of false alarms or misses can be measured without."
    yield from problem("label.one_class", "notice", "splits hold one class only", mend, single)


def formats(leaks: Sequence[Leak]) -> Iterator[Problem]:
    """Yield the leak of the label through the file format: all families together and those that leak alone."""
    bad = sorted((leak for leak in leaks if leak.severity != "info"), key=lambda leak: -(leak.auc or 0.0))
    if not bad:
        return
    severity: Severity = "warning" if any(leak.severity == "warning" for leak in bad) else "notice"
    examples = [Example(image=leak.title, note="; ".join([f"AUC {leak.interval}", *leak.telling])) for leak in bad]
    text = f"families of format features tell the label without a look at the picture (strongest: {bad[0].title})"
    mend = (
        "Save both classes the same way (same type, size, quality, tables, metadata), or report results also after "
        "a common recompression."
    )
    yield from problem("format.leak", severity, text, mend, examples)


RECORD_CHECKS: tuple[Callable[[Sequence[Record]], Iterator[Problem]], ...] = (files, masks, groups, copies, labels)
