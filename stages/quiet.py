"""Libraries written in C++ that talk on standard error, past every Python setting."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile


@contextmanager
def silence() -> Iterator[None]:
    """Keep back what is written to standard error, C++ included, and show it only if the block fails."""
    sys.stderr.flush()
    shown = os.dup(2)
    with TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
