"""`make verify`: read every file of DVC's cache and every output again, and compare them with their checksums.

DVC trusts a read-only file of its cache, and an output whose size and time are as DVC left them. If a disk changes a
byte of one, `dvc checkout` restores the wrong byte, `dvc status` finds nothing, and the next training learns from it.
What is damaged is repaired from the workspace's copy, the cache or the remote, if one of them is sound. Otherwise it is
moved to .dvc/tmp/damaged, so that the pipeline makes it again and nothing is lost for good.
"""

import logging
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from dvc.config import NoRemoteError
from dvc.exceptions import DvcException
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.output import Output
from dvc.repo import Repo, lock_repo
from dvc_data.hashfile.hash_info import HashInfo
from ruamel.yaml.error import YAMLError

from record import cache, comparison, lock, logs, readable, runs
from record.freshness import relative
from stages.common.entry import UserError, no_arguments, run
from stages.common.files import replacing
from stages.download.addresses import unspoken


def main() -> None:
    readable.check()
    if not Path(lock.FILE).exists():
        raise UserError(f"{lock.FILE} is missing, so nothing says what must be here: `dvc repro` writes it")
    logs.handled_by(logging.NullHandler())
    try:
        with comparison.visible(), Repo() as repo, lock_repo(repo):
            told, lost = verified(repo)
    except LockError:
        raise UserError("another DVC command is running: wait until it has ended") from None
    except (DvcException, YAMLError) as error:
        raise UserError(unspoken(str(error))) from None
    for line in told:
        print(f"verify: {line}", flush=True)
    if lost:
        raise UserError("\n".join(lost))


def verified(repo: Repo) -> tuple[list[str], list[str]]:
    """Check and repair everything; sentences about what is well now, and about what is lost."""
    folder = Path(repo.cache.local.path)
    outputs = [out for out in repo.index.outs if out.use_cache and out.hash_info]
    swept = cache.sweep(Path(repo.cache.local_cache_dir), *{Path(out.fs_path).parent for out in outputs})

    lost = damaged_runs(Path(repo.cache.legacy.path) / "runs")

    held: dict[str, Path] = {}
    damaged = arrived(folder, held)
    restore_listings(repo, [out for out in outputs if out.hash_info.value in damaged])
    arrived(folder, held)

    expected = {path: md5 for out in outputs for path, md5 in files(out, held).items()}
    found = cache.checksums(filter(Path.is_file, expected), "verify: the workspace")
    sound = {path: md5 for path, md5 in found.items() if md5 == expected[path]}
    listed = {md5 for out in outputs if out.hash_info.isdir for md5 in files(out, held).values()}
    states = dict.fromkeys(listed - held.keys(), "missing") | dict.fromkeys(damaged, "damaged")
    wanted = states.keys() - held.keys()
    for path, md5 in sound.items():
        if md5 in wanted:
            repo.cache.local.add(str(path), localfs, md5)
    fetch(repo, wanted - set(sound.values()))
    arrived(folder, held)

    for path in expected:
        if path.is_symlink() and not path.exists():  # to what was put aside
            path.unlink()
    names = owners(outputs, expected)
    told, gone = about_cache(states, held, names)
    more, worse = mended(repo, {path: expected[path] for path in found.keys() - sound.keys()}, held, names)
    told, lost = told + more, lost + gone + worse
    return told or ([] if lost else [summary(held, found, outputs, swept)]), lost


def damaged_runs(folder: Path) -> list[str]:
    """Put aside the records of runs that are not what their paths promise, and return a sentence about each."""
    found = runs.damaged(folder)
    for path in found:
        cache.put_aside(path, path.name)
    remedy = "the stage runs again if that run is asked for"
    return [f"the run {relative(str(path))} was damaged and is moved to {cache.ASIDE}: {remedy}" for path in found]


def about_cache(
    states: Mapping[str, str], held: Mapping[str, Path], names: Mapping[str, tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """Sentences about the objects that were damaged or missing: first what is well or no damage, then what is lost."""
    told, lost = [], []
    for md5 in sorted(states, key=lambda md5: (names.get(md5, ("~", "")), md5)):
        unnamed = f"a file of a run that no lock names ({md5[:8]})", "if that run is asked for, it is made again"
        name, command = names.get(md5, unnamed)
        what = f"{name} was {states[md5]} in the cache"
        if md5 in held:
            told.append(f"{what}: repaired")
            (cache.ASIDE / md5).unlink(missing_ok=True)
        elif states[md5] == "missing":  # no damage: not everything was pulled
            told.append(f"{what}: {command}")
        else:
            lost.append(f"{what} and is moved to {cache.ASIDE}: {command}")
    return told, lost


def mended(
    repo: Repo, wrong: Mapping[Path, str], held: Mapping[str, Path], names: Mapping[str, tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """Repair the outputs `wrong` (path: the checksum in the lock); sentences as `about_cache` has them."""
    told, lost = [], []
    for path, md5 in sorted(wrong.items()):
        name, command = relative(str(path)), names[md5][1]
        if not believed(repo, path, md5):
            lost.append(f"{name} is not what the lock records: `dvc checkout --force {name}` restores that")
        elif source := held.get(md5):
            with replacing(path) as temporary:
                shutil.copyfile(source, temporary)
            told.append(f"{name} was damaged in the workspace: repaired")
        else:
            cache.put_aside(path, f"{md5[:8]}-{path.name}")
            lost.append(f"{name} was damaged in the workspace and is moved to {cache.ASIDE}: {command}")
    return told, lost


def arrived(folder: Path, held: dict[str, Path]) -> set[str]:
    """Check the objects that are not in `held` yet. Sound ones come into it; the others are put aside and returned."""
    new = {md5: path for md5, path in cache.objects(folder).items() if md5 not in held}
    wrong = cache.damaged(new, "verify: the cache")
    for md5 in wrong:
        cache.put_aside(new.pop(md5), md5)
    held |= new
    return wrong


def restore_listings(repo: Repo, folders: Iterable[Output]) -> None:
    """Get back what the `folders` must hold: from the folder itself if it is as it was, or from the remote."""
    for out in folders:
        try:
            same = out.exists and out.get_hash() == out.hash_info
        except FileNotFoundError:  # a link to what was put aside
            same = False
        if same:
            out.commit(relink=False)
        elif out.hash_info.isdir:
            fetch(repo, [out.hash_info.value])


def files(out: Output, held: Mapping[str, Path]) -> dict[Path, str]:
    """Path: checksum of the files of an output; empty for a folder whose listing is not `held`."""
    md5 = out.hash_info.value
    if not out.hash_info.isdir:
        return {Path(out.fs_path): md5}
    return {Path(out.fs_path) / name: each for name, each in cache.listing(held[md5]).items()} if md5 in held else {}


def fetch(repo: Repo, checksums: Iterable[str]) -> None:
    """Download objects from the default remote, as far as there is one and it has them."""
    for md5 in sorted(checksums):
        try:
            repo.cloud.pull([HashInfo("md5", md5)])
        except (NoRemoteError, FileNotFoundError):
            continue
        except Exception as error:  # each kind of storage has a library with exceptions of its own
            reason = unspoken(str(error) or repr(error))
            print(f"verify: nothing is repaired from the remote, which cannot be read: {reason}", file=sys.stderr)
            return


def owners(outputs: Iterable[Output], expected: Mapping[Path, str]) -> dict[str, tuple[str, str]]:
    """Checksum: the paths in the workspace that have it, and what makes them again."""
    paths: dict[str, list[Path]] = defaultdict(list)
    for path, md5 in [(Path(out.fs_path), out.hash_info.value) for out in outputs] + list(expected.items()):
        if path not in paths[md5]:
            paths[md5].append(path)
    made = {Path(out.fs_path): relative(out.stage.path) if out.stage.cmd else "" for out in outputs}

    def described(found: list[Path]) -> tuple[str, str]:
        pipelines = {made[each] for path in found for each in (path, *path.parents) if each in made}
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        command = (
            "`make comparison` makes it again" if pipelines == {comparison.PIPELINE} else "`dvc repro` makes it again"
        )
        return relative(str(found[0])) + more, "no stage makes it" if "" in pipelines else command

    return {md5: described(found) for md5, found in paths.items()}


def believed(repo: Repo, path: Path, md5: str) -> bool:
    """Whether DVC takes the file for sound without reading it; otherwise `dvc status` tells that it changed."""
    _, known = repo.state.get(str(path), localfs)
    return known is not None and known.value == md5


def summary(held: Mapping[str, Path], found: Mapping[Path, str], outputs: Iterable[Output], swept: int) -> str:
    absent = sum(out.hash_info.value not in held for out in outputs)
    parts = [f"{len(held):,} files of the cache and {len(found):,} files of the outputs are sound"]
    if not held:
        parts = ["the cache is empty: `dvc pull` or `dvc repro` fills it"]
    elif absent:
        parts.append(f"{absent} outputs that the locks name are not in this cache")
    if swept:
        parts.append(f"removed what {swept} interrupted {'write' if swept == 1 else 'writes'} left")
    return "; ".join(parts)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("verify", main)
