"""Adding an entry to datasets.yaml, the rest of which stays as it is, byte for byte."""

import json
import re
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError
from stages.common.files import replacing


def add(name: str, entry: dict[str, Any]) -> None:
    """Write `entry` at the end of the catalog. Raises `UserError` if the name is taken or it would not be read back."""
    catalog = parameters.load(datasets.FILE)
    if name in catalog:
        raise UserError(f"{datasets.FILE} has an entry {name} of other data: choose another NAME")
    before = datasets.FILE.read_bytes().decode()
    end = "\r\n" if "\r\n" in before else "\n"
    text = f"{before.rstrip()}{end}{end}{as_yaml(name, entry).replace(chr(10), end)}"
    if re.search(
        "[\ud800-\udfff]", json.dumps(entry, ensure_ascii=False)
    ):  # how Python reads a byte of a path that is not UTF-8
        raise UserError(f"{name}: a path or a name is not UTF-8: rename the file or folder")
    try:
        kept = parameters.parse(text) == catalog | {name: entry}
    except (YAMLError, ValueError):
        kept = False
    if not kept:
        raise UserError(f"{datasets.FILE}: nothing can be added at its end: it must end with an entry, without `...`")
    with replacing(datasets.FILE) as path:
        path.write_bytes(text.encode())


def as_yaml(name: str, entry: dict[str, Any]) -> str:
    """The entry as text of datasets.yaml, its lists on one line; a list of lists has a line for each."""

    def laid_out(value: Any) -> Any:
        if isinstance(value, dict):
            return {quoted(key): laid_out(inner) for key, inner in value.items()}
        if isinstance(value, list):
            nested = any(isinstance(inner, list) for inner in value)
            value = CommentedSeq(map(laid_out, value))
            if not nested:
                value.fa.set_flow_style()
        return quoted(value)

    def quoted(value: Any) -> Any:
        # On one line, a colon or a question mark would mean something; `no` would in other programs.
        plain = not isinstance(value, str) or re.fullmatch(r"[\w./ -]*", value)
        return value if plain and not parameters.AMBIGUOUS.fullmatch(str(value)) else DoubleQuotedScalarString(value)

    writer = YAML()
    writer.width, writer.allow_unicode = 120, True
    text = StringIO()
    writer.dump({quoted(name): laid_out(entry)}, text)
    return text.getvalue()
