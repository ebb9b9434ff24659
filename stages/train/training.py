"""The training loop: the images stay in memory as one tensor, and a whole epoch is one graph."""

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

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
    `validation_loss`, `validation_accuracy` and `learning_rate` (of the last step). The model must
    have been built in the scope of the current `tf.distribute` strategy: each replica takes its
    share of every batch, so one process and several follow the same course. A last batch that is
    not whole is left out; every epoch has its own order, so no image is left out for good.
    """
    batch = min(p.batch_size, len(images))
    steps = len(images) // batch
    optimizer = make_optimizer(p, steps)
    optimizer.build(model.trainable_variables)
    averages = [tf.Variable(variable.value) for variable in model.trainable_variables] if p.weight_average else []
    epoch = epoch_function(model, optimizer, averages, images, labels, batch, p)
    evaluate = evaluation_function(model)
    history = []
    for number in range(p.epochs):
        start = time.perf_counter()
        loss, accuracy = (float(value) for value in epoch(tf.constant(number)))
        seconds = time.perf_counter() - start
        validation_loss, validation_accuracy = evaluate(*validation)
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
    for average, variable in zip(averages, model.trainable_variables):
        variable.assign(average)
    return history


def make_optimizer(p: Train, steps: int) -> keras.optimizers.Optimizer:
    """Adam whose rate rises linearly to `learning_rate`, then falls to 0 along a cosine (Smith & Topin 2017,
    Loshchilov & Hutter 2016)."""
    warmup = round(p.warmup_fraction * p.epochs * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=p.learning_rate / 10 if warmup else p.learning_rate,
        decay_steps=p.epochs * steps - warmup,
        warmup_target=p.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return keras.optimizers.Adam(schedule)


def epoch_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    averages: list[tf.Variable],
    images: np.ndarray,
    labels: np.ndarray,
    batch: int,
    p: Train,
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A graph that trains one epoch, given its number from 0, and returns its mean loss and accuracy.

    `averages`, unless empty, follow the trainable weights as their exponential moving average. Its
    momentum starts low, so that a short training is not averaged with its random beginning.
    """
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    share, steps = batch // replicas, len(images) // batch
    resident_images = tf.constant(images[..., np.newaxis])
    resident_labels = tf.constant(labels.astype(np.int32))
    changes = any(p.augmentation.model_dump().values())

    def step(indices: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        mine = tf.reshape(indices, [replicas, share])[replica]
        x = tf.cast(tf.gather(resident_images, mine), tf.float32)
        y = tf.gather(resident_labels, mine)
        if changes:
            x = augment(x, tf.stack([seed, tf.cast(replica, tf.int32)]), p.augmentation)
        with tf.GradientTape() as tape:
            logits = tf.cast(model(x, training=True), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = tf.reduce_sum(losses) / (share * replicas)  # gradients are summed over the replicas
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), y)
        return loss, tf.reduce_sum(tf.cast(right, tf.float32)) / (share * replicas)

    @tf.function
    def epoch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(images)), seed=[p.seed, number])
        loss, accuracy = tf.constant(0.0), tf.constant(0.0)
        for i in tf.range(steps):
            indices = order[i * batch : i * batch + share * replicas]
            results = strategy.run(step, args=(indices, p.seed + 1 + number * steps + i))
            loss += strategy.reduce(tf.distribute.ReduceOp.SUM, results[0], axis=None)
            accuracy += strategy.reduce(tf.distribute.ReduceOp.SUM, results[1], axis=None)
            done = tf.cast(number * steps + i, tf.float32)
            momentum = tf.minimum(p.weight_average, (1 + done) / (10 + done))
            for average, variable in zip(averages, model.trainable_variables):
                average.assign(momentum * average + (1 - momentum) * variable)
        return loss / steps, accuracy / steps

    return epoch


def evaluation_function(model: keras.Model) -> Callable[[np.ndarray, np.ndarray], tuple[float, float]]:
    """A function of uint8 images (N, 28, 28) and labels (N,) that returns the model's mean loss and accuracy."""

    @tf.function(reduce_retracing=True)
    def score(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.cast(model(tf.cast(images[..., tf.newaxis], tf.float32), training=False), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return tf.reduce_sum(losses), tf.math.count_nonzero(right)

    def evaluate(images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        loss = right = 0.0
        for start in range(0, len(images), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            batch_loss, batch_right = score(tf.constant(images[part]), tf.constant(labels[part].astype(np.int32)))
            loss, right = loss + float(batch_loss), right + int(batch_right)
        return loss / len(images), right / len(images)

    return evaluate
