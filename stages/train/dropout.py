"""Dropout with cheaper random numbers: on a CPU, drawing them can take a third of a training step."""

import keras
import tensorflow as tf

LEVELS = 256  # of a random byte: the rate is rounded to a multiple of 1/256


class Dropout(keras.layers.Dropout):
    """Dropout (Srivastava et al. 2014) that draws one random byte for each value; Keras draws a float of four bytes.

    The values that are kept are scaled by the rounded rate, so that the expected sum stays the same. The exported
    model has Keras's own layer in its place: see `export.shippable`.
    """

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.threshold = round(rate * LEVELS)
        if self.threshold >= LEVELS:
            raise ValueError(f"a dropout of {rate} drops everything")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.threshold:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        size = tf.size(inputs)
        words = tf.random.stateless_uniform([(size + 3) // 4], seed, minval=None, maxval=None, dtype=tf.int32)
        values = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size], tf.shape(inputs))
        kept = tf.cast(values >= tf.cast(self.threshold, tf.uint8), inputs.dtype)
        return inputs * (kept * tf.cast(LEVELS / (LEVELS - self.threshold), inputs.dtype))
