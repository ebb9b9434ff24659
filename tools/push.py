"""`make push`: put what the locks name, and every run that the cache remembers, into the default DVC remote.

`dvc push --run-cache` uploads the record of each run, but only those outputs that dvc.lock names now. Of
a run with other parameters, a colleague then gets the record and nothing to restore.
"""

import logging
from pathlib import Path

from dvc.config import NoRemoteError, RemoteConfigError
from dvc.repo import Repo
from dvc.scm import Git
from dvc.stage.cache import RunCacheNotSupported

from stages.common.entry import UserError, no_arguments, run

REMEDY = """push: no default remote is set up, so nothing was uploaded; to set one up (docs/remotes.md):
  dvc remote add -d shared URL
  git commit -m "A remote for the cache" .dvc/config"""


def main() -> None:
    failures: list[logging.LogRecord] = []  # DVC logs a line for each file that fails and raises, at most, how many
    listener = logging.Handler(logging.ERROR)
    listener.emit = failures.append
    for name in ("dvc", "dvc_objects", "dvc_data"):
        logging.getLogger(name).handlers = [listener]
    try:
        with Repo() as repo:
            remote = repo.cloud.get_remote()
            files = repo.push()
            try:
                more, runs = push_runs(repo)
                absent, lost = outputs_absent(repo), runs_lost(repo, runs)
                committed = committed_absent(repo)
            except (RunCacheNotSupported, RemoteConfigError):
                more, runs, absent, lost, committed = 0, None, [], 0, []
        if failures:
            raise UserError(failures[0].getMessage())
    except NoRemoteError:
        print(REMEDY)
        return
    except Exception as error:  # each kind of storage has a library with exceptions of its own
        first = failures[0].exc_info[1] if failures and failures[0].exc_info else error
        reason = " ".join(str(first).split()) or repr(first)
        raise UserError(f"the upload failed: {reason}; docs/remotes.md says how to set up a remote") from None

    records = "" if runs is None else f" and the records of {len(runs)} runs"
    print(f"push: {files + more} new files{records} uploaded to the remote {remote.name}")
    if runs is None:
        print("push: a remote of this kind holds no records of runs, so only what the locks name can be pulled from it")
    if absent:
        of_comparison = all(path.startswith("comparison/") for path in absent)
        command = "dvc repro comparison/dvc.yaml" if of_comparison else "dvc repro"
        print(f"push: not in this cache, so not uploaded: {shortened(absent)}; `{command}` makes them")
    if only := [path for path in committed if path not in absent]:
        print(
            f"push: the lock of the last commit names what neither this cache nor the remote has: {shortened(only)}."
            " Another machine ran it: push there, or commit this run's lock and metrics; until then `dvc pull` fails"
        )
    if lost:
        print(f"push: {lost} of these runs cannot be restored from it: neither it nor this cache has all their outputs")


def push_runs(repo: Repo) -> tuple[int, list[tuple[str, str]]]:
    """Upload the record of every run in the cache, and the outputs of those runs as far as they are there.

    How many files of outputs were new to the remote, and the keys of the runs. Only DVC's internals can do
    this. Raises `RunCacheNotSupported` or `RemoteConfigError` where the remote is of a kind without records.
    """
    runs = repo.stage_cache.push(None)
    outputs = repo.stage_cache.get_used_objs(runs, force=True)
    return sum(len(repo.cloud.push(hashes).transferred) for hashes in outputs.values()), runs


def committed_absent(repo: Repo) -> list[str]:
    """What `outputs_absent` would say of the last commit, whose locks may name another run than those here."""
    if not isinstance(repo.scm, Git) or not repo.scm.get_ref("HEAD"):
        return []
    return [path for _ in repo.brancher(revs=["HEAD"], workspace=False) for path in outputs_absent(repo)]


def shortened(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def outputs_absent(repo: Repo) -> list[str]:
    """The outputs, relative to the repository's root, that a lock names and the remote does not have."""
    paths = {out.hash_info.value: out.fs_path for out in repo.index.outs if out.use_cache and out.hash_info}
    there = set(repo.cloud.get_remote_odb().oids_exist(list(paths)))
    return sorted(Path(path).relative_to(repo.root_dir).as_posix() for key, path in paths.items() if key not in there)


def runs_lost(repo: Repo, runs: list[tuple[str, str]]) -> int:
    """How many of `runs` have an output that the remote does not have."""
    records = [repo.stage_cache._load_cache(*key) or {} for key in runs]
    needed = [{out["md5"] for out in record.get("outs", []) if "md5" in out} for record in records]
    there = set(repo.cloud.get_remote_odb().oids_exist(list(set().union(*needed))))
    return sum(not hashes <= there for hashes in needed)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("push", main)
