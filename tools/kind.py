"""`make kind`: print the kind of this machine's processor, as far as it decides the bits of a training.

In a job of GitHub it becomes the step's output `kind` too: the caches of different kinds are kept apart.
"""

import os
from pathlib import Path

from stages.common.entry import no_arguments, run
from stages.train import processor


def main() -> None:
    kind = processor.kind("bfloat16")  # of all precisions the one that tells most kinds apart
    print(kind)
    if output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as lines:
            lines.write(f"kind={'-'.join(kind.split())}\n")


if __name__ == "__main__":
    no_arguments(__doc__)
    run("kind", main)
