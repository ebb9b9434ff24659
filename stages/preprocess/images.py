"""Every data set's images in one size."""

import numpy as np
from PIL import Image

SIZE = 28  # pixels a side: what the models take
BOX = 20  # pixels a side that MNIST fits a digit into before it centres it in SIZE


def to_standard_size(images: np.ndarray) -> np.ndarray:
    """uint8 images (N, 28, 28) from uint8 images (N, height, width).

    28×28 images stay as they are. Others are scaled, bilinearly and with their proportions kept,
    until the longer side has 20 pixels, the size of a digit in MNIST, and padded with black to 28×28.
    They are neither cropped to their ink nor centred by mass, as MNIST's authors did.
    """
    count, height, width = images.shape
    if (height, width) == (SIZE, SIZE):
        return images
    scale = BOX / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (SIZE - new_height) // 2, (SIZE - new_width) // 2
    standard = np.zeros((count, SIZE, SIZE), np.uint8)
    for target, image in zip(standard, images):
        resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
        target[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return standard
