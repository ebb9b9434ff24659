"""Addresses of mirrors: how a file is asked for, and how an address is printed."""

import re

from stages.common.entry import printable

LONGEST = 300  # characters of an address that are printed
AS_THEY_ARE = (".bz2", ".csv", ".gz", ".npz", ".parquet", ".zip")


def is_url(mirror: str) -> bool:
    """Whether `mirror` is fetched from; without a scheme it is a folder."""
    return "://" in mirror


def address(mirror: str, name: str) -> str:
    """Where `mirror` holds the file `name`; the mirror's query stays behind the file name."""
    folder, query = _split(mirror)
    return f"{folder}{'' if folder.endswith('/') else '/'}{stored(name)}{query}"


def stored(name: str) -> str:
    """How the file `name` is called on a mirror: IDX files and tables of writers are compressed, others as they are."""
    return name if name.endswith(AS_THEY_ARE) else f"{name}.gz"


def masked(mirror: str) -> str:
    """`mirror` as it may be printed: `***` stands for user and password and for every value of the query.

    An invalid address is masked too: it may hold a password with a slash in it, or only one slash behind the scheme.
    """
    user = r"(?<=://)([^/]*|[^/:]*:.*)@" if is_url(mirror) else r"^(\w+:)?[/\\]*[^/\\:]*:.*@"
    shown = re.sub(user, "***@", mirror, flags=re.DOTALL)
    if is_url(mirror):
        folder, query = _split(shown)
        shown = folder + query[:1] + re.sub(r"([^&;=]*=)?[^&;]+", r"\1***", query[1:])
    return printable(_short(re.sub(r"((?:[?&;#]|%3F|%26|%3B)[^=&;/]*=)[^&;/]+", r"\1***", shown)))


def unspoken(text: str) -> str:
    """`text` on one line, with every address in it `masked`: messages of other programs may hold one."""
    return re.sub(r"\w+://[^\s'\"]+", lambda found: masked(found[0]), " ".join(text.split()))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _split(mirror: str) -> tuple[str, str]:
    """The part before the query, and the query with its question mark (or the fragment with its hash)."""
    end = re.search(r"[?#]|$", mirror)
    at = end.start() if end and is_url(mirror) else len(mirror)
    return mirror[:at], mirror[at:]
