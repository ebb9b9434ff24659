"""Damage, kill and crowd the pipeline, and see whether it ever leaves more than a line.

    python -m benchmarks.torture                       # all parts: kill full_disk hostile together no_home
    python -m benchmarks.torture hostile kill          # some

It works in copies of the repository in a temporary folder, on the embedded digits. The exit code is 1 if anything
failed.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.torture.full_disk import full_disk
from benchmarks.torture.hostile import hostile
from benchmarks.torture.kill import kill
from benchmarks.torture.no_home import no_home
from benchmarks.torture.sandbox import Part, made, run
from benchmarks.torture.together import together

PARTS: dict[str, Part] = {
    "kill": kill,
    "full_disk": full_disk,
    "hostile": hostile,
    "together": together,
    "no_home": no_home,
}


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all by default")
    parts = options.parse_args().parts or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        options.error(f"no such part: {unknown[0]}")
    rows = []
    with TemporaryDirectory() as folder:
        base = made(Path(folder) / "base")
        ended = run(base, "dvc", "repro", "--quiet", seconds=600)
        if ended.code:
            sys.exit(f"torture: an undisturbed run failed\n{ended.errors}")
        for part in parts:
            start = time.monotonic()
            tried = failed = 0
            for name, found in PARTS[part](base):
                tried += 1
                if found:
                    failed += 1
                    print(f"  {name}: {'; '.join(found)}", flush=True)
            rows.append((part, tried, failed, time.monotonic() - start))
    print(f"{'part':12} {'tried':>6} {'failed':>7} {'time':>8}")
    for part, tried, failures, seconds in rows:
        print(f"{part:12} {tried:>6} {failures:>7} {seconds:>6.0f} s")
    sys.exit(any(failures for _, _, failures, _ in rows))


if __name__ == "__main__":
    main()
