"""TensorFlow and Keras in one fixed state, whatever the user's shell and home folder say."""

import os
from importlib.metadata import version

from stages import cluster
from stages.quiet import silence

# Settings of TensorFlow, Keras, XLA and oneDNN that come from elsewhere could change a number, and nothing would tell.
SETTINGS = ("DNNL_", "KERAS_", "ONEDNN_", "TF_", "XLA_")
HARMLESS = ("TF_CONFIG", "TF_CPP_", "TF_FORCE_GPU_", "TF_GPU_", "TF_GRPC_")  # several workers, messages, GPU memory
for name in [name for name in os.environ if name.startswith(SETTINGS) and not name.startswith(HARMLESS)]:
    del os.environ[name]
FIXED = {
    "KERAS_HOME": os.devnull,  # no ~/.keras/keras.json, neither read nor written
    # Without it, TensorFlow takes oneDNN's kernels only on processors with AVX-512 VNNI or newer. Its own, taken
    # elsewhere, are slower, and their sums depend on the sizes of the caches.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
os.environ |= FIXED
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with silence():  # TensorFlow prints its start-up messages before it reads that level
    import keras
    import tensorflow as tf


def fix(seed: int, precision: str) -> tf.distribute.Strategy | None:
    """Seed Python, NumPy and TensorFlow, give each operation one thread and ask for deterministic kernels.

    A kernel that splits a sum among threads gives other bits with another number of them. So an operation has one
    thread, and what runs side by side are whole operations, as many as there are cores. With the `precision`
    "portable", oneDNN uses the same instructions on every processor. Call before TensorFlow computes anything.

    Returns the strategy of several workers if TF_CONFIG names them; None if this process trains alone.
    """
    if precision == "portable":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(cluster.cores())
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")  # it warns of retracing, which members and folds need: one graph each
    keras.utils.set_random_seed(seed)
    return tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else None


def worker(strategy: tf.distribute.Strategy | None) -> int:
    """The number of this worker among those that train together, from 0."""
    return int(strategy.cluster_resolver.task_id) if strategy else 0


def versions() -> str:
    """The libraries that a number may depend on, such as `tensorflow 2.21.0, keras 3.15.0`."""
    return ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "ai-edge-litert"))
