"""The training loop: one graph for all steps on a block of images, which is the whole set unless that is large."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from stages import arrays, cluster
from stages.common.entry import UserError
from stages.train import blocks, checkpoint, environment, optimizers
from stages.train.augmentation import augment
from stages.train.blocks import Examples
from stages.train.checkpoint import State, Store
from stages.train.dropout import Dropout, seeded
from stages.train.normalization import BatchNormalization, collecting, layers_of, normalizing
from stages.train.params import Train

EVALUATION_BATCH = 1000  # images in one call: its size changes speed, not numbers

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


class Run(NamedTuple):
    """How a training is run; of this, only the precision changes its numbers."""

    precision: str
    strategy: tf.distribute.Strategy | None = None  # of several workers, which compute parts of each batch
    store: Store | None = None  # of the state after each epoch

    @property
    def workers(self) -> int:
        return self.strategy.num_replicas_in_sync if self.strategy else 1


def train(
    model: keras.Model, part: Examples, validation: Examples, p: Train, run: Run, name: str = "model"
) -> list[Row]:
    """Train `model` in place on the images of `part`; the history has one row for each epoch.

    A row has `epoch`, `loss` and `accuracy` (means over the epoch's batches, as trained on),
    `validation_loss`, `validation_accuracy` (of the averaged weights, if they are averaged) and
    `learning_rate` (of the last step). A last batch that is not whole is left out; every epoch has its
    own order, so no image is left out for good. If `run` keeps the state of a training called `name` that was stopped,
    it goes on from there. Raises `UserError` if the loss is no longer a number.
    """
    batch = min(p.batch_size, len(part["labels"]))
    plan = blocks.plan(part["images"], batch)
    optimizer = make_optimizer(p, steps=plan.blocks * (plan.images // batch))
    optimizer.build(model.trainable_variables)
    average = WeightAverage(model, p.weight_average)
    train_block = block_function(model, optimizer, average, plan.images, batch, p, run)
    augmented_epochs = p.epochs - p.augmentation.clean_epochs if p.augmentation else 0
    variables = [*model.variables, *optimizer.variables, *average.averages]
    best, history, earlier_seconds = resumed(variables, run.store, name)
    begun = time.perf_counter() - earlier_seconds
    for images_of_epoch in blocks.epochs(part, plan, p.seed, len(history), p.epochs):
        if ended(history, p):
            break
        number = len(history)
        start = time.perf_counter()
        results = [
            train_block(*block, tf.constant(number * plan.blocks + k), number < augmented_epochs)
            for k, block in enumerate(images_of_epoch)
        ]
        loss, accuracy = (float(np.mean(values)) for values in zip(*results))
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
        print(progress(history[-1], p.epochs, seconds), flush=True)
        if p.schedule.name == "reduce_on_plateau" and not ended(history, p):
            waited = epochs_without_gain(history, "validation_loss", sign=-1)
            if waited and waited % p.schedule.patience == 0:
                optimizer.learning_rate.assign(optimizer.learning_rate * p.schedule.factor)
        if run.store and environment.worker(run.strategy) == 0:
            values = [np.asarray(variable) for variable in variables]
            checkpoint.save(run.store, name, State(values, best, history, time.perf_counter() - begun))
    if best is not None:
        model.set_weights(best)
    else:
        average.apply()
    return history


def ended(history: list[Row], p: Train) -> bool:
    """Whether early stopping ends the training here."""
    if not p.early_stopping or not history:
        return False
    return epochs_without_gain(history, "validation_accuracy") >= p.early_stopping.patience


def resumed(
    variables: list[tf.Variable], store: Store | None, name: str
) -> tuple[list[np.ndarray] | None, list[Row], float]:
    """Give `variables` the values that were kept, if there are any; the best weights, the history and the seconds that
    the training had taken then."""
    state = checkpoint.load(store, name) if store else None
    if not state:
        return None, [], 0.0
    for variable, value in zip(variables, state.values, strict=True):
        variable.assign(value)
    print(f"{name}: goes on after epoch {len(state.history)}", flush=True)
    return state.best, state.history, state.seconds


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


Values = list[tf.Tensor]  # of a part of a batch: loss, accuracy, gradients, statistics of batch normalisation
TrainBlock = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, bool], tuple[tf.Tensor, tf.Tensor]]
# TensorFlow would otherwise inline these functions and optimise them together. The last bit of a result would then
# depend on how many parts a worker has.
not_inlined = partial(tf.function, experimental_attributes={"_noinline": True})


def block_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    average: WeightAverage,
    images: int,
    batch: int,
    p: Train,
    run: Run,
) -> TrainBlock:
    """A graph that trains on a block of so many `images` with their labels, given its number from 0 and whether to
    augment. It returns the mean loss and accuracy of its steps.

    Each batch is cut into `p.micro_batches` parts. A worker computes its share of them side by side, every operation on
    one thread; then each worker adds the gradients of all parts in their order. So neither the number of threads nor
    the number of workers changes a bit. Raises `UserError` if the workers cannot share the parts equally.
    """
    parts = min(batch, p.micro_batches)
    if parts % run.workers:
        if parts == p.micro_batches:
            raise UserError(f"train.micro_batches is {parts}, must be a multiple of the {run.workers} workers")
        raise UserError(
            f"a batch has only {batch} images, which {run.workers} workers cannot share equally: set a larger"
            " train.batch_size, or use fewer machines"
        )
    if run.workers > 1 and (layers := [layer.name for layer in layers_of(model) if counts_calls(layer)]):
        raise UserError(
            f"the layer {layers[0]} keeps a state of its own, which several workers do not share: take Dropout and"
            " BatchNormalization of stages/train, or one machine"
        )
    share = parts // run.workers
    first = environment.worker(run.strategy) * share
    bounds = list(pairwise(batch * number // parts for number in range(parts + 1)))[first : first + share]
    gradients, update = part_function(model, batch, p), update_function(model, optimizer, average)
    everyones = exchange_function(run.strategy)
    steps = images // batch

    @tf.function
    def train_block(x: tf.Tensor, y: tf.Tensor, number: tf.Tensor, augmented: bool) -> tuple[tf.Tensor, tf.Tensor]:
        order = tf.random.experimental.stateless_shuffle(tf.range(images), seed=[p.seed, number])
        loss, accuracy = tf.constant(0.0), tf.constant(0.0)
        for i in tf.range(steps):
            done = number * steps + i
            chosen = tf.reshape(order[i * batch : (i + 1) * batch], [batch])
            mine = [
                gradients(x, y, chosen[start:stop], tf.stack([p.seed + 1 + done, first + k]), augmented)
                for k, (start, stop) in enumerate(bounds)
            ]
            losses, accuracies = update(done, everyones(mine))
            loss += losses
            accuracy += accuracies
        return loss / steps, accuracy / steps

    return train_block  # type: ignore[no-any-return]  # TensorFlow's decorator has no types


def counts_calls(layer: keras.Layer) -> bool:
    """Whether a call of `layer` in training changes something in it: random numbers, moving statistics."""
    if isinstance(layer, Dropout | BatchNormalization):
        return False  # this project's own draw from the step, and hand their statistics over
    moving = isinstance(layer, keras.layers.BatchNormalization | keras.layers.SpectralNormalization)
    return moving or bool(getattr(layer, "_seed_generators", []))


def part_function(model: keras.Model, batch: int, p: Train) -> Callable[..., Values]:
    """The values of a part of a batch, given the images and labels of the block, the indices of the part, its seed and
    whether to augment: its share of the mean loss and of the accuracy, and their gradients."""
    classes = model.output_shape[-1]

    @not_inlined
    def values(images: tf.Tensor, labels: tf.Tensor, indices: tf.Tensor, seed: tf.Tensor, augmented: bool) -> Values:
        x = tf.cast(tf.gather(images, indices), tf.float32)
        y = tf.gather(labels, indices)
        if augmented and p.augmentation:
            x = augment(x, seed, p.augmentation)
        target = tf.one_hot(y, classes) * (1 - p.label_smoothing) + p.label_smoothing / classes
        with tf.GradientTape() as tape, seeded(seed), collecting() as statistics:
            logits = tf.cast(model(x, training=True), tf.float32)
            losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            loss = tf.reduce_sum(losses) / batch
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
        accuracy = tf.reduce_sum(tf.cast(right, tf.float32)) / batch
        of_batch = [value for layer in normalizing(model) for value in statistics[layer]]
        return [loss, accuracy, *tape.gradient(loss, model.trainable_variables), *of_batch]

    return values  # type: ignore[no-any-return]  # TensorFlow's decorator has no types


def update_function(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, average: WeightAverage
) -> Callable[[tf.Tensor, list[Values]], tuple[tf.Tensor, tf.Tensor]]:
    """A step, given its number and the values of all parts of the batch: it returns mean loss and accuracy."""
    layers = normalizing(model)

    @not_inlined
    def update(done: tf.Tensor, parts: list[Values]) -> tuple[tf.Tensor, tf.Tensor]:
        end = len(parts[0]) - 2 * len(layers)
        loss, accuracy, *gradients = (tf.add_n(values) for values in zip(*(part[:end] for part in parts)))
        for part in parts:
            for layer, mean, variance in zip(layers, part[end::2], part[end + 1 :: 2], strict=True):
                layer.follow(mean, variance)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        average.update(done)
        return loss, accuracy

    return update  # type: ignore[no-any-return]  # TensorFlow's decorator has no types


def exchange_function(strategy: tf.distribute.Strategy | None) -> Callable[[list[Values]], list[Values]]:
    """The values of all parts of a batch, in order, given those of this worker's."""
    if strategy is None:
        return lambda mine: mine

    @not_inlined
    def everyones(mine: list[Values]) -> list[Values]:
        shapes = [value.shape for value in mine[0]]
        flat = tf.stack([tf.concat([tf.reshape(value, [-1]) for value in values], axis=0) for values in mine])
        rows = tf.unstack(strategy.gather(flat, axis=0), len(mine) * strategy.num_replicas_in_sync)
        sizes = [shape.num_elements() for shape in shapes]
        return [[tf.reshape(*each) for each in zip(tf.split(row, sizes), shapes)] for row in rows]

    return everyones  # type: ignore[no-any-return]  # TensorFlow's decorator has no types


def evaluate(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean loss and accuracy of `model` on uint8 `images` (N, height, width, channels) with `labels` (N,)."""
    logits, targets = outputs(model, images), labels.astype(np.int32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    return float(tf.reduce_mean(losses)), float(np.mean(logits.argmax(axis=1) == targets))


def outputs(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The outputs of `model` for uint8 `images` (N, height, width, channels): float32 (N, classes)."""
    predict = prediction_function(model)

    def batch(start: int) -> np.ndarray:
        return np.asarray(predict(tf.constant(arrays.rows(images, start, start + EVALUATION_BATCH))))

    with ThreadPoolExecutor(cluster.cores()) as pool:  # an operation has one thread
        return np.concatenate(list(pool.map(batch, range(0, len(images), EVALUATION_BATCH))))


@cache
def prediction_function(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph from uint8 images to the outputs of `model`, float32, traced once for each model."""

    @tf.function(input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)])
    def predict(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(tf.cast(images, tf.float32), training=False), tf.float32)

    return predict  # type: ignore[no-any-return]  # TensorFlow's decorator has no types
