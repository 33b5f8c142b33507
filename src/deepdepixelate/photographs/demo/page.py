"""The page: its layout and its events."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import AUTO, UnreadableImageError
from deepdepixelate.photographs.demo.chooser import (
    WHOLE,
    box_within,
    chooser,
    hidden,
    shown,
    with_faces,
)
from deepdepixelate.photographs.demo.work import Cancelled, Job, Work
from deepdepixelate.photographs.demo.zooming import PLAIN, Enlargement, Opened, Part, Zoomer
from deepdepixelate.photographs.faces import INSTALL

_HEADING = """# Zoom and enhance
Drop a photograph, click a face, and compare it before and after."""

_ABOUT = """The networks were trained on CelebA's faces, for non-commercial research. Photographs
stay on the computer that runs this page, and are deleted when the program ends."""

_HINT = '<p class="hint">The enlarged face appears here, beside the original.</p>'

_INVENTED = """Skin, eyes, teeth and hair are the network's guess: a plausible face, not evidence of
who it is."""

_CLEANED = "This is a compressed photograph: it was cleaned as well as enlarged."

_INSTALL = f"Draw a box around a face. To have faces found: <code>{INSTALL}</code>"

_NAMES = {
    "pixels": "Original pixels",
    "bicubic": "Bicubic",
    "srresnet": "SRResNet",
    "srgan": "SRGAN",
    "photo": "Photo",
}

_ADVICE = {
    "srresnet": ": faithful, softer",
    "srgan": ": sharp, for clean files",
    "photo": ": sharp, for JPEG and noise",
}

_AT_ONCE = 250_000
"""Pixels up to which a part is enlarged without a click, if there is nothing else to choose."""

_SHOW = """() => document.querySelector('%s')
    ?.scrollIntoView({block: window.innerWidth > 900 ? 'nearest' : 'start'})"""
"""On a narrow screen, the result is below the photograph."""

_WAITING = 16
"""Requests that may wait; further ones are refused."""

_FILES_ARE_KEPT = (600, 3600)
"""Seconds between checks of the uploaded files, and their age in seconds when they are deleted."""

_PROGRESS = gr.Progress()
"""As an argument's default, it makes Gradio pass a progress bar."""


def build_page(zoomer: Zoomer, samples: Sequence[Path]) -> gr.Blocks:
    """Lay out the page and connect its components.

    Args:
        zoomer: enlarges the photographs.
        samples: files of sample photographs.
    """
    models = zoomer.models
    with gr.Blocks(
        title="DeepDepixelate", analytics_enabled=False, delete_cache=_FILES_ARE_KEPT
    ) as page:
        opened = gr.State(None, time_to_live=_FILES_ARE_KEPT[1])
        gr.Markdown(_HEADING, elem_id="heading")
        with gr.Row():
            with gr.Column(scale=4, min_width=400):
                with gr.Row():
                    upload = gr.File(
                        show_label=False, height=92, scale=1, min_width=180, elem_id="photograph"
                    )
                    with gr.Column(scale=1, min_width=280):
                        pick = gr.Dataset(
                            components=[gr.Image(visible=False, type="filepath")],
                            samples=[[str(sample)] for sample in samples],
                            label="Or one of these",
                            elem_id="samples",
                            type="index",
                        )
                about = _status("about-photograph")
                choice = chooser()
            with gr.Column(scale=5, min_width=400):
                result = gr.HTML(_HINT, apply_default_css=False, elem_id="result")
                note = _status("note")
                with gr.Row():
                    download = gr.DownloadButton(
                        "Download",
                        variant="primary",
                        scale=3,
                        min_width=100,
                        interactive=False,
                        elem_id="download",
                    )
                    cancel = gr.Button("Cancel", min_width=100, interactive=False, elem_id="cancel")
                with gr.Accordion("More ways", open=False, elem_id="more-ways"):
                    method = gr.Radio(
                        [("As the file needs", AUTO), *((_advice(each), each) for each in models)],
                        value=AUTO,
                        label="Enlarge with",
                        elem_id="method",
                    )
                    other = gr.Radio(
                        [(_name(each), each) for each in dict.fromkeys([*PLAIN, *models])],
                        value="pixels",
                        label="Compare with",
                        elem_id="compare-with",
                    )
        gr.Markdown(_ABOUT, elem_id="about-page")

        work = Work()

        def show(path: Path | None, request: gr.Request) -> list[Any]:
            photograph = None if path is None else _opened(zoomer, path)
            if photograph is None:
                work.want(request.session_hash, None)
                return [None, None, hidden(), "", *_no_result()]
            work.want(request.session_hash, Job(photograph, None, AUTO, "pixels"))
            width, height = photograph.size
            view = shown(photograph.photograph.pixels, whole=width * height <= zoomer.max_pixels)
            about = _about(photograph, zoomer, searched=False)
            return [None, photograph, view, about, *_no_result()]

        def show_upload(path: str | None, request: gr.Request) -> list[Any]:
            return show(None if path is None else Path(path), request)

        def show_sample(index: int, request: gr.Request) -> list[Any]:
            return show(samples[index], request)

        def find(
            photograph: Opened | None, name: str, compared: str, request: gr.Request
        ) -> list[Any]:
            if photograph is None:
                return [gr.skip()] * 3
            zoomer.find(photograph)
            latest = work.latest(request.session_hash)
            if latest is None or latest.opened is not photograph:
                return [gr.skip()] * 3
            chosen, part = _only_choice(photograph)
            wanted = part is not None and latest.part is None
            if wanted:
                work.want(request.session_hash, Job(photograph, part, name, compared))
            return [
                with_faces(photograph.faces, **({"value": chosen} if wanted else {})),
                _about(photograph, zoomer, searched=True),
                gr.update(interactive=True) if wanted else gr.skip(),
            ]

        def begin(
            photograph: Opened | None,
            name: str,
            compared: str,
            request: gr.Request,
            event: gr.EventData,
        ) -> list[Any]:
            chosen = _chosen(photograph, event._data, zoomer.max_pixels)
            return start(request, Job(*chosen, name, compared))

        def begin_again(name: str, compared: str, request: gr.Request) -> list[Any]:
            latest = work.latest(request.session_hash)
            if latest is None or latest.part is None:
                return [gr.skip()] * 2
            return start(request, Job(latest.opened, latest.part, name, compared))

        def start(request: gr.Request, job: Job) -> list[Any]:
            work.want(request.session_hash, job)
            return [gr.update(interactive=True), gr.update(interactive=False)]

        def run(request: gr.Request, progress: gr.Progress = _PROGRESS) -> list[Any]:
            job = work.take(request.session_hash)
            if job is None:
                return [gr.skip()] * 3

            def on_step(done: int, steps: int) -> None:
                job.check()
                progress(done / steps, desc="Enlarging")

            try:
                return _result(zoomer, job, on_step)
            except Cancelled:
                if work.latest(request.session_hash) is job:
                    return _no_result("Cancelled.")
                return [gr.skip()] * 3
            finally:
                job.over = True

        def end(request: gr.Request) -> dict[str, Any]:
            job = work.latest(request.session_hash)
            working = job is not None and job.part is not None and not job.over
            update: dict[str, Any] = gr.update(interactive=working)
            return update

        def stop(request: gr.Request) -> None:
            work.cancel(request.session_hash)

        def close(request: gr.Request) -> None:
            work.want(request.session_hash, None)

        of_result = [result, note, download]
        of_photograph = [upload, opened, choice, about, *of_result]
        quick: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "trigger_mode": "multiple",
        }
        at_once = {**quick, "queue": False}
        cancel.click(stop, None, None, **at_once)
        page.unload(close)
        ways = [method, other]
        shown_events = (
            upload.upload(show_upload, upload, of_photograph, **quick),
            pick.click(show_sample, pick, of_photograph, **quick),
        )
        chosen = choice.select(
            begin, [opened, *ways], [cancel, download], concurrency_limit=None, **quick
        )
        chosen.success(None, js=_SHOW % "#result")
        for event in (
            *(
                each.success(find, [opened, *ways], [choice, about, cancel], **quick)
                for each in shown_events
            ),
            chosen,
            method.input(begin_again, ways, [cancel, download], **at_once),
            other.input(begin_again, ways, [cancel, download], **at_once),
        ):
            done = event.success(
                run,
                None,
                of_result,
                api_visibility="private",
                concurrency_limit=1,
                concurrency_id="run",
                show_progress_on=result,
                trigger_mode="multiple",
            )
            done.then(end, None, cancel, **at_once)
            done.then(None, js=_SHOW % "#result .pair")
        page.queue(max_size=_WAITING)
    built: gr.Blocks = page
    return built


def _status(elem_id: str) -> gr.HTML:
    """A line that screen readers announce when it changes."""
    template = '<p role="status">${value || ""}</p>'
    return gr.HTML(html_template=template, apply_default_css=False, elem_id=elem_id)


def _name(kind: str) -> str:
    return _NAMES.get(kind, label_of(kind))


def _advice(model: str) -> str:
    return _name(model) + _ADVICE.get(model, "")


def _opened(zoomer: Zoomer, path: Path) -> Opened | None:
    """Open a photograph; if it cannot be read, show a warning and return None."""
    try:
        return zoomer.open(path)
    except UnreadableImageError as error:
        gr.Warning(escape(f"{path.name} cannot be enlarged: {error}."), duration=None)
        return None


def _about(opened: Opened, zoomer: Zoomer, *, searched: bool) -> str:
    """The line above the photograph."""
    width, height = opened.size
    lines = [f"{escape(opened.name)}: {width}x{height} pixels."]
    lines += [f"{note[0].upper()}{note[1:]}." for note in opened.notes]
    if not zoomer.finds_faces:
        lines.append(_INSTALL)
    elif not searched:
        lines.append("Looking for faces…")
    elif len(opened.faces) > 1:
        lines.append(f"<strong>{len(opened.faces)} faces were found: click one.</strong>")
    elif opened.faces:
        lines.append("One face was found.")
    else:
        lines.append("No face was found. To enlarge a part, draw a box.")
    if width * height > zoomer.max_pixels:
        limit = f"{zoomer.max_pixels / 1e6:g} megapixels"
        lines.append(f"The whole picture is too large for this page, which enlarges up to {limit}.")
    elif width * height > _AT_ONCE:
        scale = zoomer.scale(opened.model)
        lines.append(f"The whole picture would become {scale * width}x{scale * height} pixels.")
    return " ".join(lines)


def _only_choice(opened: Opened) -> tuple[int | str, Part | None]:
    """What to enlarge without a click: the only face, or a picture without faces, if not large."""
    chosen, part = (0, opened.face(0)) if opened.faces else (WHOLE, opened.whole)
    if len(opened.faces) > 1 or part.box.width * part.box.height > _AT_ONCE:
        return chosen, None
    return chosen, part


def _chosen(opened: Opened | None, data: Any, max_pixels: int) -> tuple[Opened, Part]:
    """What an event of the chooser means."""
    if opened is None:
        raise gr.Error("Choose a photograph first.", print_exception=False)
    value = data.get("value") if isinstance(data, dict) else None
    if isinstance(value, int) and 0 <= value < len(opened.faces):
        part = opened.face(value)
    elif value == WHOLE:
        part = opened.whole
    else:
        try:
            part = Part(box_within(value, *opened.size))
        except ValueError:
            raise gr.Error("Click a face, or draw a box.", print_exception=False) from None
    if (pixels := part.box.width * part.box.height) > max_pixels:
        raise gr.Error(
            f"This part is large already: {pixels / 1e6:.1f} megapixels. Draw a box of up to "
            f"{max_pixels / 1e6:g}.",
            print_exception=False,
        )
    return opened, part


def _result(zoomer: Zoomer, job: Job, on_step: Callable[[int, int], None]) -> list[Any]:
    """Do a job; return updates of the pictures, the line below them and the download button."""
    opened, part, automatic = job.opened, job.part, job.method == AUTO
    assert part is not None  # noqa: S101 - by Work.take
    model = opened.model if automatic else job.method
    scale = zoomer.scale(model)
    after, before = (
        zoomer.enlarge(opened, part, kind, scale, on_step) for kind in (model, job.other)
    )
    width, height = part.box.width, part.box.height
    lines = [_CLEANED] if automatic and model == "photo" else []
    lines.append(_INVENTED)
    with_model = "" if automatic else f" with {_name(model)}"
    size = f"{scale * width}x{scale * height}"
    lines.append(f"{width}x{height} pixels became {size}{with_model}.")
    names = (
        "Before" if job.other == "pixels" else _name(job.other),
        f"{'After' if automatic else _name(model)}: details are invented",
    )
    return [
        _side_by_side(names, (before, after), width, height),
        " ".join(lines),
        gr.update(value=str(after.file), interactive=True),
    ]


def _side_by_side(
    names: Sequence[str], pictures: Sequence[Enlargement], width: int, height: int
) -> str:
    """HTML of two pictures of this shape; wide ones are one above the other."""
    figures = [
        f'<figure><figcaption>{escape(name)}</figcaption><img alt="{escape(name)}" '
        f'width="{width}" height="{height}" '
        f'src="gradio_api/file={quote(picture.shown.as_posix())}"></figure>'
        for name, picture in zip(names, pictures, strict=True)
    ]
    return f'<div class="pair{" wide" if width > 1.2 * height else ""}">{"".join(figures)}</div>'


def _no_result(note: str = "") -> list[Any]:
    """Updates like those of ``_result``."""
    return [_HINT, note, gr.update(value=None, interactive=False)]
