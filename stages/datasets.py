"""The catalog datasets.yaml: each stage reads the parts of the chosen entry that it uses, and no others."""

import re
import unicodedata
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, ConfigDict, Field

from stages.common import parameters
from stages.common.entry import UserError
from stages.common.parameters import Block

FILE = Path("datasets.yaml")
LONGEST_NAME = 100  # characters of a class
# Categories of Unicode that a page or a terminal obeys or does not show: control characters, marks of direction, …
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


class Part(Block):
    """A view of an entry: the fields that a stage names; it must not even look at the others."""

    model_config = ConfigDict(extra="ignore")


P = TypeVar("P", bound=Part)


def visible(text: str) -> str:
    """Refuse a text that would not look like what it is, on a page or in a terminal."""
    # Many scripts, and emoji, need a joiner between two letters.
    plain = re.sub(r"(?<=[^\W\d_]|[^\w\s])[\u200c\u200d]", "", text)
    if unseen := [each for each in plain if unicodedata.category(each) in UNSEEN and each not in "\n\t"]:
        raise ValueError(f"must be text that can be seen, and holds the character U+{ord(unseen[0]):04X}")
    return text


def one_line(text: str) -> str:
    if {"\n", "\t"} & {*text}:
        raise ValueError("must be one line without tabs")
    return text


def short(text: str) -> str:
    if text != text.strip():
        raise ValueError("must not begin or end with a blank")
    if not 0 < len(text) <= LONGEST_NAME:
        raise ValueError(f"must have 1 to {LONGEST_NAME} characters, and has {len(text)}")
    return text


def _distinct(classes: list[str]) -> list[str]:
    """Refuse two classes of one name: pages and metrics could not tell them apart."""
    if twice := [name for name in classes if classes.count(name) > 1]:
        raise ValueError(f"must have each name once, and has {twice[0]!r} {len(twice)} times")
    return classes


Text = Annotated[str, AfterValidator(visible)]
Line = Annotated[Text, AfterValidator(one_line)]
Name = Annotated[Line, AfterValidator(short)]
Classes = Annotated[list[Name], Field(min_length=2, max_length=256), AfterValidator(_distinct)]
Disputed = list[Annotated[int, Field(ge=0)]]  # indices of test images


class About(Block):
    """What the pages say about the data."""

    title: Line
    licence: Line
    citation: Text
    homepage: Line


class Named(Part):
    """What the pages show of an entry, as far as it is there."""

    about: dict[str, Text] = Field(default_factory=dict)
    classes: Classes | None = None


class Choice(Part):
    """The one parameter of the block `download` that the other stages need."""

    dataset: str


def chosen(schema: type[P]) -> P:
    """The entry that `download.dataset` names, as a `schema`. Raises `UserError` as `entry` does."""
    return entry(parameters.read("download", Choice).dataset, schema)


def entry(name: str, schema: type[P]) -> P:
    """The parts of the entry `name` that `schema` has. Raises `UserError` if it is missing or a part is wrong.

    Names that cannot be shown are refused by every stage, so that none works in vain before the pages of the last one.
    """
    catalog = parameters.load(FILE)
    if name not in catalog:
        known = ", ".join(map(str, catalog))
        raise UserError(f"{parameters.FILE}: download.dataset is {name!r}, must be an entry of {FILE}: {known}")
    parameters.check(name, catalog[name], Named, FILE)
    return parameters.check(name, catalog[name], schema, FILE)
