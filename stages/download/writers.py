"""Who wrote each MNIST digit, from the label files of QMNIST (Yadav & Bottou 2019)."""

from itertools import islice
from pathlib import Path

import numpy as np

from stages.common.entry import UserError
from stages.common.files import replacing

ROWS = 65_536  # that are in memory at a time


def write_writers(table: Path, labels: np.ndarray, target: Path) -> None:
    """Write a CSV of `series,writer`, one row an image in the images' order, from QMNIST's tab-separated `table`.

    `table` has no header; its first columns are label, NIST series and writer. Rows beyond the N of
    `labels` (uint8, N) are left out: QMNIST's test file continues after the last of MNIST's test images.
    Raises `UserError` if rows are missing or their labels differ from `labels`: both must describe the
    same images.
    """
    differing: list[int] = []  # the first, and how many there are
    with table.open(encoding="ascii") as lines, replacing(target) as temporary:
        with temporary.open("w", encoding="ascii", newline="\n") as file:
            file.write("series,writer\n")
            for start in range(0, len(labels), ROWS):
                expected = labels[start : start + ROWS].tolist()
                rows = [line.split("\t")[:3] for line in islice(lines, len(expected))]
                if len(rows) < len(expected):
                    raise UserError(
                        f"{table.name}: {start + len(rows)} rows for {len(labels)} images:"
                        " use the file made for this data set"
                    )
                pairs = zip(rows, expected, strict=True)
                differing += [start + index for index, (row, label) in enumerate(pairs) if int(row[0]) != label]
                file.writelines(f"{int(series)},{int(writer)}\n" for _, series, writer in rows)
        if differing:
            raise UserError(
                f"{table.name}: {len(differing)} labels are not those of the images, the first of image {differing[0]}:"
                " use the file made for this data set"
            )
