"""TensorFlow and Keras in one fixed state, whatever the user's shell and home folder say."""

import os
from importlib.metadata import version

from stages.quiet import silence
from stages.train import processor

# Settings of TensorFlow, Keras, XLA and oneDNN that come from elsewhere could change a number, and nothing would tell.
SETTINGS = ("DNNL_", "KERAS_", "ONEDNN_", "TF_", "XLA_")
HARMLESS = ("TF_CONFIG", "TF_CPP_", "TF_FORCE_GPU_", "TF_GPU_", "TF_GRPC_")  # several workers, messages, GPU memory
for name in [name for name in os.environ if name.startswith(SETTINGS) and not name.startswith(HARMLESS)]:
    del os.environ[name]
os.environ["KERAS_HOME"] = os.devnull  # no ~/.keras/keras.json, neither read nor written
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Without it, TensorFlow takes oneDNN's kernels only on processors with AVX-512 VNNI or newer. Its own, taken
# elsewhere, are slower, and their sums depend on the sizes of the caches.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
with silence():  # TensorFlow prints its start-up messages before it reads that level
    import keras
    import tensorflow as tf


def fix(seed: int, precision: str) -> tf.distribute.Strategy:
    """Seed Python, NumPy and TensorFlow, give each operation one thread and ask for deterministic kernels.

    A kernel that splits a sum among threads gives other bits with another number of them. So an operation has one
    thread, and what runs side by side are whole operations, as many as there are cores. With the `precision`
    "portable", oneDNN uses the same instructions on every processor. Call before TensorFlow computes anything.
    Returns the strategy to train with: several processes if TF_CONFIG names them, else this one.
    """
    if precision == "portable":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(processor.cores())
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")  # it warns of retracing, which members and folds need: one graph each
    keras.utils.set_random_seed(seed)
    return tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else tf.distribute.get_strategy()


def is_helper(strategy: tf.distribute.Strategy) -> bool:
    """Whether this is one of several processes and not the first."""
    return strategy.cluster_resolver is not None and strategy.cluster_resolver.task_id > 0


def versions() -> str:
    """The libraries that a number may depend on, such as `tensorflow 2.21.0, keras 3.15.0`."""
    return ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "ai-edge-litert"))
