"""Untrusted text, escaped so that it is shown as it is and has no other effect.

A review shows text from the files under review: names of parameters, their values, messages about them.
"""

import re
from string import punctuation

LONGEST = 300  # characters of a piece of text
MARKUP = set(punctuation) - set(" ,.;:()/%+=?'-")  # has a meaning in Markdown in the middle of a line
LINKED = re.compile("GH-|://", re.IGNORECASE)
BEGINNING = re.compile(r"\d+[.)]|[^\w&]")  # has a meaning at the start of a line


def clean(text: str) -> str:
    """`text` on one line, and `visible`."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """`text` with � for characters that are invisible or change the direction of text; cut if it is too long."""
    seen = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 1]}…"


def plain(text: str) -> str:
    """`text` escaped for the middle of a line of Markdown.

    GitHub looks for names, numbers and addresses after it has rendered the Markdown. A zero-width space after `@`, `#`,
    `GH-` and `://` prevents mentions of people and issues.
    """
    mute = {"@": "\u200b", "#": "\u200b"}
    text = LINKED.sub("\\g<0>\u200b", clean(text))
    return "".join(_entity(char) + mute.get(char, "") if char in MARKUP else char for char in text)


def line(text: str) -> str:
    """`text` escaped as a line of Markdown: it begins no list, heading or command."""
    written = plain(text)
    return _entity(written[0]) + written[1:] if BEGINNING.match(written) else written


def code(text: str) -> str:
    """`text` as code in Markdown, also within a table. GitHub looks for no mentions in code."""
    text = clean(text) or " "
    if not set("`|\\") & set(text):
        return f"`{text}`"
    return f"<code>{''.join(_entity(char) if char in punctuation else char for char in text)}</code>"


def fenced(text: str, language: str = "") -> str:
    """`text` as a block of code, the fence longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _entity(char: str) -> str:
    return f"&#{ord(char)};"
