"""YAML as DVC writes it, and what reading it (`parameters.parse`) may raise if a commit is damaged."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

UNREADABLE = (YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError)  # of a file's content


def dump(values: Any, one_line: bool = False) -> str:
    """`values` as YAML, keys in the order given; on one line `[a, b]` and `{c: 1}`."""
    writer: Any = YAML(typ="safe", pure=True)  # its annotations are those of its defaults
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = one_line, False
    writer.width, writer.allow_unicode = float("inf"), True
    text = StringIO()
    writer.dump(values, text)
    return text.getvalue()


def line_of(error: Exception) -> str:
    """Where a YAML file is wrong, such as ` (line 3)`; empty if that is not known."""
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark else ""
