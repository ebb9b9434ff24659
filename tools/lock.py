"""`make lock`: pin the packages of requirements*.in and their dependencies, for every supported Python at once."""

import subprocess
from pathlib import Path

from stages.common.entry import UserError, no_arguments, run

OPTIONS = "--universal --python-version 3.11 --fork-strategy fewest --no-emit-index-url --annotation-style line --quiet"
HEADER = """\
# Everything that is installed, pinned for Python 3.11 to 3.13; `make lock` makes it anew.
# A line with "-r requirements.in" is a direct dependency, the others are what those bring.
"""


def main() -> None:
    before: list[str] = []  # each file's pins hold for the next
    for name in ("requirements", "requirements-serve", "requirements-cluster", "requirements-dev"):
        constraint = [argument for path in before for argument in ("-c", path)]
        compile_command = ["uv", "pip", "compile", *OPTIONS.split(), "--no-header", "--upgrade", *constraint]
        ended = subprocess.run([*compile_command, f"{name}.in"], stdout=subprocess.PIPE, text=True)
        if ended.returncode:
            raise UserError(f"{name}.txt was not changed: the reason is above")
        Path(f"{name}.txt").write_text(HEADER + ended.stdout)
        before.append(f"{name}.txt")


if __name__ == "__main__":
    no_arguments(__doc__)
    run("lock", main)
