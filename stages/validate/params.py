"""What `validate` reads: its own block of params.yaml, and its parts of the data set's entry in datasets.yaml."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from stages.common.parameters import Block
from stages.datasets import About, Classes, Part


def _ordered(pair: list[float]) -> list[float]:
    if pair[0] > pair[1]:
        raise ValueError("must be [smallest, largest], the smallest first")
    return pair


Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
Fraction = Annotated[float, Field(ge=0, le=1)]
GRID = 4  # cells a side of a reference
Portrait = Annotated[list[Annotated[float, Field(ge=0, le=255)]], Field(min_length=GRID**2 + 1, max_length=GRID**2 + 1)]


class Validate(Block):
    """The block `validate`."""

    sample_images: int = Field(ge=1, le=30)
    centroid_images: int = Field(ge=100)


class Reference(Block):
    """What each class should look like, measured from good images, and how far a class may be from it."""

    distance: float = Field(ge=0, le=255)
    roughness: float = Field(ge=0)
    classes: list[Portrait]


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
    class_gap: Fraction | None = None
    pixel_gap: float | None = Field(default=None, ge=0)
    group_gap: float | None = Field(default=None, ge=0)
    reference: Reference | None = None


class Validated(Part):
    """What this stage reads of an entry of datasets.yaml."""

    about: About
    classes: Classes
    expect: Expect

    @model_validator(mode="after")
    def _same_classes(self) -> "Validated":
        if (known := self.expect.reference) and len(known.classes) != len(self.classes):
            raise ValueError(
                f"expect.reference.classes has {len(known.classes)} lists, must have one for each of the"
                f" {len(self.classes)} classes: `make measure` prints them"
            )
        return self
