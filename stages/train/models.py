"""The networks, one function each; `train.model` names the one to train.

Each takes the number of classes and the shape of an image, and returns an untrained Keras model from raw pixels,
float32 (N, height, width, channels) in 0 to 255, to logits (N, classes). Scaling is the first layer, so that no user of
the model can forget it. `train.model_options` sets the keyword arguments. The numbers of parameters are of ten classes
and 28×28 grey pixels.
"""

import keras
from keras import layers

from stages.train.dropout import Dropout
from stages.train.normalization import BatchNormalization

Shape = tuple[int, int, int]  # height, width, channels
STANDARD = (28, 28, 1)  # MNIST's


def cnn(
    classes: int, shape: Shape = STANDARD, *, dropout: float = 0.4, batch_normalization: bool = False
) -> keras.Model:
    """The default, 390,922 parameters.

    Each image is brought to one mean and one contrast first. The black border is not 0 then, and padding with zeros
    would draw an edge around it: so the first convolution has no padding. Every convolution is pooled at once, since
    large feature maps are what takes time on a CPU; for the same reason batch normalisation, if it is on, follows the
    pool.
    """
    blocks = []
    for filters, size, padding in ((32, 5, "valid"), (64, 3, "same"), (128, 3, "same")):
        blocks += [layers.Conv2D(filters, size, padding=padding), layers.MaxPooling2D()]
        blocks += [BatchNormalization()] if batch_normalization else []
        blocks += [layers.ReLU()]
    head = [Dropout(dropout), layers.Dense(256, activation="relu"), Dropout(dropout)]
    inputs = keras.Input(shape)
    x = _of_equal_contrast(inputs)
    for layer in (*blocks, layers.Flatten(), *head, layers.Dense(classes)):
        x = layer(x)
    return keras.Model(inputs, x)


def cnn_fast(classes: int, shape: Shape = STANDARD) -> keras.Model:
    """Two narrow convolutions, pooled at once, and a dense layer: 99 % after one pass over MNIST, in seconds."""
    return _sequential(
        shape,
        layers.Conv2D(16, 5, padding="same"),
        layers.MaxPooling2D(),
        layers.ReLU(),
        layers.Conv2D(48, 3, padding="same"),
        layers.MaxPooling2D(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(classes),
    )


def fnn(classes: int, shape: Shape = STANDARD, *, dropout: float = 0.2) -> keras.Model:
    """The dense 128-64 network with dropout, 109,386 parameters."""
    return _sequential(
        shape,
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        Dropout(dropout),
        layers.Dense(64, activation="relu"),
        Dropout(dropout),
        layers.Dense(classes),
    )


def fnn_dropout(classes: int, shape: Shape = STANDARD, *, units: int = 128, dropout: float = 0.2) -> keras.Model:
    """One hidden dense layer and dropout."""
    return _sequential(
        shape, layers.Flatten(), layers.Dense(units, activation="relu"), Dropout(dropout), layers.Dense(classes)
    )


def fnn_early_stopping(classes: int, shape: Shape = STANDARD, *, dropout: float = 0.2) -> keras.Model:
    """Two dense layers, then dropout; named for the early stopping that its author trained it with."""
    return _sequential(
        shape,
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.Dense(128, activation="relu"),
        Dropout(dropout),
        layers.Dense(classes),
    )


def cnn_5x5(classes: int, shape: Shape = STANDARD, *, dropout: float = 0.2) -> keras.Model:
    """A 5×5 and a 3×3 convolution, each pooled, then a dense layer; dropout after each."""
    return _sequential(
        shape,
        layers.Conv2D(32, 5, activation="relu"),
        layers.MaxPooling2D(),
        Dropout(dropout),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        Dropout(dropout),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        Dropout(dropout),
        layers.Dense(classes),
    )


def cnn_single(classes: int, shape: Shape = STANDARD) -> keras.Model:
    """One convolution and nothing else."""
    return _sequential(shape, layers.Conv2D(32, 3, activation="relu"), layers.Flatten(), layers.Dense(classes))


def cnn_deep(classes: int, shape: Shape = STANDARD) -> keras.Model:
    """Three convolutions and two dense layers, no pooling."""
    return _sequential(
        shape,
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.Conv2D(128, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(32, activation="relu"),
        layers.Dense(classes),
    )


def cnn_regularized(classes: int, shape: Shape = STANDARD, *, dropout: float = 0.5) -> keras.Model:
    """Two pooled convolutions, a dense layer and dropout."""
    return _sequential(
        shape,
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        Dropout(dropout),
        layers.Dense(classes),
    )


def lenet5(classes: int, shape: Shape = STANDARD) -> keras.Model:
    """LeNet-5 (LeCun et al. 1998) with a softmax output: 61,706 parameters for ten classes."""
    return _sequential(
        shape,
        layers.Conv2D(6, 5, padding="same", activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation="tanh"),
        layers.Dense(84, activation="tanh"),
        layers.Dense(classes),
    )


def resnet_mini(classes: int, shape: Shape = STANDARD) -> keras.Model:
    """A residual network (He et al. 2016) of a strided stem and two pairs of 3×3 convolutions."""
    inputs, x = _pixels(shape)
    x = _convolution(x, 32, 5, strides=2)
    for filters, strides in ((32, 1), (64, 2)):
        shortcut = x if strides == 1 else layers.Conv2D(filters, 1, strides=strides, use_bias=False)(x)
        x = _convolution(x, filters, 3, strides=strides)
        x = BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))
        x = layers.ReLU()(layers.Add()([x, shortcut]))
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def mobilenet_mini(classes: int, shape: Shape = STANDARD) -> keras.Model:
    """Depthwise separable convolutions (Howard et al. 2017) behind a strided stem."""
    inputs, x = _pixels(shape)
    x = _convolution(x, 32, 3, strides=2)
    for filters, strides in ((64, 1), (128, 2), (128, 1)):
        x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(BatchNormalization()(x))
        x = _convolution(x, filters, 1)
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def tiny(classes: int, shape: Shape = STANDARD, *, dropout: float = 0.1) -> keras.Model:
    """Fewer than 10,000 parameters: narrow convolutions, each pooled early, and one small dense layer."""
    return _sequential(
        shape,
        layers.Conv2D(8, 5, padding="same", use_bias=False),
        layers.MaxPooling2D(),
        BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        layers.MaxPooling2D(),
        BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(20, 3, padding="same", use_bias=False),
        layers.MaxPooling2D(),
        BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        Dropout(dropout),
        layers.Dense(classes),
    )


def _sequential(shape: Shape, *stack: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input(shape), layers.Rescaling(1 / 255), *stack])


def _of_equal_contrast(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Each image less its mean, divided by the distance of its darkest and its brightest pixel.

    The standard deviation would do as well. But its sum of squares depends on the order of the additions, and square
    roots on the processor; sums and extremes of whole pixels are exact.
    """
    axes = (1, 2, 3)
    span = keras.ops.max(pixels, axes, keepdims=True) - keras.ops.min(pixels, axes, keepdims=True)
    return (pixels - keras.ops.mean(pixels, axes, keepdims=True)) / keras.ops.maximum(span, 1)


def _pixels(shape: Shape) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    inputs = keras.Input(shape)
    return inputs, layers.Rescaling(1 / 255)(inputs)


def _convolution(x: keras.KerasTensor, filters: int, size: int, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(BatchNormalization()(x))
