"""The Jinja environment of every page."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape


def environment(folder: Path) -> Environment:
    """Templates of `folder`, and `base.html.j2` of this package for them to extend.

    Values are escaped in templates named `*.html.j2`. A name that a template uses and nobody gave is an error
    (`jinja2.UndefinedError`), not a gap. `{% if x is web_address %}` asks whether `x` may become a link.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent], encoding="utf-8"),
        autoescape=select_autoescape(["html.j2"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["web_address"] = is_web_address
    return environment


def is_web_address(address: object) -> bool:
    """Whether `address` is text that starts with http:// or https:// and has no character that could end it early."""
    return isinstance(address, str) and address.startswith(("http://", "https://")) and not set(address) & set(' <>"\n')
