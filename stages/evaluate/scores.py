"""What the predictions are worth. Probabilities are (images, classes) float32, labels (images,) integers."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support, roc_auc_score, roc_curve

DIGITS = 5  # decimals of a fraction: one image in 10,000 shows in the fourth
ROC_POINTS = 200  # of a curve at most: as many as its picture can show
RESAMPLES = 10_000  # of the writers: another seed then moves an end by 1 or 2 % of the interval's width
RESAMPLES_AT_ONCE = 500  # for memory, where the writers are many
RESAMPLING_SEED = 20


def summary(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> dict[str, float | int]:
    """The headline numbers, rounded: accuracy with Wilson's 95 % interval (Wilson 1927), log loss in
    nats, macro averages over the classes, one-vs-rest AUC, calibration error, number of mistakes."""
    predicted = probabilities.argmax(axis=1)
    classes = np.arange(probabilities.shape[1])
    right = int((predicted == labels).sum())
    interval = binomtest(right, len(labels)).proportion_ci(0.95, method="wilson")
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=classes, average="macro", zero_division=0
    )
    numbers = {
        "accuracy": accuracy_score(labels, predicted),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "loss": log_loss(labels, normalised(probabilities), labels=classes),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
        "auc_macro": macro_auc(probabilities, labels),
        "calibration_error": calibration_error(reliability(probabilities, labels, bins)),
    }
    rounded = {name: round(float(value), DIGITS) for name, value in numbers.items()}
    return rounded | {"mistakes": len(labels) - right, "images": len(labels)}


def normalised(probabilities: np.ndarray) -> np.ndarray:
    """float64 rows that sum to 1 to the last bit that scikit-learn checks."""
    exact = probabilities.astype(np.float64)
    return exact / exact.sum(axis=1, keepdims=True)


def macro_auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes present of the area under the one-vs-rest ROC curve (Hanley & McNeil 1982)."""
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in np.unique(labels)]))


def accuracy_by(groups: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Accuracy within each value of `groups` (images,), such as the NIST series."""
    return {int(g): round(float((predicted == labels)[groups == g].mean()), DIGITS) for g in np.unique(groups)}


def writer_interval(writers: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Ends of accuracy's 95 % interval with other writers, who are `writers` (images,), an identifier per image.

    Images of one writer are alike, so that they say less than as many images of different people. The
    cluster bootstrap (Field & Welsh 2007) resamples whole writers with all their images; BCa (Efron 1987)
    makes the interval of it. Empty where all writers fare the same: then resampling shows no spread at
    all, which would be no interval but a false certainty.
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
        batch=RESAMPLES_AT_ONCE,
        method="BCa",
        rng=np.random.default_rng(RESAMPLING_SEED),
    ).confidence_interval
    return {
        "accuracy_low_writers": round(float(interval.low), DIGITS),
        "accuracy_high_writers": round(float(interval.high), DIGITS),
    }


def accuracy_without(indices: list[int], predicted: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy on the images other than those at `indices`, such as those whose label is disputed."""
    return round(float(np.delete(predicted == labels, indices).mean()), DIGITS)


def per_class(predicted: np.ndarray, labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Columns class, precision, recall, f1, support: a row a class, in the order of `names`."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(names)), zero_division=0
    )
    table = pd.DataFrame({"class": names, "precision": precision, "recall": recall, "f1": f1, "support": support})
    return table.round(DIGITS)


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
    (means within the bin).
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
        }
        for b in np.unique(index)
    ]
    return pd.DataFrame(rows).round(DIGITS)


def calibration_error(bins: pd.DataFrame) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean gap of confidence and accuracy, by images."""
    return float((bins["images"] * (bins["confidence"] - bins["accuracy"]).abs()).sum() / bins["images"].sum())
