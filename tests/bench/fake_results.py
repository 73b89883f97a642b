"""Results as a bench would give them, made up by code: hostile names, undefined numbers, a missing set."""

from __future__ import annotations

import zlib

import numpy as np

from tamperscope.bench.results import Alarms, Comparison, LevelShare, Number, Point, Results, Subject, Tested, Worst

HOSTILE = "<script>alert(1)</script>"
LATEX = r"a_b%&#$^~\{x}|[*]"
SET, MISSING = f"Set {LATEX}", "Gone"
SUBJECTS = ("fused", HOSTILE, "random", "centre_blob", "ela", "table_lookup")
METRICS = ("pixel_f1", "pixel_iou", "pixel_auc", "authentic_fpr", "image_auc", "image_cllr")
POINTS = (
    Point(label="untouched", family="untouched", strength=0.0, op=""),
    *(Point(label=f"jpeg {q}", family="jpeg", strength=float(q), op=f"jpeg:{q}") for q in (90, 70, 50, 30)),
    Point(label="screenshot", family="screen", strength=None, op="screenshot"),
)
LEVEL = {"fused": 0.62, HOSTILE: 0.41, "ela": 0.22, "centre_blob": 0.24, "random": 0.2}


def draw(*parts: object) -> float:
    """Return a number in [0, 1) that follows from the parts alone."""
    return float(np.random.default_rng(zlib.crc32(repr(parts).encode())).random())


def _number(attack: int, subject: str, metric: str) -> Number:
    where = {"test": SET, "attack": POINTS[attack].label, "subject": subject, "suite": "imdl", "metric": metric}
    if subject == "random" and metric == "pixel_auc":
        return Number(**where, value=None, low=None, high=None, n=0, undefined=180)
    value = LEVEL.get(subject, 0.5) * 0.85**attack + 0.02 * draw(*where.values())
    value = 1.0 + value if metric == "image_cllr" else value
    low, high = (None, None) if subject == "ela" and attack == 2 else (value - 0.034, value + 0.036)
    n = 180 if metric.startswith("pixel") else 183 if metric == "authentic_fpr" else 363
    return Number(**where, value=value, low=low, high=high, n=n, undefined=2 if subject == HOSTILE else 0)


def _comparison(attack: int, subject: str, metric: str, bar: str) -> Comparison:
    where = {"test": SET, "attack": POINTS[attack].label, "subject": subject, "suite": "imdl", "metric": metric}
    gain = 0.381 if subject == "fused" else 0.012
    low, high = gain - 0.05, gain + 0.05
    p = 0.0 if subject == "fused" else 0.634
    return Comparison(**where, bar=bar, value=gain, low=low, high=high, p=p, n=180, clear=low > 0)


def _alarms(attack: int, subject: str) -> list[Alarms]:
    place = {"test": SET, "attack": POINTS[attack].label, "subject": subject}
    kinds = [("camera", 0.04, 120), ("document", 0.31, 60), (HOSTILE, 0.0, 3)]
    return [Alarms(**place, category=kind, value=v, low=max(v - 0.03, 0.0), high=v + 0.05, n=n) for kind, v, n in kinds]


def _levels(attack: int) -> list[LevelShare]:
    place = {"test": SET, "attack": POINTS[attack].label}
    steps = [("inconclusive", 0.62, 0.14), ("suspicious", 0.557, 0.011), ("strong_evidence", 0.402, 0.0)]
    pairs = [(level, label, v) for level, forged, pristine in steps for label, v in ((1, forged), (0, pristine))]
    return [LevelShare(**place, level=k, label=t, value=v, low=v, high=v + 0.02, n=180 + t) for k, t, v in pairs]


def _worst() -> list[Worst]:
    place = {"test": SET, "subject": "fused"}
    forged = [Worst(**place, image=f"fake/{i}.jpg", label=1, metric="pixel_f1", value=i / 100) for i in range(9)]
    pristine = [Worst(**place, image=f"real/{i}.jpg", label=0, metric="score", value=7.5 - i) for i in range(3)]
    return [*forged, *pristine, Worst(**place, image=f"real/{HOSTILE}", label=0, metric="score", value=0.125)]


def fake(seed: int = 7) -> Results:
    """Return results with one measured set, one missing set and six subjects."""
    points = range(len(POINTS))
    measured = {(s, m) for s in SUBJECTS for m in METRICS if s != "table_lookup" or m == "image_auc"}
    pairs = sorted(measured, key=lambda pair: (SUBJECTS.index(pair[0]), METRICS.index(pair[1])))
    compared = [
        (s, m, b) for s in ("fused", HOSTILE) for m, b in (("pixel_f1", "centre_blob"), ("image_auc", "table_lookup"))
    ]
    return Results(
        version="0.1.0",
        title=f"A protocol {HOSTILE}",
        source="Some paper & others",
        trained_on="CASIA v2 only",
        command=f"tamperscope bench run {LATEX} --seed 7",
        seed=seed,
        rounds=500,
        tests=[
            Tested(
                name=SET,
                manifest="set/manifest.jsonl",
                pictures=366,
                forged=180,
                pristine=183,
                licences=["CC BY 4.0 & more", HOSTILE],
                failed={"bad/1.jpg": "DecodeError: no pixel", f"bad/{HOSTILE}": "x", "bad/3.jpg": "BudgetError: y"},
            ),
            Tested(
                name=MISSING,
                manifest="gone",
                pictures=0,
                forged=0,
                pristine=0,
                licences=["none stated in the manifest"],
                failed={},
                missing="no manifest at gone: prepare it",
            ),
        ],
        attacks=list(POINTS),
        subjects=[
            Subject(name=s, about=f"About {s}.", threshold=f"0.5 of {s[:1]}", answered={SET: 363}) for s in SUBJECTS
        ],
        numbers=[_number(a, s, m) for a in points for s, m in pairs],
        comparisons=[_comparison(a, s, m, b) for a in points for s, m, b in compared],
        alarms=[alarm for a in points for s in ("fused", HOSTILE) for alarm in _alarms(a, s)],
        levels=[share for a in points for share in _levels(a)],
        worst=_worst(),
    )
