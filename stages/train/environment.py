"""What decides the bits of a training besides code, data and parameters: threads, precision, versions."""

import os
import platform
from pathlib import Path

from stages.quiet import silence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with silence():  # TensorFlow prints its start-up messages before it reads that level
    import keras
    import numpy as np
    import tensorflow as tf

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}  # without them bfloat16 is emulated, slower than float32
RECORDED_FLAGS = BFLOAT16_FLAGS | {"avx2", "avx512f"}  # TensorFlow's kernels, and so the bits, differ with these

DEPTHWISE = tuple(getattr(keras.layers, f"{kind}Conv{n}D") for kind in ("Depthwise", "Separable") for n in (1, 2))


def fix(seed: int, threads: int) -> tf.distribute.Strategy:
    """Seed Python, NumPy and TensorFlow, fix the thread counts and ask for deterministic kernels.

    The weights of a convolution change with the number of threads (sums are split differently),
    so it is a parameter and not the number of cores. Call before TensorFlow computes anything.
    Returns the strategy to train with: several processes if TF_CONFIG names them, else this one.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")  # it warns of retracing, which members and folds need: one graph each
    keras.utils.set_random_seed(seed)
    return tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else tf.distribute.get_strategy()


def is_helper(strategy: tf.distribute.Strategy) -> bool:
    """Whether this is one of several processes and not the first."""
    return strategy.cluster_resolver is not None and strategy.cluster_resolver.task_id > 0


def is_repeatable(model: keras.Model, threads: int) -> bool:
    """Whether training it twice gives the same bits.

    TensorFlow's depthwise convolutions add up the gradients of their filters in the order in which threads end,
    in spite of `enable_op_determinism`.
    """
    inside = [layer for layer in model.layers if hasattr(layer, "layers")]
    return threads == 1 or not (
        any(isinstance(layer, DEPTHWISE) for layer in model.layers)
        or any(not is_repeatable(layer, threads) for layer in inside)
    )


def choose_precision(asked: str) -> str:
    """`float32` or `bfloat16`: the one asked for, or for `auto` the one that is faster on this processor."""
    if asked != "auto":
        return asked
    return "bfloat16" if BFLOAT16_FLAGS & processor_flags() else "float32"


def processor_flags() -> set[str]:
    """The processor's features as Linux names them; empty on other systems."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def processor() -> str:
    """The machine's architecture and its processor's features, such as `x86_64, avx2 avx512_bf16 avx512f`."""
    return ", ".join(filter(None, [platform.machine(), " ".join(sorted(RECORDED_FLAGS & processor_flags()))]))


def versions() -> dict[str, str]:
    """The versions that a number may depend on."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
