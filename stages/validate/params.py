"""What `validate` reads: its own block of params.yaml, and its parts of the data set's entry in datasets.yaml."""

from typing import Annotated

from pydantic import AfterValidator, Field

from stages.common.parameters import Block
from stages.datasets import About, Classes, Part


def _ordered(pair: list[float]) -> list[float]:
    if pair[0] > pair[1]:
        raise ValueError("must be [smallest, largest], the smallest first")
    return pair


Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Validate(Block):
    """The block `validate`."""

    sample_images: int = Field(ge=1, le=30)
    centroid_images: int = Field(ge=100)


class Expect(Block):
    """The bounds of a data set: `expect` of its entry in datasets.yaml."""

    image_size: int = Field(ge=4, le=1024)
    train_images: int = Field(ge=1)
    test_images: int = Field(ge=1)
    class_fraction: Range
    duplicate_fraction: Fraction
    shared_images: int = Field(ge=0)
    ink_fraction: Range
    border_intensity: float = Field(ge=0, le=255)
    distinct_values: int = Field(ge=1, le=256)
    largest_value: int = Field(ge=1, le=255)
    centre_of_mass: Range
    box_size: Range
    split_shift: Fraction
    centroid_accuracy: Fraction


class Validated(Part):
    """What this stage reads of an entry of datasets.yaml."""

    about: About
    classes: Classes
    expect: Expect
