"""The `preprocess` block of params.yaml."""

from pydantic import Field

from stages.common.parameters import Block


class Preprocess(Block):
    validation_fraction: float = Field(gt=0, le=0.5)
    split_by_writer: bool
    seed: int = Field(ge=0, le=1_000_000_000)
