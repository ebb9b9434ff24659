"""Several digits in one picture: rows and columns of ink, and where touching digits could be cut."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stages.common.entry import UserError
from stages.preprocess.digit import (
    Found,
    boxes_of,
    cropped,
    ink_of,
    pieces_of,
    reduced,
    shaped,
    stroke_width,
    threshold,
)

LONGEST = 1024  # pixels of the longer side on which the work is done
SMALL = 0.35  # of the height of the usual piece: what is lower is a speck, or a part of the digit that it lies above
DOT, MOST = 0.1, 300  # of the highest piece's height: what is lower is dropped; pieces at most, which bounds the time
SHARED = 0.5  # of the narrower one's width: pieces above each other are one digit
WIDEST = 1.25  # of the height of the ink around: no digit is wider
# What speaks against a part, in the unit of -log of a probability; lengths in parts of the height of the ink around.
SURE = 2.0  # for -log of the model's confidence, which is high for scraps, too
LOW, LOWER = 0.8, 8.0  # it is lower than this, for each unit
USUAL, WIDER = 0.9, 4.0  # it is wider
NARROW, NARROWER = 0.2, 4.0  # it is narrower
CUT, PART = 0.2, 0.6  # for each stroke that is cut, and for each part
CUTS = 12  # places where one of these can be cut, at most


@dataclass(frozen=True)
class Blob:
    """Ink that is one digit or several that touch: each part of it, from one cut to a later one, as a digit.

    The cuts are numbered from 0, the left end, to `cuts`, the right end.
    """

    parts: dict[tuple[int, int], Found]
    costs: dict[tuple[int, int], float]  # how unlike a digit a part is by its proportions and by the ink that is cut
    cuts: int


def blobs(picture: np.ndarray) -> list[Blob]:
    """The blobs of `picture`, uint8 (height, width) or (height, width, 3), in reading order.

    Raises `UserError` if there are too many.
    """
    small, factor = reduced(picture, LONGEST)
    ink, done = ink_of(small)
    if ink is None:
        return []
    pieces, count = pieces_of(ink, threshold(done), 1)
    boxes = boxes_of(pieces, count)
    heights = boxes[:, 3] - boxes[:, 1]
    kept = [k for k in range(count) if not crosses(boxes[k], ink.shape) and heights[k] >= heights.max() * DOT]
    if len(kept) > MOST:
        raise UserError(f"the picture has {len(kept):,} pieces of ink, at most {MOST} can be read: cut it into parts")
    blobs = []
    for group in in_reading_order(joined(kept, boxes), boxes):
        left, top, right, bottom = around(boxes[group])
        inside = np.s_[top:bottom, left:right]
        alone = np.where(np.isin(pieces[inside], np.array(group) + 1), ink[inside], 0)
        edges = [0, *cuts_of(alone), right - left]
        strokes = max(1.0, stroke_width(alone))
        cut_ink = [0.0, *(float(alone[:, edge].sum()) / strokes for edge in edges[1:-1]), 0.0]
        parts, costs = {}, {}
        for start, first in enumerate(edges[:-1]):
            for stop in range(start + 1, len(edges)):
                part = alone[:, first : edges[stop]]
                if not part.any():
                    continue
                (x1, y1, x2, y2), _ = cropped(part)
                shape = (y2 - y1) / (bottom - top), (x2 - x1) / (bottom - top)
                if (start, stop) == (0, len(edges) - 1) or shape[1] <= WIDEST:
                    parts[start, stop] = shaped(part, factor, picture.shape, done, (left + first, top))
                    costs[start, stop] = unlikeness(*shape) + CUT * (cut_ink[start] + cut_ink[stop])
        blobs.append(Blob(parts, costs, len(edges) - 1))
    return blobs


def crosses(box: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a piece goes from one edge of the picture to the other: a line or a frame, unless it is all there is."""
    left, top, right, bottom = box
    return bool((left == 0 and right == shape[1]) or (top == 0 and bottom == shape[0]))


def around(boxes: np.ndarray) -> tuple[int, int, int, int]:
    """The box around `boxes` (N, 4)."""
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return int(left), int(top), int(right), int(bottom)


def joined(pieces: list[int], boxes: np.ndarray) -> list[list[int]]:
    """The pieces by digit: a low one, such as the bar of a 5, goes with the high one that it lies above or below."""
    if not pieces:
        return []
    heights = boxes[:, 3] - boxes[:, 1]
    usual = np.median([heights[index] for index in pieces if heights[index] >= heights[pieces].max() * SMALL])
    groups = [[index] for index in pieces if heights[index] >= usual * SMALL]
    for index in (index for index in pieces if heights[index] < usual * SMALL):
        left, top, right, bottom = boxes[index]
        for group in groups:
            x1, y1, x2, y2 = boxes[group[0]]
            near = max(y1 - bottom, top - y2) < usual * SMALL and max(x1 - right, left - x2) < usual * SMALL / 2
            if near and min(x2, right) - max(x1, left) >= SHARED * min(x2 - x1, right - left):
                group.append(index)
                break
    return groups


def in_reading_order(groups: list[list[int]], boxes: np.ndarray) -> list[list[int]]:
    """`groups` row by row, each from left to right: a group whose middle is within a row belongs to it."""
    rows: list[list[list[int]]] = []
    for group in sorted(groups, key=lambda group: around(boxes[group])[1]):
        _, top, _, bottom = around(boxes[group])
        for row in rows:
            _, row_top, _, row_bottom = around(boxes[[index for each in row for index in each]])
            if row_top <= (top + bottom) / 2 < row_bottom:
                row.append(group)
                break
        else:
            rows.append([group])
    return [group for row in rows for group in sorted(row, key=lambda group: around(boxes[group])[0])]


def cuts_of(ink: np.ndarray) -> list[int]:
    """Columns where `ink` (height, width) is thinnest: none if it is no wider than one digit."""
    rows = np.flatnonzero(ink.any(axis=1))
    height, width = rows[-1] + 1 - rows[0], ink.shape[1]
    if width < USUAL * height:
        return []
    profile = np.convolve(ink.sum(axis=0), np.ones(3) / 3, mode="same")
    margin = max(2, round(NARROW * height / 2))
    lowest = [
        column
        for column in range(margin, width - margin)
        if profile[column] == profile[max(0, column - margin) : column + margin + 1].min()
    ]
    apart = [column for before, column in pairwise([-margin, *lowest]) if column - before > 1]
    return sorted(column for column in sorted(apart, key=lambda column: profile[column])[:CUTS])


def unlikeness(height: float, width: float) -> float:
    """What speaks against a digit of this size, in parts of the height of the ink around: as -log of a probability."""
    low, wide, narrow = max(0.0, LOW - height), max(0.0, width - USUAL), max(0.0, NARROW - width)
    return LOWER * low + WIDER * wide + NARROWER * narrow


def surest(blob: Blob, confidences: dict[tuple[int, int], float]) -> list[Found]:
    """The parts that make up `blob` and look most like digits, from left to right.

    The sum of SURE times -log(confidence) and of their costs is the least (dynamic programming over the cuts).
    """
    best: dict[int, tuple[float, list[Found]]] = {0: (0.0, [])}
    for stop in range(1, blob.cuts + 1):
        ways = [
            (
                best[start][0]
                - SURE * float(np.log(max(confidences[start, stop], 1e-9)))
                + blob.costs[start, stop]
                + PART,
                [*best[start][1], part],
            )
            for (start, end), part in blob.parts.items()
            if end == stop and start in best
        ]
        if ways:
            best[stop] = min(ways, key=lambda way: way[0])
    return best[blob.cuts][1]
