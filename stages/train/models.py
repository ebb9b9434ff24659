"""The networks, one function each; `train.model` names the one to train.

Each takes the number of classes and returns an untrained Keras model from raw pixels, float32
(N, 28, 28, 1) in 0 to 255, to logits (N, classes). Scaling is the first layer, so that whoever
serves the model cannot forget it.
"""

import keras
from keras import layers


def cnn(classes: int) -> keras.Model:
    """The default. The first convolution is pooled at once: everything on 28×28 maps is what costs
    time on a CPU, and batch normalisation there the most."""
    return keras.Sequential(
        [
            *_pixels(),
            layers.Conv2D(32, 5, padding="same"),
            layers.MaxPooling2D(),
            layers.ReLU(),
            layers.Conv2D(64, 3, padding="same"),
            layers.MaxPooling2D(),
            layers.ReLU(),
            layers.Conv2D(128, 3, padding="same"),
            layers.MaxPooling2D(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(classes),
        ]
    )


def fnn(classes: int) -> keras.Model:
    """The dense 128-64 network with dropout, 109,386 parameters for ten classes."""
    return keras.Sequential(
        [
            *_pixels(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(classes),
        ]
    )


def _pixels() -> list:
    return [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255)]
