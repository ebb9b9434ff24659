"""Modules that are called as processes of their own."""

import subprocess
import sys
from contextlib import suppress
from typing import Any

SECONDS = 30


def called(*module: str, **options: Any) -> int:
    """The exit code of `python -m` with a module and its arguments; `options` as for `subprocess.Popen`.

    Ctrl-C goes to it, too. It has some seconds to end by itself: DVC, if it is killed, keeps everything locked.
    """
    with subprocess.Popen([sys.executable, "-m", *module], **options) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS)
            child.kill()
            raise
