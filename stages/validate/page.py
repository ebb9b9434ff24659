"""The data report as one HTML page, from the template beside this file."""

from pathlib import Path
from typing import Any

from stages.pages.templates import environment


def render(about: dict[str, Any], failures: list[str], **contents: Any) -> str:
    """The page about the data set `about`: its `failures` and `contents`.

    If the files could not be read, there are no contents, and the page shows the failures alone.
    """
    template = environment(Path(__file__).parent).get_template("page.html.j2")
    return template.render({"about": about, "failures": failures, "outcomes": [], **contents})
