"""Training images in blocks: a set that is larger than a block is never in memory as a whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from stages import arrays

BYTES = 64 * 2**20  # of the images of a block, about: two or three blocks are in memory at a time
# A larger set is cut into pieces of neighbouring images, and a block is put together from pieces.
PIECE = 512  # images in a piece, at most
PIECES = 64  # pieces in a block, at least: less than one piece for each block is left out of an epoch
LEAST_BATCHES = 8  # batches in a block, at least: an incomplete last batch is left out of an epoch

# uint8 `images` (N, height, width, channels), `labels` (N,); `writers` (N,) if known
Examples = dict[str, np.ndarray]
Block = tuple[tf.Tensor, tf.Tensor]  # images, labels int32


class Plan(NamedTuple):
    """How many `blocks` make up an epoch, how many `images` each of them has, and how many a `piece` of it has."""

    blocks: int
    images: int
    piece: int


def plan(images: np.ndarray, batch: int) -> Plan:
    """One block of all `images` (N, height, width, channels) if they are few, else blocks of equal size.

    Some images, fewer than a piece for each block, are left out of an epoch then; each time others.
    """
    blocks = max(1, images.nbytes // max(BYTES, LEAST_BATCHES * batch * images[:1].nbytes))
    if blocks == 1:
        return Plan(1, len(images), len(images))
    piece = min(PIECE, max(1, len(images) // blocks // PIECES))
    return Plan(blocks, len(images) // (blocks * piece) * piece, piece)


def epochs(examples: Examples, plan: Plan, seed: int, start: int, stop: int) -> Iterator[Iterator[Block]]:
    """The blocks of each epoch from number `start` to before `stop`; the next one is read while one is in use.

    A set of one block is read once. Otherwise the blocks of an epoch are put together from pieces of the file in an
    order that `seed` and the number of the epoch decide.
    """
    if plan.blocks == 1:
        block = _tensors(examples["images"][:], examples["labels"])
        for _ in range(start, stop):
            yield iter([block])
        return
    for number in range(start, stop):
        yield _ahead(examples, starts(len(examples["labels"]), plan, seed, number), plan.piece)


def starts(count: int, plan: Plan, seed: int, epoch: int) -> np.ndarray:
    """The first row of each piece, (blocks, pieces of a block); after the last row a piece goes on with the first."""
    generator = np.random.default_rng([seed, epoch])
    pieces = generator.permutation(count // plan.piece)[: plan.blocks * plan.images // plan.piece]
    return (generator.integers(count) + plan.piece * pieces).reshape(plan.blocks, -1) % count


def _ahead(examples: Examples, chosen: np.ndarray, piece: int) -> Iterator[Block]:
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_read, examples, chosen[0], piece)
        for following in [*chosen[1:], None]:
            block = coming.result()
            if following is not None:
                coming = reader.submit(_read, examples, following, piece)
            yield block


def _read(examples: Examples, starts: np.ndarray, piece: int) -> Block:
    rows = np.sort(starts)[:, np.newaxis] + np.arange(piece)  # in the order of the file
    chosen = rows.ravel() % len(examples["labels"])
    return _tensors(arrays.some(examples["images"], chosen), examples["labels"][chosen])


def _tensors(images: np.ndarray, labels: np.ndarray) -> Block:
    return tf.constant(images), tf.constant(labels.astype(np.int32))
