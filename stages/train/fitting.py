"""From parameters to trained models: one, an ensemble of several, and the models of a cross-validation."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.metrics import log_loss

from stages.common.entry import UserError
from stages.train import initialization, models, training
from stages.train.blocks import Examples
from stages.train.folds import held_out
from stages.train.params import Train
from stages.train.training import Row, Run

Build = Callable[[], keras.Model]


class Folds(NamedTuple):
    """What a cross-validation found.

    `metrics`: mean and standard deviation of the folds' accuracies. `out_of_fold`, for the parts train and validation:
    probabilities float32 (N, classes) of each image by the model that did not see it, and labels uint8 (N,). Without
    folds there are no metrics and no rows.
    """

    metrics: dict[str, float]
    out_of_fold: dict[str, np.ndarray]


def checked(build: Build, p: Train, shape: models.Shape, where: str) -> keras.Model:
    """The untrained network.

    Raises `UserError` that begins with `where`, the block of `p`, if the network does not take its options, images of
    `shape` or the weights to start from.
    """
    try:
        model = build()
    except (TypeError, ValueError, OverflowError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        if p.model_options:
            raise UserError(f"{where}.model_options is {p.model_options}, not for {p.model}: {reason}") from None
        if shape != models.STANDARD:
            size = "×".join(map(str, shape))
            raise UserError(f"{where}.model is {p.model}, which does not take images of {size}: {reason}") from None
        raise  # it is a fault of the function
    if p.init_from:
        initialization.start_from(model, p.init_from, where)
    return model


def fit(
    build: Build, train: Examples, validation: Examples, p: Train, run: Run, name: str = "model"
) -> tuple[keras.Model, list[Row]]:
    """One trained model and its history, from a start that `p.seed` alone decides; its state is kept as `name`."""
    keras.utils.set_random_seed(p.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if run.precision == "bfloat16" else "float32")
    model = build()
    if p.init_from:
        initialization.start_from(model, p.init_from)
    return model, training.train(model, train, validation, p, run, name)


def names(p: Train) -> list[str]:
    """The names under which the members of an ensemble keep their states."""
    return [f"member {number + 1}" for number in range(p.ensemble)]


def fit_members(
    build: Build, train: Examples, validation: Examples, p: Train, run: Run
) -> tuple[list[keras.Model], list[Row]]:
    """`p.ensemble` models, with seeds from `p.seed` on, and the mean of their histories by epoch.

    If early stopping ended some of them before, the mean of an epoch is over the others.
    """
    members, histories = [], []
    for number in range(p.ensemble):
        if p.ensemble > 1:
            print(f"member {number + 1} of {p.ensemble}")
        seeded = p.model_copy(update={"seed": p.seed + number})
        member, history = fit(build, train, validation, seeded, run, names(p)[number])
        members.append(member)
        histories.append(pd.DataFrame(history))
    mean = pd.concat(histories).groupby("epoch", as_index=False).mean()
    return members, [{str(name): value for name, value in row.items()} for row in mean.to_dict("records")]


def cross_validate(build: Build, train: Examples, validation: Examples, p: Train, run: Run) -> Folds:
    """The accuracy on each of `p.folds` parts by a model trained on the others; nothing without folds.

    The parts are made of the training and validation images together, in this order, by writer if the writers are
    known.
    """
    classes = build().output_shape[-1]
    if not p.folds:
        return Folds({}, out_of_fold(np.empty((0, classes), np.float32), np.empty(0, np.uint8), 0))
    everything = {name: np.concatenate([train[name], validation[name]]) for name in train}
    labels = everything["labels"]
    probabilities = np.empty((len(labels), classes), np.float32)
    accuracies = []
    for number, held in enumerate(held_out(labels, everything.get("writers"), p.folds, p.seed)):
        print(f"fold {number + 1} of {p.folds}")
        rest, part = split_off(everything, held)
        watched = part
        if p.early_stopping or p.schedule.name == "reduce_on_plateau":  # they must not learn from the part to score
            rest, watched = split_off(rest, held_out(rest["labels"], rest.get("writers"), p.folds, p.seed)[0])
        model, _ = fit(build, rest, watched, p, run, f"fold {number + 1}")
        probabilities[held] = tf.nn.softmax(training.outputs(model, part["images"])).numpy()
        accuracies.append(np.mean(probabilities[held].argmax(axis=1) == part["labels"]))
    metrics = {
        "cross_validation_accuracy": float(np.mean(accuracies)),
        "cross_validation_accuracy_sd": float(np.std(accuracies, ddof=1)),
    }
    return Folds(metrics, out_of_fold(probabilities, labels, len(train["labels"])))


def out_of_fold(probabilities: np.ndarray, labels: np.ndarray, train: int) -> dict[str, np.ndarray]:
    """The arrays by the part that they belong to: the first `train` rows are training images."""
    arrays = {"": probabilities, "_labels": labels}
    parts = {"train": slice(None, train), "validation": slice(train, None)}
    return {part + name: values[rows] for part, rows in parts.items() for name, values in arrays.items()}


def split_off(images: Examples, held: np.ndarray) -> tuple[Examples, Examples]:
    """The images without those at the indices `held`, and those at `held`."""
    rest = {name: np.delete(values, held, axis=0) for name, values in images.items()}
    return rest, {name: values[held] for name, values in images.items()}


def score(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Loss, in nats, and accuracy of float32 `probabilities` (N, classes)."""
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    loss = float(log_loss(labels, exact, labels=range(exact.shape[1])))
    return loss, float(np.mean(exact.argmax(axis=1) == labels))
