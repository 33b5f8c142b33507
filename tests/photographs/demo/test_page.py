"""The page in a real browser that can reach nothing but this machine."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from kedro_project import run
from local_server import wait_until_it_answers
from PIL import Image
from playwright.sync_api import Browser, Locator, expect
from watched_page import WatchedPage

pytestmark = pytest.mark.slow


@dataclass
class Server:
    address: str
    process: "subprocess.Popen[bytes]"
    log: Path


class DemoPage(WatchedPage):
    def open(self) -> None:
        self.page.goto(self.address)
        expect(self.enhance).to_be_visible()

    @property
    def enhance(self) -> Locator:
        return self.page.locator("#enhance")

    @property
    def box(self) -> Locator:
        return self.page.locator("#crop-box .box")

    @property
    def cancel(self) -> Locator:
        return self.page.locator("#cancel")

    @property
    def note(self) -> Locator:
        return self.page.locator("#note")

    def upload(self, path: Path) -> None:
        self.page.locator("#photograph input[type=file]").set_input_files(path)

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
        with self.page.expect_download() as started:
            self.page.locator("#download").click()
        return Path(started.value.path()).rename(
            Path(started.value.path()).parent / started.value.suggested_filename
        )


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def serve(folder: Path, *arguments: str) -> Server:
    port = free_port()
    log = folder / f"demo-{port}.log"
    command = [sys.executable, "-m", "deepdepixelate", "demo", "--no-browser", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env={**os.environ, "http_proxy": "http://127.0.0.1:9"},  # must not be asked
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
    rows, columns = np.mgrid[0:80, 0:100]
    pixels = np.stack([rows * 3, columns * 2, (rows * columns) % 256], axis=-1).astype(np.uint8)
    path = tmp_path / "holiday <b>.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.png"
    Image.new("RGB", (500, 500), "navy").save(path)
    return path


def test_upload_enhance_slide_download(demo: DemoPage, photograph: Path) -> None:
    expect(demo.enhance).to_be_disabled()
    demo.upload(photograph)
    about = demo.page.locator("#about-photograph")
    expect(about).to_contain_text("100x80 pixels")
    demo.enhance.click()
    expect(demo.note).to_contain_text("100x80 pixels became 400x320")

    slider = demo.page.locator("#before-after")
    handle = slider.locator(".handle, [role=slider], .outer").first
    before = handle.bounding_box()
    bounds = slider.locator("img").first.bounding_box()
    assert before is not None
    assert bounds is not None
    demo.page.mouse.move(before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    demo.page.mouse.down()
    demo.page.mouse.move(bounds["x"] + 20, bounds["y"] + bounds["height"] / 2, steps=8)
    demo.page.mouse.up()
    after = handle.bounding_box()
    assert after is not None
    assert after["x"] < before["x"] - 100

    downloaded = demo.download()
    assert re.fullmatch(r"holiday.*-srgan-4x\.png", downloaded.name)
    with Image.open(downloaded) as image:
        assert (image.format, image.size) == ("PNG", (400, 320))


def test_zoom_into_a_box_of_a_sample(demo: DemoPage) -> None:
    demo.page.locator("#samples button").first.click()
    expect(demo.page.locator("#about-photograph")).to_contain_text("44x54 pixels")
    expect(demo.note).to_contain_text("44x54 pixels became 176x216 with SRGAN")
    stage = demo.page.locator("#crop-box .stage")
    demo.drag(stage, (0.25, 0.25), (0.75, 0.5))
    expect(demo.enhance).to_be_enabled()
    demo.enhance.click()
    expect(demo.note).to_contain_text(re.compile(r"2[123]x1[345] pixels became"))

    demo.drag(demo.box, (0.5, 0.5), (-9.0, -9.0))  # to the corner, and no further
    place = demo.box.bounding_box()
    corner = stage.bounding_box()
    assert place is not None
    assert corner is not None
    assert abs(place["x"] - corner["x"]) < 1
    assert abs(place["y"] - corner["y"]) < 1

    expect(demo.enhance).to_be_enabled()
    demo.box.press("Shift+ArrowRight")
    demo.enhance.click()
    expect(demo.note).to_contain_text(re.compile(r"2[234]x1[345] pixels became"))
    assert "-srgan-4x" in demo.download().name


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
    demo.upload(bad)
    toast = demo.page.locator(".toast-body")
    expect(toast).to_contain_text(message)
    expect(demo.enhance).to_be_disabled()
    toast.get_by_label("Close", exact=True).click()

    demo.page.locator("#photograph").get_by_label("Clear").click()
    demo.upload(photograph)
    demo.enhance.click()
    expect(demo.note).to_contain_text("became 400x320")


def test_a_large_photograph_is_zoomed_into(demo: DemoPage, tmp_path: Path) -> None:
    Image.new("RGB", (1000, 500), "navy").save(tmp_path / "wide.jpg")
    demo.upload(tmp_path / "wide.jpg")
    expect(demo.page.locator("#about-photograph")).to_contain_text("up to 0.3 megapixels")
    demo.drag(demo.page.locator("#crop-box .stage"), (0.05, 0.05), (0.95, 0.95))
    demo.enhance.click()
    expect(demo.page.locator(".toast-body")).to_contain_text("The box has 0.4 megapixels")


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (1400, 900), (390, 844)])
def test_everything_is_on_the_screen(demo: DemoPage, width: int, height: int) -> None:
    demo.page.set_viewport_size({"width": width, "height": height})
    demo.page.locator("#samples button").nth(1).click()
    expect(demo.note).to_contain_text("became")
    shown = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    page_width, page_height = demo.page.evaluate(shown)
    assert page_width <= width
    if width > 800:
        assert page_height <= height
    expect(demo.page.locator("#before-after img").first).to_be_in_viewport()


def test_two_models_are_compared(demo: DemoPage) -> None:
    demo.page.locator("#samples button").first.click()
    expect(demo.note).to_contain_text("with SRGAN")
    label = demo.page.locator("#before-after label").first
    expect(label).to_contain_text("Original pixels | SRGAN")
    expect(demo.enhance).to_be_enabled()
    demo.page.locator("#compare-with").get_by_text("SRResNet").click()
    expect(label).to_contain_text("SRResNet | SRGAN")
    expect(demo.enhance).to_be_enabled()
    demo.page.locator("#model").get_by_text("SRResNet").click()
    expect(demo.note).to_contain_text("with SRResNet")
    expect(demo.page.locator("#download")).to_contain_text("Download SRResNet as PNG")
    assert "-srresnet-4x" in demo.download().name


def test_a_compressed_photograph_gets_a_warning(demo: DemoPage, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "navy").save(tmp_path / "holiday.jpg", quality=40)
    demo.upload(tmp_path / "holiday.jpg")
    about = demo.page.locator("#about-photograph")
    expect(about).to_contain_text("It is compressed (JPEG quality about 40)")


def test_cancel_stops_the_work(demo: DemoPage, server: Server, large: Path) -> None:
    demo.upload(large)
    demo.enhance.click()
    expect(demo.page.locator("#before-after")).to_contain_text("/1.0k tiles")
    expect(demo.enhance).to_be_disabled()
    demo.cancel.click()
    expect(demo.note).to_have_text("Cancelled.")
    expect(demo.cancel).to_be_disabled()
    expect(demo.enhance).to_be_enabled()
    wait_until_idle(server)


def test_a_closed_tab_stops_the_work(browser: Browser, server: Server, large: Path) -> None:
    demo = DemoPage(server.address, browser.new_page())
    demo.open()
    demo.upload(large)
    demo.enhance.click()
    expect(demo.page.locator("#before-after")).to_contain_text("/1.0k tiles")
    demo.page.close()
    wait_until_idle(server)


def test_ctrl_c_during_the_work(browser: Browser, tmp_path: Path, large: Path) -> None:
    server = serve(tmp_path, "--tile", "16")
    demo = DemoPage(server.address, browser.new_page())
    demo.open()
    demo.upload(large)
    demo.enhance.click()
    expect(demo.page.locator("#before-after")).to_contain_text("/1.0k tiles")
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
