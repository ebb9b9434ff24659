"""The schema of the `download` block and of the data set entries' `about` and `source`."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.common.parameters import Block

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


class About(Block):
    """`datasets.*.about`: what every page that shows the data says about them."""

    title: str
    classes: list[str] = Field(min_length=2, max_length=256)
    licence: str
    citation: str
    homepage: str
    disputed: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)

    @field_validator("classes")
    @classmethod
    def told_apart(cls, classes: list[str]) -> list[str]:
        """Refuse two classes of one name: pages and metrics could not tell them apart."""
        if twice := [name for name in classes if classes.count(name) > 1]:
            raise ValueError(f"must have each name once, and has {twice[0]!r} {len(twice)} times")
        return classes


class Writers(Block):
    """`datasets.*.source.writers`: two QMNIST label files, the training images' first, then the test images'."""

    mirrors: list[str] = Field(default_factory=list)
    mirror_variable: str
    files: dict[str, Checksum] = Field(min_length=2, max_length=2)


class Source(Block):
    """`datasets.*.source`: mirrors in the order they are tried, or `embedded` where a package carries the images."""

    embedded: Literal["scikit-learn"] | None = None
    mirrors: list[str] = Field(default_factory=list)
    mirror_variable: str | None = Field(None, validate_default=True)
    files: dict[str, Checksum]
    writers: Writers | None = None

    @field_validator("mirror_variable")
    @classmethod
    def way_out(cls, variable: str | None, others: ValidationInfo) -> str | None:
        """Refuse an entry that needs a network and offers no way around it."""
        if not variable and not others.data.get("embedded"):
            raise ValueError("must name an environment variable, such as MNIST_MIRROR")
        return variable

    @field_validator("files")
    @classmethod
    def four_files(cls, files: dict[str, str]) -> dict[str, str]:
        """Refuse a table entry that misses one of the four IDX files or adds another."""
        if set(files) != set(IDX_FILES):
            raise ValueError(f"must name exactly {', '.join(IDX_FILES)}")
        return files
