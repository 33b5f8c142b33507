"""The page: what is on it, and what happens when."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Before Gradio is imported: it would report to its makers, and look for newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio as gr

from deepdepixelate.errors import UserError, first_line
from deepdepixelate.models.pretrained import NAMES, label_of
from deepdepixelate.photographs import TILE
from deepdepixelate.photographs.demo import MEGAPIXELS
from deepdepixelate.photographs.demo.crop_box import box_within, crop_box, first_box, hidden, shown
from deepdepixelate.photographs.demo.samples import write_samples
from deepdepixelate.photographs.demo.zooming import Opened, Zoomed, Zoomer
from deepdepixelate.photographs.reading import UnreadableImageError

_HEADING = """# Zoom and enhance
Drop a small photograph, drag a box over what you want to see larger, and enhance it.

**An enlarged face is a plausible face, not evidence of anybody's identity.** The networks were
trained on CelebA's faces, for non-commercial research. Photographs stay on the computer that runs
this page, and are removed when it ends."""

_MODELS = {
    "srresnet": "SRResNet: faithful, softer",
    "srgan": "SRGAN: sharper, invents detail",
}

_LARGEST_FILE = "64mb"
_WAITING = 16
"""People who may wait for their turn; later ones are told to come back."""

_FILES_ARE_KEPT = (600, 3600)
"""Seconds between two looks at uploaded files, and after which they are removed."""

_PROGRESS = gr.Progress()
"""Gradio gives a function a progress bar of its own where this is the argument's default."""

_CSS = """
footer { display: none !important; }
#enhance { min-height: 3rem; }
"""


def build_page(zoomer: Zoomer, samples: Sequence[Path], models: Sequence[str]) -> gr.Blocks:
    """Lay out the page and connect its parts.

    Args:
        zoomer: does the work.
        samples: photographs to pick from.
        models: names or files of generators to choose from; the first is chosen at the start.
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


def _opened(zoomer: Zoomer, path: Path) -> Opened | None:
    """A photograph; where it cannot be read, the page says why, and there is none."""
    try:
        return zoomer.open(path)
    except UnreadableImageError as error:
        gr.Warning(escape(f"{path.name} cannot be enlarged: {error}."), duration=None)
        return None


def _about(opened: Opened | None, max_pixels: int) -> list[Any]:
    """What the box, the line below it and the button show for a photograph."""
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
    """What the slider, the line below it and the download button show."""
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
    models: Sequence[str] = NAMES,
    device: str = "auto",
    tile: int = TILE,
    max_pixels: int = int(MEGAPIXELS * 1e6),
    open_browser: bool = False,
) -> Iterator[str]:
    """Serve the page until the end of the ``with`` block; its address.

    Raises:
        UserError: a generator cannot be had, or nothing can be served there.
    """
    with TemporaryDirectory(prefix="deepdepixelate-") as name:
        folder = Path(name)
        for part in ("uploads", "results", "samples"):
            (folder / part).mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        zoomer = Zoomer(folder / "results", device=device, tile=tile, max_pixels=max_pixels)
        for model in models:
            zoomer.prepare(model)
        for name in ("no_proxy", "NO_PROXY"):  # a proxy knows nothing of this computer's addresses
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
                allowed_paths=[str(folder / "results"), str(folder / "samples")],
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
