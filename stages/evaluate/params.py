"""The `evaluate` block of params.yaml."""

from pydantic import Field

from stages.common.parameters import Block


class Evaluate(Block):
    reliability_bins: int = Field(ge=2, le=100)
    robustness_images: int = Field(ge=100)
