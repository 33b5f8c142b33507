"""The page: its layout and its events."""

import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.demo.crop_box import box_within, crop_box, first_box, hidden, shown
from deepdepixelate.photographs.demo.zooming import PLAIN, Opened, Part, Zoomer

_HEADING = """# Zoom and enhance
Choose a small photograph, drag a box over a face, and enhance it. **An enlarged face is a plausible
face, not evidence of anybody's identity.**"""

_ABOUT = """The networks were trained on CelebA's faces, for non-commercial research. Photographs
stay on the computer that runs this page, and are deleted when the program ends."""

_NAMES = {
    "pixels": "Original pixels",
    "bicubic": "Bicubic",
    "srresnet": "SRResNet",
    "srgan": "SRGAN",
}

_ADVICE = {"srresnet": ": faithful, softer", "srgan": ": sharper, invents detail"}

_SHOW_RESULT = "() => document.querySelector('#before-after').scrollIntoView({block: 'nearest'})"

_WAITING = 16
"""Requests that may wait; further ones are refused."""

_FILES_ARE_KEPT = (600, 3600)
"""Seconds between checks of the uploaded files, and their age in seconds when they are deleted."""

_PROGRESS = gr.Progress()
"""As an argument's default, it makes Gradio pass a progress bar."""


class _Cancelled(Exception):  # noqa: N818 - no error
    """The user has cancelled the work, or closed the page."""


class Work:
    """The work that is wanted, by the browser's session; all other work is to be cancelled."""

    def __init__(self) -> None:
        self._wanted: dict[str | None, object] = {}

    def want(self, session: str | None) -> None:
        """Cancel the work of a session, and expect new work."""
        self._wanted[session] = object()

    def cancel(self, session: str | None) -> None:
        """Cancel the work of a session."""
        self._wanted.pop(session, None)

    def check(self, session: str | None) -> Callable[[], None]:
        """Return a function that raises _Cancelled once the work that begins now is cancelled."""
        mine = self._wanted.get(session)

        def check() -> None:
            if mine is None or self._wanted.get(session) is not mine:
                raise _Cancelled

        return check


def build_page(zoomer: Zoomer, samples: Sequence[Path], models: Sequence[str]) -> gr.Blocks:
    """Lay out the page and connect its components.

    Args:
        zoomer: enlarges the photographs.
        samples: files of sample photographs.
        models: names or files of the generators; the first is the default.
    """
    kept = _FILES_ARE_KEPT[1]
    with gr.Blocks(
        title="DeepDepixelate", analytics_enabled=False, delete_cache=_FILES_ARE_KEPT
    ) as page:
        opened, part = gr.State(None, time_to_live=kept), gr.State(None, time_to_live=kept)
        gr.Markdown(_HEADING, elem_id="heading")
        with gr.Row():
            with gr.Column():
                with gr.Row():
                    upload = gr.File(
                        show_label=False, height=92, scale=1, min_width=200, elem_id="photograph"
                    )
                    with gr.Column(scale=1, min_width=300):
                        pick = gr.Dataset(
                            components=[gr.Image(visible=False, type="filepath")],
                            samples=[[str(sample)] for sample in samples],
                            label="Or one of these",
                            elem_id="samples",
                            type="index",
                        )
                box = crop_box()
                about = gr.Markdown("", elem_id="about-photograph")
                model = gr.Radio(
                    [(_name(each) + _ADVICE.get(each, ""), each) for each in models],
                    value=models[0],
                    label="Model",
                    elem_id="model",
                )
                with gr.Row():
                    enhance = gr.Button(
                        "Enhance",
                        variant="primary",
                        scale=3,
                        min_width=100,
                        interactive=False,
                        elem_id="enhance",
                    )
                    cancel = gr.Button("Cancel", min_width=100, interactive=False, elem_id="cancel")
            with gr.Column():
                slider = gr.ImageSlider(
                    label="Before | after",
                    type="filepath",
                    interactive=False,
                    buttons=["fullscreen"],
                    elem_id="before-after",
                )
                other = gr.Radio(
                    [(_name(each), each) for each in dict.fromkeys([*PLAIN, *models])],
                    value="pixels",
                    label="Compare with",
                    elem_id="compare-with",
                )
                note = gr.Markdown("", elem_id="note")
                download = gr.DownloadButton("Download", interactive=False, elem_id="download")
        gr.Markdown(_ABOUT, elem_id="about-page")

        work = Work()

        def stop(request: gr.Request) -> None:
            work.cancel(request.session_hash)

        def show(path: Path | None, request: gr.Request) -> list[Any]:
            stop(request)
            photograph = None if path is None else _opened(zoomer, path)
            return [photograph, None, *_about(photograph, zoomer.max_pixels), *_no_result()]

        def show_upload(path: str | None, request: gr.Request) -> list[Any]:
            return show(None if path is None else Path(path), request)

        def show_sample(index: int, request: gr.Request) -> list[Any]:
            return [None, *show(samples[index], request)]

        def begin(request: gr.Request) -> list[Any]:
            work.want(request.session_hash)
            return [gr.update(interactive=each is cancel) for each in controls]

        def run(
            photograph: Opened | None,
            chosen: Any,
            before: Part | None,
            name: str,
            compared: str,
            request: gr.Request,
            progress: gr.Progress = _PROGRESS,
        ) -> list[Any]:
            check = work.check(request.session_hash)

            def on_tile(done: int, tiles: int) -> None:
                check()
                progress((done, tiles), unit="tiles")

            chosen_part = _part(photograph, chosen, before, zoomer.max_pixels)
            try:
                return [chosen_part, *_result(zoomer, chosen_part, name, compared, on_tile)]
            except _Cancelled:
                return [chosen_part, *_no_result("Cancelled.")]

        def end(photograph: Opened | None) -> list[Any]:
            ready: dict[Any, bool] = {enhance: photograph is not None, cancel: False}
            return [gr.update(interactive=ready.get(each, True)) for each in controls]

        controls = [enhance, cancel, model, other]
        of_result = [slider, note, download]
        of_photograph = [opened, part, box, about, enhance, *of_result]
        quick: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        upload.upload(show_upload, upload, of_photograph, **quick)
        upload.clear(show_upload, upload, of_photograph, **quick)
        cancel.click(stop, None, None, queue=False, **quick)
        page.unload(stop)
        picked = pick.click(show_sample, pick, [upload, *of_photograph], **quick)
        for trigger in (picked.success, enhance.click, model.input, other.input):
            begun = trigger(begin, None, controls, queue=False, **quick)
            done = begun.then(
                run,
                [opened, box, part, model, other],
                [part, *of_result],
                api_visibility="private",
                concurrency_limit=1,
                concurrency_id="run",
                show_progress_on=slider,
            )
            done.then(end, opened, controls, queue=False, **quick)
            done.then(None, js=_SHOW_RESULT)  # on a narrow screen it is below the photograph
        page.queue(max_size=_WAITING)
    built: gr.Blocks = page
    return built


def _name(kind: str) -> str:
    return _NAMES.get(kind, label_of(kind))


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
    lines = [f"{escape(opened.name)}: {width}x{height} pixels."]
    lines += [f"{note[0].upper()}{note[1:]}." for note in opened.notes]
    box = first_box(width, height, max_pixels)
    if box.width < width or box.height < height:
        lines.append(f"The box may have up to {max_pixels / 1e6:g} megapixels.")
    return [shown(opened.photograph.pixels, box), " ".join(lines), gr.update(interactive=True)]


def _part(opened: Opened | None, chosen: Any, before: Part | None, max_pixels: int) -> Part:
    """The part under the box: ``before`` if it is still the same."""
    if opened is None:
        raise gr.Error("Choose a photograph first.", print_exception=False)
    height, width, _ = opened.photograph.pixels.shape
    try:
        box = box_within(chosen, width, height)
    except (TypeError, ValueError):
        box = first_box(width, height, max_pixels)
    if box.width * box.height > max_pixels:
        raise gr.Error(
            f"The box has {box.width * box.height / 1e6:.1f} megapixels: make it smaller, up to "
            f"{max_pixels / 1e6:g}.",
            print_exception=False,
        )
    if before is not None and before.opened is opened and before.box == box:
        return before
    return Part(opened, box)


def _result(
    zoomer: Zoomer, part: Part, model: str, other: str, on_tile: Callable[[int, int], None]
) -> list[Any]:
    """Enlarge a part; return updates of the slider, the line below it and the download button."""
    begin = time.monotonic()
    scale = zoomer.scale(model)
    after, before = (zoomer.enlarge(part, kind, scale, on_tile) for kind in (model, other))
    seconds = time.monotonic() - begin
    width, height = part.box.width, part.box.height
    note = f"{width}x{height} pixels became {scale * width}x{scale * height} with {_name(model)}"
    return [
        gr.update(value=(str(before), str(after)), label=f"{_name(other)} | {_name(model)}"),
        f"{note} in {seconds:.1f} s.",
        gr.update(value=str(after), label=f"Download {_name(model)} as PNG", interactive=True),
    ]


def _no_result(note: str = "") -> list[Any]:
    """Updates like those of ``_result``."""
    return [
        gr.update(value=None, label="Before | after"),
        note,
        gr.update(value=None, label="Download", interactive=False),
    ]
