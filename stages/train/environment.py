"""What decides the bits of a training besides code, data and parameters: precision, processor, versions."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from stages.common.entry import UserError
from stages.quiet import silence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Without it, TensorFlow takes oneDNN's kernels only on processors with AVX-512 VNNI or newer. Its own, taken
# elsewhere, are slower, and their sums depend on the sizes of the caches.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
with silence():  # TensorFlow prints its start-up messages before it reads that level
    import keras
    import tensorflow as tf

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}  # without them bfloat16 is emulated, slower than float32
INSTRUCTIONS = [("AMX", "amx_bf16"), ("AVX-512 BF16", "avx512_bf16"), ("AVX-512", "avx512f"), ("AVX2", "avx2")]


def fix(seed: int, precision: str) -> tf.distribute.Strategy:
    """Seed Python, NumPy and TensorFlow, give each operation one thread and ask for deterministic kernels.

    A kernel that splits a sum among threads gives other bits with another number of them. So an operation has one
    thread, and what runs side by side are whole operations, as many as there are cores. With the `precision`
    "portable", oneDNN uses the same instructions on every processor. Call before TensorFlow computes anything.
    Returns the strategy to train with: several processes if TF_CONFIG names them, else this one.
    """
    for name in [name for name in os.environ if name.startswith(("ONEDNN_", "DNNL_"))]:
        del os.environ[name]  # settings of oneDNN that nothing would record
    if precision == "portable":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(cores())
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")  # it warns of retracing, which members and folds need: one graph each
    keras.utils.set_random_seed(seed)
    return tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else tf.distribute.get_strategy()


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_helper(strategy: tf.distribute.Strategy) -> bool:
    """Whether this is one of several processes and not the first."""
    return strategy.cluster_resolver is not None and strategy.cluster_resolver.task_id > 0


def choose_precision(asked: str) -> str:
    """The precision asked for; for `auto`, `float32` or `bfloat16`: the one that is faster on this processor.

    Raises `UserError` if this is an x86-64 processor without the instructions of `portable`.
    """
    flags = processor_flags()
    if asked == "portable" and flags and platform.machine() == "x86_64" and "avx2" not in flags:
        raise UserError("train.precision is portable, which needs AVX2, and this processor lacks it: take float32")
    if asked != "auto":
        return asked
    return "bfloat16" if BFLOAT16_FLAGS & flags else "float32"


def processor_flags() -> set[str]:
    """The processor's features as Linux names them; empty on other systems."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def processor(precision: str) -> str:
    """The instructions that decide the bits of a training in this precision, such as `x86_64 with AVX-512`."""
    machine = {"AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    if precision == "portable":
        return f"{machine} with AVX2" if machine == "x86_64" else machine
    flags = processor_flags()
    usable = INSTRUCTIONS if precision == "bfloat16" else INSTRUCTIONS[2:]
    return machine + next((f" with {name}" for name, flag in usable if flag in flags), "")


def versions() -> str:
    """The libraries that a number may depend on, such as `tensorflow 2.21.0, keras 3.15.0`."""
    return ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "ai-edge-litert"))
