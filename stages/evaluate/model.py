"""The shipped model, run as its users run it: by LiteRT, without TensorFlow."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from stages import arrays
from stages.common.entry import UserError
from stages.quiet import silence
from stages.ranges import in_order, ranges

BATCH = 500  # images a call: large enough for speed, small enough for memory
THREADS = 2  # fixed, since the order of float additions may follow it


class Model:
    """The `.tflite` at `path`. LiteRT keeps its memory from call to call, as long as the batches are of one size.

    Raises `UserError` if the file holds no model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with silence():  # LiteRT announces the delegate it makes
            try:
                self.interpreter = Interpreter(model_path=str(path), num_threads=THREADS)
            except ValueError as error:
                raise UserError(f"{path}: not a LiteRT model ({error}): train again") from None
        self.entry = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]
        self.size = 0  # images that there is memory for

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities (N, classes) float32 of uint8 images (N, height, width) or (N, height, width, 3).

        Raises `UserError` if the model takes other images or if an output is not a number.
        """
        starts = range(0, len(images), BATCH)
        try:
            probabilities = np.concatenate([self._outputs(images[start : start + BATCH]) for start in starts])
        except (ValueError, RuntimeError) as error:
            shape = "×".join(map(str, images.shape[1:]))
            raise UserError(f"{self.path}: does not take images of {shape} ({error}): train again") from None
        if not np.isfinite(probabilities).all():
            raise UserError(f"{self.path}: outputs NaN: train again, perhaps with a smaller train.learning_rate")
        return probabilities

    def _outputs(self, images: np.ndarray) -> np.ndarray:
        pixels = images.reshape(*images.shape[:3], -1)  # grey images have no axis of channels
        if len(images) != self.size:
            self.interpreter.resize_tensor_input(self.entry, pixels.shape)
            with silence():
                self.interpreter.allocate_tensors()
            self.size = len(images)
        self.interpreter.set_tensor(self.entry, pixels.astype(np.float32))
        self.interpreter.invoke()
        return np.array(self.interpreter.get_tensor(self.output))


def probabilities_of(model: Path, images: Path) -> np.ndarray:
    """Class probabilities (N, classes) float32 of all images in the array at `images`, a range at a time.

    Raises `UserError` as `Model` does.
    """
    count = len(arrays.opened(images))
    # What is in a batch may decide the last bit of an answer, so that ranges begin where a batch does.
    starts = sorted({start - start % BATCH for start, _ in ranges(count)})
    tasks = [(model, images, start, stop) for start, stop in pairwise([*starts, count])]
    return np.concatenate(list(in_order(predict_range, tasks, len(tasks), "predict")))


def predict_range(model: Path, images: Path, start: int, stop: int) -> np.ndarray:
    """Class probabilities float32 of the images from `start` to before `stop` in the array at `images`."""
    return Model(model).predict(arrays.opened(images)[start:stop])
