"""What requests are compared with: how the training images look, and what the model answers to others."""

import numpy as np
from PIL import Image

from stages import arrays
from stages.preprocess.digit import digit
from stages.statistics import image_statistics

IMAGES = 10_000  # of the training set at most: a comparison with a few hundred requests needs no more
PICTURES, SIDE = 1_000, 280  # images that become pictures, of so many pixels a side


def reference(train_images: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Each column of `image_statistics` over at most `IMAGES` of `train_images`, evenly spaced, as float32 (images,).

    `train_images` are uint8 (N, height, width) or (N, height, width, 3). `probabilities` (M, classes) are the model's
    for the validation images: of them `confidence`, float32 (M,), and `predicted`, the class numbers, int64 (M,).
    """
    chosen = np.linspace(0, len(train_images) - 1, min(IMAGES, len(train_images))).astype(np.intp)
    statistics = image_statistics(arrays.some(train_images, chosen))
    known = {str(column): values.to_numpy(np.float32) for column, values in statistics.items()}
    known["confidence"] = probabilities.max(axis=1).astype(np.float32)
    known["predicted"] = probabilities.argmax(axis=1).astype(np.int64)
    return known


def as_pictures(images: np.ndarray) -> np.ndarray:
    """At most `PICTURES` of `images`, uint8 (N, 28, 28), as they come out if people send them as pictures: enlarged,
    then prepared as every picture is. An image without ink is left out.
    """
    chosen = np.linspace(0, len(images) - 1, min(PICTURES, len(images))).astype(np.intp)
    some = arrays.some(images, chosen)
    enlarged = (Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in some)
    found = [digit(np.asarray(picture)) for picture in enlarged]
    return np.stack([each.image for each in found if each])
