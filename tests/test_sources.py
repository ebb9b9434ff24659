"""A data set in any of the forms that people have it in becomes the same data/raw."""

import bz2
import gzip
import hashlib
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from sklearn.datasets import dump_svmlight_file

from helpers.dataset import small_digits
from stages.common.entry import UserError
from stages.common.parameters import check
from stages.download import parts, pictures, readers
from stages.download.__main__ import main
from stages.download.params import Source
from stages.idx import read_idx, read_images, write_idx

ROOT = Path(__file__).parent.parent
MINE = {"mirror_variable": "MINE_MIRROR"}


@pytest.fixture(scope="module")
def digits():
    return small_digits(120, 40)


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A function that downloads from a source as the entry `mine`; it returns the images and labels in data/raw."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    parameters = yaml.safe_load((tmp_path / "params.yaml").read_text())
    parameters["download"] |= {"dataset": "mine", "attempts": 1}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters))

    def run(source):
        (tmp_path / "datasets.yaml").write_text(yaml.safe_dump({"mine": {"source": MINE | source}}))
        main()
        raw = Path("data/raw")
        return [(read_images(raw, name), read_idx(raw / f"{name}-labels-idx1-ubyte", 1)) for name in ("train", "t10k")]

    return run


def sums(folder):
    """The files of `folder` with their checksums."""
    return {path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(folder.iterdir())}


def same(found, expected):
    return all(
        (images == wanted).all() and (labels == answers).all() and images.shape == wanted.shape
        for (images, labels), (wanted, answers) in zip(found, expected, strict=True)
    )


def frame(images, labels, header=True):
    table = pd.DataFrame(images.reshape(len(images), -1))
    table.insert(0, "label", labels)
    return table.to_csv(index=False, header=header).encode()


def test_the_archive_of_keras(brought, digits, tmp_path):
    (x_train, y_train), (x_test, y_test) = digits
    (tmp_path / "mirror").mkdir()
    np.savez(tmp_path / "mirror/mnist.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    source = {"kind": "npz", "mirrors": ["mirror"], "files": sums(tmp_path / "mirror")}
    assert same(brought(source | {"train": ["x_train", "y_train"], "test": ["x_test", "y_test"]}), digits)


@pytest.mark.parametrize("packed", ["", ".gz", ".zip"])
@pytest.mark.parametrize("header", [True, False])
def test_tables_with_a_pixel_in_each_column(brought, digits, tmp_path, header, packed):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name, (images, labels) in zip(("train", "test"), digits):
        content = frame(images, labels, header)
        path = mirror / f"{name}.csv{packed}"
        if packed == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"{name}.csv", content)
        else:
            pd.read_csv(io.BytesIO(content), header=None, dtype=str).to_csv(path, header=False, index=False)
    files = sums(mirror)
    if packed == ".gz":  # the checksum is that of the decompressed content
        files = {
            path.name: f"sha256:{hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}"
            for path in sorted(mirror.iterdir())
        }
    source = {"kind": "csv", "mirrors": ["mirror"], "files": files, "label": "label" if header else 0}
    source |= {"train": [f"train.csv{packed}"], "test": [f"test.csv{packed}"]}
    assert same(brought(source), digits)


def png(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("hub", [True, False])
def test_parquet_with_pictures_as_bytes_or_as_the_hub_has_them(brought, digits, tmp_path, hub):
    (tmp_path / "mirror").mkdir()
    for name, (images, labels) in zip(("train", "test"), digits):
        cells = [{"bytes": png(image), "path": None} if hub else png(image) for image in images]
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / f"mirror/{name}.parquet")
    source = {"kind": "parquet", "mirrors": ["mirror"], "files": sums(tmp_path / "mirror")}
    source |= {"train": ["train.parquet"], "test": ["test.parquet"], "image": "image", "label": "label"}
    assert same(brought(source), digits)


def folder_of(path, digits, parts=("train", "test"), suffix="png"):
    """A folder of pictures, one folder for each class."""
    for part, (images, labels) in zip(parts, digits):
        for number, (image, label) in enumerate(zip(images, labels)):
            place = path / part / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{number:04}.{suffix}")
    return {"kind": "folder", "mirrors": [str(path)], "files": {".": f"sha256:{pictures.checksum(path)}"}}


def by_path(part):
    """The images in the order of their paths: by label, then as they were."""
    order = np.argsort(part[1], kind="stable")
    return part[0][order], part[1][order]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_a_folder_with_a_folder_for_each_class(brought, digits, tmp_path, suffix):
    source = folder_of(tmp_path / "mine", digits, suffix=suffix)
    found = brought(source)
    if suffix == "webp":  # it loses a little
        assert np.abs(found[0][0].astype(int) - by_path(digits[0])[0]).mean() < 8
    else:
        assert same(found, [by_path(part) for part in digits])


def test_a_folder_without_a_test_part_gives_a_share_of_each_class(brought, digits, tmp_path):
    everything = [np.concatenate(each) for each in zip(*digits)]
    source = folder_of(tmp_path / "mine", [everything], parts=("",)) | {"test_fraction": 0.25}
    train, test = brought(source)
    assert np.bincount(test[1]).tolist() == pytest.approx(np.bincount(everything[1]) / 4, abs=1)
    assert len(train[1]) + len(test[1]) == 160
    done = json.loads(Path("data/raw/dataset.json").read_text())["done"]
    assert done[-1] == "the source has no test part: 25% of the images became one"
    assert same(brought(source), [train, test])


@pytest.mark.parametrize("how", ["pattern", "column"])
def test_nobody_is_in_both_parts_if_a_path_or_a_column_says_who_made_a_picture(brought, digits, tmp_path, how):
    images, labels = digits[0]
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = ["file,label,person"]
    for number, (image, label) in enumerate(zip(images, labels)):
        name = f"{number:03}_p{number % 11:02}.png"
        place = folder / (str(label) if how == "pattern" else "images")
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / name)
        lines.append(f"images/{name},{label},p{number % 11:02}")
    if how == "column":
        (folder / "labels.csv").write_text("\n".join(lines))
    group = {"pattern": r"_(p\d+)\.", "column": "person"}[how]
    source = {"kind": "folder", "mirrors": [str(folder)], "files": {".": f"sha256:{pictures.checksum(folder)}"}}
    train, test = brought(source | {"test_fraction": 0.2, "group": group})
    writers = [pd.read_csv(f"data/raw/{name}-writers.csv")["writer"] for name in ("train", "t10k")]
    assert not set(writers[0]) & set(writers[1]) and len({*writers[0], *writers[1]}) == 11
    assert [len(each) for each in writers] == [len(train[1]), len(test[1])]


def test_a_table_of_labels_may_name_the_parts(brought, digits, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = ["file,label,part"]
    for part, (images, labels) in zip(("train", "test"), digits):
        for number, (image, label) in enumerate(zip(images, labels)):
            Image.fromarray(image).save(folder / f"{part}{number}.png")
            lines.append(f"{part}{number}.png,{label},{part}")
    (folder / "labels.csv").write_text("\n".join(lines))
    source = {"kind": "folder", "mirrors": [str(folder)], "files": {".": f"sha256:{pictures.checksum(folder)}"}}
    assert same(brought(source), digits)


def test_labels_are_the_places_of_their_values(brought, digits, tmp_path):
    (x_train, y_train), (x_test, y_test) = digits
    (tmp_path / "mirror").mkdir()
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    np.savez(tmp_path / "mirror/a.npz", a=x_train, b=names[y_train], c=x_test, d=names[y_test])
    source = {"kind": "npz", "mirrors": ["mirror"], "files": sums(tmp_path / "mirror"), "train": ["a", "b"]}
    source |= {"test": ["c", "d"], "labels": names.tolist()}
    assert same(brought(source), digits)
    with pytest.raises(UserError, match="train: image 0 has the label 'zero', must be one of source.labels: one, two"):
        brought(source | {"labels": names[1:].tolist()})
    with pytest.raises(UserError, match="train: image 0 has the label 'zero', must be a whole number from 0"):
        brought({key: value for key, value in source.items() if key != "labels"})


def test_idx_files_may_be_transposed_with_labels_from_1_as_emnist_has_them(brought, digits, tmp_path):
    (tmp_path / "mirror").mkdir()
    for name, (images, labels) in zip(("train", "t10k"), digits):
        write_idx(tmp_path / f"mirror/{name}-images-idx3-ubyte", images.swapaxes(1, 2))
        write_idx(tmp_path / f"mirror/{name}-labels-idx1-ubyte", (labels + 1).astype(np.uint8))
    source = {"mirrors": ["mirror"], "files": sums(tmp_path / "mirror"), "transposed": True}
    assert same(brought(source | {"labels": list(range(1, 11))}), digits)


def test_idx_files_may_lie_compressed_in_a_zip_as_emnists_do(brought, digits, tmp_path):
    (tmp_path / "mirror").mkdir()
    names = {}
    with zipfile.ZipFile(tmp_path / "mirror/gzip.zip", "w") as archive:
        for part, (images, labels) in zip(("train", "test"), digits):
            names[part] = [f"gzip/emnist-{part}-images.gz", f"gzip/emnist-{part}-labels.gz"]
            for name, array in zip(names[part], (images, labels.astype(np.uint8))):
                write_idx(tmp_path / "array", array)
                archive.writestr(name, gzip.compress((tmp_path / "array").read_bytes()))
    source = {"mirrors": ["mirror"], "files": sums(tmp_path / "mirror"), "archive": "gzip.zip", **names}
    assert same(brought(source), digits)
    with pytest.raises(UserError, match="gzip.zip: There is no item named 'other' in the archive"):
        brought(source | {"test": ["other", "other"]})


def test_the_labels_of_qmnist_are_the_first_of_eight_columns(brought, digits, tmp_path):
    (tmp_path / "mirror").mkdir()
    names = {}
    for part, (images, labels) in zip(("train", "test"), digits):
        names[part] = [f"qmnist-{part}-images-idx3-ubyte", f"qmnist-{part}-labels-idx2-int"]
        write_idx(tmp_path / "mirror" / names[part][0], images)
        table = np.c_[labels, np.full((len(labels), 7), 99)].astype(">i4")
        header = bytes([0, 0, 12, 2]) + np.array(table.shape, ">u4").tobytes()
        (tmp_path / "mirror" / names[part][1]).write_bytes(header + table.tobytes())
    assert same(brought({"mirrors": ["mirror"], "files": sums(tmp_path / "mirror"), **names}), digits)


@pytest.mark.parametrize("packed", [True, False])
def test_the_rows_of_libsvm_as_usps_has_them(brought, digits, tmp_path, packed):
    (tmp_path / "mirror").mkdir()
    for name, (images, labels) in zip(("usps", "usps.t"), digits):
        file = io.BytesIO()
        dump_svmlight_file(images.reshape(len(images), -1) / 127.5 - 1, labels + 1, file, zero_based=False)
        content = bz2.compress(file.getvalue()) if packed else file.getvalue()
        (tmp_path / f"mirror/{name}.bz2").write_bytes(content)
    source = {"kind": "libsvm", "mirrors": ["mirror"], "files": sums(tmp_path / "mirror"), "train": ["usps.bz2"]}
    assert same(brought(source | {"test": ["usps.t.bz2"], "labels": list(range(1, 11))}), digits)


@pytest.mark.parametrize("ink", ["dark", "mixed"])
def test_dark_ink_becomes_light(brought, digits, tmp_path, ink):
    framed = [(np.pad(images, ((0, 0), (3, 3), (3, 3))), labels) for images, labels in digits]
    dark = [(255 - images if ink == "dark" else images.copy(), labels) for images, labels in framed]
    if ink == "mixed":
        dark[0][0][::2] = 255 - dark[0][0][::2]
    source = folder_of(tmp_path / "mine", dark) | {"ink": ink}
    assert same(brought(source), [by_path(part) for part in framed])
    done = json.loads(Path("data/raw/dataset.json").read_text())["done"]
    assert done[-1].startswith(f"{160 if ink == 'dark' else 60} of 160 images inverted")


def as_picture(size=None, channels=1):
    return lambda picture: pictures.opened(picture, "x.png", size, channels)


def saved(picture, kind="PNG", **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    content.seek(0)
    return content


def test_pictures_of_every_kind_become_what_a_person_sees():
    """A bar of ink, left of the middle, on a light ground."""
    plain = np.full((20, 30), 250, np.uint8)
    plain[4:16, 5:10] = 10
    grey = Image.fromarray(plain)
    ink = Image.new("RGBA", (30, 20), (255, 255, 255, 0))
    ink.paste((10, 10, 10, 255), (5, 4, 10, 16))
    turned = Image.Exif()
    turned[0x0112] = 6  # turn by a quarter to the right to see it upright
    read = as_picture()
    expected = {
        "grey": (saved(grey), 0),
        "colour": (saved(grey.convert("RGB")), 0),
        "palette": (saved(grey.convert("P")), 0),
        "black and white": (saved(grey.convert("1", dither=Image.Dither.NONE)), 10),
        "16 bits": (saved(Image.fromarray(plain.astype(np.uint16) * 257)), 1),
        "transparent": (saved(ink), 5),
        "photograph": (saved(grey, "JPEG", quality=95), 8),
        "turned camera": (saved(grey.rotate(90, expand=True), exif=turned), 0),
        "CMYK": (saved(grey.convert("CMYK"), "TIFF"), 3),
    }
    for name, (picture, tolerance) in expected.items():
        assert np.abs(read(picture).astype(int) - plain).max() <= tolerance, name


def test_pictures_of_any_size_come_to_one_with_the_colour_of_their_border():
    read, wide = as_picture(size=40), np.full((50, 100), 200, np.uint8)
    wide[20:30, 40:60] = 0
    image = read(saved(Image.fromarray(wide)))
    assert image.shape == (40, 40) and (image[:10] == 200).all() and (image[30:] == 200).all() and image[20, 20] < 20
    coloured = as_picture(size=40, channels=3)(saved(Image.new("RGB", (10, 20), (10, 200, 30))))
    assert coloured.shape == (40, 40, 3) and (coloured == [10, 200, 30]).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no picture", "not a picture that can be read"),
        (b"", "not a picture that can be read"),
        (png(np.zeros((9, 9), np.uint8))[:40], "not a picture that can be read"),
    ],
)
def test_what_is_no_picture_is_named(brought, digits, tmp_path, content, reason):
    folder_of(tmp_path / "mine", digits)
    (tmp_path / "mine/train/3/broken.png").write_bytes(content)
    files = {".": f"sha256:{pictures.checksum(tmp_path / 'mine')}"}
    with pytest.raises(UserError, match=rf"mine/train/3/broken.png: {reason}"):
        brought({"kind": "folder", "mirrors": [str(tmp_path / "mine")], "files": files})
    assert not Path("data/raw").exists()


def test_a_picture_that_announces_more_than_the_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr(pictures, "LARGEST_PICTURE", 99)
    with pytest.raises(UserError, match="x.png: 10×10 pixels are too many"):
        as_picture()(saved(Image.new("L", (10, 10))))


def test_other_pictures_than_the_entry_means_are_refused_and_the_mirror_variable_comes_first(
    brought, digits, tmp_path, monkeypatch
):
    source = folder_of(tmp_path / "mine", digits)
    monkeypatch.setenv("MINE_MIRROR", str(tmp_path / "mine"))
    brought(source | {"mirrors": ["/nowhere"]})
    monkeypatch.delenv("MINE_MIRROR")
    (tmp_path / "mine/train/3/0003.png").write_bytes(png(np.zeros((8, 8), np.uint8)))
    with pytest.raises(UserError, match=r"mine: other pictures than the entry means \(their checksum is sha256:"):
        brought(source)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((5, 4, 4), 300), "int64 values from 300 to 300, must be whole numbers from 0 to 255"),
        (np.full((5, 4, 4), 0.5), "float64 values from 0.5 to 0.5"),
        (np.zeros((5, 16), np.uint8), r"images of shape \(5, 16\)"),
        (np.zeros((0, 4, 4), np.uint8), r"images of shape \(0, 4, 4\)"),
    ],
)
def test_arrays_that_are_no_images_are_told(values, reason):
    with pytest.raises(UserError, match=f"a.npz: {reason}"):
        readers.as_pixels("a.npz", values)


def test_whole_numbers_of_any_type_are_pixels():
    for kind in (np.int64, np.float32, np.uint16):
        pixels = readers.as_pixels("a.npz", np.arange(16).reshape(1, 4, 4).astype(kind))
        assert pixels.dtype == np.uint8 and pixels.ravel().tolist() == list(range(16))


def test_images_that_are_not_square_become_so():
    wide = parts.squared(np.full((2, 4, 7), 9, np.uint8))
    assert wide.shape == (2, 7, 7) and wide.sum() == 2 * 4 * 7 * 9 and (wide[:, 1:5] == 9).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "zip"}, "kind is 'zip', must be 'idx', 'npz', 'csv', 'libsvm', 'parquet' or 'folder'"),
        ({"kind": "npz", "files": {"a.npz": "sha256:" + "0" * 64}}, "train is missing: a source of the kind npz"),
        ({"kind": "folder", "train": ["a"]}, "train is not for a source of the kind folder"),
        ({"kind": "folder", "group": "("}, "group is '\\(', must be a regular expression"),
        ({"kind": "csv", "train": ["a.csv"], "label": 0}, "files must name exactly a.csv"),
        (
            {"kind": "csv", "train": ["a.csv"], "label": 0, "files": {"a.csv": "sha256:" + "0" * 64}},
            "test_fraction is missing",
        ),
    ],
)
def test_a_source_that_does_not_fit_its_kind_is_told(change, said):
    files = {".": "sha256:" + "0" * 64} if change["kind"] == "folder" else {"x": "sha256:" + "0" * 64}
    with pytest.raises(UserError, match=said):
        check("mine.source", MINE | {"files": files} | change, Source)


@pytest.mark.parametrize("name", ["train-images.idx3-ubyte", "train-images-idx3-ubyte/train-images-idx3-ubyte"])
def test_idx_files_are_found_under_their_other_names(brought, digits, tmp_path, name):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for prefix, (images, labels) in zip(("train", "t10k"), digits):
        write_idx(mirror / f"{prefix}-images-idx3-ubyte", images)
        write_idx(mirror / f"{prefix}-labels-idx1-ubyte", labels.astype(np.uint8))
    files = sums(mirror)
    for path in sorted(mirror.iterdir()):
        other = path.name.replace("-idx", ".idx") if ".idx" in name else f"{path.name}/{path.name}"
        moved = tmp_path / "moved" / other
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    assert same(brought({"mirrors": ["moved"], "files": files}), digits)


def test_only_bytes_are_written_as_idx(tmp_path):
    with pytest.raises(UserError, match=r"labels: an array of int64, shape \(3,\): IDX holds uint8"):
        write_idx(tmp_path / "labels", np.array([1, 2, 3]))
    assert not (tmp_path / "labels").exists()


def test_parquet_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="Parquet needs a package that is not installed: pip install pyarrow"):
        readers.arrow()


def test_light_ink_on_nothing_stays_visible():
    ink = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    ink.paste((250, 250, 250, 255), (5, 4, 10, 16))
    image = as_picture()(saved(ink))
    assert image[5, 6] > 200 and image[0, 0] < 20


def test_pictures_of_fractions_are_refused():
    with pytest.raises(UserError, match="x.png: not a picture that can be read .fractions as pixels"):
        as_picture()(saved(Image.fromarray(np.full((9, 9), 0.5, np.float32)), "TIFF"))


def test_a_very_narrow_picture_keeps_a_row():
    assert as_picture(size=32)(saved(Image.new("L", (400, 2), 9))).shape == (32, 32)


def test_a_source_without_a_test_part_must_say_how_large_it_is(brought, digits, tmp_path):
    source = folder_of(tmp_path / "mine", digits[:1], parts=("",))
    with pytest.raises(UserError, match="source.test_fraction is missing: the source has no test part"):
        brought(source)


def test_libsvm_outside_its_range_is_refused(brought, digits, tmp_path):
    (tmp_path / "mirror").mkdir()
    pixels = digits[0][0].reshape(120, -1).astype(float)
    dump_svmlight_file(pixels, digits[0][1], str(tmp_path / "mirror/a.txt"), zero_based=False)
    source = {"kind": "libsvm", "mirrors": ["mirror"], "files": sums(tmp_path / "mirror"), "train": ["a.txt"]}
    with pytest.raises(UserError, match="a.txt: values from 0 to 255, must be from -1 to 1"):
        brought(source | {"test_fraction": 0.2})


@pytest.mark.parametrize("kind", ["npz", "csv", "libsvm"])
def test_a_small_file_that_holds_very_much_is_refused_before_it_is_read(brought, tmp_path, kind):
    """The two zips are small, and would fill the memory; LIBSVM names the places of what is not 0."""
    (tmp_path / "mirror").mkdir()
    path = tmp_path / "mirror" / {"npz": "a.npz", "csv": "a.csv.zip", "libsvm": "a.txt"}[kind]
    if kind == "libsvm":
        path.write_text("1 20000000:0.5\n" * 100)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
            for _ in range(130):
                file.write(bytes(2**20))
    names = {"npz": ["x", "y"]}.get(kind, [path.name])
    source = {"kind": kind, "mirrors": ["mirror"], "files": sums(tmp_path / "mirror"), "train": names}
    source |= {"test_fraction": 0.2, "largest_file_bytes": 2**27} | ({"label": "label"} if kind == "csv" else {})
    with pytest.raises(UserError, match="source.largest_file_bytes"):
        brought(source)
