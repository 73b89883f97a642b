"""The suites by name."""

from __future__ import annotations

from tamperscope.errors import unknown_name
from tamperscope.metrics.suites.base import Rule, Suite


def _published(metric: str) -> tuple[Rule, ...]:
    """IMDL-BenCo's three variants: as it is, turned round, and the better of both for each picture."""
    turned = ("inverted", "best") if metric in ("iou", "auc") else ("complement", "either")
    kinds = zip(("normal", *turned), ("", "_reverse", "_double"), strict=True)
    return tuple(Rule(metric, f"pixel_{metric}{tail}", polarity=kind, authentic="zero") for kind, tail in kinds)  # type: ignore[arg-type]


_BAND = (15, 11)
# The first number of each is its headline: of whole pictures one that needs no threshold, for not everyone chose one.
_SUITES = (
    Suite(
        "imdl",
        "Localization at original resolution, forged pictures only; false alarms on pristine ones apart.",
        pixel=(
            Rule("f1", "pixel_f1"),
            Rule("best_f1", "pixel_best_f1"),
            Rule("iou", "pixel_iou"),
            Rule("precision", "pixel_precision", only="forged"),
            Rule("recall", "pixel_recall"),
            Rule("mcc", "pixel_mcc"),
            Rule("auc", "pixel_auc"),
            Rule("ap", "pixel_ap"),
            Rule("boundary_f1", "boundary_f1"),
            Rule("false_positive_rate", "authentic_fpr", only="authentic"),
        ),
        image=("auc", "ap", "balanced_accuracy", "f1", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "brier", "cllr"),
    ),
    Suite(
        "benco",
        "Conventions of IMDL-BenCo and ForensicHub: a canvas of 512 x 512, authentic pictures count 0.",
        pixel=(*_published("f1"), *_published("iou"), *_published("accuracy"), *_published("auc")),
        image=("f1", "auc", "accuracy", "ap", "mcc", "tpr", "tnr"),
        canvas=512,
    ),
    Suite(
        "trufor",
        "Conventions of TruFor: forged pictures only, the band along the outline left out, either polarity.",
        pixel=(
            Rule("best_f1", "pixel_best_f1", polarity="best", boundary=_BAND),
            Rule("f1", "pixel_f1", polarity="best", boundary=_BAND),
        ),
        image=("auc", "balanced_accuracy"),
    ),
    Suite(
        "pooled",
        "Conventions of photoholmes: all pixels of all pictures as one, and soft decisions per picture and pooled.",
        pixel=(
            *(Rule(m, f"pooled_{m}", reduce="dataset") for m in ("f1", "iou", "mcc", "precision", "recall")),
            Rule("false_positive_rate", "pooled_fpr", reduce="dataset"),
            Rule("auc", "pooled_auc", reduce="dataset"),
            Rule("auc", "mean_auc"),
            *(Rule(f"soft_{m}", f"weighted_{m}_v1", authentic="zero") for m in ("f1", "iou", "mcc")),
            *(Rule(f"soft_{m}", f"weighted_{m}_v2", reduce="dataset") for m in ("f1", "iou", "mcc")),
        ),
    ),
    Suite(
        "aigc",
        "Generated pictures: each generator against the pristine ones, and the mean over generators.",
        image=("auc", "ap", "accuracy", "balanced_accuracy", "f1", "tpr", "tnr", "eer", "ece", "brier", "cllr"),
        by="generator",
    ),
    Suite(
        "deepfake",
        "Faces: frames (DeepfakeBench's metrics) and whole videos, told apart by their full id.",
        image=("auc", "accuracy", "eer", "eer_nearest", "ap", "tpr", "tnr"),
        video=True,
        by="method",
    ),
    Suite(
        "document",
        "Documents: tampered text is small, so pixels are pooled as well as averaged over forged pages.",
        pixel=(
            *(Rule(m, f"pixel_{m}", only="forged") for m in ("f1", "iou", "precision", "recall", "auc")),
            *(Rule(m, f"pooled_{m}", reduce="dataset") for m in ("f1", "iou", "precision", "recall")),
            Rule("false_positive_rate", "authentic_fpr", only="authentic"),
        ),
        image=("f1", "auc", "balanced_accuracy", "tpr_at_fpr_5"),
    ),
    Suite(
        "sequence",
        "Ordered manipulations of faces: Fixed-Acc over five slots and Adaptive-Acc over the longer sequence.",
        regions=("fixed_accuracy", "adaptive_accuracy"),
    ),
    Suite(
        "grounding",
        "Boxes: IoU of the strongest region, CorLoc, MaxBoxAcc and its second version.",
        regions=("box_iou", "corloc", "max_box_accuracy", "max_box_accuracy_v2"),
    ),
)


def names() -> list[str]:
    """Return the names of all suites."""
    return [suite.name for suite in _SUITES]


def load(name: str) -> Suite:
    """Return the suite of a name.

    Raises:
        UnknownNameError: There is none; the nearest one is offered.
    """
    for suite in _SUITES:
        if suite.name == name:
            return suite
    raise unknown_name("suite", name, names())
