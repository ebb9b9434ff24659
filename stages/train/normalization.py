"""Batch normalisation whose moving statistics are updated outside the layer, part by part of a batch, in order."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

Statistics = dict["BatchNormalization", tuple[tf.Tensor, tf.Tensor]]  # mean and variance in a part of a batch


class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation (Ioffe & Szegedy 2015) as in Keras, which updates the moving statistics within the layer.

    That would put the parts of a batch into a queue, and no other worker would hear of it. The exported model has
    Keras's own layer in its place: see `export.shippable`.
    """

    collected: Statistics | None = None  # of the layers called within `collecting`

    def call(self, inputs: tf.Tensor, training: bool = False, mask: None = None) -> tf.Tensor:
        if not training or not self.trainable or BatchNormalization.collected is None:
            return super().call(inputs, training=training, mask=mask)
        values = tf.cast(inputs, tf.float32)
        mean, variance = keras.ops.moments(values, axes=self._reduction_axes)
        BatchNormalization.collected[self] = mean, variance
        outputs = keras.ops.batch_normalization(
            values, mean, variance, self.axis, offset=self.beta, scale=self.gamma, epsilon=self.epsilon
        )
        return tf.cast(outputs, self.compute_dtype)

    def follow(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Move the moving statistics towards those of a part of a batch."""
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving + (1 - self.momentum) * value)


@contextmanager
def collecting() -> Iterator[Statistics]:
    """Within the block, each `BatchNormalization` that trains adds its statistics and updates nothing."""
    found: Statistics = {}
    BatchNormalization.collected = found
    try:
        yield found
    finally:
        BatchNormalization.collected = None


def normalizing(model: keras.Model) -> list[BatchNormalization]:
    """The layers of `model` that normalise by the batch and train."""
    return [layer for layer in layers_of(model) if isinstance(layer, BatchNormalization) and layer.trainable]


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """The layers of `model`, in order; those of models within it instead of these."""
    within = [layers_of(layer) if hasattr(layer, "layers") else [layer] for layer in model.layers]
    return [layer for layers in within for layer in layers]
