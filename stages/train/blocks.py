"""Training images in blocks: a set that is larger than a block is never in memory as a whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from stages import arrays

BYTES = 64 * 2**20  # of the images of a block, about: two or three blocks are in memory at a time
PIECE = 512  # images that stay together on the way from the file to a block
LEAST_BATCHES = 8  # in a block: the rest of a block is left out of an epoch

Part = dict[str, np.ndarray]  # uint8 `images` (N, height, width, channels), `labels` (N,); `writers` (N,) if known
Block = tuple[tf.Tensor, tf.Tensor]  # images, labels int32


class Plan(NamedTuple):
    """How many `blocks` make up an epoch, and how many `images` each of them has."""

    blocks: int
    images: int


def plan(images: np.ndarray, batch: int) -> Plan:
    """One block of all `images` (N, height, width, channels) if they are few, else blocks of equal size.

    Some images, fewer than a piece for each block, are left out of an epoch then; each time others.
    """
    blocks = max(1, images.nbytes // max(BYTES, LEAST_BATCHES * batch * images[:1].nbytes))
    return Plan(1, len(images)) if blocks == 1 else Plan(blocks, len(images) // (blocks * PIECE) * PIECE)


def epochs(part: Part, plan: Plan, seed: int, start: int, stop: int) -> Iterator[Iterator[Block]]:
    """The blocks of each epoch from number `start` to before `stop`; the next one is read while one is in use.

    A set of one block is read once. Otherwise the blocks of an epoch are put together from pieces of the file in an
    order that `seed` and the number of the epoch decide.
    """
    if plan.blocks == 1:
        block = _tensors(part["images"][:], part["labels"])
        for _ in range(start, stop):
            yield iter([block])
        return
    for number in range(start, stop):
        yield _ahead(part, starts(len(part["labels"]), plan, seed, number))


def starts(count: int, plan: Plan, seed: int, epoch: int) -> np.ndarray:
    """The first row of each piece, (blocks, pieces of a block); after the last row a piece goes on with the first."""
    generator = np.random.default_rng([seed, epoch])
    pieces = generator.permutation(count // PIECE)[: plan.blocks * plan.images // PIECE]
    return (generator.integers(count) + PIECE * pieces).reshape(plan.blocks, -1) % count


def _ahead(part: Part, chosen: np.ndarray) -> Iterator[Block]:
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_read, part, chosen[0])
        for following in [*chosen[1:], None]:
            block = coming.result()
            if following is not None:
                coming = reader.submit(_read, part, following)
            yield block


def _read(part: Part, starts: np.ndarray) -> Block:
    rows = np.sort(starts)[:, np.newaxis] + np.arange(PIECE)  # in the order of the file
    chosen = rows.ravel() % len(part["labels"])
    return _tensors(arrays.some(part["images"], chosen), part["labels"][chosen])


def _tensors(images: np.ndarray, labels: np.ndarray) -> Block:
    return tf.constant(images), tf.constant(labels.astype(np.int32))
