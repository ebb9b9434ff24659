"""What `validate` may be told: its own block of params.yaml, and the `expect` part of a data set."""

from typing import Annotated

from pydantic import AfterValidator, Field

from stages.common.parameters import Block


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
    """The bounds a data set is held to: `datasets.<name>.expect`."""

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
