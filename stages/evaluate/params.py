"""The `evaluate` block of params.yaml, and what this stage reads of an entry of datasets.yaml."""

from pydantic import Field

from stages.common.parameters import Block
from stages.datasets import Classes, Disputed, Part


class Evaluate(Block):
    reliability_bins: int = Field(ge=2, le=100)
    robustness_images: int = Field(ge=100)


class Scored(Part):
    classes: Classes
    disputed: Disputed
