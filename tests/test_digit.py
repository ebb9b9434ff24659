"""Any picture of a digit becomes the same image, whatever it was drawn on and however it was photographed."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from serving.reading import opened
from stages.common.entry import UserError
from stages.preprocess.digit import BOX, MIDDLE, SIDE, digit
from stages.preprocess.images import to_network_size
from stages.preprocess.several import Blob, blobs, surest

INK, PAPER = np.array((40, 40, 60)), np.array((232, 230, 225))
STROKES = {
    "1": [(50, 20), (50, 180)],
    "2": [(20, 60), (50, 20), (90, 40), (85, 80), (20, 180), (100, 178)],
    "3": [(20, 30), (80, 25), (85, 70), (45, 95), (90, 115), (80, 165), (20, 175)],
    "4": [(70, 180), (72, 20), (15, 120), (110, 118)],
    "7": [(15, 25), (95, 22), (45, 180)],
}


def drawn(name, width=14, side=200, left=50, top=0):
    """How much ink is on each pixel, 0 to 1, of a page with the strokes of a digit."""
    page = Image.new("L", (side, side), 0)
    points = [(x + left, y + top) for x, y in STROKES[name]]
    ImageDraw.Draw(page).line(points, 255, width, joint="curve")
    return np.asarray(page) / 255


def on_paper(ink, paper=PAPER, colour=INK):
    return paper * (1 - ink[..., None]) + colour * ink[..., None]


def as_bytes(picture, noise=0.0):
    random = np.random.default_rng(1)
    return np.clip(picture + random.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


def alike(one, other):
    """The correlation of two images: 1 if they are the same, wherever rounding put them by a pixel."""
    moved = [np.roll(other, (down, across), (0, 1)) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    return max(np.corrcoef(one.ravel(), each.ravel())[0, 1] for each in moved)


ROWS, COLUMNS = np.mgrid[:200, :200]


def shadowed(picture):
    return picture * (0.5 + 0.5 * COLUMNS / 199)[..., None]


def under_a_cast_shadow(picture):
    return picture * (1 - 0.45 / (1 + np.exp(-(COLUMNS + ROWS / 2 - 150) / 8)))[..., None]


def ruled(picture):
    return np.where(((ROWS + 3) % 28 < 2)[..., None], np.minimum(picture, (150, 165, 205)), picture)


def squared(picture):
    return np.where(((ROWS % 24 < 2) | (COLUMNS % 24 < 2))[..., None], np.minimum(picture, (150, 165, 205)), picture)


def framed(picture):
    inside = (ROWS >= 5) & (ROWS < 195) & (COLUMNS >= 5) & (COLUMNS < 195)
    return np.where(inside[..., None], picture, 20.0)


def specked(picture):
    dirty = picture.copy()
    for row, column in ((15, 20), (180, 30), (20, 185), (185, 180)):
        dirty[row : row + 4, column : column + 4] = 30
    return dirty


def on_a_table(picture):
    table = np.full((240, 240, 3), 70.0)
    table[20:220, 20:220] = picture
    return table


CHANGES = {
    "noise": lambda ink: as_bytes(on_paper(ink), 5),
    "light on dark": lambda ink: as_bytes(on_paper(ink, np.array((20, 50, 40)), np.array((235, 235, 225)))),
    "blue on yellow": lambda ink: as_bytes(on_paper(ink, np.array((240, 230, 90)), np.array((60, 80, 220)))),
    "yellow on light blue": lambda ink: as_bytes(on_paper(ink, np.array((153, 217, 234)), np.array((255, 201, 14)))),
    "pencil": lambda ink: as_bytes(on_paper(ink, np.array((200, 190, 180)), np.array((150, 142, 136))), 3),
    "uneven light": lambda ink: as_bytes(shadowed(on_paper(ink)), 3),
    "cast shadow": lambda ink: as_bytes(under_a_cast_shadow(on_paper(ink)), 3),
    "ruled paper": lambda ink: as_bytes(ruled(on_paper(ink)), 3),
    "squared paper": lambda ink: as_bytes(squared(on_paper(ink)), 3),
    "frame": lambda ink: as_bytes(framed(on_paper(ink)), 3),
    "specks": lambda ink: as_bytes(specked(on_paper(ink)), 3),
    "on a table": lambda ink: as_bytes(on_a_table(on_paper(ink)), 3),
    "large": lambda ink: np.kron(as_bytes(on_paper(ink)), np.ones((5, 5, 1), np.uint8)),
    "grey": lambda ink: as_bytes(255 * (1 - ink)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", STROKES)
def test_paper_light_and_colour_do_not_change_what_the_model_sees(name, change):
    ink = drawn(name)
    plain, other = digit(as_bytes(on_paper(ink))), digit(CHANGES[change](ink))
    assert alike(plain.image, other.image) > 0.95


@pytest.mark.parametrize("name", STROKES)
def test_thin_and_thick_pens_give_strokes_of_like_width(name):
    inks = [int(digit(as_bytes(on_paper(drawn(name, width)))).image.sum()) for width in (2, 8, 20)]
    assert max(inks) < 2 * min(inks)
    assert "strokes thickened" in digit(as_bytes(on_paper(drawn(name, 2)))).done


@pytest.mark.parametrize("name", STROKES)
def test_the_digit_has_the_size_and_the_place_that_mnist_gives_it(name):
    image = digit(as_bytes(on_paper(drawn(name)))).image
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert BOX <= max(np.ptp(rows), np.ptp(columns)) + 1 <= BOX + 1
    assert image.dtype == np.uint8 and image.shape == (SIDE, SIDE) and image.max() > 200
    for profile in (image.sum(axis=0), image.sum(axis=1)):
        assert abs((profile * np.arange(SIDE)).sum() / profile.sum() - MIDDLE) <= 0.5


def test_the_box_is_where_the_digit_was_in_the_picture():
    page = np.full((900, 1200), 255, np.uint8)
    page[300:600, 700:740] = 0
    left, top, right, bottom = digit(page).box
    assert abs(left - 700) <= 5 and abs(top - 300) <= 5 and abs(right - 740) <= 5 and abs(bottom - 600) <= 5


@pytest.mark.parametrize(
    "picture",
    [
        np.full((100, 100), 255, np.uint8),
        np.zeros((28, 28), np.uint8),
        np.full((1, 1), 7, np.uint8),
        as_bytes(np.full((200, 200, 3), 200.0), 6),
        as_bytes(shadowed(np.full((200, 200, 3), 230.0)), 4),
    ],
)
def test_a_picture_without_ink_has_no_digit(picture):
    assert digit(picture) is None
    assert blobs(picture) == []


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (2, 2), (3, 500, 3), (28, 5)])
def test_no_shape_is_too_odd(shape):
    random = np.random.default_rng(0)
    found = digit(random.integers(0, 256, shape, np.uint8))
    assert found is None or found.image.shape == (SIDE, SIDE)


def test_digits_are_found_in_reading_order():
    page = np.zeros((440, 640))
    for number, name in enumerate("24731"):
        row, column = divmod(number, 3)
        page[row * 220 : row * 220 + 200, column * 210 : column * 210 + 200] += drawn(name)
    found = [blob.parts[0, blob.cuts].image for blob in blobs(as_bytes(on_paper(page), 3))]
    known = {name: digit(as_bytes(on_paper(drawn(name)))).image for name in STROKES}
    assert [max(known, key=lambda name: alike(image, known[name])) for image in found] == list("24731")


def test_touching_digits_are_cut_where_the_model_is_surer_of_the_parts():
    page = np.maximum(drawn("7", left=20), drawn("2", left=100))
    page[100:104, 60:130] = 1
    [blob] = blobs(as_bytes(on_paper(page)))
    end = blob.cuts
    right_edges = {stop: part.box[2] for (start, stop), part in blob.parts.items() if start == 0}
    middle = min(right_edges, key=lambda stop: abs(right_edges[stop] - 105))
    unsure = dict.fromkeys(blob.parts, 0.3)
    in_two = surest(blob, unsure | {(0, middle): 0.99, (middle, end): 0.99, (0, end): 0.01})
    assert [part.box for part in in_two] == [blob.parts[0, middle].box, blob.parts[middle, end].box]
    no_cost = Blob(blob.parts, dict.fromkeys(blob.parts, 0.0), end)
    assert surest(no_cost, unsure | {(0, end): 0.99}) == [blob.parts[0, end]]


def test_the_pipeline_prepares_a_data_set_as_serving_prepares_a_picture():
    raw = np.stack([255 - as_bytes(on_paper(drawn(name)))[..., 0] for name in STROKES])
    prepared = to_network_size(raw, SIDE, 1, "digit")
    assert np.array_equal(prepared, np.stack([digit(image).image for image in raw]))


def test_a_data_set_with_an_empty_image_is_refused_by_its_number():
    raw = np.stack([np.zeros((40, 40), np.uint8), as_bytes(255 * drawn("3", side=40, left=0))])
    with pytest.raises(UserError, match="no digit in 1 of 2 images: 0"):
        to_network_size(raw, SIDE, 1, "digit")
    with pytest.raises(UserError, match="28×28 grey"):
        to_network_size(raw, 32, 1, "digit")


def files():
    """The same digit as files of many kinds."""
    plain = Image.fromarray(as_bytes(on_paper(drawn("4"))))
    turned = plain.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    ink = (drawn("4") * 255).astype(np.uint8)
    clear = Image.fromarray(np.dstack([np.zeros_like(ink)] * 3 + [ink]), "RGBA")
    light = Image.fromarray(np.dstack([np.full_like(ink, 250)] * 3 + [ink]), "RGBA")
    deep = Image.fromarray(((1 - drawn("4")) * 65535).astype(np.uint16))
    return {
        "jpeg": (plain, {"format": "JPEG"}),
        "turned": (turned, {"format": "JPEG", "exif": exif}),
        "palette": (plain.quantize(16), {"format": "GIF"}),
        "transparent": (clear, {"format": "PNG"}),
        "light ink on nothing": (light, {"format": "PNG"}),
        "16 bit": (deep, {"format": "PNG"}),
        "one bit": (plain.convert("L").point(lambda value: 255 * (value > 128)).convert("1"), {"format": "TIFF"}),
        "webp": (plain, {"format": "WEBP"}),
    }


@pytest.mark.parametrize("kind", files())
def test_files_of_every_kind_give_the_same_image(kind):
    picture, options = files()[kind]
    content = io.BytesIO()
    picture.save(content, **options)
    content.seek(0)
    plain = digit(as_bytes(on_paper(drawn("4"))))
    assert alike(plain.image, digit(opened(content, kind)).image) > 0.95


def test_a_picture_that_announces_too_many_pixels_is_not_decoded():
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    content.seek(0)
    with pytest.raises(UserError, match="20000×20000 pixels are too many"):
        opened(content, "bomb.png")
