"""What the stage `package` says of a model."""

from pathlib import Path

from pydantic import Field, ValidationError

from stages.common.entry import UserError
from stages.datasets import Part


class Packaged(Part):
    """What is read of package.json."""

    title: str
    classes: list[str] = Field(min_length=2)
    shape: list[int] = Field(min_length=3, max_length=3)
    threshold: float = Field(ge=0, le=1)
    refused: float = Field(ge=0, le=1)


def packaged(folder: Path) -> Packaged:
    """What package.json in `folder` says of the model. Raises `UserError` if it is missing or damaged."""
    path = folder / "package.json"
    try:
        return Packaged.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: `dvc repro` or `dvc checkout` makes it") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "its text"
        raise UserError(f"{path} cannot be read ({where}): `dvc checkout` or `dvc repro` mends it") from None
