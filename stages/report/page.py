"""Rendering the templates of this folder."""

from pathlib import Path
from typing import Any

from stages.pages.templates import environment
from stages.report import tables


def render(template: str, **known: Any) -> str:
    """The text of `template`, a file of this folder, with `known` filled in."""
    templates = environment(Path(__file__).parent)
    templates.filters |= {"percent": tables.percent, "count": tables.count, "size": tables.size, "cell": tables.cell}
    templates.globals |= {"plural": tables.plural}
    return templates.get_template(template).render(known)
