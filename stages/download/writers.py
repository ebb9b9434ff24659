"""Who wrote each MNIST digit, from the label files of QMNIST (Yadav & Bottou 2019)."""

import numpy as np

from stages.common.entry import UserError


def writers_csv(name: str, table: bytes, labels: np.ndarray) -> str:
    """A CSV of `series,writer`, one row an image in the images' order, from QMNIST's tab-separated `table`.

    `table` has no header; its first columns are label, NIST series and writer. Rows beyond the N of
    `labels` (uint8, N) are left out: QMNIST's test file continues after the last of MNIST's test images.
    Raises `UserError` if rows are missing or their labels differ from `labels`: both must describe the
    same images.
    """
    rows = [row.split("\t")[:3] for row in table.decode("ascii").splitlines()[: len(labels)]]
    if len(rows) < len(labels):
        raise UserError(f"{name}: {len(rows)} rows for {len(labels)} images: use the file made for this data set")
    differing = [index for index, (row, label) in enumerate(zip(rows, labels, strict=True)) if int(row[0]) != label]
    if differing:
        raise UserError(
            f"{name}: {len(differing)} labels are not those of the images, the first of image {differing[0]}:"
            " use the file made for this data set"
        )
    return "series,writer\n" + "".join(f"{int(series)},{int(writer)}\n" for _, series, writer in rows)
