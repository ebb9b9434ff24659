"""Dropout with cheaper random numbers: on a CPU, drawing them can take a third of a training step."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import keras
import tensorflow as tf

LEVELS = 256  # of a random byte: the rate is rounded to a multiple of 1/256
APART = 2**16  # between the seeds of two layers: more than a batch has parts


class Dropout(keras.layers.Dropout):
    """Dropout (Srivastava et al. 2014) that draws one random byte for each value; Keras draws a float of four bytes.

    The values that are kept are scaled by the rounded rate, so that the expected sum stays the same. The exported
    model has Keras's own layer in its place: see `export.shippable`.
    """

    seeds: Iterator[tf.Tensor] = iter(())  # for the next layers: see `seeded`

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.threshold = round(rate * LEVELS)
        if self.threshold >= LEVELS:
            raise ValueError(f"a dropout of {rate} drops everything")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.threshold:
            return inputs
        size = tf.size(inputs)
        words = tf.random.stateless_uniform(
            [(size + 3) // 4], next(Dropout.seeds), minval=None, maxval=None, dtype=tf.int32
        )
        values = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size], tf.shape(inputs))
        kept = tf.cast(values >= tf.cast(self.threshold, tf.uint8), inputs.dtype)
        return inputs * (kept * tf.cast(LEVELS / (LEVELS - self.threshold), inputs.dtype))


@contextmanager
def seeded(seed: tf.Tensor) -> Iterator[None]:
    """Within the block, each `Dropout` that is called draws its numbers from `seed`, two integers, and its place.

    Keras's layers count their calls. Here a part of a batch draws the same numbers wherever and whenever it is trained.
    """
    Dropout.seeds = (seed + tf.constant([0, APART * number]) for number in count(1))
    try:
        yield
    finally:
        Dropout.seeds = iter(())
