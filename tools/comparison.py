"""`make comparison`: train and score the networks in comparison/params.yaml side by side, as far as something changed.

Arguments go to `dvc repro`, such as `--pull` or `comparison/dvc.yaml:train@fnn`.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from record.children import called
from record.comparison import PIPELINE, visible
from stages.common.entry import UserError, run

SUMMARY = Path("comparison/summary.md")


def main(arguments: Sequence[str]) -> None:
    with visible():
        if called("dvc", "repro", *(arguments or [PIPELINE])):
            raise UserError("the pipeline stopped: the reason is above")
    print(SUMMARY.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    run("comparison", partial(main, sys.argv[1:]))
