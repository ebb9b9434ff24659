"""The shipped network in a browser: the same probabilities as LiteRT's, and a plain answer where it cannot run."""

import base64
import json
from functools import partial

import numpy as np
import pytest

from helpers.clone import ROOT
from stages.common.entry import UserError
from stages.evaluate.model import Model
from stages.package import network
from stages.train.params import model_functions

SCRIPT = ROOT / "stages/package/network.js"
READ = """([json, base64, count]) => {
    const pixels = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const size = pixels.length / count;
    const network = Network.load(json);
    const found = [];
    for (let i = 0; i < count; i++) found.push(Network.run(network, pixels.subarray(i * size, (i + 1) * size)));
    return found.map((probabilities) => Array.from(probabilities));
}"""
GREY, COLOUR = (10, (28, 28, 1)), (7, (31, 46, 3))  # classes and shape; the second has odd halves
SHIPPED = {  # network, its options, members, temperature, classes and shape
    **{name: (name, {}, 1, None, GREY) for name in model_functions()},
    "cnn with batch normalisation": ("cnn", {"batch_normalization": True}, 1, None, GREY),
    "ensemble": ("cnn", {}, 3, None, GREY),
    "ensemble with a temperature": ("tiny", {}, 2, 1.7, GREY),
    "one with a temperature": ("cnn_fast", {}, 1, 0.6, GREY),
    "cnn of colour pictures": ("cnn", {}, 1, None, COLOUR),
    "mobilenet_mini of colour pictures": ("mobilenet_mini", {}, 1, None, COLOUR),
    "resnet_mini of colour pictures": ("resnet_mini", {}, 1, None, COLOUR),
}


@pytest.fixture(scope="module")
def images(digits):
    """A function: 36 images uint8 of a shape, digits or, in colour, noise with an edge at a place of its own."""

    def of(shape):
        if shape == GREY[1]:
            return digits[0][:36]
        noise = np.random.default_rng(1).integers(0, 256, (36, *shape), dtype=np.uint8)
        for number, image in enumerate(noise):
            image[:, number % shape[1] :] //= 4
        return noise

    return of


@pytest.fixture
def exported(tmp_path, images):
    """A function: the path of a model as `train` exports it, of networks that `build` builds.

    Their weights are random, but for the last: every class is the most probable one of some images.
    """
    import keras
    import tensorflow as tf

    from stages.train import export
    from stages.train.dropout import seeded

    def member(build, shape, seed):
        keras.utils.set_random_seed(seed)
        model, rng = build(), np.random.default_rng(seed)
        pixels = images(shape).reshape(-1, *shape).astype(np.float32)
        for weight in model.trainable_weights:
            weight.assign_add(rng.normal(0, 0.05, weight.shape))
        for layer in model.layers:
            layer.momentum = 0  # of batch normalisation: it takes the statistics of these images
        with seeded(tf.constant([seed, 0])):
            model(pixels, training=True)
        last, logits = model.layers[-1], model(pixels).numpy()
        last.kernel.assign(last.kernel / logits.std(0))
        last.bias.assign((last.bias - logits.mean(0)) / logits.std(0))
        return model

    def make(build, shape, members=1, temperature=None):
        model = export.shippable(build, [member(build, shape, seed) for seed in range(members)], "exported")
        (tmp_path / "model.tflite").write_bytes(
            export.litert(export.tempered(model, temperature) if temperature else model)
        )
        return tmp_path / "model.tflite"

    return make


@pytest.fixture
def in_browser(browser):
    """A function: float64 (N, classes) that the browser computes of uint8 images with a network given as JSON."""

    def probabilities(text, images):
        with browser.new_page() as page:
            page.add_script_tag(path=SCRIPT)
            return np.array(page.evaluate(READ, [text, base64.b64encode(images.tobytes()).decode(), len(images)]))

    return probabilities


def used(text):
    """The operations of a network given as JSON, those included that are fused into others."""
    operations = json.loads(text)["operations"]
    fused = {each["options"]["activation"] for each in operations if "activation" in each["options"]}
    return fused | {each["name"] for each in operations}


def of_many_operations(classes, shape):
    """What no function of stages/train/models.py has, and a network of one's own might well have."""
    import keras
    from keras import layers, ops

    inputs = keras.Input(shape)
    x = layers.Conv2D(6, 3, strides=(1, 2), activation="relu6")(inputs / 255)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="tanh")(x)
    squares = ops.square(x - ops.mean(x, (1, 2), keepdims=True))
    x = ops.relu(ops.tanh(x * ops.rsqrt(ops.mean(squares, (1, 2, 3), keepdims=True) + 1e-3)))
    x = layers.Conv2D(9, (3, 2), activation="sigmoid")(x)
    x = ops.minimum(ops.exp(x), ops.sqrt(ops.sum(x, 3, keepdims=True)))
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    x = ops.relu6(ops.log(x)) - ops.square(x)
    return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(ops.max(x, 1))))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_browser_computes_the_probabilities_that_litert_computes(name, exported, in_browser, images):
    from stages.train import models

    function, options, members, temperature, (classes, shape) = SHIPPED[name]
    build = partial(getattr(models, function), classes, shape, **options)
    path = exported(build, shape, members, temperature)
    assert network.unsupported(path) == []
    expected = Model(path).predict(images(shape))
    assert expected.std(0).min() > 0.02  # else the same answer to every image could pass
    np.testing.assert_allclose(in_browser(network.as_json(path), images(shape)), expected, rtol=0, atol=1e-5)


def test_a_network_of_other_operations_runs_too(exported, in_browser, images):
    classes, shape = COLOUR
    path = exported(partial(of_many_operations, classes, shape), shape)
    expected = Model(path).predict(images(shape))
    assert expected.std(0).min() > 0.02
    text = network.as_json(path)
    np.testing.assert_allclose(in_browser(text, images(shape)), expected, rtol=0, atol=1e-5)
    # The networks above have the rest, the last only with a temperature.
    assert network.OPERATIONS - used(text) == {"MAX_POOL_2D", "REDUCE_MIN", "MAXIMUM", "DIV", "LOG_SOFTMAX"}


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_dilated_convolutions_are_computed(name, exported, in_browser, images):
    """The converter makes none of Keras's, so the dilation is set in the file: with padding no shape changes."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    from stages.train import models

    classes, shape = COLOUR
    path = exported(partial(models.mobilenet_mini, classes, shape), shape)
    before = Model(path).predict(images(shape))
    tree = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    codes = [code.builtinCode for code in tree.operatorCodes]
    for each in tree.subgraphs[0].operators:
        if codes[each.opcodeIndex] == getattr(schema.BuiltinOperator, name):
            each.builtinOptions.dilationHFactor, each.builtinOptions.dilationWFactor = 2, 3
    builder = Builder()
    builder.Finish(tree.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    expected = Model(path).predict(images(shape))
    assert np.abs(expected - before).max() > 0.01
    np.testing.assert_allclose(in_browser(network.as_json(path), images(shape)), expected, rtol=0, atol=1e-5)


def with_layer(make):
    """A function that builds a network of one layer, which `make` makes, and a dense one."""

    def build():
        import keras
        from keras import layers

        inputs = keras.Input((28, 28, 2))
        return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(make(keras)(inputs))))

    return build


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda keras: keras.layers.Resizing(14, 14), ["RESIZE_BILINEAR"]),
        (lambda keras: keras.layers.Conv2D(4, 3, dilation_rate=2), ["BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND"]),
        (lambda keras: keras.layers.Conv2D(4, 3, groups=2), ["CONV_2D in groups"]),
        (
            lambda keras: lambda x: keras.ops.clip(keras.layers.Conv2D(2, 3)(x), -1, 1),
            ["CONV_2D with RELU_N1_TO_1"],
        ),
    ],
)
def test_what_the_browser_cannot_compute_is_named(make, names, tmp_path):
    from stages.train import export

    path = tmp_path / "model.tflite"
    path.write_bytes(export.litert(with_layer(make)()))
    assert network.unsupported(path) == names
    with pytest.raises(UserError, match=f"^{path}: a browser cannot run {', '.join(names)}: see OPERATIONS in"):
        network.as_json(path)


def test_a_quantised_model_is_not_taken_for_one_of_floats(tmp_path):
    import tensorflow as tf

    model = with_layer(lambda keras: keras.layers.Conv2D(32, 5))()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    assert network.unsupported(path) == ["CONV_2D on INT8", "FULLY_CONNECTED on INT8"]


@pytest.mark.parametrize("content", [b"", b"no model", bytes(100)])
def test_a_file_that_holds_no_model_gets_one_line(content, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    for function in (network.as_json, network.unsupported):
        with pytest.raises(UserError, match=f"^{path}: not a LiteRT model .*: train again$"):
            function(path)
