"""The schema of the `download` block and of an entry's `source`."""

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from stages.common.parameters import Block
from stages.datasets import Part
from stages.download.contents import LARGEST_FILE_BYTES

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
WHOLE_FOLDER = "."  # the one name in `files` of a folder of pictures

# `sha256:…` or `md5:…` of the content, without gzip; `sha256-gz:…` or `md5-gz:…` of the .gz file that publishers state.
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


# Which keys of `source` a kind needs, and which it may have; all have `kind`, `mirrors`, `mirror_variable` and `files`.
NEEDED = {
    "idx": (),
    "npz": ("train",),
    "csv": ("train", "label"),
    "libsvm": ("train",),
    "parquet": ("train", "label", "image"),
    "folder": (),
}
ALLOWED = {
    "idx": ("embedded", "writers", "train", "test", "archive", "transposed", "labels", "ink"),
    "npz": ("test", "test_fraction", "transposed", "labels", "ink"),
    "csv": ("test", "test_fraction", "transposed", "labels", "ink", "shape"),
    "libsvm": ("test", "test_fraction", "transposed", "labels", "ink", "shape"),
    "parquet": ("test", "test_fraction", "labels", "ink", "size", "channels"),
    "folder": ("test_fraction", "labels", "ink", "size", "channels", "group"),
}
COMMON = ("kind", "mirrors", "mirror_variable", "files", "largest_file_bytes")


class Source(Block):
    """`source`: mirrors in the order they are tried, or `embedded` if a package carries the images.

    A file with more than `largest_file_bytes` (1 GiB unless it says otherwise) is refused, compressed or not: set it
    for larger ones. docs/your-data.md explains the kinds and their keys.
    """

    kind: Literal["idx", "npz", "csv", "libsvm", "parquet", "folder"] = "idx"
    embedded: Literal["scikit-learn"] | None = None
    mirrors: list[str] = Field(default_factory=list)
    mirror_variable: str | None = Field(None, validate_default=True)
    files: dict[str, Checksum] = Field(min_length=1)
    largest_file_bytes: int = Field(LARGEST_FILE_BYTES, ge=1)  # of each file, compressed and decompressed
    writers: Writers | None = None
    train: list[str] | None = Field(None, min_length=1)  # idx, npz: of images, of labels; csv, libsvm, parquet: files
    test: list[str] | None = Field(None, min_length=1)
    archive: str | None = None  # the zip that holds the IDX files
    test_fraction: float | None = Field(None, gt=0, lt=1)  # of each class, if the source has no test part
    label: str | int | None = None  # the column of labels; a number, from 0, if the file has no header
    image: str | None = None  # the column of images
    labels: list[str | int] | None = None  # the value that each class has in the source; without it 0, 1, …
    shape: list[int] | None = Field(None, min_length=2, max_length=2)  # of an image: rows, columns
    size: int | None = Field(None, ge=4, le=1024)  # pixels a side that pictures are brought to
    channels: Literal[1, 3] | None = None  # of pictures: grey or colour
    group: str | None = None  # of a folder: the pattern of who made a picture in its path, or a column of labels.csv
    transposed: bool | None = None  # rows and columns of the images are exchanged
    ink: Literal["light", "dark", "mixed"] | None = None  # dark: inverted; mixed: those whose border is light

    @field_validator("mirror_variable")
    @classmethod
    def names_a_variable(cls, variable: str | None, others: ValidationInfo) -> str | None:
        """Refuse an entry that needs a network and names no variable for a local copy."""
        if not variable and not others.data.get("embedded"):
            raise ValueError("must name an environment variable, such as MNIST_MIRROR")
        return variable

    @field_validator("group")
    @classmethod
    def is_a_pattern(cls, pattern: str | None) -> str | None:
        """Refuse what is no regular expression."""
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error})") from None
        return pattern

    @model_validator(mode="after")
    def fits_its_kind(self) -> "Source":
        """Refuse keys that the kind does not use, and files that it does not know."""
        keys = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if missing := [key for key in NEEDED[self.kind] if key not in keys]:
            raise ValueError(f"{missing[0]} is missing: a source of the kind {self.kind} needs it")
        if unused := sorted(keys - {*COMMON, *NEEDED[self.kind], *ALLOWED[self.kind]}):
            raise ValueError(f"{unused[0]} is not for a source of the kind {self.kind}: remove it")
        of_parts = [*(self.train or []), *(self.test or [])]
        wanted = {"idx": [self.archive] if self.archive else of_parts or IDX_FILES, "folder": [WHOLE_FOLDER]}
        if set(self.files) != set(wanted.get(self.kind, self.files if self.kind == "npz" else of_parts)):
            raise ValueError(f"files must name exactly {', '.join(map(str, wanted.get(self.kind, of_parts)))}")
        if self.kind == "npz" and len(self.files) != 1:
            raise ValueError("files must name one file")
        if self.kind in ("idx", "npz") and any(len(names) != 2 for names in (self.train, self.test) if names):
            raise ValueError("train and test must name two each: images, labels")
        if self.kind == "idx" and (bool(self.train) != bool(self.test) or (self.archive and not self.train)):
            raise ValueError("train and test must name the files of both parts")
        if self.test and self.test_fraction:
            raise ValueError("test_fraction is not for a source that has a test part: remove it")
        if self.kind not in ("idx", "folder") and not self.test and not self.test_fraction:
            raise ValueError("test_fraction is missing: without `test`, a part of the images must be set apart")
        return self

    @property
    def verbatim(self) -> bool:
        """Whether the files are already those of data/raw."""
        changed = self.train or self.transposed or self.labels or (self.ink or "light") != "light"
        return self.kind == "idx" and not changed


class Downloaded(Part):
    """What this stage reads of an entry of datasets.yaml."""

    source: Source
