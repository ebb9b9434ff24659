"""`make check`: params.yaml, datasets.yaml and comparison/params.yaml: types, ranges, misspelt and unused keys."""

from record import parameters
from stages.common.entry import no_arguments, run


def main() -> None:
    parameters.check()
    print("check: the parameters are sound", flush=True)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("check", main)
