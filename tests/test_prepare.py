"""The preparation of pictures in a browser: the same image, box and notes as stages/preprocess/digit.py gives."""

import base64

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from helpers.clone import ROOT
from stages.preprocess.digit import digit

SCRIPTS = [ROOT / "stages/package" / name for name in ("planes.js", "prepare.js")]
PREPARE = """([base64, width, height]) => {
    const pixels = Uint8ClampedArray.from(atob(base64), (character) => character.charCodeAt(0));
    const found = Prepare.picture(pixels, width, height);
    return found && { ...found, image: Array.from(found.image) };
}"""
INKS = {"black on white": (0, 255), "white on black": (255, 0), "pencil": ((90, 90, 95), (236, 234, 228))}
INKS |= {"blue on yellow": ((30, 40, 160), (250, 240, 170)), "red on green": ((200, 60, 50), (70, 120, 90))}
INKS |= {"yellow on blue": ((250, 230, 90), (20, 30, 90)), "faint": ((196, 198, 200), (215, 214, 212))}
SIZES = [(16, 16), (28, 28), (29, 31), (45, 120), (200, 61), (280, 280), (257, 255), (400, 300), (1024, 768), (90, 700)]
STROKES = [  # in the unit square: none is its own mirror image, as a hand draws none
    [[(0.28, 0.22), (0.72, 0.25), (0.44, 0.81)]],
    [[(0.61, 0.15), (0.3, 0.62), (0.77, 0.64)], [(0.63, 0.37), (0.58, 0.86)]],
    [[(0.44, 0.14), (0.48, 0.9)]],
    [[(0.7, 0.2), (0.36, 0.21), (0.33, 0.47), (0.6, 0.45), (0.7, 0.63), (0.55, 0.8), (0.3, 0.76)]],
]


@pytest.fixture(scope="module")
def in_browser(browser):
    """A function: what the page makes of a picture uint8 (height, width) or (height, width, 3)."""
    with browser.new_page() as page:
        for script in SCRIPTS:
            page.add_script_tag(path=script)

        def prepared(picture):
            height, width = picture.shape[:2]
            rgba = np.zeros((height, width, 4), np.uint8)
            rgba[..., :3] = picture if picture.ndim == 3 else picture[..., np.newaxis]
            return page.evaluate(PREPARE, [base64.b64encode(rgba.tobytes()).decode(), width, height])

        yield prepared


@pytest.fixture
def assert_same(in_browser):
    """A function: assert that the page makes of a picture what Python makes, and give the latter."""

    def compared(picture):
        expected, found = digit(picture), in_browser(picture)
        assert (found is None) == (expected is None)
        if expected:
            assert (tuple(found["box"]), found["done"]) == (expected.box, expected.done)
            image = np.array(found["image"]).reshape(28, 28)
            np.testing.assert_allclose(image, expected.image, rtol=0, atol=1)
        return expected

    return compared


def drawn(size, strokes, width=0.08, ink=0, paper=255):
    """Strokes on a picture of a size, with smooth edges: uint8 (height, width, 3)."""
    side = 4 * min(size)
    left, top = 2 * size[0] - side / 2, 2 * size[1] - side / 2
    mask = Image.new("L", (4 * size[0], 4 * size[1]))
    pen, radius = ImageDraw.Draw(mask), width * side / 2
    for stroke in strokes:
        points = [(left + x * side, top + y * side) for x, y in stroke]
        pen.line(points, 255, round(2 * radius))
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    return inked(mask.resize(size, Image.Resampling.BOX), ink, paper)


def inked(mask, ink, paper):
    """Ink where the mask is light and paper where it is dark: uint8 (height, width, 3)."""
    share = np.asarray(mask)[..., np.newaxis] / 255
    return np.rint(share * np.broadcast_to(ink, 3) + (1 - share) * np.broadcast_to(paper, 3)).astype(np.uint8)


def noisy(picture, spread, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def shadowed(picture, darkest=0.45):
    """A shadow over the right half, with a soft edge."""
    across = np.linspace(-12, 12, picture.shape[1])[np.newaxis, :, np.newaxis]
    return (picture * (darkest + (1 - darkest) / (1 + np.exp(across)))).astype(np.uint8)


def ruled(picture, step, level=150, both=False):
    lines = picture.copy()
    lines[step // 2 :: step] = np.minimum(lines[step // 2 :: step], level)
    if both:
        lines[:, step // 3 :: step] = np.minimum(lines[:, step // 3 :: step], level)
    return lines


def framed(picture, width=3, level=60):
    frame = picture.copy()
    for edge in (np.s_[8 : 8 + width, 8:-8], np.s_[-8 - width : -8, 8:-8]):
        frame[edge] = frame.swapaxes(0, 1)[edge] = level
    return frame


def speckled(picture, count, seed=0):
    rng, specks = np.random.default_rng(seed), picture.copy()
    for y, x in zip(rng.integers(0, picture.shape[0] - 2, count), rng.integers(0, picture.shape[1] - 2, count)):
        specks[y : y + 2, x : x + 2] = 20
    return specks


@pytest.mark.parametrize("colours", INKS)
def test_a_digit_in_any_colours_is_prepared_as_in_python(digits, assert_same, colours):
    for number, image in enumerate(digits[0][:4]):
        enlarged = Image.fromarray(image).resize((100 + 37 * number, 140), Image.Resampling.BICUBIC)
        sheet = Image.new("L", (300, 230))
        sheet.paste(enlarged, (20 + 9 * number, 30))
        assert assert_same(noisy(inked(sheet, *INKS[colours]), 1.5, number))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_a_drawing_of_any_size_is_prepared_as_in_python(assert_same, size):
    for width in (0.03, 0.09, 0.2):
        for strokes in STROKES:
            assert assert_same(drawn(size, strokes, width, 10, 241))


@pytest.mark.parametrize(("width", "done"), [(0.03, "strokes thickened"), (0.22, "strokes thinned")])
def test_strokes_are_made_as_wide_as_in_python(assert_same, width, done):
    assert done in assert_same(drawn((400, 300), STROKES[1], width, 10, 241)).done


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("change", "done"),
    [
        (lambda picture: picture, None),
        (shadowed, "shadow removed"),
        (lambda picture: ruled(picture, 24), "lines removed"),
        (lambda picture: ruled(picture, 17, both=True), "lines removed"),
        (lambda picture: shadowed(ruled(picture, 24)), "shadow removed"),
        (framed, None),
        (lambda picture: speckled(picture, 40), None),
        (lambda picture: 255 - speckled(shadowed(picture), 9), None),
        (lambda picture: np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(5))), None),
        (lambda picture: picture[60:-50, 70:-60], None),  # strokes reach the edge
    ],
    ids=["plain", "shadow", "ruled", "squared", "shadow and ruled", "frame", "specks", "dark", "blur", "crop"],
)
def test_what_is_on_the_paper_too_is_treated_as_in_python(assert_same, change, done, seed):
    picture = change(drawn((240, 250), STROKES[seed], 0.07, (40, 45, 80), (230, 226, 215)))
    found = assert_same(noisy(picture, 3, seed))
    assert found and (done is None or done in found.done)


def test_images_of_the_network_s_size_are_prepared_as_in_python(digits, assert_same):
    for number, image in enumerate(digits[0][40:80]):
        assert assert_same(noisy(image, 2, number))


def test_without_ink_there_is_no_digit(assert_same):
    blank = np.full((60, 90), 200, np.uint8)
    for picture in (blank, blank[:1, :1], noisy(blank, 4), np.zeros((28, 28, 3), np.uint8)):
        assert assert_same(picture) is None


def test_a_level_exactly_at_the_threshold_is_ink_as_in_python(assert_same):
    picture = np.zeros((28, 28), np.uint8)
    picture[6:22, 12:15] = 255
    picture[10:14, 17] = 51  # a fifth of 255
    assert assert_same(picture).box == (12, 6, 18, 22)


@pytest.mark.parametrize("width", range(6, 40))
def test_what_is_its_own_mirror_image_lies_in_the_same_place_as_in_python(assert_same, width):
    picture = np.full((280, 280), 255, np.uint8)
    picture[50:230, 140 - width // 2 : 140 + width // 2] = 0
    assert assert_same(picture)
