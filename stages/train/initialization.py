"""Starting from another trained model instead of from random weights."""

import hashlib
from typing import TYPE_CHECKING

from stages.common.entry import UserError
from stages.common.files import found
from stages.train.params import InitFrom

if TYPE_CHECKING:
    import keras


HERE = "params.yaml: train"  # the block that the pipeline reads


def check(start: InitFrom, where: str = HERE) -> None:
    """Raise a `UserError` that begins with `where` unless the file is the one that the parameters mean.

    Its checksum stands beside its path, so that DVC, which compares parameters, notices a changed file.
    """
    path = found(start.path)
    if not path.is_file():
        raise UserError(
            f"{where}.init_from.path is {start.path!r}, must be a .keras file that exists; not one in "
            "models/, which is emptied before a training: copy it to another folder"
        )
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    if checksum != start.sha256:
        raise UserError(f"{where}.init_from.sha256 is not the checksum of {path}, which is {checksum}")


def start_from(model: "keras.Model", start: InitFrom, where: str = HERE) -> None:
    """Copy weights into `model`, layer by layer in order, from the one saved at `start.path`, and freeze
    the first `start.frozen_layers` layers that have weights.

    A layer of another shape, such as the last one if the number of classes differs, keeps its random
    weights. Raises a `UserError` that begins with `where` if no layer fits, if a layer to be frozen does not fit,
    if no layer would be left to train, or if the file holds no model.
    """
    import keras  # takes seconds, and `check` must report before that

    try:
        saved = keras.models.load_model(found(start.path))
    except Exception as error:  # of a file that may hold anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{where}.init_from.path is {start.path!r}, not a Keras model ({reason})") from None
    layers, sources = weighted(model), weighted(saved)
    fitting = [(layer, source) for layer, source in zip(layers, sources) if shapes(layer) == shapes(source)]
    if not fitting:
        raise UserError(f"{where}.init_from.path is {start.path!r}, none of whose layers fits the model")
    for layer, source in fitting:
        layer.set_weights(source.get_weights())
    known = {id(layer) for layer, _ in fitting}
    fixed = next((number for number, layer in enumerate(layers[:-1]) if id(layer) not in known), len(layers) - 1)
    if start.frozen_layers > fixed:
        raise UserError(
            f"{where}.init_from.frozen_layers is {start.frozen_layers}, must be at most {fixed}: so many of "
            f"the {len(layers)} layers of the model that have weights begin as in {start.path} and leave one to train"
        )
    for layer in layers[: start.frozen_layers]:
        layer.trainable = False


def weighted(model: "keras.Model") -> list["keras.Layer"]:
    """The layers that have weights, in order; the layers of a model within `model` too."""
    from stages.train.normalization import layers_of  # Keras, too

    return [layer for layer in layers_of(model) if layer.weights]


def shapes(layer: "keras.Layer") -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
