"""The statistics of an image, in the same columns for `validate`, which checks them, and the server that logs them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

CHUNK = 4096  # images at a time: bounds the memory of the histograms, about 30 MB for 28x28


def histograms(images: np.ndarray) -> Iterator[np.ndarray]:
    """Pixel counts of `images` (uint8 [N, height, width]), a row for each: int64 [up to CHUNK, 256], chunk by chunk."""
    for start in range(0, len(images), CHUNK):
        flat = images[start : start + CHUNK].reshape(-1, images.shape[1] * images.shape[2]).astype(np.intp)
        flat += 256 * np.arange(len(flat))[:, None]
        yield np.bincount(flat.ravel(), minlength=256 * len(flat)).reshape(-1, 256)


def image_statistics(images: np.ndarray) -> pd.DataFrame:
    """`measures` as a table: one row for each image."""
    return pd.DataFrame(measures(images))


def measures(images: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays (N,) with a number for each image of uint8 [N, height, width] or [N, height, width, 3], in order.

    Intensities are 0..255; positions are in pixels, from 0 at the left and the top; a blank image
    has no position (NaN). Ink is a pixel of at least 128.
    """
    pixels = grey(images)
    height, width = pixels.shape[1:]
    values = np.arange(256)
    statistics = []
    for counts in histograms(pixels):
        mean = counts @ values / (height * width)
        used = counts > 0
        statistics.append(
            {
                "mean_intensity": mean,
                "standard_deviation": np.sqrt(np.maximum(counts @ values**2 / (height * width) - mean**2, 0)),
                "ink_fraction": counts[:, 128:].sum(axis=1) / (height * width),
                "distinct_values": used.sum(axis=1),
                "smallest": used.argmax(axis=1),
                "largest": 255 - used[:, ::-1].argmax(axis=1),
            }
        )
    table = {name: np.concatenate([chunk[name] for chunk in statistics]) for name in statistics[0]}

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

    edges = (pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1])
    table["border_intensity"] = sum(edge.sum(axis=1, dtype=np.uint32) for edge in edges) / (2 * (height + width) - 4)
    return table


def grey(images: np.ndarray) -> np.ndarray:
    """uint8 [N, height, width] from the same, or from [N, height, width, 3]: the mean of the three colours."""
    return images if images.ndim == 3 else np.asarray(images.mean(axis=3).round(), np.uint8)


def intensity_counts(images: np.ndarray) -> np.ndarray:
    """How many pixels have each value: int64 [256]."""
    total = np.zeros(256, np.int64)
    for counts in histograms(grey(images)):
        total += counts.sum(axis=0)
    return total
