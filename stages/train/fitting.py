"""From parameters to trained models: one, an ensemble of several, and those of a cross-validation."""

from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.metrics import log_loss

from stages.common.entry import UserError
from stages.train import environment, training, transfer
from stages.train.folds import held_out
from stages.train.params import Train

Build = Callable[[], keras.Model]
Part = dict[str, np.ndarray]  # `images` (N, 28, 28) and `labels` (N,), uint8; `writers` (N,) where known


def checked(build: Build, p: Train, where: str) -> keras.Model:
    """The network untrained. Raises `UserError` that begins with `where`, the block of `p`, if it does not take its
    options or the weights to start from, or if training it twice would give other numbers.
    """
    try:
        model = build()
    except (TypeError, ValueError) as error:
        if not p.model_options:  # then it is no wrong option, but a fault of the function
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{where}.model_options is {p.model_options}, not for {p.model}: {reason}") from None
    if not environment.is_repeatable(model, p.threads):
        raise UserError(
            f"{where}.threads is {p.threads}, must be 1 for {p.model}: with more, its depthwise convolutions give "
            "other numbers each time"
        )
    if p.init_from:
        transfer.start_from(model, p.init_from, where)
    return model


def fit(build: Build, train: Part, validation: Part, p: Train, precision: str) -> tuple[keras.Model, list[dict]]:
    """One trained model and its history, from a start that `p.seed` alone decides."""
    keras.utils.set_random_seed(p.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    model = build()
    if p.init_from:
        transfer.start_from(model, p.init_from)
    held = (validation["images"], validation["labels"])
    return model, training.train(model, train["images"], train["labels"], held, p)


def fit_members(
    build: Build, train: Part, validation: Part, p: Train, precision: str
) -> tuple[list[keras.Model], list[dict]]:
    """`p.ensemble` models, with seeds from `p.seed` on, and the mean of their histories by epoch: of those that were
    still trained, where early stopping ended others before."""
    members, histories = [], []
    for number in range(p.ensemble):
        if p.ensemble > 1:
            print(f"member {number + 1} of {p.ensemble}")
        member, history = fit(build, train, validation, p.model_copy(update={"seed": p.seed + number}), precision)
        members.append(member)
        histories.append(pd.DataFrame(history))
    return members, pd.concat(histories).groupby("epoch", as_index=False).mean().to_dict("records")


def cross_validate(
    build: Build, train: Part, validation: Part, p: Train, precision: str
) -> tuple[dict[str, float], np.ndarray]:
    """Mean and standard deviation of the accuracy on each of `p.folds` parts by a model trained on the others,
    and each image's class probabilities, float32 (N, classes), by the model that did not see it.

    The parts are made of the training and validation images together, in this order, by writer where
    writers are known. No numbers and no rows where no folds are asked for.
    """
    if not p.folds:
        return {}, np.empty((0, build().output_shape[-1]), np.float32)
    everything = {name: np.concatenate([train[name], validation[name]]) for name in train}
    labels = everything["labels"]
    learns_from_validation = p.early_stopping or p.schedule.name == "reduce_on_plateau"
    accuracies, out_of_fold = [], None
    for number, held in enumerate(held_out(labels, everything.get("writers"), p.folds, p.seed)):
        print(f"fold {number + 1} of {p.folds}")
        rest, part = apart(everything, held)
        watched = part
        if learns_from_validation:  # never from the part that is judged
            rest, watched = apart(rest, held_out(rest["labels"], rest.get("writers"), p.folds, p.seed)[0])
        model, _ = fit(build, rest, watched, p, precision)
        probabilities = tf.nn.softmax(training.answers(model, part["images"])).numpy()
        accuracies.append(np.mean(probabilities.argmax(axis=1) == part["labels"]))
        if out_of_fold is None:
            out_of_fold = np.empty((len(labels), probabilities.shape[1]), np.float32)
        out_of_fold[held] = probabilities
    numbers = {
        "cross_validation_accuracy": float(np.mean(accuracies)),
        "cross_validation_accuracy_sd": float(np.std(accuracies, ddof=1)),
    }
    return numbers, out_of_fold


def apart(images: Part, held: np.ndarray) -> tuple[Part, Part]:
    """Those of `images` that are not `held`, indices, and those that are."""
    rest = {name: np.delete(values, held, axis=0) for name, values in images.items()}
    return rest, {name: values[held] for name, values in images.items()}


def score(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Loss, in nats, and accuracy of float32 `probabilities` (N, classes)."""
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    return log_loss(labels, exact, labels=range(exact.shape[1])), float(np.mean(exact.argmax(axis=1) == labels))
