"""Seven ways to corrupt an image, five severities each, in the spirit of MNIST-C (Mu & Gilmer 2019, arXiv:1906.02337).

Every function takes uint8 images (N, height, width), a strength and a generator, and returns the corrupted
uint8 images of the same shape. What leaves the image is lost, and zeros come in from outside.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

SEED = 20
OCCLUDER = 127  # grey level of the square that covers a part: neither ground nor ink

# Severity 1 to 5 of each. The first is what a scanner or a hurried hand does, the last is still read by people.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "noise": (20, 45, 70, 95, 120),  # grey levels: standard deviation
    "blur": (0.5, 0.9, 1.3, 1.7, 2.1),  # pixels: standard deviation of the Gaussian
    "shift": (1, 2, 3, 4, 5),  # pixels: along one axis or both
    "rotation": (10, 20, 30, 40, 50),  # degrees, either way
    "scale": (0.1, 0.2, 0.3, 0.4, 0.5),  # fraction of the size that is added or taken away
    "contrast": (0.7, 0.5, 0.35, 0.25, 0.15),  # fraction of the distance from the mean grey level that is left
    "occlusion": (3, 5, 7, 9, 11),  # pixels: side of the square
}
SEVERITIES = range(1, 6)


def corrupt(images: np.ndarray, corruption: str, severity: int) -> np.ndarray:
    """uint8 `images` (N, height, width) under `corruption`, a key of `STRENGTHS`, at `severity` 1 to 5.

    Of images in colour (N, height, width, 3) each channel is corrupted in the same way. The random numbers depend on
    nothing but the two names and the shape, so that they are the same whatever else is run.
    """
    if images.ndim == 4:
        return np.stack([corrupt(images[..., channel], corruption, severity) for channel in range(images.shape[3])], -1)
    generator = np.random.default_rng([SEED, severity, *corruption.encode()])
    return FUNCTIONS[corruption](images, STRENGTHS[corruption][severity - 1], generator)


def noise(images: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    return _as_pixels(images + generator.normal(0, deviation, images.shape))


def blur(images: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    return _as_pixels(gaussian_filter(images.astype(float), (0, deviation, deviation), mode="constant"))


def shift(images: np.ndarray, pixels: float, generator: np.random.Generator) -> np.ndarray:
    """Each image moved in one of the eight directions, by as many pixels along each axis that it moves on."""
    directions = np.array([(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right])
    offsets = int(pixels) * (1 + directions[generator.integers(0, len(directions), len(images))])
    size = [np.arange(length) for length in images.shape[1:]]
    margin = ((0, 0), (int(pixels), int(pixels)), (int(pixels), int(pixels)))
    rows = (offsets[:, 0, np.newaxis] + size[0])[:, :, np.newaxis]
    columns = (offsets[:, 1, np.newaxis] + size[1])[:, np.newaxis, :]
    return np.pad(images, margin)[np.arange(len(images))[:, np.newaxis, np.newaxis], rows, columns]


def rotation(images: np.ndarray, degrees: float, generator: np.random.Generator) -> np.ndarray:
    """About the centre, to the left or to the right."""

    def turned(part: np.ndarray, sign: int) -> np.ndarray:
        cosine, sine = np.cos(np.deg2rad(degrees)), sign * np.sin(np.deg2rad(degrees))
        return _transformed(part, np.array([[cosine, -sine], [sine, cosine]]))

    return _either_way(images, turned, generator)


def scale(images: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """About the centre, larger or smaller; smoothed first if pixels would be skipped."""

    def scaled(part: np.ndarray, sign: int) -> np.ndarray:
        step = 1 / (1 + sign * fraction)
        smooth = max(0, (step - 1) / 2)
        return _transformed(gaussian_filter(part.astype(float), (0, smooth, smooth)), step * np.eye(2))

    return _either_way(images, scaled, generator)


def contrast(images: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Every grey level drawn towards the mean of its image."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return _as_pixels(mean + fraction * (images - mean))


def occlusion(images: np.ndarray, side: float, generator: np.random.Generator) -> np.ndarray:
    """A grey square over each image, with its centre in the middle half of the image, which has the ink."""
    count, *size = images.shape
    covered = []
    for length in size:
        centre = generator.uniform(0.25 * length, 0.75 * length, count)[:, np.newaxis]
        covered.append(np.abs(np.arange(length) + 0.5 - centre) < side / 2)
    return np.where(covered[0][:, :, np.newaxis] & covered[1][:, np.newaxis, :], np.uint8(OCCLUDER), images)


FUNCTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    function.__name__: function for function in (noise, blur, shift, rotation, scale, contrast, occlusion)
}


def _either_way(
    images: np.ndarray, change: Callable[[np.ndarray, int], np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """`change(images, sign)` with the sign of each image drawn at random: 1 or -1."""
    positive = generator.random(len(images)) < 0.5
    changed = np.empty_like(images)
    for chosen, sign in ((positive, 1), (~positive, -1)):
        changed[chosen] = change(images[chosen], sign)
    return changed


def _transformed(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each pixel taken, bilinearly, from the place to which `matrix` (2, 2) maps it, about the centre."""
    whole = np.eye(3)
    whole[1:, 1:] = matrix
    centre = (np.array(images.shape) - 1) / 2
    return _as_pixels(affine_transform(images.astype(float), whole, centre - whole @ centre, order=1))


def _as_pixels(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
