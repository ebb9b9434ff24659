"""From the source of an entry of datasets.yaml to files in a folder."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.common.entry import UserError
from stages.common.files import found
from stages.download.addresses import is_url, masked
from stages.download.contents import MirrorError, verified
from stages.download.embedded import digits
from stages.download.mirrors import Limits, collect, in_order
from stages.download.params import WHOLE_FOLDER, Download, Source, Writers
from stages.download.parts import Parts, write_parts
from stages.download.writers import write_writers
from stages.idx import read_idx, write_idx

# What arrived before a run failed or was stopped: the next run does not fetch it again.
KEPT = Path("data/.download")


def bring_images(settings: Download, source: Source, folder: Path) -> list[str]:
    """Write images and labels of both parts to `folder`; return what was done to them, a sentence each.

    Raises `UserError`, one line with every mirror's reason and what to do; never another data set.
    """
    if source.embedded:
        _bring_embedded(settings.dataset, source, folder)
        return []
    try:
        if source.verbatim:
            _collect(settings, source, folder)
            return []
        with TemporaryDirectory(dir=folder) as contents:
            parts, done = read_parts(settings, source, Path(contents))
            return done + write_parts(parts, source, folder)
    except MirrorError as error:
        holds = {"idx": "the four files", "folder": "the pictures"}.get(source.kind, " and ".join(source.files))
        place = "a folder" if source.kind == "folder" else "a folder or URL"
        raise UserError(
            f"no source delivers {settings.dataset} ({error}). Either"
            f" set {source.mirror_variable} to {place} that holds {holds},"
            " or run `dvc exp run -S download.dataset=digits`, which needs no network"
        ) from None


def read_parts(settings: Download, source: Source, folder: Path) -> tuple[Parts, list[str]]:
    """The parts of a source that is not embedded, as it has them, and a sentence about pictures.

    What the source's files hold is written to `folder`, and must stay there: images may be memory maps.
    Raises `MirrorError` that names every mirror and why it was given up, `UserError` if the data cannot be read.
    """
    if source.kind == "folder":
        return _pictures(in_order(source.mirrors, source.mirror_variable), source)
    from stages.download import readers  # not for MNIST and its like

    _collect(settings, source, folder)
    return readers.read_parts(source, folder), []


def _collect(settings: Download, source: Source, folder: Path) -> None:
    limits = Limits(settings.timeout_seconds, settings.attempts, source.largest_file_bytes)
    collect(source.files, in_order(source.mirrors, source.mirror_variable), KEPT, folder, limits)


def _pictures(mirrors: list[str], source: Source) -> tuple[Parts, list[str]]:
    from stages.download import pictures  # Pillow is for them alone

    failures = []
    for mirror in mirrors:
        path = found(mirror)
        if is_url(mirror):
            failures.append(f"{masked(mirror)}: pictures are read from a folder of this machine, not from an address")
        elif not path.is_dir():
            failures.append(f"{masked(mirror)}: no such folder")
        elif (is_now := pictures.checksum(path)) != source.files[WHOLE_FOLDER].partition(":")[2]:
            other = f"other pictures than the entry means (their checksum is sha256:{is_now})"
            failures.append(f"{masked(mirror)}: {other}")
        else:
            return pictures.folder_parts(path, source), [pictures.sentence(path, source)]
    raise MirrorError("; ".join(failures) or "no folder is named")


def _bring_embedded(dataset: str, source: Source, folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as carried:
        for name, array in digits().items():
            write_idx(Path(carried) / name, array)
            try:
                verified(Path(carried) / name, source.files[name], folder / name, source.largest_file_bytes)
            except MirrorError as error:
                raise UserError(f"{dataset} as the installed {source.embedded} carries it: {name}: {error}") from None


def bring_writers(settings: Download, writers: Writers, largest_file_bytes: int, folder: Path) -> bool:
    """Write `train-writers.csv` and `t10k-writers.csv` beside the IDX files; return whether that was possible.

    They are optional: one attempt per mirror, and if none delivers, one line says what cannot be done without them.
    """
    mirrors = in_order(writers.mirrors, writers.mirror_variable)
    with TemporaryDirectory(dir=folder) as tables:
        try:
            collect(writers.files, mirrors, KEPT, Path(tables), Limits(settings.timeout_seconds, 1, largest_file_bytes))
        except MirrorError as error:
            holds = " and ".join(writers.files)
            print(
                "download: going on without the writers, so no split by writer and no accuracy by series"
                f" ({error}); set {writers.mirror_variable} to a folder or URL that holds {holds}",
                file=sys.stderr,
            )
            return False
        for part, name in zip(("train", "t10k"), writers.files, strict=True):
            labels = read_idx(folder / f"{part}-labels-idx1-ubyte", 1)
            write_writers(Path(tables) / name, labels, folder / f"{part}-writers.csv")
    return True
