"""The page on which people try the model, as one file that needs nothing else."""

import json
import re
from pathlib import Path
from typing import Any

from stages.pages.templates import environment

FOLDER = Path(__file__).parent
COMPUTING = ["network.js", "planes.js", "prepare.js"]
SHOWING = ["paint.js", "answer.js", "page.js"]


def render(package: dict[str, Any], network: str | None) -> str:
    """The page as HTML, with its styles and scripts inside.

    With `network`, the JSON text of the model, it computes in the browser; with None it asks the server that it came
    from. `package` is what models/package.json holds: title, classes, shape, threshold and, if known, refused and
    commit. If it names `unsupported` operations, the page has no model and says why.
    """
    scripts = [*COMPUTING, *SHOWING] if network is not None else SHOWING
    texts = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ["page.css", *scripts]}
    return (
        environment(FOLDER)
        .get_template("page.html.j2")
        .render(
            package=package,
            package_json=json_in_html(json.dumps(package, ensure_ascii=False)),
            network_json=None if network is None else json_in_html(network),
            css=texts["page.css"],
            scripts=[script_in_html(texts[name]) for name in scripts],
        )
    )


def json_in_html(text: str) -> str:
    """JSON that can stand in a script element: no `<` could end it."""
    return text.replace("<", "\\u003c")


def script_in_html(text: str) -> str:
    """JavaScript that can stand in a script element, provided that `</script` and `<!--` are only in its strings."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", text, flags=re.IGNORECASE)
