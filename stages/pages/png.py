"""Images as PNG inside a page."""

import base64
import io

import numpy as np
from PIL import Image


def data_address(image: np.ndarray) -> str:
    """A uint8 image (height, width), or (height, width, 3) in colour, as the `data:` address of a PNG; 0 is black."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image, np.uint8)).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
