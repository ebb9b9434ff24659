"""Calls of Git, and files read from a commit or from the working tree. Neither DVC's cache nor a checkout is needed."""

import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

from stages.common.entry import UserError

WORKING_TREE = "the working tree"

Read = Callable[[str], bytes | None]  # the content of a path; None if there is no such file


def git(*arguments: str, text: bytes = b"") -> bytes:
    """What Git prints; `text` is its standard input. Raises `UserError` with Git's reason if it fails."""
    ended = _git(*arguments, text=text)
    if ended.returncode:
        raise UserError(_reason(ended.stderr))
    return ended.stdout


def strays(*paths: str) -> list[str]:
    """Files below `paths` that Git does not know and DVC counts: a stage that depends on their folder is stale."""
    known = ("--exclude-standard", "--exclude-from=.dvcignore") if Path(".dvcignore").exists() else ()
    return [name for name in os.fsdecode(git("ls-files", "-z", "-o", *known, "--", *paths)).split("\0") if name]


def stray_note() -> str:
    """A line about such files among the code of the stages; empty if there are none."""
    names = strays("stages") if Path("stages").is_dir() else []
    some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"not in Git, but part of the code of a stage: {some}; `git add` or remove it" if names else ""


def resolve(revision: str) -> str:
    """The full hash of the commit that `revision` names.

    Raises `UserError` if there is none, saying whether the repository, its history or only the name is missing.
    """
    found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.decode().strip()
    shallow = _git("rev-parse", "--is-shallow-repository")
    if b"not a git repository" in shallow.stderr:
        raise UserError(f"{Path.cwd().name}/ is not in a Git repository: run it in a clone")
    if shallow.returncode != 0:
        raise UserError(_reason(shallow.stderr))
    if shallow.stdout.strip() == b"true":
        raise UserError(
            f"unknown revision {revision}, and this clone is shallow: get the whole history with"
            " `git fetch --unshallow` (actions/checkout: `fetch-depth: 0`)"
        )
    raise UserError(f"unknown revision {revision}: `git log --all` lists the commits, `git fetch` gets newer ones")


def named(revision: str, commit: str) -> str:
    """The name of `commit` for people, who know it as `revision`: `main (1234567)`."""
    return commit[:7] if commit.startswith(revision) else f"{revision} ({commit[:7]})"


def default_branch(*places: str) -> str | None:
    """The default branch: the target of origin/HEAD if that is known, else main or master; None if none exists.

    `places` are tried in their order: `origin/` for the remote's branch, an empty string for the local one.
    """
    head = _git("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD").stdout.decode().strip()
    names = [head.removeprefix("refs/remotes/origin/"), "main", "master"]
    found = (place + name for name in names if name for place in places)
    return next((name for name in found if _git("rev-parse", "--verify", "--quiet", name).returncode == 0), None)


def is_shallow() -> bool:
    """Whether the clone lacks older commits."""
    return _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"


def merge_base(base: str, head: str) -> str:
    """The full hash of the commit at which `head` left `base`; both are revisions.

    Raises `UserError` if one of them is unknown, or if they have no commit in common.
    """
    found = _git("merge-base", resolve(base), resolve(head))
    if found.returncode == 0:
        return found.stdout.decode().strip()
    cure = (
        "this clone is shallow, get the whole history with `git fetch --unshallow` (actions/checkout: `fetch-depth: 0`)"
        if is_shallow()
        else "they are not branches of one history"
    )
    raise UserError(f"{base} and {head} have no commit in common: {cure}")


def content(commit: str, path: str) -> bytes | None:
    """The bytes of `path`, relative to the current folder, in `commit`; None if it has no such file."""
    shown = _git("show", f"{commit}:./{path}")
    if shown.returncode == 0:
        return shown.stdout
    if b"does not exist" in shown.stderr or b"but not in" in shown.stderr:
        return None
    raise UserError(f"{path} in {commit[:7]}: {_reason(shown.stderr)}")


def on_disk(path: str) -> bytes | None:
    """The bytes of `path`, relative to the current folder; None if there is no such file."""
    return Path(path).read_bytes() if Path(path).is_file() else None


def side(revision: str | None) -> tuple[str, Read]:
    """The name of a revision, or of the working tree if it is None, and the function that reads its files."""
    if revision is None:
        return WORKING_TREE, on_disk
    commit = resolve(revision)
    return named(revision, commit), partial(content, commit)


def inside(read: Read, path: str) -> bytes | None:
    """`read`, but only within the project: paths may come from the files under review."""
    outside = PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
    return None if outside or not path.isprintable() else read(path)


def _git(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], input=text, capture_output=True, env=os.environ | {"LC_ALL": "C"})
    except FileNotFoundError:
        raise UserError("Git is not installed, or not on PATH") from None


def _reason(text: bytes) -> str:
    """The line in which Git says why it failed; advice may follow that line."""
    lines = text.decode(errors="replace").strip().splitlines() or ["git failed"]
    return next((line for line in lines if line.startswith("fatal:")), lines[-1])
