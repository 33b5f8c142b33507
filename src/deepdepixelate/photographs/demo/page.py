"""The page: its layout, its events and its server."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Set before Gradio is imported: it would send statistics and look for newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr
import numpy as np
import skimage
from PIL import Image

from deepdepixelate.data.resize import downscale
from deepdepixelate.errors import UserError, first_line
from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.demo.crop_box import box_within, crop_box, first_box, hidden, shown
from deepdepixelate.photographs.demo.zooming import Opened, Zoomed, Zoomer

_HEADING = """# Zoom and enhance
Drop a small photograph, drag a box over the part that you want to see larger, and enhance it.

**An enlarged face is a plausible face, not evidence of anybody's identity.** The networks were
trained on CelebA's faces, for non-commercial research. Photographs stay on the computer that runs
this page, and are deleted when it is closed."""

_MODELS = {
    "srresnet": "SRResNet: faithful, softer",
    "srgan": "SRGAN: sharper, invents detail",
}

_LARGEST_FILE = "64mb"
_WAITING = 16
"""Requests that may wait; further ones are refused."""

_FILES_ARE_KEPT = (600, 3600)
"""Seconds between checks of the uploaded files, and their age in seconds when they are deleted."""

_PROGRESS = gr.Progress()
"""As an argument's default, it makes Gradio pass a progress bar."""

_SAMPLES = {
    "face": ("astronaut.png", (140, 2, 316, 218)),
    "portrait": ("astronaut.png", (0, 0, 512, 512)),
    "cat": ("chelsea.png", (60, 0, 400, 300)),
    "coffee": ("coffee.png", (0, 0, 600, 400)),
}
"""Name, photograph of the scikit-image package, and the part of it: left, top, right, bottom."""

_CSS = """
footer { display: none !important; }
#enhance { min-height: 3rem; }
"""


def build_page(zoomer: Zoomer, samples: Sequence[Path], models: Sequence[str]) -> gr.Blocks:
    """Lay out the page and connect its components.

    Args:
        zoomer: enlarges the photographs.
        samples: files of sample photographs.
        models: names or files of the generators; the first is the default.
    """
    labels = [(_MODELS.get(model, label_of(model)), model) for model in models]
    with gr.Blocks(
        title="DeepDepixelate", analytics_enabled=False, delete_cache=_FILES_ARE_KEPT
    ) as page:
        opened = gr.State(None, time_to_live=_FILES_ARE_KEPT[1])
        gr.Markdown(_HEADING)
        with gr.Row():
            with gr.Column():
                upload = gr.File(label="Photograph", height=120, elem_id="photograph")
                pick = gr.Dataset(
                    components=[gr.Image(visible=False, type="filepath")],
                    samples=[[str(sample)] for sample in samples],
                    label="Or one of these",
                    elem_id="samples",
                    type="index",
                )
                box = crop_box()
                about = gr.Markdown("", elem_id="about-photograph")
                model = gr.Radio(labels, value=models[0], label="Model", elem_id="model")
                enhance = gr.Button(
                    "Enhance", variant="primary", interactive=False, elem_id="enhance"
                )
            with gr.Column():
                slider = gr.ImageSlider(
                    label="Before (bicubic) | after",
                    type="filepath",
                    interactive=False,
                    max_height=640,
                    buttons=["fullscreen"],
                    elem_id="before-after",
                )
                note = gr.Markdown("", elem_id="note")
                download = gr.DownloadButton(
                    "Download the enlarged PNG", interactive=False, elem_id="download"
                )

        def show(path: Path | None) -> list[Any]:
            photograph = None if path is None else _opened(zoomer, path)
            return [photograph, *_about(photograph, zoomer.max_pixels), *_result(None)]

        def show_sample(index: int) -> list[Any]:
            return [None, *show(samples[index])]

        def run(
            photograph: Opened | None, chosen: Any, name: str, progress: gr.Progress = _PROGRESS
        ) -> list[Any]:
            return _result(_zoomed(zoomer, photograph, chosen, name, progress))

        of_photograph = [opened, box, about, enhance]
        of_result = [slider, note, download]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        upload.upload(
            lambda path: show(Path(path)), upload, [*of_photograph, *of_result], **private
        )
        upload.clear(lambda: show(None), None, [*of_photograph, *of_result], **private)
        pick.click(show_sample, pick, [upload, *of_photograph, *of_result], **private)
        enhance.click(
            run,
            [opened, box, model],
            of_result,
            api_visibility="private",
            concurrency_limit=1,
            show_progress_on=slider,
        )
        page.queue(max_size=_WAITING)
    built: gr.Blocks = page
    return built


def write_samples(folder: Path) -> list[Path]:
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


def _opened(zoomer: Zoomer, path: Path) -> Opened | None:
    """Open a photograph; if it cannot be read, show a warning and return None."""
    try:
        return zoomer.open(path)
    except UnreadableImageError as error:
        gr.Warning(escape(f"{path.name} cannot be enlarged: {error}."), duration=None)
        return None


def _about(opened: Opened | None, max_pixels: int) -> list[Any]:
    """Updates of the box, the line below it and the button."""
    if opened is None:
        return [hidden(), "", gr.update(interactive=False)]
    height, width, _ = opened.photograph.pixels.shape
    lines = [f"{escape(opened.name)}: {width}x{height} pixels.", *opened.photograph.notes]
    box = first_box(width, height, max_pixels)
    if box.width < width or box.height < height:
        lines.append(f"The box may have up to {max_pixels / 1e6:g} megapixels.")
    return [
        shown(opened.photograph.pixels, box),
        " ".join(line if line.endswith(".") else f"{line.capitalize()}." for line in lines),
        gr.update(interactive=True),
    ]


def _zoomed(
    zoomer: Zoomer, opened: Opened | None, chosen: Any, model: str, progress: gr.Progress
) -> Zoomed:
    if opened is None:
        raise gr.Error("Choose a photograph first.", print_exception=False)
    height, width, _ = opened.photograph.pixels.shape
    try:
        box = box_within(chosen, width, height)
    except (TypeError, ValueError):
        box = first_box(width, height, zoomer.max_pixels)
    if box.width * box.height > zoomer.max_pixels:
        raise gr.Error(
            f"The box has {box.width * box.height / 1e6:.1f} megapixels: make it smaller, up to "
            f"{zoomer.max_pixels / 1e6:g}.",
            print_exception=False,
        )
    return zoomer.zoom(
        opened, box, model, lambda done, tiles: progress((done, tiles), unit="tiles")
    )


def _result(zoomed: Zoomed | None) -> list[Any]:
    """Updates of the slider, the line below it and the download button."""
    if zoomed is None:
        return [None, "", gr.update(value=None, interactive=False)]
    return [
        (str(zoomed.before), str(zoomed.after)),
        zoomed.note,
        gr.update(value=str(zoomed.after), interactive=True),
    ]


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
        page = build_page(zoomer, write_samples(folder / "samples"), models)
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
                theme=gr.themes.Default(font="system-ui", font_mono="monospace"),
                css=_CSS,
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"the page cannot be served at {host}{'' if port is None else f':{port}'} "
                f"({first_line(error)}). Choose another --host or --port."
            ) from error
        try:
            yield address
        finally:
            page.close()
