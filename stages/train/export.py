"""The trained model as files, with the same bytes for the same weights."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import tensorflow as tf

from stages.train.dropout import Dropout
from stages.train.normalization import BatchNormalization

PLAIN = {Dropout: keras.layers.Dropout, BatchNormalization: keras.layers.BatchNormalization}
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold


def shippable(build: Callable[[], keras.Model], trained: list[keras.Model], name: str) -> keras.Model:
    """The weights of `trained` in one float32 model from raw pixels to class probabilities.

    `build` built each of `trained`, perhaps in mixed precision. The probabilities of several members are
    averaged. The model has only layers of Keras itself, so that it loads anywhere.
    """
    weights = [model.get_weights() for model in trained]
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()  # restarts the numbering of layer names
    members = [keras.models.clone_model(build(), clone_function=_plain) for _ in weights]
    for member, values in zip(members, weights):
        member.set_weights(values)
    if len(members) == 1:
        inputs, logits = members[0].inputs, [members[0].outputs[0]]
    else:
        inputs = keras.Input(members[0].input_shape[1:])
        logits = [member(inputs) for member in members]
    probabilities = [keras.layers.Softmax()(member_logits) for member_logits in logits]
    mean = keras.layers.Average()(probabilities) if len(probabilities) > 1 else probabilities[0]
    return keras.Model(inputs, mean, name=name)


def _plain(layer: keras.Layer) -> keras.Layer:
    kind = PLAIN.get(type(layer), type(layer))
    return kind.from_config(layer.get_config())


def tempered(model: keras.Model, temperature: float) -> keras.Model:
    """`model`, whose outputs are probabilities p, followed by softmax(log p / `temperature`): see calibration.py."""
    logits = keras.ops.log(model.outputs[0]) / temperature
    return keras.Model(model.inputs, keras.layers.Softmax()(logits), name=model.name)


def save_keras(model: keras.Model, path: Path) -> None:
    """Save `model` in the `.keras` format, without the dates and object ids that differ from run to run."""
    with TemporaryDirectory() as folder:
        saved = Path(folder) / "model.keras"
        model.save(saved)
        with zipfile.ZipFile(saved) as source:
            contents = {name: source.read(name) for name in sorted(source.namelist())}
    metadata = json.loads(contents["metadata.json"]) | {"date_saved": "1980-01-01@00:00:00"}
    contents["metadata.json"] = json.dumps(metadata).encode()
    contents["config.json"] = json.dumps(_renumbered(json.loads(contents["config.json"]), {})).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for name, content in contents.items():
            target.writestr(zipfile.ZipInfo(name, NO_DATE), content)


def _renumbered(value: Any, numbers: dict[int, int]) -> Any:
    """`value` with each `shared_object_id`, a memory address, replaced by its rank of appearance."""
    if isinstance(value, dict):
        return {
            key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else _renumbered(item, numbers)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renumbered(item, numbers) for item in value]
    return value


def litert(model: keras.Model) -> bytes:
    """`model` as a float32 LiteRT flatbuffer that takes any number of images."""

    @tf.function(input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="pixels")])
    def probabilities(pixels: tf.Tensor) -> tf.Tensor:
        return model(pixels, training=False)

    # Without the model as second argument the weights become constants; with it they stay variables
    # that nothing initialises.
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([probabilities.get_concrete_function()]).convert())
