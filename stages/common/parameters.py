"""Parameters: each stage reads its own block of params.yaml, checked before anything else is read."""

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from stages.common.entry import UserError

FILE = Path("params.yaml")
DEEPEST = 100  # levels of nested YAML
# What YAML 1.1, which many programs still speak, takes for another value than YAML 1.2: octal and binary numbers,
# numbers with underscores or to the base 60, truth values. (1e-05 is one too, but DVC writes numbers like that.)
AMBIGUOUS = re.compile(
    r"[-+]?0[0-9_]+|0o[0-7]+|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F]*_[0-9a-fA-F_]*|[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?"
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
)
LONGEST = 200  # characters of a wrong value that a message repeats


class Block(BaseModel):
    """A block of params.yaml: unknown keys are refused, values are never converted or changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


B = TypeVar("B", bound=Block)


def read(block: str, schema: type[B], path: Path = FILE) -> B:
    """The block at the dotted path `block` (`train`, `models.fnn`) as a `schema`.

    Raises `UserError` with one line for each problem: file, key, value, what it must be.
    """
    values: Any = load(path)
    for key in block.split("."):
        if not isinstance(values, dict) or key not in values:
            raise UserError(f"{path}: {block} is missing")
        values = values[key]
    return check(block, values, schema, path)


def load(path: Path = FILE) -> dict[str, Any]:
    """The whole file as plain Python values.

    Raises `UserError` if it is missing, is not UTF-8, is not YAML, has no blocks, or holds a value that another reader
    of YAML would take for something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = parse(text)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run from the repository's root") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 from byte {error.start} on: save it as UTF-8") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", error)).split(" with value")[0]  # of a key that is there twice
        raise UserError(f"{path}{line}: not valid YAML ({problem})") from None
    except ValueError as error:  # a date that does not exist, nested too deeply
        raise UserError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no blocks: it must be a table of names and values")
    for key, value, number in _ambiguous(YAML(typ="safe").compose(text), "", set()):
        raise UserError(
            f"{path} line {number}: {key} is {value}, which other programs read differently: write text in quotes, a"
            " truth value as true or false, and a number in plain decimals"
        )
    return values


def _ambiguous(node: Any, key: str, seen: set[int]) -> Iterator[tuple[str, str, int]]:
    """Key, text and line of each unquoted value in `node`, the value of `key`, that YAML 1.1 and 1.2 read differently.

    A node is visited once: aliases of aliases could be very many.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, ScalarNode):
        if not node.style and AMBIGUOUS.fullmatch(node.value):
            yield key, node.value, node.start_mark.line + 1
    elif isinstance(node, SequenceNode):
        for number, each in enumerate(node.value):
            yield from _ambiguous(each, f"{key}.{number}", seen)
    elif isinstance(node, MappingNode):
        for name, each in node.value:
            yield from _ambiguous(name, f"a key of {key}" if key else "a key", seen)
            yield from _ambiguous(each, f"{key}.{name.value}".lstrip("."), seen)


def parse(text: str | bytes) -> Any:
    """The values in `text`, in YAML 1.2 as DVC reads it: 1e-05 is a number, `yes` and `12:30` are text.

    Raises `YAMLError` if it is no YAML or a key is there twice, `ValueError` if it is nested too deeply.
    """
    depth = 0
    for event in YAML(typ="safe").parse(text):  # unlike loading, this does not recurse: C code would overflow the stack
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")
    return YAML(typ="safe").load(text)


def check(block: str, values: object, schema: type[B], path: Path = FILE) -> B:
    """`values` as a `schema`. Raises `UserError` that names each bad key as `path: block.key is …`."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        lines = [f"{path}: {_sentence(_key(block, values, problem), problem)}" for problem in error.errors()]
        raise UserError("\n".join(lines)) from None


def _key(block: str, values: Any, problem: Any) -> str:
    """The dotted key of the problem, without the level that pydantic adds for an option chosen by its name."""
    keys = [block]
    for part in problem["loc"]:
        if isinstance(values, dict) and part not in values and part == values.get("name"):
            continue
        keys.append(str(part))
        values = values.get(part) if isinstance(values, dict) else None
    return ".".join(keys)


def _sentence(key: str, problem: Any) -> str:
    kind, message, value = problem["type"], problem["msg"].removeprefix("Value error, "), problem["input"]
    # Python refuses to write very long numbers in decimals.
    shown = hex(value) if isinstance(value, int) and value.bit_length() > 4 * LONGEST else repr(value)
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]}… ({len(shown):,} characters)"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        return f"{key} is unknown: misspelt, or not a parameter of this block"
    if kind == "union_tag_not_found":
        return f"{key}.name is missing: it chooses the option"
    if kind == "union_tag_invalid":
        return f"{key}.name is {problem['ctx']['tag']!r}, must be one of {problem['ctx']['expected_tags']}"
    if kind == "value_error" and isinstance(value, dict | Block):
        return f"{key}.{message}"  # keys that must fit together: the message names them
    if kind in ("float_type", "int_type") and (number := _number(value)):
        return f"{key} is {shown}, which is text: write {number} without quotes"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{key} is {shown}, must be keys and values, such as {{key: value}}"
    if kind == "string_pattern_mismatch":
        return f"{key} is {shown}, must match the pattern {problem['ctx']['pattern']}"
    message = message.removeprefix("Input should be ")
    return f"{key} is {shown}, {message if message.startswith(('must', 'needs')) else f'must be {message}'}"


def _number(text: object) -> str:
    """The number that `text` means, in the usual form; empty if it means none."""
    try:
        number = Decimal(text) if isinstance(text, str) else Decimal("nan")
    except InvalidOperation:
        return ""
    return f"{number:f}" if number.is_finite() else ""
