"""From the source of an entry of datasets.yaml to files in a folder."""

import sys
from pathlib import Path

from stages.common.entry import UserError
from stages.common.files import write_text
from stages.download.contents import MirrorError, verified
from stages.download.embedded import digits
from stages.download.mirrors import collect, in_order
from stages.download.params import Download, Source, Writers
from stages.download.writers import writers_csv
from stages.idx import read_idx, write_idx

# What arrived before a run failed or was stopped: the next run does not fetch it again.
KEPT = Path("data/.download")


def bring_images(settings: Download, source: Source, folder: Path) -> None:
    """Write the four IDX files to `folder`.

    Raises `UserError`, one line with every mirror's reason and what to do; never another data set.
    """
    if source.embedded:
        _bring_embedded(settings.dataset, source, folder)
        return
    mirrors = in_order(source.mirrors, source.mirror_variable)
    try:
        contents = collect(source.files, mirrors, KEPT, settings.timeout_seconds, settings.attempts)
    except MirrorError as error:
        raise UserError(
            f"no source delivers {settings.dataset} ({error}). Either"
            f" set {source.mirror_variable} to a folder or URL that holds the four files,"
            " or run `dvc exp run -S download.dataset=digits`, which needs no network"
        ) from None
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _bring_embedded(dataset: str, source: Source, folder: Path) -> None:
    for name, array in digits().items():
        write_idx(folder / name, array)
        try:
            verified((folder / name).read_bytes(), source.files[name])
        except MirrorError as error:
            raise UserError(f"{dataset} as the installed {source.embedded} carries it: {name}: {error}") from None


def bring_writers(settings: Download, writers: Writers, folder: Path) -> bool:
    """Write `train-writers.csv` and `t10k-writers.csv` beside the IDX files; return whether that was possible.

    They are optional: one attempt per mirror, and if none delivers, one line says what cannot be done without them.
    """
    mirrors = in_order(writers.mirrors, writers.mirror_variable)
    try:
        tables = collect(writers.files, mirrors, KEPT, settings.timeout_seconds, attempts=1)
    except MirrorError as error:
        print(
            "download: going on without the writers, so no split by writer and no accuracy by series"
            f" ({error}); set {writers.mirror_variable} to a folder or URL that holds {' and '.join(writers.files)}",
            file=sys.stderr,
        )
        return False
    for part, name in zip(("train", "t10k"), writers.files, strict=True):
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte", 1)
        write_text(folder / f"{part}-writers.csv", writers_csv(name, tables[name], labels))
    return True
