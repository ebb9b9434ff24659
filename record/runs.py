"""DVC's records of runs: what a stage read, and what it wrote then. DVC finds a record by its path and believes it."""

import re
from pathlib import Path

from dvc.utils import dict_sha256
from dvc.utils.serialize import load_yaml

NAME = re.compile(r"[0-9a-f]{64}")
UNHASHED = ["size", "nfiles"]


def damaged(folder: Path) -> list[Path]:
    """The records below `folder`, the `runs` of a cache, that do not have the content which their path promises."""
    return sorted(path for path in folder.glob("*/*/*") if NAME.fullmatch(path.name) and not is_sound(path))


def is_sound(path: Path) -> bool:
    """Whether a record is where DVC puts it: in a folder named by what was read, under a name by all of it."""
    try:
        record = load_yaml(str(path))
        asked = record | {"outs": [out["path"] for out in record["outs"]]}
        names = [dict_sha256(each, exclude=UNHASHED) for each in (asked, record)]
    except Exception:  # in a damaged file may be anything
        return False
    return names == [path.parent.name, path.name]
