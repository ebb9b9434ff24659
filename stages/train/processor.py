"""The processor, as far as it decides the speed and the bits of a training; without TensorFlow, which takes seconds."""

import platform
from functools import cache
from pathlib import Path

from stages.common.entry import UserError

BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}  # without them bfloat16 is emulated, slower than float32
INSTRUCTIONS = [("AMX", "amx_bf16"), ("AVX-512 BF16", "avx512_bf16"), ("AVX-512", "avx512f"), ("AVX2", "avx2")]


def choose_precision(asked: str) -> str:
    """The precision asked for; for `auto`, `float32` or `bfloat16`: the one that is faster on this processor.

    Raises `UserError` if this is an x86-64 processor without the instructions of `portable`.
    """
    known = flags()
    if asked == "portable" and known and platform.machine() == "x86_64" and "avx2" not in known:
        raise UserError("train.precision is portable, which needs AVX2, and this processor lacks it: take float32")
    if asked != "auto":
        return asked
    return "bfloat16" if BFLOAT16_FLAGS & known else "float32"


@cache
def flags() -> set[str]:
    """The processor's features as Linux names them; empty on other systems."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def kind(precision: str) -> str:
    """The instructions that decide the bits of a training in this precision, such as `x86_64 with AVX-512`."""
    machine = {"AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    if precision == "portable":
        return f"{machine} with AVX2" if machine == "x86_64" else machine
    known = flags()
    usable = INSTRUCTIONS if precision == "bfloat16" else INSTRUCTIONS[2:]
    return machine + next((f" with {name}" for name, flag in usable if flag in known), "")
