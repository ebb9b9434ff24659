"""The `preprocess` block of params.yaml."""

from typing import Literal

from pydantic import Field

from stages.common.parameters import Block
from stages.datasets import Classes, Part

Prepare = Literal["as is", "fit", "box", "digit"]  # how images come to the network's size: images.py


class Preprocess(Block):
    validation_fraction: float = Field(gt=0, le=0.5)
    split_by_writer: bool
    image_size: int = Field(ge=4, le=1024)
    channels: Literal[1, 3]
    seed: int = Field(ge=0, le=1_000_000_000)


class Preprocessed(Part):
    """What this stage reads of an entry of datasets.yaml."""

    prepare: Prepare
    classes: Classes
