"""The server of the page."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
import numpy as np
import skimage
from PIL import Image

from deepdepixelate.data.resize import downscale
from deepdepixelate.errors import UserError, first_line
from deepdepixelate.photographs.demo.page import build_page
from deepdepixelate.photographs.demo.zooming import Zoomer

_LARGEST_FILE = "64mb"

_SAMPLES = {
    "face": ("astronaut.png", (140, 2, 316, 218)),
    "portrait": ("astronaut.png", (0, 0, 512, 512)),
    "cat": ("chelsea.png", (60, 0, 400, 300)),
    "coffee": ("coffee.png", (0, 0, 600, 400)),
}
"""Name, photograph of the scikit-image package, and the part of it: left, top, right, bottom."""


@contextmanager
def serving(
    *,
    host: str,
    port: int | None,
    models: Sequence[str],
    device: str,
    tile: int,
    max_pixels: int,
    open_browser: bool,
) -> Iterator[str]:
    """Serve the page until the end of the ``with`` block.

    Yields:
        Its address.

    Raises:
        UserError: a generator cannot be loaded, or the address cannot be used.
    """
    with TemporaryDirectory(prefix="deepdepixelate-") as name:
        folder = Path(name)
        for part in ("uploads", "results", "samples"):
            (folder / part).mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        results = folder / "results"
        zoomer = Zoomer(results, models, device=device, tile=tile, max_pixels=max_pixels)
        for name in ("no_proxy", "NO_PROXY"):  # Gradio checks that it answers
            others = os.environ.get(name)
            os.environ[name] = f"{others},{host}" if others else host
        page = build_page(zoomer, _write_samples(folder / "samples"))
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                inbrowser=open_browser,
                share=False,
                ssr_mode=False,
                quiet=True,
                show_error=False,
                max_file_size=_LARGEST_FILE,
                allowed_paths=[str(results), str(folder / "samples")],
                footer_links=[],
                theme=gr.themes.Default(font="system-ui", font_mono="monospace").set(
                    layout_gap="10px"
                ),
                css=(files("deepdepixelate.photographs.demo") / "page.css").read_text("utf-8"),
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"the page cannot be served at {host}{'' if port is None else f':{port}'} "
                f"({first_line(error)}). Choose another --host or --port."
            ) from error
        try:
            yield address
        finally:
            page.close(verbose=False)


def _write_samples(folder: Path) -> list[Path]:
    """Write each sample as a PNG file, shrunk 4 times by the bicubic kernel; return their paths."""
    photographs = Path(skimage.__file__).parent / "data"
    written = []
    for name, (photograph, part) in _SAMPLES.items():
        with Image.open(photographs / photograph) as image:
            pixels = np.asarray(image.convert("RGB").crop(part))
        path = folder / f"{name}.png"
        Image.fromarray(downscale(pixels[None], 4)[0]).save(path)
        written.append(path)
    return written
