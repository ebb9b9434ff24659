"""The training loop: the images stay in memory as one tensor, and a whole epoch is one graph."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise

import keras
import numpy as np
import tensorflow as tf

from stages.common.entry import UserError
from stages.train import optimizers, processor
from stages.train.augmentation import augment
from stages.train.dropout import seeded
from stages.train.params import Train

EVALUATION_BATCH = 1000  # images in one call: its size changes speed, not numbers

Part = dict[str, np.ndarray]  # uint8 `images` (N, height, width, channels), `labels` (N,); `writers` (N,) if known
Row = dict[str, float]  # of a training's history


class WeightAverage:
    """The exponential moving average of a model's trainable weights, if `momentum` is above 0.

    Its momentum starts low, so that a short training is not averaged with its random beginning.
    """

    def __init__(self, model: keras.Model, momentum: float) -> None:
        self.momentum = momentum
        self.variables = model.trainable_variables if momentum else []
        self.averages = [tf.Variable(variable.value) for variable in self.variables]

    def update(self, step: tf.Tensor) -> None:
        """Follow the weights after step number `step`, counted from 0."""
        momentum = tf.minimum(self.momentum, tf.cast((1 + step) / (10 + step), tf.float32))
        for average, variable in zip(self.averages, self.variables):
            average.assign(momentum * average + (1 - momentum) * variable)

    def apply(self) -> None:
        """Give the model the averages for good."""
        for average, variable in zip(self.averages, self.variables):
            variable.assign(average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averages within the block."""
        weights = [variable.numpy() for variable in self.variables]
        self.apply()
        yield
        for variable, weight in zip(self.variables, weights):
            variable.assign(weight)


def train(model: keras.Model, part: Part, validation: Part, p: Train) -> list[Row]:
    """Train `model` in place on the images of `part`; the history has one row for each epoch.

    A row has `epoch`, `loss` and `accuracy` (means over the epoch's batches, as trained on),
    `validation_loss`, `validation_accuracy` (of the averaged weights, if they are averaged) and
    `learning_rate` (of the last step). The model must have been built in the scope of the current
    `tf.distribute` strategy: each replica takes its share of every batch, so one process and
    several follow the same course. A last batch that is not whole is left out; every epoch has its
    own order, so no image is left out for good. Raises `UserError` if the loss is no longer a number.
    """
    batch = min(p.batch_size, len(part["labels"]))
    optimizer = make_optimizer(p, steps=len(part["labels"]) // batch)
    optimizer.build(model.trainable_variables)
    average = WeightAverage(model, p.weight_average)
    epoch = epoch_function(step_function(model, optimizer, part, batch, p), average, len(part["labels"]), batch, p.seed)
    augmented_epochs = p.epochs - p.augmentation.clean_epochs if p.augmentation else 0
    history: list[Row] = []
    best = None
    for number in range(p.epochs):
        start = time.perf_counter()
        loss, accuracy = (float(value) for value in epoch(tf.constant(number), number < augmented_epochs))
        seconds = time.perf_counter() - start
        with average.applied():
            validation_loss, validation_accuracy = evaluate(model, validation["images"], validation["labels"])
            earlier = (row["validation_accuracy"] for row in history)
            if p.early_stopping and validation_accuracy > max(earlier, default=-1):
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
        print(progress(history[-1], p.epochs, seconds))
        if p.early_stopping and epochs_without_gain(history, "validation_accuracy") >= p.early_stopping.patience:
            break
        if p.schedule.name == "reduce_on_plateau":
            waited = epochs_without_gain(history, "validation_loss", sign=-1)
            if waited and waited % p.schedule.patience == 0:
                optimizer.learning_rate.assign(optimizer.learning_rate * p.schedule.factor)
    if best is not None:
        model.set_weights(best)
    else:
        average.apply()
    return history


def progress(row: Row, epochs: int, seconds: float) -> str:
    """The line that a person reads after each epoch."""
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.2%}  "
        f"validation {row['validation_accuracy']:.2%}  {seconds:.1f} s"
    )


def epochs_without_gain(history: list[Row], name: str, sign: int = 1) -> int:
    """How many of the last rows came after the first one with the best value of `name`; `sign` -1: least is best."""
    values = [sign * row[name] for row in history]
    return len(values) - 1 - values.index(max(values))


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
    return optimizers.Adam(rate, weight_decay=p.optimizer.weight_decay if p.optimizer.name == "adamw" else None)


Step = Callable[[tf.Tensor, tf.Tensor, bool], tuple[tf.Tensor, tf.Tensor]]
Epoch = Callable[[tf.Tensor, bool], tuple[tf.Tensor, tf.Tensor]]


def step_function(model: keras.Model, optimizer: keras.optimizers.Optimizer, part: Part, batch: int, p: Train) -> Step:
    """One replica's share of a training step, given the indices of the whole batch, a seed and whether to augment.

    It returns the share of the batch's mean loss and of its accuracy: they are summed over the replicas, as the
    gradients are. The replicas share `p.micro_batches` parts of the batch. A replica computes the gradients of its
    parts side by side, every operation on one thread, and adds them in a fixed order: so the number of threads changes
    no bit. Raises `UserError` if the replicas cannot share the parts equally.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if p.micro_batches % replicas:
        raise UserError(f"train.micro_batches is {p.micro_batches}, must be a multiple of the {replicas} workers")
    share = batch // replicas
    parts = max(1, min(share, p.micro_batches // replicas))
    bounds = list(pairwise(share * number // parts for number in range(parts + 1)))
    classes = model.output_shape[-1]
    images = tf.constant(part["images"])
    labels = tf.constant(part["labels"].astype(np.int32))

    def micro_batch(
        indices: tf.Tensor, seed: tf.Tensor, augmented: bool
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        x = tf.cast(tf.gather(images, indices), tf.float32)
        y = tf.gather(labels, indices)
        if augmented and p.augmentation:
            x = augment(x, seed, p.augmentation)
        target = tf.one_hot(y, classes) * (1 - p.label_smoothing) + p.label_smoothing / classes
        with tf.GradientTape() as tape, seeded(seed):
            logits = tf.cast(model(x, training=True), tf.float32)
            losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            loss = tf.reduce_sum(losses) / (share * replicas)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
        accuracy = tf.reduce_sum(tf.cast(right, tf.float32)) / (share * replicas)
        return loss, accuracy, tape.gradient(loss, model.trainable_variables)

    def step(indices: tf.Tensor, seed: tf.Tensor, augmented: bool) -> tuple[tf.Tensor, tf.Tensor]:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        mine = tf.reshape(indices, [replicas, share])[replica]
        results = [
            micro_batch(mine[start:stop], tf.stack([seed, tf.cast(replica, tf.int32) * parts + number]), augmented)
            for number, (start, stop) in enumerate(bounds)
        ]
        losses, accuracies, gradients = zip(*results)
        sums = [tf.add_n(each) for each in zip(*gradients)]
        optimizer.apply_gradients(zip(sums, model.trainable_variables))
        return tf.add_n(losses), tf.add_n(accuracies)

    return step


def epoch_function(step: Step, average: WeightAverage, images: int, batch: int, seed: int) -> Epoch:
    """A graph that trains one epoch over `images` images, given its number from 0 and whether to augment them.

    It returns the mean loss and accuracy of the epoch's steps.
    """
    strategy = tf.distribute.get_strategy()
    steps = images // batch
    whole = batch // strategy.num_replicas_in_sync * strategy.num_replicas_in_sync  # images that the replicas share

    @tf.function
    def epoch(number: tf.Tensor, augmented: bool) -> tuple[tf.Tensor, tf.Tensor]:
        order = tf.random.experimental.stateless_shuffle(tf.range(images), seed=[seed, number])
        loss, accuracy = tf.constant(0.0), tf.constant(0.0)
        for i in tf.range(steps):
            done = number * steps + i
            results = strategy.run(step, args=(order[i * batch : i * batch + whole], seed + 1 + done, augmented))
            loss += strategy.reduce(tf.distribute.ReduceOp.SUM, results[0], axis=None)
            accuracy += strategy.reduce(tf.distribute.ReduceOp.SUM, results[1], axis=None)
            average.update(done)
        return loss / steps, accuracy / steps

    return epoch  # type: ignore[no-any-return]  # TensorFlow's decorator has no types


def evaluate(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean loss and accuracy of `model` on uint8 `images` (N, height, width, channels) with `labels` (N,)."""
    logits, targets = outputs(model, images), labels.astype(np.int32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return float(tf.reduce_mean(losses)), float(np.mean(logits.argmax(axis=1) == targets))


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The outputs of `model` for uint8 `images` (N, height, width, channels): float32 (N, classes)."""
    predict = prediction_function(model)

    def batch(start: int) -> np.ndarray:
        return np.asarray(predict(tf.constant(images[start : start + EVALUATION_BATCH])))

    with ThreadPoolExecutor(processor.cores()) as pool:  # an operation has one thread
        return np.concatenate(list(pool.map(batch, range(0, len(images), EVALUATION_BATCH))))


@cache
def prediction_function(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph from uint8 images to the outputs of `model`, float32, traced once for each model."""

    @tf.function(input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)])
    def predict(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(tf.cast(images, tf.float32), training=False), tf.float32)

    return predict  # type: ignore[no-any-return]  # TensorFlow's decorator has no types
