"""The bytes that a run of the pipeline wrote, and on which machine."""

import hashlib
import os
import platform
from pathlib import Path

from record import declared, environment
from record.git import git, on_disk
from stages.common import parameters


def outputs() -> list[str]:
    return ["dvc.lock", *(path for stage in declared.stages() for path in stage.outputs)]


def files(path: Path) -> dict[str, bytes]:
    """Relative name: content of each file in the folder `path`; if `path` is a file, its name is empty."""
    if not path.is_dir():
        return {"": path.read_bytes()} if path.exists() else {}
    return {item.relative_to(path).as_posix(): item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file()}


def described(path: Path) -> str:
    found = files(path)
    total = hashlib.sha256(b"".join(name.encode() + b"\0" + content for name, content in sorted(found.items())))
    size = sum(map(len, found.values()))
    return f"{len(found)} {'file' if len(found) == 1 else 'files'}, {size:,} bytes, SHA-256 {total.hexdigest()[:16]}"


def made(folder: Path) -> str:
    """What was run in the copy in `folder`, and the checksum of everything that it wrote, as cells of a table."""
    values = parameters.load(folder / parameters.FILE)
    trained = environment.parse("this run", lambda path: on_disk(str(folder / path)))
    total = hashlib.sha256("".join(described(folder / path) for path in outputs()).encode()).hexdigest()
    run_here = f"{values['download']['dataset']}, {values['train']['model']}, {trained.precision}"
    return (
        f"{trained.processor} | {git('describe', '--always', '--dirty').decode().strip()} | {run_here} | {total[:16]}"
    )


def machine() -> str:
    """This machine, such as `AMD EPYC 7763, 2 cores, Linux, glibc 2.36, Python 3.11.7`."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    library = " ".join(filter(None, platform.libc_ver()))
    parts = [processor or platform.machine(), f"{os.cpu_count()} cores", platform.system(), library]
    return ", ".join(filter(None, [*parts, f"Python {platform.python_version()}"]))
