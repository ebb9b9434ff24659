"""The shipped model, run as its users run it: by LiteRT, without TensorFlow."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from stages.common.entry import UserError
from stages.common.quiet import silence

BATCH = 500  # images a call: large enough for speed, small enough for memory
THREADS = 2  # fixed, since the order of float additions may follow it


def predict(model: Path, images: np.ndarray) -> np.ndarray:
    """Class probabilities (N, classes) float32 of uint8 images (N, 28, 28), by the `.tflite` at `model`.

    Raises `UserError` where the model answers something that is no probability.
    """
    with silence():  # LiteRT announces the delegate it makes
        interpreter = Interpreter(model_path=str(model), num_threads=THREADS)
        interpreter.allocate_tensors()
    entry, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH, :, :, np.newaxis].astype(np.float32)
        interpreter.resize_tensor_input(entry, batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry, batch)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(output).copy())
    probabilities = np.concatenate(answers)
    if not np.isfinite(probabilities).all():
        raise UserError(f"{model}: answers with NaN: train again, perhaps with a smaller train.learning_rate")
    return probabilities
