"""The data report as one HTML page, from the template beside this file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader


def render(about: dict[str, Any], failures: list[str], **contents: Any) -> str:
    """The page about the data set `about`; without `contents`, where no table could be made, its failures alone."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(about=about, failures=failures, **contents)
