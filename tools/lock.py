"""`make lock`: pin everything that requirements*.in ask for and bring, for every supported Python at once."""

import subprocess
from pathlib import Path

OPTIONS = "--universal --python-version 3.11 --fork-strategy fewest --no-emit-index-url --annotation-style line --quiet"
HEADER = """\
# Everything that is installed, pinned for Python 3.11 to 3.13; `make lock` makes it anew.
# A line with "-r requirements.in" is a direct dependency, the others are what those bring.
"""


def main() -> None:
    for name, constraint in (("requirements", []), ("requirements-dev", ["-c", "requirements.txt"])):
        compile_command = ["uv", "pip", "compile", *OPTIONS.split(), "--no-header", "--upgrade", *constraint]
        pins = subprocess.run([*compile_command, f"{name}.in"], check=True, capture_output=True, text=True).stdout
        Path(f"{name}.txt").write_text(HEADER + pins)


if __name__ == "__main__":
    main()
