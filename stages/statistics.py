"""The statistics of an image, in the same columns for `validate`, which checks them, and the server that logs them."""

import numpy as np
import pandas as pd

CHUNK = 512  # images at a time: these and their histograms, about 4 MB for 28x28, stay in the processor's cache


def histograms(pixels: np.ndarray) -> np.ndarray:
    """How many pixels of each image of uint8 [N, height, width] have each value: int64 [N, 256]."""
    flat = pixels.reshape(len(pixels), -1).astype(np.intp)
    flat += 256 * np.arange(len(flat))[:, None]
    return np.bincount(flat.ravel(), minlength=256 * len(flat)).reshape(-1, 256)


def image_statistics(images: np.ndarray) -> pd.DataFrame:
    """`measures` as a table: one row for each image."""
    return pd.DataFrame(measures(images))


def measures(images: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays (N,) with a number for each image of uint8 [N, height, width] or [N, height, width, 3], in order.

    Intensities are 0..255; positions are in pixels, from 0 at the left and the top; a blank image
    has no position (NaN). Ink is a pixel of at least 128.
    """
    return measures_and_counts(images)[0]


def measures_and_counts(images: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`measures`, and how many pixels of all `images` have each value, int64 [256]; the images are read once."""
    chunks, total = [], np.zeros(256, np.int64)
    for start in range(0, len(images), CHUNK):
        pixels = grey(images[start : start + CHUNK])
        counts = histograms(pixels)
        total += counts.sum(axis=0)
        chunks.append(_brightness(counts) | _position(pixels) | {"border_intensity": _border(pixels)})
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}, total


def _brightness(counts: np.ndarray) -> dict[str, np.ndarray]:
    """What follows from the histograms of the images, int64 [N, 256]."""
    values = np.arange(256)
    size = counts[0].sum()
    mean = counts @ values / size
    used = counts > 0
    return {
        "mean_intensity": mean,
        "standard_deviation": np.sqrt(np.maximum(counts @ values**2 / size - mean**2, 0)),
        "ink_fraction": counts[:, 128:].sum(axis=1) / size,
        "distinct_values": used.sum(axis=1),
        "smallest": used.argmax(axis=1),
        "largest": 255 - used[:, ::-1].argmax(axis=1),
    }


def _position(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Where the ink of each image of uint8 [N, height, width] is."""
    table = {}
    across = pixels.sum(axis=1, dtype=np.uint32)
    down = pixels.sum(axis=2, dtype=np.uint32)
    blank = ~across.any(axis=1)
    for axis, first, last, profile in (("x", "left", "right", across), ("y", "top", "bottom", down)):
        ink = profile > 0
        table[first] = np.where(blank, np.nan, ink.argmax(axis=1))
        table[last] = np.where(blank, np.nan, profile.shape[1] - 1 - ink[:, ::-1].argmax(axis=1))
        total = np.where(blank, np.nan, profile.sum(axis=1))
        table[f"centre_{axis}"] = profile @ np.arange(profile.shape[1]) / total
    table["box_size"] = np.maximum(table["right"] - table["left"], table["bottom"] - table["top"]) + 1
    return table


def _border(pixels: np.ndarray) -> np.ndarray:
    """The mean of each image's outermost ring."""
    height, width = pixels.shape[1:]
    edges = (pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1])
    return np.asarray(sum(edge.sum(axis=1, dtype=np.uint32) for edge in edges) / (2 * (height + width) - 4))


def grey(images: np.ndarray) -> np.ndarray:
    """uint8 [N, height, width] from the same, or from [N, height, width, 3]: the mean of the three colours."""
    return images if images.ndim == 3 else np.asarray(images.mean(axis=3).round(), np.uint8)
