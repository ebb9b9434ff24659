"""The pipeline in comparison/, which DVC sees only while it is asked for.

Its outputs take long and are in few caches. If DVC saw it always, `dvc checkout`, `dvc push` or `dvc exp save`, which
mean every pipeline, would fail without them. So .dvcignore names its dvc.yaml.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.common.files import write_text

PIPELINE, LOCK = "comparison/dvc.yaml", "comparison/dvc.lock"
IGNORED = Path(".dvcignore")
LINE = f"/{PIPELINE}"


@contextmanager
def visible() -> Iterator[None]:
    """Within the block, DVC sees the comparison: the line of .dvcignore that hides it is taken out."""
    text = IGNORED.read_text(encoding="utf-8") if IGNORED.exists() else ""
    lines = text.splitlines(keepends=True)
    if LINE not in map(str.strip, lines):  # it is to be seen always
        yield
        return
    write_text(IGNORED, "".join(line for line in lines if line.strip() != LINE))
    try:
        yield
    finally:
        write_text(IGNORED, text)
