"""The catalog datasets.yaml: each stage reads the parts of the chosen entry that it uses, and no others."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, ConfigDict, Field

from stages.common import parameters
from stages.common.entry import UserError
from stages.common.parameters import Block

FILE = Path("datasets.yaml")


class Part(Block):
    """A view of an entry: the fields that a stage names; it must not even look at the others."""

    model_config = ConfigDict(extra="ignore")


P = TypeVar("P", bound=Part)


def _distinct(classes: list[str]) -> list[str]:
    """Refuse two classes of one name: pages and metrics could not tell them apart."""
    if twice := [name for name in classes if classes.count(name) > 1]:
        raise ValueError(f"must have each name once, and has {twice[0]!r} {len(twice)} times")
    return classes


Classes = Annotated[list[str], Field(min_length=2, max_length=256), AfterValidator(_distinct)]
Disputed = list[Annotated[int, Field(ge=0)]]  # indices of test images


class About(Block):
    """What the pages say about the data."""

    title: str
    licence: str
    citation: str
    homepage: str


class Choice(Part):
    """The one parameter of the block `download` that the other stages need."""

    dataset: str


def chosen(schema: type[P]) -> P:
    """The entry that `download.dataset` names, as a `schema`. Raises `UserError` as `entry` does."""
    return entry(parameters.read("download", Choice).dataset, schema)


def entry(name: str, schema: type[P]) -> P:
    """The parts of the entry `name` that `schema` has. Raises `UserError` if it is missing or a part is wrong."""
    catalog = parameters.load(FILE)
    if name not in catalog:
        known = ", ".join(map(str, catalog))
        raise UserError(f"{parameters.FILE}: download.dataset is {name!r}, must be an entry of {FILE}: {known}")
    return parameters.check(name, catalog[name], schema, FILE)
