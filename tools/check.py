"""`make check`: params.yaml, datasets.yaml and comparison/params.yaml: types, ranges, misspelt and unused keys."""

import sys

from record import parameters, readable
from record.git import stray_note
from stages.common.entry import no_arguments, run


def main() -> None:
    parameters.check()
    for note in filter(None, [stray_note(), *readable.problems()]):
        print(f"check: {note}", file=sys.stderr)
    print("check: the parameters are sound", flush=True)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("check", main)
