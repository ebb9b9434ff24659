"""The training loop: the images stay in memory as one tensor, and a whole epoch is one graph."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import keras
import numpy as np
import tensorflow as tf

from stages.common.entry import UserError
from stages.train import optimizers
from stages.train.augmentation import augment
from stages.train.params import Train

EVALUATION_BATCH = 1000  # images a call: its size changes speed, not numbers


def train(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    p: Train,
    say: Callable[[str], None] = print,
) -> list[dict[str, float]]:
    """Train `model` in place on uint8 `images` (N, 28, 28) and `labels` (N,); one row of history an epoch.

    The rows have `epoch`, `loss` and `accuracy` (means over the epoch's batches, as trained on),
    `validation_loss`, `validation_accuracy` (of the averaged weights, where they are averaged) and
    `learning_rate` (of the last step). The model must have been built in the scope of the current
    `tf.distribute` strategy: each replica takes its share of every batch, so one process and
    several follow the same course. A last batch that is not whole is left out; every epoch has its
    own order, so no image is left out for good. Raises `UserError` where the loss is no number any more.
    """
    batch = min(p.batch_size, len(images))
    optimizer = make_optimizer(p, steps=len(images) // batch)
    optimizer.build(model.trainable_variables)
    averages = [tf.Variable(variable.value) for variable in model.trainable_variables] if p.weight_average else []
    epoch = epoch_function(model, optimizer, averages, images, labels, batch, p)
    clean_from = p.epochs - (p.augmentation.clean_epochs if p.augmentation else p.epochs)
    history, best = [], None
    for number in range(p.epochs):
        start = time.perf_counter()
        loss, accuracy = (float(value) for value in epoch(tf.constant(number), number < clean_from))
        seconds = time.perf_counter() - start
        with averaged(model, averages):
            validation_loss, validation_accuracy = evaluate(model, *validation)
            if p.early_stopping and validation_accuracy > max(
                (row["validation_accuracy"] for row in history), default=-1
            ):
                best = model.get_weights()
        if not np.isfinite([loss, validation_loss]).all():
            raise UserError(f"the training diverged in epoch {number + 1}: a smaller learning_rate may help")
        history.append(
            {
                "epoch": number + 1,
                "loss": loss,
                "accuracy": accuracy,
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                "learning_rate": float(optimizer.learning_rate),
            }
        )
        say(
            f"epoch {number + 1:>{len(str(p.epochs))}}/{p.epochs}  loss {loss:.4f}  accuracy {accuracy:.2%}  "
            f"validation {validation_accuracy:.2%}  {seconds:.1f} s"
        )
        if p.early_stopping and epochs_without_gain(history, "validation_accuracy") >= p.early_stopping.patience:
            break
        if p.schedule.name == "reduce_on_plateau":
            waited = epochs_without_gain(history, "validation_loss", sign=-1)
            if waited and waited % p.schedule.patience == 0:
                optimizer.learning_rate.assign(optimizer.learning_rate * p.schedule.factor)
    if best is not None:
        model.set_weights(best)
    else:
        for average, variable in zip(averages, model.trainable_variables):
            variable.assign(average)
    return history


def epochs_without_gain(history: list[dict[str, float]], name: str, sign: int = 1) -> int:
    """How many of the last rows came after the first with the best value of `name`; `sign` -1: least is best."""
    values = [sign * row[name] for row in history]
    return len(values) - 1 - values.index(max(values))


@contextmanager
def averaged(model: keras.Model, averages: list[tf.Variable]) -> Iterator[None]:
    """Within the block the trainable weights are their `averages`, unless these are empty."""
    weights = [variable.numpy() for variable in model.trainable_variables] if averages else []
    for variable, average in zip(model.trainable_variables, averages):
        variable.assign(average)
    yield
    for variable, weight in zip(model.trainable_variables, weights):
        variable.assign(weight)


def make_optimizer(p: Train, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule over epochs of `steps` steps.

    One cycle: the rate rises linearly to `learning_rate`, then falls to 0 along a cosine (Smith &
    Topin 2017); cosine: it only falls (Loshchilov & Hutter 2016).
    """
    schedules = keras.optimizers.schedules
    rate, schedule, total = p.learning_rate, p.schedule, p.epochs * steps
    if schedule.name == "step":
        rate = schedules.ExponentialDecay(rate, schedule.every_epochs * steps, schedule.factor, staircase=True)
    elif schedule.name == "cosine":
        rate = schedules.CosineDecay(rate, total)
    elif schedule.name == "one_cycle":
        warmup = max(1, round(schedule.warmup_fraction * total))
        rate = schedules.CosineDecay(rate / 10, max(1, total - warmup), warmup_target=rate, warmup_steps=warmup)
    if p.optimizer.name == "sgd":
        return keras.optimizers.SGD(rate, momentum=p.optimizer.momentum, nesterov=p.optimizer.momentum > 0)
    if p.optimizer.name == "adamw":
        return optimizers.AdamW(rate, weight_decay=p.optimizer.weight_decay)
    return optimizers.Adam(rate)


def epoch_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    averages: list[tf.Variable],
    images: np.ndarray,
    labels: np.ndarray,
    batch: int,
    p: Train,
) -> Callable[[tf.Tensor, bool], tuple[tf.Tensor, tf.Tensor]]:
    """A graph that trains one epoch, given its number from 0 and whether to augment the images, and
    returns its mean loss and accuracy.

    `averages`, unless empty, follow the trainable weights as their exponential moving average. Its
    momentum starts low, so that a short training is not averaged with its random beginning.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    share, steps = batch // replicas, len(images) // batch
    classes = model.output_shape[-1]
    resident_images = tf.constant(images[..., np.newaxis])
    resident_labels = tf.constant(labels.astype(np.int32))

    def step(indices: tf.Tensor, seed: tf.Tensor, change: bool) -> tuple[tf.Tensor, tf.Tensor]:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        mine = tf.reshape(indices, [replicas, share])[replica]
        x = tf.cast(tf.gather(resident_images, mine), tf.float32)
        y = tf.gather(resident_labels, mine)
        if change:
            x = augment(x, tf.stack([seed, tf.cast(replica, tf.int32)]), p.augmentation)
        target = tf.one_hot(y, classes) * (1 - p.label_smoothing) + p.label_smoothing / classes
        with tf.GradientTape() as tape:
            logits = tf.cast(model(x, training=True), tf.float32)
            losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            loss = tf.reduce_sum(losses) / (share * replicas)  # gradients are summed over the replicas
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
        return loss, tf.reduce_sum(tf.cast(right, tf.float32)) / (share * replicas)

    @tf.function
    def epoch(number: tf.Tensor, change: bool) -> tuple[tf.Tensor, tf.Tensor]:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(images)), seed=[p.seed, number])
        loss, accuracy = tf.constant(0.0), tf.constant(0.0)
        for i in tf.range(steps):
            indices = order[i * batch : i * batch + share * replicas]
            done = number * steps + i
            results = strategy.run(step, args=(indices, p.seed + 1 + done, change))
            loss += strategy.reduce(tf.distribute.ReduceOp.SUM, results[0], axis=None)
            accuracy += strategy.reduce(tf.distribute.ReduceOp.SUM, results[1], axis=None)
            momentum = tf.minimum(p.weight_average, tf.cast((1 + done) / (10 + done), tf.float32))
            for average, variable in zip(averages, model.trainable_variables):
                average.assign(momentum * average + (1 - momentum) * variable)
        return loss / steps, accuracy / steps

    return epoch


def evaluate(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean loss and accuracy of `model` on uint8 `images` (N, 28, 28) with `labels` (N,)."""
    logits, targets = answers(model, images), labels.astype(np.int32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return float(tf.reduce_mean(losses)), float(np.mean(logits.argmax(axis=1) == targets))


def answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What `model` answers to uint8 `images` (N, 28, 28): float32 (N, classes)."""
    answer = answering_function(model)
    starts = range(0, len(images), EVALUATION_BATCH)
    return np.concatenate([answer(tf.constant(images[start : start + EVALUATION_BATCH])).numpy() for start in starts])


@cache
def answering_function(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph from uint8 images to what `model` makes of them, float32, traced once a model."""

    @tf.function(reduce_retracing=True)
    def answer(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(tf.cast(images[..., tf.newaxis], tf.float32), training=False), tf.float32)

    return answer
