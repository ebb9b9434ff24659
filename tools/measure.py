"""`make measure`: print what `expect` may say about the classes of the data in data/raw, as datasets.yaml has it.

Once you have looked at the data report and the images are as they should be, write it into the entry.
"""

from pathlib import Path

from catalog.entries import as_yaml
from catalog.measure import class_bounds
from stages import datasets
from stages.common.entry import no_arguments, run
from stages.datasets import Classes, Part
from stages.validate import raw

RAW = Path("data/raw")


class Size(Part):
    """Of `expect`, what is read while the rest is renewed."""

    image_size: int


class Measured(Part):
    """What this tool reads of an entry of datasets.yaml."""

    classes: Classes
    expect: Size


def main() -> None:
    name = raw.read_description(RAW).name
    dataset = datasets.entry(name, Measured)
    splits = {key: raw.open_split(RAW, prefix, dataset.expect.image_size) for key, prefix in raw.SPLITS.items()}
    values, odd = class_bounds(splits, dataset.classes)
    print(as_yaml(name, {"expect": values}) + "".join(f"# {line}\n" for line in odd), end="")


if __name__ == "__main__":
    no_arguments(__doc__)
    run("measure", main)
