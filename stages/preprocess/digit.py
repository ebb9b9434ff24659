"""Any picture of a digit as an image like MNIST's: found on its paper, cleaned, scaled, thickened and centred.

MNIST's authors scaled each digit to fit a box, with its proportions kept, and laid its centre of mass in the middle
(LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791). Before that comes what their scans did not need: other
colours, shadows, ruled paper, frames, specks, strokes as thin as a line. Plain arithmetic only, since the same steps
run in a browser, in stages/package/prepare.js and planes.js: a change here is a change there.

The numbers were chosen on pictures by one half of the people whose pictures docs/pictures.md measures.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage

LONGEST = 256  # pixels of the longer side on which the work is done
WINDOW, SMALLEST_WINDOW = 0.25, 13  # of the longer side, and in pixels: what is wider is ground, not ink
CONTRAST, NOISE = 14, 5  # ink differs from paper by so many grey levels, and so many times the noise of the paper
REST = 0.25  # of the span of the shadows: what is less may be left of them
WEAK, WEAK_IN_SHADOW = 0.2, 0.62  # of the darkest ink: what is lighter is paper
SHARP = 0.04  # of the side: a stroke at the edge has light paper so near, a shadow fades
DARK_GROUND = 64  # grey level: a shadow is seen on lighter ground
DARKEST_SHADOW = 0.2  # of the light on the lightest paper
SMALLEST_RULED = 64  # pixels: a smaller picture shows no ruled paper
RUN, SLACK = 0.3, 0.015  # of the side: a line's ink is measured over so much, and it leaves its row by so much at most
THICKEST, LONE = 0.05, 0.7  # a line's width as a part of the side; a lone line's ink as a part of the darkest
GAP = 0.02  # of the longer side: pieces of ink that are nearer are one
SPECK = 0.04  # of the ink of the largest piece: what has less is dirt
NEAR = 0.35  # of the largest piece's longer side: what is farther away is another thing
FRAME, HOLLOW = 0.6, 0.02  # a frame covers so much of both sides, and has so little of its ink inside
BOX, SIDE, MIDDLE = (
    18,
    28,
    14,
)  # pixels: the digit's longer side, the image's, where the centre of mass is
FINE = 4  # parts of such a pixel, in which strokes are made thicker
LAST = 1e-9  # what the order of additions may change: a tie is one wherever this runs
SHADOW = "shadow removed"
THIN, THICK = 3.0, 4.2  # such pixels: narrower strokes are widened to the first, wider ones narrowed to the second


@dataclass(frozen=True)
class Found:
    """A digit of a picture: `image` uint8 (28, 28), light on dark; where it was, in pixels of the picture."""

    image: np.ndarray
    box: tuple[int, int, int, int]  # left, top, right, bottom
    done: list[str] = field(default_factory=list)  # what was done, a few words each


def digit(picture: np.ndarray) -> Found | None:
    """The digit in `picture`, uint8 (height, width) or (height, width, 3), or None if there is no ink."""
    small, factor = reduced(picture, LONGEST)
    ink, done = ink_of(small)
    if ink is None:
        return None
    pieces, count = pieces_of(ink, threshold(done), round(max(ink.shape) * GAP))
    chosen = belonging(ink, pieces, count)
    return shaped(np.where(np.isin(pieces, chosen), ink, 0), factor, picture.shape, done)


def reduced(picture: np.ndarray, longest: int) -> tuple[np.ndarray, int]:
    """`picture` as uint8 (height, width, 3) whose longer side is at most `longest`, and how many pixels became one."""
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., np.newaxis], 3, axis=2)
    height, width = colours.shape[:2]
    factor = -(-max(height, width) // longest)
    return np.asarray(Image.fromarray(colours).reduce(factor)), factor


def ink_of(colours: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """How much ink is on each pixel, float64 (height, width) in 0 to 1, or None if there is none; and what was done.

    Ink is what differs from the most usual colour, along the direction in which the picture differs most from it.
    What is wider than WINDOW, such as a shadow, is ground; so are the lines of ruled paper.
    """
    ground = median_colour(colours)
    differences = colours - ground
    weights = (differences**2).sum(axis=2)
    direction = (differences * weights[..., np.newaxis]).sum(axis=(0, 1))
    length = float(np.sqrt((direction**2).sum()))
    if length == 0:
        return None, []
    signal, dark = differences @ (direction / length), direction.sum() < 0
    shadow = opened(signal)
    if not dark and ground.mean() > DARK_GROUND and np.ptp(shadow) > darkest_of(signal - shadow) / 2:
        signal, dark = -signal, True  # what differs most is a shadow on light paper, or its absence
        shadow = opened(signal)
    ink = signal - shadow
    ruled = lines_of(ink)
    ink = ink - ruled
    darkest = darkest_of(ink)
    if darkest < max(CONTRAST, NOISE * noise_of(ink), REST * np.ptp(shadow)):
        return None, []
    done = ["inverted"] if dark else []
    if dark and np.ptp(shadow) > darkest / 4:  # ink takes away a part of the light that falls on it
        done.append(SHADOW)
        light = abs(float(ground @ direction)) / length - shadow
        ink = ink / np.clip(light / light.max(), DARKEST_SHADOW, 1)
        darkest = darkest_of(ink)
    if ruled.any():
        done.append("lines removed")
    return np.minimum(ink / darkest, 1), done


def median_colour(colours: np.ndarray) -> np.ndarray:
    """The median of each channel of uint8 (height, width, 3): float64 (3,)."""
    counts = np.array([np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(colours, 2, 0)])
    below: np.ndarray = counts.cumsum(axis=1) <= colours[..., 0].size // 2
    return np.asarray(below.sum(axis=1), np.float64)


def opened(signal: np.ndarray) -> np.ndarray:
    """`signal` (height, width) without what is lighter than its surroundings and narrower than the window."""
    window = max(SMALLEST_WINDOW, round(max(signal.shape) * WINDOW)) | 1
    margin = window if strokes_at_the_edge(signal) else 0  # the paper goes on outside
    values = np.pad(signal, margin)
    for operation in (ndimage.minimum_filter1d, ndimage.maximum_filter1d):
        for axis in (0, 1):
            values = operation(values, window, axis=axis, mode="nearest")
    height, width = signal.shape
    return np.asarray(values[margin : margin + height, margin : margin + width])


def darkest_of(ink: np.ndarray) -> float:
    """The mean of the five hundredth part of the pixels that has most ink."""
    count = max(4, ink.size // 500)
    positive = ink[ink > 0]  # most of a clean picture is 0, and many equal values make a selection slow
    if len(positive) <= count:
        return float(positive.sum() / count)
    return float(np.partition(positive, len(positive) - count)[-count:].mean())


def noise_of(ink: np.ndarray) -> float:
    """The lower quartile of `ink`: what the paper has."""
    if np.count_nonzero(ink > 0) < ink.size - ink.size // 4:
        return 0.0
    return float(np.partition(ink, ink.size // 4, axis=None)[ink.size // 4])


def strokes_at_the_edge(signal: np.ndarray) -> bool:
    """Whether strokes reach the edge of the picture: dark there, for a short way, and light right beside that."""
    darkest = darkest_of(signal)
    for edge in (signal[0], signal[-1], signal[:, 0], signal[:, -1]):
        dark = edge > darkest / 2
        reach = max(2, round(len(edge) * SHARP))
        beside = ndimage.maximum_filter1d(edge < darkest / 4, 2 * reach + 1, mode="nearest")
        if 0 < dark.sum() < len(edge) / 2 and (dark & beside).any():
            return True
    return False


def lines_of(ink: np.ndarray) -> np.ndarray:
    """How much of `ink` belongs to lines from one edge to the other, of the same shape: as much as all of a line has.

    So a stroke keeps what it has more than the line that crosses it. A lone line as dark as the ink may be a stroke.
    """
    found = np.zeros_like(ink)
    darkest = darkest_of(ink)
    for axis in (0, 1):
        length, other = ink.shape[axis], ink.shape[1 - axis]
        if length < SMALLEST_RULED:
            continue
        slack = 2 * max(1, round(length * SLACK)) + 1  # a line may be a little aslant
        along = ndimage.maximum_filter1d(ink, slack, axis=1 - axis, mode="constant")
        whole = along.min(axis=axis)
        for operation in (ndimage.minimum_filter1d, ndimage.maximum_filter1d):
            along = operation(along, round(length * RUN) | 1, axis=axis, mode="nearest")
        starts = np.flatnonzero(np.diff(np.pad((whole > darkest / 10).astype(int), 1)))
        lines = [(start, end) for start, end in starts.reshape(-1, 2) if end - start - slack < other * THICKEST]
        if len(lines) == 1 and whole[slice(*lines[0])].max() > LONE * darkest:
            continue
        for start, end in lines:
            rows = (slice(None), slice(start, end)) if axis == 0 else (slice(start, end), slice(None))
            found[rows] = np.maximum(found[rows], np.minimum(ink, along)[rows])
    return found


def threshold(done: list[str]) -> float:
    """How dark ink must be, as a part of the darkest: at the edge of a shadow, some of it is left."""
    return WEAK_IN_SHADOW if SHADOW in done else WEAK


def pieces_of(ink: np.ndarray, least: float, reach: int) -> tuple[np.ndarray, int]:
    """The pieces of `ink` that is at least `least`: int32 (height, width), 0 for none, else its number; how many.

    Pieces are one if each can be grown by `reach` pixels until they touch.
    """
    weak = ink >= least - LAST
    grown = weak
    for axis in (0, 1):
        grown = ndimage.maximum_filter1d(grown, 2 * reach + 1, axis=axis, mode="constant")
    labels, count = ndimage.label(grown, structure=np.ones((3, 3)))
    return np.where(weak, labels, 0), count


def belonging(ink: np.ndarray, pieces: np.ndarray, count: int) -> list[int]:
    """The numbers of the pieces that make the digit: the largest, and those near it that are no specks or frames.

    What touches two edges of the picture is rather a table or a hand: it counts a quarter.
    """
    numbers = np.arange(1, count + 1)
    mass = ndimage.sum_labels(ink, pieces, numbers)
    boxes = boxes_of(pieces, count)
    height, width = ink.shape
    touching = (boxes[:, 0] == 0).astype(int) + (boxes[:, 1] == 0) + (boxes[:, 2] == width) + (boxes[:, 3] == height)
    inner = np.array([inner_mass(ink, pieces, number, box) for number, box in zip(numbers, boxes)])
    large = (boxes[:, 2] - boxes[:, 0] > FRAME * width) & (boxes[:, 3] - boxes[:, 1] > FRAME * height)
    frame = large & (inner < HOLLOW * mass)
    weight = np.where(frame, 0, np.where(touching >= 2, mass / 4, mass))
    main = int(weight.argmax())
    left, top, right, bottom = boxes[main]
    reach = NEAR * max(right - left, bottom - top)
    apart_x = np.maximum(np.maximum(boxes[:, 0] - right, left - boxes[:, 2]), 0)
    apart_y = np.maximum(np.maximum(boxes[:, 1] - bottom, top - boxes[:, 3]), 0)
    kept = (mass >= SPECK * mass[main]) & (np.maximum(apart_x, apart_y) <= reach) & (touching < 2) & ~frame
    kept[main] = True
    return [int(number) for number in numbers[kept]]


def boxes_of(pieces: np.ndarray, count: int) -> np.ndarray:
    """Left, top, right and bottom of each piece: int64 (count, 4)."""
    slices = ndimage.find_objects(pieces, count)
    return np.array([(s[1].start, s[0].start, s[1].stop, s[0].stop) if s else (0, 0, 0, 0) for s in slices])


def inner_mass(ink: np.ndarray, pieces: np.ndarray, number: np.integer, box: np.ndarray) -> float:
    """The ink that a piece has in the inner two thirds of its box: that of a frame has none."""
    left, top, right, bottom = box
    x, y = (right - left) // 6, (bottom - top) // 6
    inside = np.s_[top + y : bottom - y, left + x : right - x]
    return float(ink[inside][pieces[inside] == number].sum())


def shaped(
    ink: np.ndarray, factor: int, shape: tuple[int, ...], done: list[str], corner: tuple[int, int] = (0, 0)
) -> Found:
    """The digit whose ink is `ink`, float64 (height, width), scaled, thickened and centred as MNIST's are.

    `factor` pixels of a picture of the `shape` are one of `ink`, which begins at its `corner`: column and row.
    """
    (left, top, right, bottom), cut = cropped(ink)
    fine = scaled(cut, BOX * FINE / max(cut.shape))
    width = stroke_width(fine)
    change = min(max(width, THIN * FINE), THICK * FINE) - width
    if abs(change) >= 1:
        done = [*done, "strokes thickened" if change > 0 else "strokes thinned"]
        _, fine = cropped(widened(fine, change / 2))
        fine = scaled(fine, BOX * FINE / max(fine.shape))
    height, width = shape[:2]
    left, right, top, bottom = left + corner[0], right + corner[0], top + corner[1], bottom + corner[1]
    box = (left * factor, top * factor, min(right * factor, width), min(bottom * factor, height))
    return Found(centred(fine), box, done)


def cropped(ink: np.ndarray) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """Left, top, right and bottom of the part of `ink` that is not 0, and that part."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return (left, top, right, bottom), ink[top:bottom, left:right]


def scaled(values: np.ndarray, scale: float) -> np.ndarray:
    """`values` (height, width) larger or smaller, with a triangle filter that averages if it is smaller."""
    across, down = (_weights(length, max(1, round(length * scale))) for length in values.shape[::-1])
    return np.asarray(down @ values @ across.T)


def _weights(before: int, after: int) -> np.ndarray:
    ratio = before / after
    reach = max(ratio, 1.0)
    centres = (np.arange(after)[:, np.newaxis] + 0.5) * ratio - 0.5
    weights = np.maximum(1 - np.abs(np.arange(before) - centres) / reach, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def stroke_width(ink: np.ndarray) -> float:
    """The mean width of the strokes in pixels: twice the area over the length of the edge, the total variation."""
    padded = np.pad(ink, 1)
    x, y = np.diff(padded, axis=1)[:-1], np.diff(padded, axis=0)[:, :-1]
    return float(2 * ink.sum() / max(np.sqrt(x**2 + y**2).sum(), 1e-9))


def widened(ink: np.ndarray, radius: float) -> np.ndarray:
    """`ink` with strokes wider by `radius` on each side, or narrower if it is negative; with a margin around."""
    reach = int(np.ceil(abs(radius)))
    padded = np.pad(ink, reach) if radius > 0 else ink
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = x**2 + y**2 <= radius**2 + 1e-9
    operation = ndimage.grey_dilation if radius > 0 else ndimage.grey_erosion
    return np.asarray(operation(padded, footprint=disc, mode="constant"))


def centred(fine: np.ndarray) -> np.ndarray:
    """uint8 (28, 28) with the centre of mass of `fine` on the middle pixel, as far as all of it stays inside."""
    padded = np.pad(fine, [(0, -length % FINE) for length in fine.shape])
    rows, columns = padded.shape[0] // FINE, padded.shape[1] // FINE
    small = padded.reshape(rows, FINE, columns, FINE).mean(axis=(1, 3))
    corner = []
    for length, profile in ((rows, small.sum(axis=1)), (columns, small.sum(axis=0))):
        mean = float((profile * np.arange(length)).sum() / small.sum())
        corner.append(min(max(int(np.floor(MIDDLE - mean + 0.5 + LAST)), 0), SIDE - length))
    image = np.zeros((SIDE, SIDE))
    image[corner[0] : corner[0] + rows, corner[1] : corner[1] + columns] = small
    return np.floor(np.minimum(image, 1) * 255 + 0.5).astype(np.uint8)
