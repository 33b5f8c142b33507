"""The page in a real browser that can reach nothing but this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from group_photograph import group_photograph
from kedro_project import run
from local_server import wait_until_it_answers
from PIL import ExifTags, Image
from playwright.sync_api import Browser, Locator, expect
from tiny_model import tiny_weights
from watched_page import WatchedPage

from deepdepixelate.models.weights import save_weights

pytestmark = pytest.mark.slow


@dataclass
class Server:
    address: str
    process: "subprocess.Popen[bytes]"
    log: Path


class DemoPage(WatchedPage):
    def open(self) -> None:
        self.page.goto(self.address)
        expect(self.cancel).to_be_visible()

    def find(self, selector: str) -> Locator:
        return self.page.locator(selector)

    @property
    def about(self) -> Locator:
        return self.find("#about-photograph")

    @property
    def faces(self) -> Locator:
        return self.find("#chooser .face")

    @property
    def box(self) -> Locator:
        return self.find("#chooser .box")

    @property
    def pictures(self) -> Locator:
        """Before and after."""
        return self.find("#result img")

    @property
    def note(self) -> Locator:
        return self.find("#note")

    @property
    def cancel(self) -> Locator:
        return self.find("#cancel")

    def upload(self, path: Path) -> None:
        self.find("#photograph input[type=file]").set_input_files(path)

    def wait_until_working(self) -> None:
        expect(self.find("#result")).to_contain_text("Enlarging")

    def tab_to(self, element: Locator) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(50):
            if element.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {element}")

    def drag(self, of: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
        """From one place to another, as shares of an element's width and height."""
        bounds = of.bounding_box()
        assert bounds is not None
        x, y, width, height = (bounds[name] for name in ("x", "y", "width", "height"))
        mouse = self.page.mouse
        mouse.move(x + start[0] * width, y + start[1] * height)
        mouse.down()
        mouse.move(x + end[0] * width, y + end[1] * height, steps=8)
        mouse.up()

    def download(self) -> Path:
        expect(self.find("#download")).to_be_enabled()
        with self.page.expect_download() as started:
            self.find("#download").click()
        return Path(started.value.path()).rename(
            Path(started.value.path()).parent / started.value.suggested_filename
        )


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def serve(folder: Path, *arguments: str, **environment: str) -> Server:
    port = free_port()
    log = folder / f"demo-{port}.log"
    command = [sys.executable, "-m", "deepdepixelate", "demo", "--no-browser", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            # The proxy must not be asked.
            env={**os.environ, "http_proxy": "http://127.0.0.1:9", **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            # A shell that runs the tests in the background may have them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    server = Server(f"http://127.0.0.1:{port}/", process, log)
    wait_until_it_answers(server.address, process, log, 120)
    return server


def stop(server: Server) -> None:
    """Ctrl-C ends the page; nothing is printed but its address."""
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    log = server.log.read_text()
    assert re.fullmatch(r"Zoom and enhance: \S+ \(stop with Ctrl-C\)\n", log), log


def wait_until_idle(server: Server) -> None:
    """Wait until the server computes nothing."""
    process = psutil.Process(server.process.pid)
    for _ in range(20):
        before = process.cpu_times().user
        time.sleep(1)
        if process.cpu_times().user - before < 0.2:
            return
    raise AssertionError("the server still works")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page, with tiles so small that work on a large box is long."""
    server = serve(tmp_path_factory.mktemp("demo"), "--max-megapixels", "0.3", "--tile", "16")
    yield server
    stop(server)


@pytest.fixture
def demo(server: Server, browser: Browser) -> Iterator[DemoPage]:
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    opened = DemoPage(server.address, page)
    opened.open()
    yield opened
    assert opened.asked_of_others == []
    assert opened.errors == []
    page.close()


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A picture without faces."""
    rows, columns = np.mgrid[0:80, 0:100]
    pixels = np.stack([rows * 3, columns * 2, (rows * columns) % 256], axis=-1).astype(np.uint8)
    path = tmp_path / "holiday <b>.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def group(tmp_path: Path) -> Path:
    group_photograph([60, 80, 70]).save(tmp_path / "group.png")
    return tmp_path / "group.png"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A picture without faces, over which the page works long."""
    path = tmp_path / "large.png"
    Image.new("RGB", (500, 500), "navy").save(path)
    return path


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (768, 1024), (360, 740)])
def test_click_a_face_compare_download(
    demo: DemoPage, group: Path, width: int, height: int
) -> None:
    demo.page.set_viewport_size({"width": width, "height": height})
    demo.upload(group)
    expect(demo.about).to_contain_text("3 faces were found: click one.")
    expect(demo.faces).to_have_text(["1", "2", "3"])
    demo.faces.nth(1).click()
    expect(demo.note).to_contain_text("not evidence of who it is")
    expect(demo.find("#result figcaption")).to_have_text(["Before", "After: details are invented"])
    expect(demo.faces.nth(1)).to_have_attribute("aria-pressed", "true")
    for picture in demo.pictures.all():
        expect(picture).to_be_in_viewport(ratio=0.99)

    before, after = (picture.bounding_box() for picture in demo.pictures.all())
    assert before is not None
    assert after is not None
    assert (before["width"], before["height"]) == (after["width"], after["height"])
    assert (before["y"] == after["y"]) == (width > 600)  # one above the other on a telephone
    shown = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    page_width, page_height = demo.page.evaluate(shown)
    assert page_width <= width
    if width > 800:
        assert page_height <= height

    downloaded = demo.download()
    assert downloaded.name == "group-face-2-srgan-4x.png"
    sizes = re.search(r"(\d+)x(\d+) pixels became (\d+)x(\d+)\.", demo.note.inner_text())
    assert sizes is not None
    assert 70 <= int(sizes[1]) <= 90
    with Image.open(downloaded) as image:
        assert (image.format, image.size) == ("PNG", (int(sizes[3]), int(sizes[4])))


def test_the_keyboard_alone(demo: DemoPage, group: Path) -> None:
    demo.upload(group)
    demo.page.keyboard.press("Tab")
    second = demo.page.get_by_label("Enlarge face 2 of 3")
    demo.tab_to(second)
    demo.page.keyboard.press("Enter")
    expect(demo.pictures).to_have_count(2)
    expect(second).to_be_focused()
    of_second = demo.pictures.nth(1).get_attribute("src") or ""
    demo.page.keyboard.press("Tab")
    demo.page.keyboard.press("Space")
    expect(demo.pictures.nth(1)).not_to_have_attribute("src", of_second)
    expect(demo.faces.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(demo.faces.nth(1)).to_have_attribute("aria-pressed", "false")
    assert demo.download().name == "group-face-3-srgan-4x.png"

    draw = demo.find("#chooser .draw")
    demo.tab_to(draw)
    demo.page.keyboard.press("Enter")
    expect(demo.box).to_be_focused()
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown", "Enter"):
        demo.page.keyboard.press(key)
    width, height = 360, 108  # of the picture
    step = round(width / 50)
    size = f"{width // 2 + step}x{height // 2 + step} pixels"
    expect(demo.note).to_contain_text(size)
    expect(demo.box).to_be_focused()
    demo.page.keyboard.press("Escape")
    expect(demo.box).to_have_count(0)
    expect(draw).to_be_focused()


def test_one_face_is_enlarged_at_once(demo: DemoPage) -> None:
    demo.find("#samples button").nth(1).click()
    expect(demo.about).to_contain_text("128x128 pixels. One face was found.")
    expect(demo.faces).to_have_attribute("aria-pressed", "true")
    expect(demo.pictures).to_have_count(2)
    assert demo.download().name == "portrait-face-1-srgan-4x.png"


def test_drop_a_photograph(demo: DemoPage, group: Path) -> None:
    content = b64encode(group.read_bytes()).decode()
    dropped = demo.page.evaluate_handle(
        """content => {
            const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        content,
    )
    target = demo.page.get_by_label("Click to upload or drop files")
    target.dispatch_event("drop", {"dataTransfer": dropped})
    expect(demo.about).to_contain_text("dropped: 360x108 pixels. 3 faces were found")
    expect(target).to_be_visible()  # for the next photograph


def test_the_whole_picture(demo: DemoPage, tmp_path: Path) -> None:
    group_photograph([50, 50], columns=2).save(tmp_path / "group.png")
    demo.upload(tmp_path / "group.png")
    expect(demo.faces).to_have_count(2)
    demo.find("#chooser .whole").click()
    expect(demo.note).to_contain_text("120x71 pixels became 480x284.")
    expect(demo.find("#chooser .whole")).to_have_attribute("aria-pressed", "true")
    downloaded = demo.download()
    assert downloaded.name == "group-srgan-4x.png"
    with Image.open(downloaded) as image:
        assert image.size == (480, 284)


def test_a_picture_without_faces_is_enlarged_whole(demo: DemoPage, photograph: Path) -> None:
    demo.upload(photograph)
    expect(demo.about).to_contain_text("100x80 pixels. No face was found.")
    expect(demo.note).to_contain_text("100x80 pixels became 400x320.")
    downloaded = demo.download()
    assert re.fullmatch(r"holiday.*-srgan-4x\.png", downloaded.name)
    with Image.open(downloaded) as image:
        assert (image.format, image.size) == ("PNG", (400, 320))


def test_draw_a_box_with_the_mouse(demo: DemoPage, photograph: Path) -> None:
    demo.upload(photograph)
    expect(demo.pictures).to_have_count(2)
    stage = demo.find("#chooser .stage")
    demo.drag(stage, (0.25, 0.25), (0.75, 0.5))
    expect(demo.note).to_contain_text(re.compile(r"(49|50|51)x(19|20|21) pixels became"))
    assert "-srgan-4x" in demo.download().name

    demo.drag(demo.box, (0.5, 0.5), (-9.0, -9.0))  # to the corner, and no further
    place, corner = demo.box.bounding_box(), stage.bounding_box()
    assert place is not None
    assert corner is not None
    assert abs(place["x"] - corner["x"]) < 1
    assert abs(place["y"] - corner["y"]) < 1
    demo.drag(demo.find("#chooser .handle"), (0.5, 0.5), (99.0, 99.0))
    expect(demo.note).to_contain_text("100x80 pixels became")
    demo.find("#chooser .draw").click()
    expect(demo.box).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", b"no image", "text.png cannot be enlarged: not an image that can be read."),
        ("nothing.jpg", b"", "nothing.jpg cannot be enlarged: not an image that can be read."),
    ],
)
def test_a_bad_file_gives_a_warning_and_the_next_one_is_enlarged(
    demo: DemoPage, photograph: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    bad = tmp_path / name
    bad.write_bytes(content)
    demo.upload(photograph)
    expect(demo.pictures).to_have_count(2)
    demo.upload(bad)
    toast = demo.find(".toast-body")
    expect(toast).to_contain_text(message)
    expect(demo.find("#chooser .stage")).to_be_hidden()
    expect(demo.pictures).to_have_count(0)
    expect(demo.find("#download")).to_be_disabled()
    toast.get_by_label("Close", exact=True).click()

    demo.upload(photograph)  # the same again
    expect(demo.note).to_contain_text("became 400x320")


def save_turned(path: Path) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    group_photograph([70]).rotate(90, expand=True).save(path, exif=turned)


def save_transparent(path: Path) -> None:
    image = group_photograph([70]).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(path)


@pytest.mark.parametrize(
    ("save", "about"),
    [
        (save_turned, r"\d+x\d+ pixels. One face was found."),
        (save_transparent, r"\d+x\d+ pixels. One face was found."),
        (Image.new("RGB", (8, 8), "navy").save, "8x8 pixels. No face was found."),
        (Image.new("L", (4, 300), "white").save, "4x300 pixels. No face was found."),
    ],
)
def test_unusual_files(
    demo: DemoPage, tmp_path: Path, save: Callable[[Path], None], about: str
) -> None:
    save(tmp_path / "unusual.png")
    demo.upload(tmp_path / "unusual.png")
    expect(demo.about).to_contain_text(re.compile(about))
    expect(demo.pictures).to_have_count(2)
    assert demo.download().name.endswith("srgan-4x.png")


def test_a_hundred_faces(demo: DemoPage, tmp_path: Path) -> None:
    group_photograph([46] * 100, columns=12).save(tmp_path / "crowd.png")
    demo.upload(tmp_path / "crowd.png")
    expect(demo.faces).to_have_count(100)
    demo.faces.nth(99).click()
    assert demo.download().name == "crowd-face-100-srgan-4x.png"


def test_a_large_picture_is_not_enlarged_without_a_click(demo: DemoPage, tmp_path: Path) -> None:
    Image.new("RGB", (580, 500), "navy").save(tmp_path / "large.png")
    demo.upload(tmp_path / "large.png")
    expect(demo.about).to_contain_text("The whole picture would become 2320x2000 pixels.")
    expect(demo.cancel).to_be_disabled()
    expect(demo.pictures).to_have_count(0)

    Image.new("RGB", (1000, 500), "navy").save(tmp_path / "larger.png")
    demo.upload(tmp_path / "larger.png")
    expect(demo.about).to_contain_text("too large for this page, which enlarges up to 0.3")
    expect(demo.find("#chooser .whole")).to_be_disabled()
    demo.drag(demo.find("#chooser .stage"), (0.05, 0.05), (0.95, 0.95))
    expect(demo.find(".toast-body")).to_contain_text("This part is large already: 0.4 megapixels.")

    group_photograph([700], columns=1).save(tmp_path / "portrait.png")
    demo.upload(tmp_path / "portrait.png")
    expect(demo.about).to_contain_text("One face was found. It is too large to enlarge here.")


def test_more_ways(demo: DemoPage) -> None:
    demo.find("#samples button").first.click()
    expect(demo.pictures).to_have_count(2)
    demo.find("#more-ways button").first.click()
    captions = demo.find("#result figcaption")
    compare, method = demo.find("#compare-with"), demo.find("#method")
    compare.get_by_text("SRResNet").click()
    expect(captions).to_have_text(["SRResNet", "After: details are invented"])
    compare.get_by_text("Bicubic").click()
    method.get_by_text("SRResNet").click()
    expect(captions).to_have_text(["Plain enlargement (bicubic)", "SRResNet: details are invented"])
    expect(demo.note).to_contain_text(re.compile(r"became \d+x\d+ with SRResNet\."))
    assert demo.download().name == "face-face-1-srresnet-4x.png"


def test_a_compressed_photograph_is_cleaned(demo: DemoPage, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "navy").save(tmp_path / "holiday.jpg", quality=40)
    demo.upload(tmp_path / "holiday.jpg")
    expect(demo.note).to_contain_text("Blocks and noise were removed, too.")
    assert demo.download().name == "holiday-photo-4x.png"


def test_cancel_stops_the_work(demo: DemoPage, server: Server, large: Path) -> None:
    demo.upload(large)
    demo.wait_until_working()
    demo.cancel.click()
    expect(demo.note).to_have_text("Cancelled.")
    expect(demo.cancel).to_be_disabled()
    wait_until_idle(server)
    demo.find("#chooser .whole").click()
    demo.wait_until_working()
    demo.cancel.click()
    expect(demo.cancel).to_be_disabled()


def test_another_choice_and_another_photograph_stop_the_work(
    demo: DemoPage, server: Server, large: Path, group: Path
) -> None:
    demo.upload(large)
    demo.wait_until_working()
    demo.drag(demo.find("#chooser .stage"), (0.1, 0.1), (0.14, 0.14))
    expect(demo.note).to_contain_text(re.compile(r"\b(19|20|21)x(19|20|21) pixels became"))
    demo.find("#chooser .whole").click()
    demo.wait_until_working()
    demo.upload(group)
    expect(demo.faces).to_have_count(3)
    demo.faces.first.click()
    assert demo.download().name == "group-face-1-srgan-4x.png"
    expect(demo.cancel).to_be_disabled()
    wait_until_idle(server)
    expect(demo.find("#result figcaption").first).to_have_text("Before")


def test_two_tabs(demo: DemoPage, browser: Browser, photograph: Path, group: Path) -> None:
    other = DemoPage(demo.address, browser.new_page())
    other.open()
    demo.upload(photograph)
    other.upload(group)
    expect(demo.note).to_contain_text("100x80 pixels became")
    other.faces.first.click()
    demo.find("#chooser .whole").click()
    assert other.download().name == "group-face-1-srgan-4x.png"
    assert demo.download().name.startswith("holiday")
    assert other.errors == []
    other.page.close()


def test_a_closed_tab_stops_the_work(browser: Browser, server: Server, large: Path) -> None:
    demo = DemoPage(server.address, browser.new_page())
    demo.open()
    demo.upload(large)
    demo.wait_until_working()
    demo.page.close()
    wait_until_idle(server)


def test_without_dlib_and_ctrl_c_during_the_work(
    browser: Browser, tmp_path: Path, photograph: Path, large: Path
) -> None:
    (tmp_path / "dlib.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    server = serve(tmp_path, "--tile", "16", PYTHONPATH=path)
    demo = DemoPage(server.address, browser.new_page())
    demo.open()
    demo.upload(photograph)
    expect(demo.about).to_contain_text(
        'To find faces automatically: pip install "deepdepixelate[identity]"'
    )
    expect(demo.note).to_contain_text("100x80 pixels became 400x320.")
    demo.upload(large)
    demo.wait_until_working()
    stop(server)
    demo.page.close()


def test_a_generator_that_fails_gives_a_warning(
    browser: Browser, tmp_path: Path, photograph: Path
) -> None:
    tiny = tiny_weights()
    huge = {name: 1e20 * tensor for name, tensor in tiny.tensors.items()}
    save_weights(tmp_path / "broken.safetensors", replace(tiny, tensors=huge))
    server = serve(tmp_path, "--model", str(tmp_path / "broken.safetensors"))
    demo = DemoPage(server.address, browser.new_page())
    demo.open()
    demo.upload(photograph)
    expect(demo.find(".toast-body")).to_contain_text(
        "Enlarging failed: the generator gives NaN or infinite values"
    )
    expect(demo.find("#download")).to_be_disabled()
    expect(demo.cancel).to_be_disabled()
    stop(server)
    demo.page.close()


def test_it_listens_on_loopback_only(server: Server) -> None:
    port = int(server.address.rstrip("/").rpartition(":")[2])
    with socket.socket() as other:  # another address of this very machine
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.2", port)) != 0


def test_a_port_that_is_taken(server: Server, tmp_path: Path) -> None:
    port = server.address.rstrip("/").rpartition(":")[2]
    arguments = ("demo", "--no-browser", "--port", port)
    done = run("deepdepixelate", *arguments, folder=tmp_path)
    assert done.code == 1
    assert f"the page cannot be served at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
