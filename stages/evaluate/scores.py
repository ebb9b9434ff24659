"""Scores of the predictions. Probabilities are (images, classes) float32, labels (images,) integers."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import (
    accuracy_score,
    auc,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_curve,
)

from stages.common.entry import UserError

DIGITS = 5  # decimals of a fraction: one image in 10,000 shows in the fourth
ROC_POINTS = 200  # of a curve at most: as many as its picture can show
RESAMPLES = 10_000  # of the writers: another seed then moves an end by 1 or 2 % of the interval's width
RESAMPLES_AT_ONCE = 500  # fewer of many writers, so that
RESAMPLED_AT_ONCE = 1_000_000  # writers in all bound the memory
RESAMPLING_SEED = 20
SAMPLE_SEED = 20
BLOCK = 1 << 16  # images whose probabilities are there in float64 at once


def summary(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> dict[str, float | int]:
    """The headline numbers, rounded: accuracy with Wilson's 95 % interval (Wilson 1927), log loss in
    nats, macro averages over the classes, one-vs-rest AUC, calibration error, number of mistakes."""
    predicted = probabilities.argmax(axis=1)
    classes = np.arange(probabilities.shape[1])
    right = int((predicted == labels).sum())
    low, high = wilson(right, len(labels))
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=classes, average="macro", zero_division=0
    )
    numbers = {
        "accuracy": accuracy_score(labels, predicted),
        "accuracy_low": low,
        "accuracy_high": high,
        "loss": log_loss(probabilities, labels),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
        "auc_macro": macro_auc(probabilities, labels),
        "calibration_error": calibration_error(reliability(probabilities, labels, bins)),
    }
    rounded = {name: round(float(value), DIGITS) for name, value in numbers.items()}
    return rounded | {"mistakes": len(labels) - right, "images": len(labels)}


def wilson(right: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the proportion `right / total` (Wilson 1927); (0, 1) if `total` is 0."""
    if not total:
        return 0.0, 1.0
    interval = binomtest(int(right), int(total)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -log(probability of the label), in nats; each row is made to sum to 1, and 0 counts as 2.2e-16."""
    of_label = np.empty(len(labels))
    for start in range(0, len(labels), BLOCK):
        exact = probabilities[start : start + BLOCK].astype(np.float64)
        here = labels[start : start + BLOCK, np.newaxis]
        of_label[start : start + BLOCK] = (np.take_along_axis(exact, here, 1) / exact.sum(axis=1, keepdims=True))[:, 0]
    least = np.finfo(np.float64).eps
    return float(-np.log(np.clip(of_label, least, 1 - least)).mean())


def macro_auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes present of the area under the one-vs-rest ROC curve (Hanley & McNeil 1982)."""
    curves = (roc_curve(labels == c, probabilities[:, c]) for c in np.unique(labels))
    return float(np.mean([auc(false_rate, true_rate) for false_rate, true_rate, _ in curves]))


def accuracy_by(groups: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Accuracy within each value of `groups` (images,), such as the NIST series.

    Columns group, images, right, accuracy, accuracy_low, accuracy_high (Wilson's 95 % interval).
    """
    rows = []
    for group in np.unique(groups):
        images, right = int((groups == group).sum()), int((predicted == labels)[groups == group].sum())
        rows.append((int(group), images, right, right / images, *wilson(right, images)))
    columns = ["group", "images", "right", "accuracy", "accuracy_low", "accuracy_high"]
    return pd.DataFrame(rows, columns=columns).round(DIGITS)


def writer_interval(writers: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Ends of accuracy's 95 % interval with other writers, who are `writers` (images,), an identifier per image.

    Images of one writer are alike, so that they say less than as many images of different people. The
    cluster bootstrap (Field & Welsh 2007) resamples whole writers with all their images; BCa (Efron 1987)
    makes the interval of it. Empty if all writers have the same accuracy: then resampling shows no spread,
    which would be a false certainty and not an interval.
    """
    _, writer = np.unique(writers, return_inverse=True)
    images, right = np.bincount(writer), np.bincount(writer, predicted == labels)
    if np.ptp(right / images) == 0:
        return {}
    interval = bootstrap(
        (right, images),
        lambda right, images, axis: right.sum(axis) / images.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, min(RESAMPLES_AT_ONCE, RESAMPLED_AT_ONCE // len(images))),
        method="BCa",
        rng=np.random.default_rng(RESAMPLING_SEED),
    ).confidence_interval
    return {
        "accuracy_low_writers": round(float(interval.low), DIGITS),
        "accuracy_high_writers": round(float(interval.high), DIGITS),
    }


def accuracy_without(indices: list[int], predicted: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy on the images other than those at `indices`, such as those whose label is disputed.

    Raises `UserError` if there is no such image.
    """
    if strangers := [index for index in indices if index >= len(labels)]:
        raise UserError(f"datasets.yaml: disputed names image {strangers[0]}: there are {len(labels)} test images")
    return round(float(np.delete(predicted == labels, indices).mean()), DIGITS)


def per_class(predicted: np.ndarray, labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Columns class, precision, recall, f1, support, recall_low, recall_high (Wilson's 95 % interval):
    a row a class, in the order of `names`."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=0
    )
    right = np.bincount(labels[predicted == labels], minlength=len(names))
    low, high = zip(*map(wilson, right, support), strict=True)
    table = pd.DataFrame({"class": names, "precision": precision, "recall": recall, "f1": f1, "support": support})
    return table.assign(recall_low=low, recall_high=high).round(DIGITS)


def mistakes(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Columns index, label, predicted, confidence of each misclassified image, in index order."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    return pd.DataFrame(
        {
            "index": wrong,
            "label": labels[wrong],
            "predicted": predicted[wrong],
            "confidence": probabilities[wrong, predicted[wrong]].round(4),
        }
    )


def roc(probabilities: np.ndarray, labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Columns class, false_positive_rate, true_positive_rate: each class's one-vs-rest curve, thinned
    evenly to at most 200 points, its ends kept."""
    curves = []
    for c in np.unique(labels):
        false_rate, true_rate, _ = roc_curve(labels == c, probabilities[:, c])
        keep = np.unique(np.linspace(0, len(false_rate) - 1, ROC_POINTS).round().astype(int))
        curves.append(
            pd.DataFrame(
                {
                    "class": names[c],
                    "false_positive_rate": false_rate[keep],
                    "true_positive_rate": true_rate[keep],
                }
            )
        )
    return pd.concat(curves).round(DIGITS)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> pd.DataFrame:
    """Confidence against accuracy in `bins` bins of equal width over [0, 1], empty ones left out.

    Columns confidence_low, confidence_high (the bin's edges), images, confidence and accuracy
    (means within the bin), accuracy_low and accuracy_high (Wilson's 95 % interval).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = [
        {
            "confidence_low": b / bins,
            "confidence_high": (b + 1) / bins,
            "images": int((index == b).sum()),
            "confidence": confidence[index == b].mean(),
            "accuracy": right[index == b].mean(),
            **dict(zip(("accuracy_low", "accuracy_high"), wilson(right[index == b].sum(), (index == b).sum()))),
        }
        for b in np.unique(index)
    ]
    return pd.DataFrame(rows).round(DIGITS)


def calibration_error(bins: pd.DataFrame) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean gap of confidence and accuracy, by images."""
    return float((bins["images"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / bins["images"].sum())


def stratified_sample(labels: np.ndarray, count: int) -> np.ndarray:
    """Sorted indices of `count` images, each class with its share, the same each time; of all if there are fewer."""
    order = np.random.default_rng(SAMPLE_SEED).permutation(len(labels))
    place = np.empty(len(labels))  # of an image within its class, as a fraction
    for c in np.unique(labels):
        own = order[labels[order] == c]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(np.argsort(place, kind="stable")[:count])


def confusion_counts(predicted: np.ndarray, labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """How many images: a row for each actual class, named in `actual`, and a column for each predicted one."""
    matrix = confusion_matrix(labels, predicted, labels=range(len(names)))
    return pd.DataFrame(matrix, columns=names).assign(actual=names)[["actual", *names]]


def predictions(probabilities: np.ndarray, labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Columns index, label, predicted (by name), confidence: a row an image, for `dvc plots`."""
    return pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "label": pd.Categorical.from_codes(labels, pd.Index(names)),
            "predicted": pd.Categorical.from_codes(probabilities.argmax(axis=1), pd.Index(names)),
            "confidence": probabilities.max(axis=1).round(4),
        }
    )
