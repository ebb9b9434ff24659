"""models/training.json: what determined the bits of a training, besides code, data and parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from record.results import json_object
from stages.common.entry import UserError

FILE = Path("models/training.json")


@dataclass(frozen=True)
class Environment:
    """Where and with what a model was trained."""

    model: str
    parameters: int  # numbers in the model
    precision: str  # float32 or bfloat16
    threads: int
    processor: str
    versions: Mapping[str, str]  # of Python and the libraries

    @property
    def sentence(self) -> str:
        """Such as `bfloat16, 2 threads; x86_64, avx2; python 3.12.1, keras 3.11.3`."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{self.precision}, {threads}; {self.processor}; {versions}"


def read(path: Path = FILE) -> Environment:
    """The environment of the model in the working tree. Raises `UserError` if the file is missing or damaged."""
    if not path.is_file():
        raise UserError(f"{path} is missing: `dvc repro` writes it, `dvc checkout` brings it back")
    values = json_object(str(path), path.read_bytes())
    fields = Environment.__dataclass_fields__
    if missing := [name for name in fields if name not in values]:
        raise UserError(f"{path} lacks {', '.join(missing)}: `dvc repro` writes it again")
    return Environment(**{name: values[name] for name in fields})
