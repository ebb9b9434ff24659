"""A folder with what is served: a small model and what the stage `package` says of it."""

import json

import numpy as np


def package(folder, digits, title, epochs):
    """Fill `folder` with a small network, trained on scikit-learn's digits and exported as `train` does."""
    import keras

    from stages.train import export

    images, labels = digits
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    network = keras.Sequential([keras.Input((28, 28, 1)), *layers])
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(images[..., np.newaxis].astype(np.float32), labels, batch_size=32, epochs=epochs, verbose=0)
    (folder / "model.tflite").write_bytes(export.litert(network))
    package = {"title": title, "classes": [str(number) for number in range(10)], "shape": [28, 28, 1]}
    (folder / "package.json").write_text(json.dumps(package | {"threshold": 0.5, "refused": 0.01}))
