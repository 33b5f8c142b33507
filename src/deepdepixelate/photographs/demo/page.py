"""The page: its layout and its events."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from deepdepixelate.errors import failure_message
from deepdepixelate.photographs import AUTO, UnreadableImageError
from deepdepixelate.photographs.demo import views
from deepdepixelate.photographs.demo.chooser import (
    WHOLE,
    box_within,
    chooser,
    hidden,
    shown,
    with_faces,
)
from deepdepixelate.photographs.demo.work import Cancelled, Job, Work
from deepdepixelate.photographs.demo.zooming import PLAIN, Opened, Part, Zoomer
from deepdepixelate.photographs.work import is_out_of_memory

_HEADING = """# Zoom and enhance
Drop a photograph, click a face, and compare it before and after."""

_ABOUT = """Neural networks that learned from celebrities' faces (CelebA), for non-commercial
research. Photographs stay on the computer that runs this page, and are deleted when it ends."""

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
                result = gr.HTML(views.HINT, apply_default_css=False, elem_id="result")
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
                with gr.Accordion(
                    "Other ways to enlarge and compare", open=False, elem_id="more-ways"
                ):
                    method = gr.Radio(
                        [
                            ("Automatic", AUTO),
                            *((views.advice(each), each) for each in models),
                        ],
                        value=AUTO,
                        label="Enlarge with",
                        elem_id="method",
                    )
                    other = gr.Radio(
                        [(views.name(each), each) for each in dict.fromkeys([*PLAIN, *models])],
                        value="pixels",
                        label="Compare with",
                        elem_id="compare-with",
                    )
        gr.Markdown(_ABOUT, elem_id="about-page")

        work = Work()

        def show(path: Path, request: gr.Request) -> list[Any]:
            photograph = _opened(zoomer, path)
            if photograph is None:
                work.want(request.session_hash, None)
                return [None, None, hidden(), "", *views.no_result()]
            work.want(request.session_hash, Job(photograph, None, AUTO, "pixels"))
            whole = photograph.whole.pixels <= zoomer.max_pixels
            view = shown(photograph.photograph.pixels, whole=whole)
            text = views.about(photograph, zoomer, searched=False)
            return [None, photograph, view, text, *views.no_result()]

        def show_upload(path: str, request: gr.Request) -> list[Any]:
            return show(Path(path), request)

        def show_sample(index: int, request: gr.Request) -> list[Any]:
            return show(samples[index], request)

        def find(
            photograph: Opened | None, generator: str, compared: str, request: gr.Request
        ) -> list[Any]:
            if photograph is None:
                return [gr.skip()] * 3
            zoomer.find(photograph)
            latest = work.latest(request.session_hash)
            if latest is None or latest.opened is not photograph:
                return [gr.skip()] * 3
            text = views.about(photograph, zoomer, searched=True)
            if latest.part is not None or photograph.at_once is None:
                return [with_faces(photograph.faces), text, gr.skip()]
            job = Job(photograph, photograph.at_once, generator, compared)
            work.want(request.session_hash, job)
            view = with_faces(photograph.faces, value=0 if photograph.faces else WHOLE)
            return [view, text, gr.update(interactive=True)]

        def begin(
            photograph: Opened | None,
            generator: str,
            compared: str,
            request: gr.Request,
            event: gr.EventData,
        ) -> list[Any]:
            chosen = _chosen(photograph, event._data, zoomer.max_pixels)
            return start(request, Job(*chosen, generator, compared))

        def begin_again(generator: str, compared: str, request: gr.Request) -> list[Any]:
            latest = work.latest(request.session_hash)
            if latest is None or latest.part is None:
                return [gr.skip()] * 2
            return start(request, Job(latest.opened, latest.part, generator, compared))

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
                return views.result(zoomer, job, on_step)
            except Cancelled:
                if work.latest(request.session_hash) is job:
                    return views.no_result("Cancelled.")
                return [gr.skip()] * 3
            except Exception as error:
                if (problem := _problem(error)) is None:
                    raise
                gr.Warning(escape(f"Enlarging failed: {problem}"), duration=None)
                return views.no_result()
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
        found = [
            each.success(find, [opened, *ways], [choice, about, cancel], **quick)
            for each in (
                upload.upload(show_upload, upload, of_photograph, **quick),
                pick.click(show_sample, pick, of_photograph, **quick),
            )
        ]
        chosen = choice.select(
            begin, [opened, *ways], [cancel, download], concurrency_limit=None, **quick
        )
        chosen.success(None, js=_SHOW % "#result")
        for event in (
            *found,
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


def _opened(zoomer: Zoomer, path: Path) -> Opened | None:
    """Open a photograph; if it cannot be read, show a warning and return None."""
    try:
        return zoomer.open(path)
    except UnreadableImageError as error:
        gr.Warning(escape(f"{path.name} cannot be enlarged: {error}."), duration=None)
        return None


def _problem(error: Exception) -> str | None:
    """What a user can do something about; None for a bug."""
    if is_out_of_memory(error):
        return "there is not enough memory. Choose a smaller part."
    return failure_message(error)


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
    if part.pixels > max_pixels:
        raise gr.Error(
            f"This part is large already: {part.pixels / 1e6:.1f} megapixels. Draw a box of up "
            f"to {max_pixels / 1e6:g} megapixels.",
            print_exception=False,
        )
    return opened, part
