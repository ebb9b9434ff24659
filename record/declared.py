"""What dvc.yaml declares, as DVC understands it: templates filled in, a matrix expanded.

`python -m record.declared comparison/dvc.yaml` prints it as JSON, for programs that do not import DVC.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.repo import Repo


@dataclass(frozen=True)
class Declared:
    """A stage; every path is relative to the repository's root, where its command runs."""

    name: str
    command: str
    dependencies: list[str]
    outputs: list[str]
    parameters: dict[str, list[str]]  # by file, dotted keys


def stages(file: str = "dvc.yaml") -> list[Declared]:
    """The stages of `file` in the repository of the working directory, in the order of the pipeline."""
    with Repo() as repo:
        root = Path(repo.root_dir)

        def path(item: Any) -> str:
            return Path(item.fs_path).relative_to(root).as_posix()

        return [
            Declared(
                stage.name,
                stage.cmd,
                sorted(path(item) for item in stage.deps if not isinstance(item, ParamsDependency)),
                sorted(path(item) for item in stage.outs),
                {path(item): list(item.params) for item in stage.params},
            )
            for stage in repo.index.stages
            if Path(stage.path).relative_to(root).as_posix() == file
        ]


if __name__ == "__main__":
    print(json.dumps([asdict(stage) for stage in stages(*sys.argv[1:])]))
