"""The `package` block of params.yaml, and what this stage reads of an entry of datasets.yaml."""

from pydantic import Field

from stages.common.parameters import Block
from stages.datasets import Classes, Part


class Package(Block):
    refused_fraction: float = Field(ge=0, le=0.5)


class Title(Part):
    title: str


class Packaged(Part):
    about: Title
    classes: Classes
