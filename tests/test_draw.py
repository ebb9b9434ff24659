"""The page on which people try the model, in Chromium: drawing, pictures, the webcam; by itself and with a server.

Its model takes a digit for the nearest of ten that this module draws itself: that is enough to see what reached it.
How well people's digits are read is no matter of the page.
"""

import base64
import io
import json
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from helpers.browser import OPTIONS, chromium
from helpers.hostile import HOSTILE
from stages.package.page import render
from stages.preprocess.digit import digit as prepared

STROKES = {  # of each digit, as points in the 280 by 280 pixels of a drawing
    "0": [[(140, 55), (95, 85), (80, 140), (95, 200), (140, 225), (185, 200), (200, 140), (185, 85), (140, 55)]],
    "1": [[(140, 50), (140, 230)]],
    "2": [[(85, 95), (140, 55), (190, 95), (160, 150), (85, 220), (205, 220)]],
    "3": [[(90, 75), (150, 55), (195, 90), (150, 130), (120, 132), (150, 134), (200, 170), (160, 222), (85, 205)]],
    "4": [[(165, 55), (80, 165), (210, 165)], [(165, 110), (165, 235)]],
    "5": [[(195, 60), (100, 60), (95, 130), (150, 120), (195, 160), (165, 215), (90, 215)]],
    "6": [[(170, 55), (100, 130), (90, 190), (140, 225), (185, 190), (150, 150), (95, 175)]],
    "7": [[(80, 70), (200, 70), (130, 225)]],
    "8": [[(180, 80), (140, 55), (100, 85), (180, 190), (140, 225), (95, 190), (180, 80)]],
    "9": [[(185, 100), (140, 60), (100, 95), (140, 135), (185, 100), (175, 230)]],
}
PACKAGE = {"title": "Ten digits", "classes": list(STROKES), "shape": [28, 28, 1], "threshold": 0.9, "refused": 0.012}
SERVER = "http://digits.test/"
SEEN = "Array.from(document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data)"
FAKE_CAMERA, ALLOWED = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
WIDER = "document.documentElement.scrollWidth > innerWidth"
GIVE = """([event, files]) => {
    const data = new DataTransfer();
    for (const [name, text] of files) {
        const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
        data.items.add(new File([bytes], name));
    }
    const options = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
    document.body.dispatchEvent(event === "paste" ? new ClipboardEvent(event, options) : new DragEvent(event, options));
}"""
COUNT_READINGS = """() => {
    globalThis.readings = 0;
    new MutationObserver(() => globalThis.readings++).observe(document.getElementById("done"), { childList: true });
}"""
expect.set_options(timeout=20_000)


def picture(label, ink="black", paper="white", width=20, size=(280, 280), mode="RGB"):
    """A digit of STROKES in the middle of a picture."""
    made = Image.new(mode, size, paper)
    pen = ImageDraw.Draw(made)
    left, top = (size[0] - 280) // 2, (size[1] - 280) // 2
    for stroke in STROKES[label]:
        points = [(left + x, top + y) for x, y in stroke]
        pen.line(points, ink, width, joint="curve")
        for x, y in points:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), ink)
    return made


def saved(image, form="PNG", **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def network():
    """JSON of a network whose score of a class falls with the distance of the image from that digit of STROKES."""
    images = np.stack([prepared(np.asarray(picture(label))).image for label in STROKES]).reshape(10, 784)
    wanted = images.astype(np.float64)

    def tensor(shape, values=None):
        data = {} if values is None else {"data": base64.b64encode(values.astype("<f4").tobytes()).decode()}
        return {"shape": shape, **data}

    softness = 255 * 784 / 2  # two digits that differ a little are about equally probable
    tensors = {
        "0": tensor([1, 28, 28, 1]),
        "1": tensor([10, 784], wanted / softness),
        "2": tensor([10], -(wanted**2).sum(axis=1) / 2 / softness),
        "3": tensor([1, 10]),
        "4": tensor([1, 10]),
    }
    operations = [
        {"name": "FULLY_CONNECTED", "inputs": [0, 1, 2], "output": 3, "options": {}},
        {"name": "SOFTMAX", "inputs": [3], "output": 4, "options": {"beta": 1}},
    ]
    return json.dumps({"input": 0, "output": 4, "operations": operations, "tensors": tensors})


@pytest.fixture
def opened(browser, network, tmp_path):
    """A function: the offline page in a window, as a context. At its end nothing was asked for, and nothing wrong."""

    @contextmanager
    def window(where=browser, package=PACKAGE, **options):
        file = tmp_path / "draw.html"
        file.write_text(render(package, network), encoding="utf-8")
        with where.new_page(**options) as page:
            wrong, asked = watched(page)
            page.goto(file.as_uri())
            yield page
            assert wrong == []
            assert asked == [file.as_uri()]

    return window


@pytest.fixture
def served(browser):
    """A function: the page in a window as a server gives it, as a context; other requests are for `handle`."""

    @contextmanager
    def window(handle, package=PACKAGE):
        with browser.new_page() as page:
            html = render(package, None)
            page.route(f"{SERVER}**", handle)
            page.route(SERVER, lambda route: route.fulfill(body=html, content_type="text/html"))
            page.goto(SERVER)
            yield page

    return window


def watched(page):
    """Two lists that grow: what the page complains about, and the addresses that it asks for."""
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    return wrong, asked


def draw(page, strokes, release=True):
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        if release:
            page.mouse.up()


def give(page, event, files):
    page.evaluate(GIVE, [event, [[name, base64.b64encode(content).decode()] for name, content in files.items()]])


def says(page, text):
    """Wait until a screen reader would hear `text`."""
    expect(page.locator("#spoken")).to_have_text(text)


def complains(page, text):
    expect(page.locator("#message")).to_have_text(text)


def answer(*labels, **more):
    """What a server answers if it finds digits of these labels, a capital X for one between 3 and 5."""
    digits = []
    for index, label in enumerate(labels):
        probabilities = np.full(10, 0.001)
        probabilities[[3, 5] if label == "X" else [int(label)]] = [0.52, 0.44] if label == "X" else 0.991
        found = {"label": "3" if label == "X" else label, "sure": label != "X", "confidence": probabilities.max()}
        image = base64.b64encode(bytes([index] * 784)).decode()
        box = [40 * index, 10, 40 * index + 30, 60]
        found |= {"probabilities": probabilities.tolist(), "box": box, "done": ["inverted"], "image": image}
        digits.append(found)
    text, message = "".join(labels).replace("X", "?"), None if labels else "no digit found"
    model = {"title": "Ten digits", "commit": "abc1234"}
    whole = {"id": "01J", "text": text, "milliseconds": 3.14, "message": message, "digits": digits, "model": model}
    return json.dumps(whole | more)


def replies(text, status=200):
    return lambda route: route.fulfill(body=text, status=status, content_type="application/json")


def parts(request):
    """The form that was sent: the file of `picture`, and `several`."""
    kind, body = request.headers["content-type"], request.post_data_buffer
    pieces = body.split(b"--" + kind.partition("boundary=")[2].encode())[1:-1]
    fields = {head: content[:-2] for head, _, content in (piece.partition(b"\r\n\r\n") for piece in pieces)}
    names = {head.partition(b'name="')[2].partition(b'"')[0].decode(): content for head, content in fields.items()}
    return names["picture"], names["several"].decode()


@pytest.mark.parametrize("label", STROKES)
def test_strokes_are_read(opened, label):
    with opened() as page:
        expect(page.locator("#answer")).to_have_text("The answer appears here")
        draw(page, STROKES[label])
        says(page, f"It is a {label}")
        expect(page.locator("#answer")).to_have_text(label)
        expect(page.locator("#bars tr.first th")).to_have_text(label)
        expect(page.locator("#three li")).to_have_count(3)
        expect(page.locator("#time")).to_contain_text("ms")
        assert max(page.evaluate(SEEN)[::4]) > 200


def test_the_answer_is_there_before_the_pen_is_lifted(opened):
    with opened() as page:
        draw(page, STROKES["7"], release=False)
        says(page, "It is a 7")


def test_a_stroke_is_undone_and_a_clearing_too(opened):
    with opened() as page:
        expect(page.locator("#undo")).to_be_disabled()
        draw(page, STROKES["1"])
        says(page, "It is a 1")
        draw(page, [[(80, 60), (140, 60)], [(60, 230), (220, 230)]])
        page.click("#undo")
        page.keyboard.press("Control+z")
        says(page, "It is a 1")
        page.click("#clear")
        says(page, "")
        expect(page.locator("#clear")).to_be_disabled()
        page.click("#undo")
        says(page, "It is a 1")
        for key in ("Delete", "Backspace", "Escape"):
            page.keyboard.press(key)
            says(page, "")
            page.keyboard.press("Control+z")
            says(page, "It is a 1")


def test_the_same_drawing_gives_the_same_pixels_on_any_screen(opened):
    seen = []
    for ratio in (1, 3):
        with opened(device_scale_factor=ratio) as page:
            draw(page, STROKES["3"])
            says(page, "It is a 3")
            page.wait_for_timeout(500)  # for the last reading
            seen.append(page.evaluate(SEEN))
            assert page.evaluate("pad.width / pad.clientWidth") == ratio
    assert seen[0] == seen[1]


def test_a_finger_draws_and_does_not_scroll(opened):
    with opened(has_touch=True, viewport={"width": 390, "height": 500}) as page:
        box = page.locator("#pad").bounding_box()
        touch = page.context.new_cdp_session(page)
        points = [(box["x"] + box["width"] / 2, box["y"] + box["height"] * share) for share in np.linspace(0.8, 0.2, 9)]
        for index, (x, y) in enumerate(points):
            kind = "touchMove" if index else "touchStart"
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        says(page, "It is a 1")
        assert page.evaluate("scrollY") == 0 and page.evaluate("document.documentElement.scrollHeight > innerHeight")


def test_one_can_draw_with_the_keyboard_alone(opened):
    with opened() as page:
        page.keyboard.press("Tab")
        expect(page.locator("#pad")).to_be_focused()
        expect(page.locator("#keys")).to_be_visible()
        for key, times in (("ArrowUp", 9), ("Space", 1), ("ArrowDown", 18), ("Space", 1), ("ArrowLeft", 6)):
            for _ in range(times):
                page.keyboard.press(key)
        says(page, "It is a 1")
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_a_picture_is_pasted_or_dropped(opened, event):
    with opened() as page:
        give(page, event, {"seven.png": saved(picture("7", "navy", "ivory", size=(640, 480)))})
        says(page, "It is a 7")
        expect(page.locator("#pictures")).to_be_hidden()
        page.click("#undo")
        says(page, "")


def test_what_holds_no_file_is_refused_in_a_line(opened):
    with opened() as page:
        give(page, "paste", {})
        complains(page, "That holds no picture: copy a picture itself, or use its file.")


def test_several_files_make_a_list(opened, tmp_path):
    files = {f"{label}.png": saved(picture(label)) for label in "703"}
    files |= {"blank.png": saved(Image.new("RGB", (90, 60), "white")), "broken.png": b"nothing"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with opened() as page:
        with page.expect_file_chooser() as chooser:
            page.click("#choose")
        chooser.value.set_files([tmp_path / name for name in files])
        expect(page.locator("#list b")).to_have_text(["7", "0", "3", "no digit", "not read"])
        says(page, "It is a 7")
        page.click("#list button >> nth=2")
        says(page, "It is a 3")
        expect(page.locator("#list button >> nth=2")).to_be_focused()
        page.click("#list button >> nth=3")
        says(page, "No digit found")
        page.click("#list button >> nth=4")
        complains(page, "broken.png: not a picture that this browser can read.")


def test_a_photograph_is_turned_as_its_camera_says(opened):
    exif = Image.Exif()
    exif[0x0112] = 6  # its right side is the top
    lying = picture("7", size=(400, 300)).resize((4000, 3000)).rotate(90, expand=True)
    with opened() as page:
        give(page, "drop", {"IMG_1.JPG": saved(lying, "JPEG", exif=exif)})
        says(page, "It is a 7")


@pytest.mark.parametrize("ink", ["white", "black"])
def test_transparent_paper_contrasts_with_the_ink(opened, ink):
    with opened() as page:
        give(page, "paste", {"clear.png": saved(picture("3", ink, (0, 0, 0, 0), mode="RGBA"))})
        says(page, "It is a 3")


@pytest.fixture
def with_camera(browser):
    """A function: another Chromium, with options that say which camera it has, as a context."""

    def launch(*options):
        return browser.browser_type.launch(executable_path=chromium(), args=[*OPTIONS, *options])

    return launch


def test_the_webcam_is_read_live(opened, with_camera, tmp_path):
    frame = saved(picture("7", (30, 30, 60), (225, 220, 210), size=(640, 480)), "JPEG", quality=92)
    (tmp_path / "camera.mjpeg").write_bytes(4 * frame)
    video = f"--use-file-for-fake-video-capture={tmp_path / 'camera.mjpeg'}"
    with with_camera(FAKE_CAMERA, ALLOWED, video) as other, opened(other) as page:
        page.click("#webcam")
        expect(page.locator("#video")).to_be_visible()
        says(page, "It is a 7")
        page.evaluate(COUNT_READINGS)
        page.wait_for_function("globalThis.readings >= 3")
        page.click("#webcam")
        expect(page.locator("#pad")).to_be_visible()
        assert page.evaluate("video.srcObject") is None
        says(page, "It is a 7")  # the last frame stays
        page.click("#webcam")
        expect(page.locator("#video")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#invitation")).to_be_visible()
        assert page.evaluate("video.srcObject") is None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([f"{FAKE_CAMERA}=device-count=0", ALLOWED], "No camera was found."),
        (
            [FAKE_CAMERA, "--deny-permission-prompts"],
            "The webcam may not be used: allow it for this page in the browser's settings.",
        ),
    ],
    ids=["none", "refused"],
)
def test_a_webcam_that_cannot_be_had_is_told_in_a_line(opened, with_camera, options, line):
    with with_camera(*options) as other, opened(other) as page:
        page.click("#webcam")
        complains(page, line)
        draw(page, STROKES["1"])
        says(page, "It is a 1")
        complains(page, "")


def test_below_the_threshold_the_answer_is_a_question(opened):
    with opened(package=PACKAGE | {"threshold": 1.1}) as page:
        draw(page, STROKES["7"])
        expect(page.locator("#spoken")).to_contain_text("Not sure: 7 or ")
        expect(page.locator("#answer")).to_contain_text("?")
        expect(page.locator("#three li").first).to_have_text("Not sure")


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_need_not_scroll_sideways(opened, width):
    package = PACKAGE | {"threshold": 1.1}  # three candidates: the widest answer
    with opened(package=package, viewport={"width": width, "height": 844}, has_touch=True) as page:
        assert not page.evaluate(WIDER)
        draw(page, STROKES["3"])
        expect(page.locator("#spoken")).to_contain_text("Not sure")
        assert not page.evaluate(WIDER)
        give(page, "drop", {f"{number} of a long name.png": saved(picture("1")) for number in range(5)})
        expect(page.locator("#list b").last).to_have_text("?")
        assert not page.evaluate(WIDER)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_paper_is_white_in_both_themes(opened, theme):
    with opened(color_scheme=theme, reduced_motion="reduce") as page:
        draw(page, STROKES["0"])
        says(page, "It is a 0")
        assert page.evaluate("Array.from(pad.getContext('2d').getImageData(2, 2, 1, 1).data)") == [255] * 4
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (theme == "dark")
        assert page.evaluate("getComputedStyle(document.querySelector('.track span')).transitionProperty") == "none"


def test_many_classes_are_shown_by_the_most_probable(served):
    classes = [chr(number) for number in range(ord("A"), ord("A") + 26)]
    probabilities = [0.001] * 26
    probabilities[20] = 0.975
    digits = json.loads(answer("1"))["digits"]
    digits[0] |= {"label": "U", "probabilities": probabilities}
    with served(replies(answer("1", text="U", digits=digits)), PACKAGE | {"classes": classes}) as page:
        draw(page, STROKES["0"])
        says(page, "It is a U")
        expect(page.locator("#bars tr")).to_have_count(10)
        expect(page.locator("#bars tr").first).to_contain_text("97.5")


def test_text_from_outside_is_no_markup(network):
    package = PACKAGE | {"title": "</script><b>digits</b>", "classes": [*"012345678", "</script>"]}
    page = render(package, network.replace('"input"', '"</script>": 1, "input"'))
    assert page.count("</script>") == page.count("<script")
    assert "<b>digits" not in page


def test_hostile_names_run_nothing_and_are_shown(served):
    classes = [text[:100] for text in HOSTILE[:10]]
    digits = json.loads(answer("7"))["digits"]
    digits[0] |= {"label": classes[7], "done": HOSTILE}
    package = PACKAGE | {"title": " ".join(HOSTILE), "classes": classes}
    with served(replies(answer("7", text=classes[7], digits=digits)), package) as page:
        dialogs = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        draw(page, [[(140, 140)]])
        expect(page.locator("#bars tr")).to_have_count(10)
        shown = page.evaluate("document.body.innerText")
        assert all(name in shown for name in classes) and classes[7] in page.inner_text("body")
        assert (page.evaluate("window.hacked"), dialogs) == (None, [])
        assert page.locator("iframe, svg svg, [onload], [onerror], [onfocus]").count() == 0


def test_the_server_gets_the_drawing_as_a_picture_and_a_file_as_it_is(served):
    with served(replies(answer("7"))) as page:
        with page.expect_request(f"{SERVER}predict") as asked:
            draw(page, [[(140, 140)]])
        says(page, "It is a 7")
        expect(page.locator("#commit")).to_have_text(" · model abc1234")
        expect(page.locator("#time")).to_have_text("3.1\u00a0ms")
        content, several = parts(asked.value)
        drawing = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
        assert asked.value.method == "POST" and several == "false"
        assert drawing.shape == (280, 280) and drawing[140, 140] == 0 and drawing[140, 160] == 255
        file = saved(picture("1", size=(2000, 1500)), "JPEG")
        with page.expect_request(f"{SERVER}predict") as asked:
            give(page, "drop", {"photo.jpg": file})
        assert parts(asked.value) == (file, "false")
        with page.expect_request(f"{SERVER}predict") as asked:
            page.check("#several")
        assert parts(asked.value) == (file, "true")


def test_a_file_that_only_the_server_can_read_is_read(served):
    with served(replies(answer("4"))) as page:
        give(page, "drop", {"scan.tif": saved(picture("4"), "TIFF")})
        says(page, "It is a 4")


def test_several_digits_are_chosen_one_by_one_and_corrected(served):
    corrections = []

    def handle(route):
        if route.request.url == f"{SERVER}predict":
            return replies(answer("2", "X", "7"))(route)
        corrections.append((route.request.url, route.request.post_data_json))
        return route.fulfill(status=204)

    with served(handle) as page:
        page.check("#several")
        give(page, "paste", {"number.png": saved(picture("7"))})
        says(page, "3 digits: 2 ? 7")
        expect(page.locator("#picks button")).to_have_text(["2", "3?", "7"])
        page.click("#picks button >> nth=1")
        expect(page.locator("#three li")).to_have_text(["Not sure", "352.0\u00a0%", "544.0\u00a0%", "00.1\u00a0%"])
        assert page.evaluate(SEEN)[:4] == [1, 1, 1, 255]
        page.click("#labels button >> nth=5")
        expect(page.locator("#thanks")).to_have_text(
            "Thank you. The server keeps what the model saw, its answer 3 and your 5."
        )
        expect(page.locator("#wrong")).to_be_hidden()
        page.click("#picks button >> nth=0")
        expect(page.locator("#wrong")).to_be_visible()
    image = base64.b64encode(bytes([1] * 784)).decode()
    assert corrections == [(f"{SERVER}corrections", {"id": "01J", "digit": 1, "label": "5", "image": image})]


def test_an_error_of_the_server_is_one_line(served):
    with served(replies('{"error": "the picture has too many pixels"}', 413)) as page:
        give(page, "paste", {"huge.png": saved(picture("1"))})
        complains(page, "the picture has too many pixels")


def test_a_server_that_is_gone_is_told(served):
    with served(lambda route: route.abort()) as page:
        draw(page, STROKES["1"])
        complains(page, "The server does not answer: start it again with make serve.")


def test_a_busy_server_is_told_only_once_the_pen_is_lifted(served):
    with served(replies('{"error": "busy: try again"}', 503)) as page:
        with page.expect_response(f"{SERVER}predict"):
            draw(page, STROKES["1"], release=False)
        page.wait_for_timeout(300)
        complains(page, "")
        page.mouse.up()
        complains(page, "busy: try again")


def test_one_request_is_under_way_and_the_newest_drawing_is_next(served):
    waiting = []
    with served(lambda route: waiting.append(route)) as page:
        draw(page, STROKES["1"])
        draw(page, [[(60, 60), (220, 60)]])
        draw(page, [[(60, 220), (220, 220)]])
        page.wait_for_timeout(300)
        assert len(waiting) == 1
        with page.expect_request(f"{SERVER}predict") as asked:
            replies(answer("1"))(waiting[0])
        drawing = np.asarray(Image.open(io.BytesIO(parts(asked.value)[0])).convert("L"))
        assert drawing[60, 220] == drawing[220, 220] == 0
        page.wait_for_timeout(300)
        assert len(waiting) == 2
        replies(answer("2"))(waiting[1])
        says(page, "It is a 2")


def test_the_webcam_needs_a_safe_address(served):
    with served(replies(answer("1"))) as page:
        page.click("#webcam")
        complains(page, "The webcam needs https, or a page on this machine (localhost).")


def test_a_model_that_the_browser_cannot_compute_is_named(browser):
    with browser.new_page() as page:
        wrong, _ = watched(page)
        page.set_content(render(PACKAGE | {"unsupported": ["RESIZE_BILINEAR", "CUMSUM"]}, None))
        expect(page.locator("main")).to_contain_text("RESIZE_BILINEAR, CUMSUM")
        expect(page.locator("main")).to_contain_text("make serve")
        assert wrong == []
