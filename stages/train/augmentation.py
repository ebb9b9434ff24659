"""Random affine changes of a batch of images, inside the graph."""

import math

import tensorflow as tf

from stages.train.params import Augmentation


def augment(images: tf.Tensor, seed: tf.Tensor, p: Augmentation) -> tf.Tensor:
    """Rotate, scale, shear and shift each image by its own random amount, about its centre.

    `images` and the result are float32 (N, height, width, channels). `seed` is two integers: the same seed draws the
    same changes. Each amount is uniform between minus and plus its parameter. Pixels from outside the image are
    black. TensorFlow's projective transform maps *output* coordinates to input coordinates, bilinearly.
    """
    height, width = images.shape[1], images.shape[2]
    amounts = tf.random.stateless_uniform([6, tf.shape(images)[0]], seed, -1.0, 1.0)
    angle = amounts[0] * math.radians(p.rotation)
    shear = tf.tan(amounts[1] * math.radians(p.shear))
    scale_x, scale_y = 1 + amounts[2] * p.scale, 1 + amounts[3] * p.scale
    shift_x, shift_y = amounts[4] * p.shift, amounts[5] * p.shift
    cosine, sine = tf.cos(angle), tf.sin(angle)
    x_x, x_y = cosine / scale_x, (cosine * shear - sine) / scale_x
    y_x, y_y = sine / scale_y, (sine * shear + cosine) / scale_y
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    offset_x = middle_x - x_x * middle_x - x_y * middle_y + shift_x
    offset_y = middle_y - y_x * middle_x - y_y * middle_y + shift_y
    nothing = tf.zeros_like(angle)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([x_x, x_y, offset_x, y_x, y_y, offset_y, nothing, nothing], axis=1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
