"""Rendering the templates of this folder."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.report import tables


def render(template: str, **known: Any) -> str:
    """The text of `template` (a file of this folder) with `known` filled in; HTML templates are escaped.

    A name that a template uses and nobody gave is an error (`jinja2.UndefinedError`), not a gap.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": tables.percent, "count": tables.count, "cell": tables.cell}
    environment.globals |= {"plural": tables.plural}
    return environment.get_template(template).render(known)
