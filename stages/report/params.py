"""The block `report` of params.yaml."""

from pydantic import Field

from stages.common.parameters import Block


class Report(Block):
    """What the page shows."""

    gallery_images: int = Field(ge=0, le=500)
