"""The block `report` of params.yaml, and what this stage reads of an entry of datasets.yaml."""

from pydantic import Field

from stages.common.parameters import Block
from stages.datasets import About, Classes, Disputed, Part


class Report(Block):
    """What the page shows."""

    gallery_images: int = Field(ge=0, le=500)


class Reported(Part):
    """What this stage reads of an entry of datasets.yaml."""

    about: About
    classes: Classes
    disputed: Disputed
