"""The schema of the `download` block and of an entry's `source`."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.common.parameters import Block
from stages.datasets import Part

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# `sha256:…` of the decompressed content, or `sha256-gz:…` / `md5-gz:…` of the .gz file as its publisher states it.
Checksum = Annotated[str, Field(pattern=r"^(sha256(-gz)?:[0-9a-f]{64}|md5(-gz)?:[0-9a-f]{32})$")]


class Download(Block):
    """The `download` block."""

    dataset: str
    timeout_seconds: int = Field(ge=2, le=60)
    attempts: int = Field(ge=1, le=10)


class Writers(Block):
    """`source.writers`: two QMNIST label files, of the training images and of the test images, in this order."""

    mirrors: list[str] = Field(default_factory=list)
    mirror_variable: str
    files: dict[str, Checksum] = Field(min_length=2, max_length=2)


class Source(Block):
    """`source`: mirrors in the order they are tried, or `embedded` if a package carries the images."""

    embedded: Literal["scikit-learn"] | None = None
    mirrors: list[str] = Field(default_factory=list)
    mirror_variable: str | None = Field(None, validate_default=True)
    files: dict[str, Checksum]
    writers: Writers | None = None

    @field_validator("mirror_variable")
    @classmethod
    def names_a_variable(cls, variable: str | None, others: ValidationInfo) -> str | None:
        """Refuse an entry that needs a network and names no variable for a local copy."""
        if not variable and not others.data.get("embedded"):
            raise ValueError("must name an environment variable, such as MNIST_MIRROR")
        return variable

    @field_validator("files")
    @classmethod
    def has_the_four_files(cls, files: dict[str, str]) -> dict[str, str]:
        """Refuse an entry that misses one of the four IDX files or adds another."""
        if set(files) != set(IDX_FILES):
            raise ValueError(f"must name exactly {', '.join(IDX_FILES)}")
        return files


class Downloaded(Part):
    """What this stage reads of an entry of datasets.yaml."""

    source: Source
