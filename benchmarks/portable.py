"""Whether the precision `portable` gives the same bytes on processors that this machine can pose as.

    python -m benchmarks.portable                # the embedded digits, a few epochs: one row for each processor
    python -m benchmarks.portable --precision float32

Each row is a run of the whole pipeline in a copy of the working tree, with a checksum of everything that it wrote. The
processors are made by changing what the instruction CPUID answers, which decides the kernels and block sizes that
TensorFlow, LiteRT, NumPy and OpenBLAS choose. That takes Linux, a C compiler, and a processor or virtual machine that
lets CPUID be intercepted: `grep cpuid_fault /proc/cpuinfo`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from record.copies import copy_repository
from record.identity import made
from stages.common.entry import UserError, run

SOURCE = Path(__file__).with_name("another_processor.c")
POSES = {  # what is pretended: environment variables
    "this processor": {},
    "one core": {"CORES": "1"},
    "AVX2 only": {"POSE": "avx2"},
    "AVX2 only, small caches": {"POSE": "avx2", "CACHES": "32,256,4096"},
    "AVX2 only, large caches": {"POSE": "avx2", "CACHES": "48,2048,307200"},
    "AVX2 only, no third cache": {"POSE": "avx2", "CACHES": "32,1024,0"},
    "AVX2 only, caches hidden": {"POSE": "avx2 hidden"},
    "AMD with AVX2": {"POSE": "avx2 amd", "CACHES": "32,512,32768"},
    "AMD with these instructions": {"POSE": "amd", "CACHES": "32,1024,32768"},
    "OpenBLAS for an old processor": {"OPENBLAS_CORETYPE": "Nehalem"},
    "a C library without AVX2 and FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"},
}


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.portable",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--precision", default="portable", help="of the training; portable by default")
    options.add_argument("--epochs", type=int, default=4)
    chosen = options.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        library = compiled(folder)
        print(f"| {'pretended':32} | seconds | instructions | commit | run | SHA-256 of all outputs |")
        for number, (pose, variables) in enumerate(POSES.items()):
            copy = folder / str(number)
            train = {"precision": chosen.precision, "epochs": chosen.epochs}
            copy_repository(copy, {"download": {"dataset": "digits"}, "train": train})
            start = time.perf_counter()
            pipeline(copy, library, variables)
            print(f"| {pose:32} | {time.perf_counter() - start:7.1f} | {made(copy)} |", flush=True)


def compiled(folder: Path) -> Path:
    """The library to preload. Raises `UserError` if this machine has no compiler or does not intercept CPUID."""
    if " cpuid_fault" not in Path("/proc/cpuinfo").read_text():
        raise UserError("this machine cannot pose as another: no cpuid_fault in /proc/cpuinfo")
    library = folder / "another_processor.so"
    try:
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise UserError("no C compiler that works: install one that is called cc") from None
    return library


def pipeline(folder: Path, library: Path, variables: dict[str, str]) -> None:
    """Run the pipeline in `folder`, without its cache of earlier runs, on a processor that `variables` describe."""
    posing = {"LD_PRELOAD": str(library)} if "POSE" in variables else {}
    cores = os.sched_getaffinity(0)
    ended = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache", "dvc.yaml"],
        cwd=folder,
        env=os.environ | posing | variables,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(cores)} if "CORES" in variables else cores),
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise UserError(f"the pipeline stopped\n{ended.stderr.strip()}")


if __name__ == "__main__":
    run("portable", main)
