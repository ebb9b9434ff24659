"""`make push`: upload what the locks name, and every run in the run cache, to the default DVC remote.

`dvc push --run-cache` uploads the record of each run, but only the outputs that dvc.lock names now. For a run with
other parameters, a colleague would then get the record without outputs to restore.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.config import NoRemoteError, RemoteConfigError
from dvc.data_cloud import Remote
from dvc.fs import HTTPFileSystem
from dvc.repo import Repo
from dvc.scm import Git

from record import logs, readable
from record.comparison import visible
from stages.common.entry import UserError, no_arguments, run
from stages.download.addresses import unspoken

REMEDY = """push: no default remote is set up, so nothing was uploaded; to set one up (docs/remotes.md):
  dvc remote add -d shared URL
  git commit -m "A remote for the cache" .dvc/config"""

UNCOMMITTED = (
    'the remote is not in it. Run `git commit -m "A remote for the cache" .dvc/config`, then `make push` again'
)


def main() -> None:
    readable.check()
    failures: list[logging.LogRecord] = []  # DVC logs a line for each file that fails, and raises only their number
    listener = logging.Handler(logging.ERROR)
    listener.emit = failures.append  # type: ignore[method-assign,assignment]
    logs.handled_by(listener)
    try:
        with visible(), Repo() as repo:
            lines = upload(repo)
        if failures:
            raise UserError(unspoken(failures[0].getMessage()))
    except NoRemoteError:
        print(REMEDY)
        return
    except Exception as error:  # each kind of storage has a library with exceptions of its own
        logged = failures[0].exc_info if failures else None
        first = logged[1] if logged and logged[1] else error
        reason = unspoken(str(first) or repr(first))
        raise UserError(f"the upload failed: {reason}; docs/remotes.md says how to set up a remote") from None
    for line in lines:
        print(f"push: {line}")


def upload(repo: Repo) -> list[str]:
    """Upload everything; sentences about what was uploaded and what was not."""
    remote = repo.cloud.get_remote()
    name, records = remote.name, holds_records(remote)
    files = repo.push()
    if not records:
        return [
            f"{files} new files uploaded to the remote {name}",
            "a remote of this kind holds no records of runs, so only what the locks name can be pulled from it",
        ]
    storage = repo.cloud.get_remote_odb()
    more, runs = push_runs(repo)
    lines = [f"{files + more} new files and the records of {runs} runs uploaded to the remote {name}"]
    absent = absent_outputs(repo, storage)
    if absent:
        command = "make comparison" if all(map(of_comparison, absent)) else "dvc repro"
        lines.append(f"not in this cache, so not uploaded: {shortened(absent)}; `{command}` makes them")
    try:
        committed = [path for path in absent_of_last_commit(repo, storage) if path not in absent]
    except RemoteConfigError:  # DVC reads the settings of that commit
        return [*lines, f"what the last commit names was not checked: {UNCOMMITTED}"]
    if committed:
        lines.append(
            f"neither this cache nor the remote has these outputs of the last commit: {shortened(committed)}."
            " Another machine ran it: push there, or commit this run's lock and metrics; until then `dvc pull` fails"
        )
    return lines


def holds_records(remote: Remote) -> bool:
    """Whether the remote can hold records of runs: not over HTTP, nor where the storage keeps the versions."""
    return not (isinstance(remote.fs, HTTPFileSystem) or remote.fs.version_aware or remote.worktree)


def push_runs(repo: Repo) -> tuple[int, int]:
    """Upload the record of every run in the cache, and the outputs of these runs as far as the cache has them.

    Returns how many files of outputs were new to the remote, and the number of runs.
    """
    runs = repo.stage_cache.push(None)
    outputs = repo.stage_cache.get_used_objs(runs, force=True)
    return sum(len(repo.cloud.push(hashes).transferred) for hashes in outputs.values()), len(runs)


def absent_outputs(repo: Repo, storage: Any) -> list[str]:
    """The outputs, relative to the repository's root, that a lock names and the remote's `storage` does not have."""
    paths = {out.hash_info.value: out.fs_path for out in repo.index.outs if out.use_cache and out.hash_info}
    there = set(storage.oids_exist(list(paths)))
    return sorted(Path(path).relative_to(repo.root_dir).as_posix() for key, path in paths.items() if key not in there)


def absent_of_last_commit(repo: Repo, storage: Any) -> list[str]:
    """`absent_outputs` of the last commit, whose locks may name another run than the locks here."""
    if not isinstance(repo.scm, Git) or not repo.scm.get_ref("HEAD"):
        return []
    # The remote may be in no commit yet, so `storage` is the one that this working tree names.
    return [path for _ in repo.brancher(revs=["HEAD"], workspace=False) for path in absent_outputs(repo, storage)]


def of_comparison(path: str) -> bool:
    return path.startswith("comparison/")


def shortened(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


if __name__ == "__main__":
    no_arguments(__doc__)
    run("push", main)
