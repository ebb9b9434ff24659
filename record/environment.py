"""metrics/environment.json: what decided the bits of a training, besides code, data and parameters."""

from dataclasses import asdict, dataclass

from record.git import Read
from record.results import json_object
from stages.common.entry import UserError

FILE = "metrics/environment.json"


@dataclass(frozen=True)
class Environment:
    """With what a model was trained."""

    precision: str  # float32, bfloat16 or portable
    processor: str  # the instructions that its kernels used, such as `x86_64 with AVX-512`
    versions: str  # of the libraries, such as `tensorflow 2.21.0, keras 3.15.0`

    @property
    def sentence(self) -> str:
        """Such as `float32; x86_64 with AVX-512; tensorflow 2.21.0, keras 3.15.0`."""
        return "; ".join(asdict(self).values())

    @property
    def kind(self) -> str:
        """What the machine decides, such as `float32, x86_64 with AVX2`; the versions are pinned beside the code."""
        return f"{self.precision}, {self.processor}"

    def only(self, other: "Environment") -> str:
        """What this one has and `other` has not, such as `x86_64 with AVX2, keras 3.14.0`."""
        mine, others = (f"{each.kind}, {each.versions}".split(", ") for each in (self, other))
        return ", ".join(item for item in mine if item not in others) or "nothing else"


def parse(name: str, read: Read) -> Environment:
    """The environment that the files of `read` record. Raises `UserError` if the file is missing or damaged."""
    if (text := read(FILE)) is None:
        raise UserError(f"{FILE} is missing in {name}: `dvc repro` writes it")
    values = json_object(f"{FILE} in {name}", text)
    fields = Environment.__dataclass_fields__
    if missing := [field for field in fields if not isinstance(values.get(field), str)]:
        raise UserError(f"{FILE} in {name} lacks {', '.join(missing)}: `dvc repro` writes it again")
    return Environment(**{field: values[field] for field in fields})


def known(name: str, read: Read) -> Environment | None:
    """As `parse`; None if the file is missing or damaged."""
    try:
        return parse(name, read)
    except UserError:
        return None


def unlike(before: tuple[str, Read], after: tuple[str, Read]) -> list[str]:
    """A sentence if the two sides, each a name and its files, were not trained alike, or if that is not known."""
    try:
        old, new = parse(*before), parse(*after)
    except UserError as error:
        return [f"Whether both sides were trained alike is not known: {error}."]
    if old == new:
        return []
    return [f"Not trained alike, which may move the numbers: {old.only(new)} before; {new.only(old)} after."]
