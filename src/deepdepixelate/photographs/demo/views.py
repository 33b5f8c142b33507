"""What the page says: texts, pictures and updates of its components."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import gradio as gr

from deepdepixelate.models.pretrained import label_of
from deepdepixelate.photographs import AUTO
from deepdepixelate.photographs.demo.work import Job
from deepdepixelate.photographs.demo.zooming import AT_ONCE, Enlargement, Opened, Zoomer
from deepdepixelate.photographs.faces import INSTALL

HINT = '<p class="hint">The enlarged face appears here, with the original.</p>'

_INVENTED = """Fine details are guessed, such as skin, eyes, teeth and hair: an enlarged face is
plausible, but not evidence of who it is."""

_CLEANED = "The file is compressed, as JPEG files are. Blocks and noise were removed, too."

_INSTALL = f"Draw a box around a face. To find faces automatically: <code>{INSTALL}</code>"

_NAMES = {
    "pixels": "Original pixels",
    "bicubic": "Plain enlargement (bicubic)",
    "srresnet": "SRResNet",
    "srgan": "SRGAN",
    "photo": "Photo",
}

_ADVICE = {
    "srresnet": ": faithful, softer",
    "srgan": ": sharp, for clean files",
    "photo": ": sharp, for JPEG and noise",
}


def name(kind: str) -> str:
    """A generator's name, or that of another way of enlarging."""
    return _NAMES.get(kind, label_of(kind))


def advice(model: str) -> str:
    """A generator's name, and what it is good at."""
    return name(model) + _ADVICE.get(model, "")


def about(opened: Opened, zoomer: Zoomer, *, searched: bool) -> str:
    """The line above the photograph."""
    width, height = opened.size
    lines = [f"{escape(opened.name)}: {width}x{height} pixels."]
    lines += [escape(f"{note[0].upper()}{note[1:]}.") for note in opened.notes]
    if not zoomer.finds_faces:
        lines.append(_INSTALL)
    elif not searched:
        lines.append("Looking for faces…")
    elif len(opened.faces) > 1:
        lines.append(f"<strong>{len(opened.faces)} faces were found: click one.</strong>")
    elif opened.faces:
        lines.append(_one_face(opened, zoomer.max_pixels))
    else:
        lines.append("No face was found. To enlarge a part, draw a box.")
    if opened.whole.pixels > zoomer.max_pixels:
        limit = f"{zoomer.max_pixels / 1e6:g} megapixels"
        lines.append(f"The whole picture is too large for this page, which enlarges up to {limit}.")
    elif opened.whole.pixels > AT_ONCE:
        scale = zoomer.scale(opened.model)
        lines.append(f"The whole picture would become {scale * width}x{scale * height} pixels.")
    return " ".join(lines)


def _one_face(opened: Opened, max_pixels: int) -> str:
    if opened.at_once is not None:
        return "One face was found."
    if opened.face(0).pixels <= max_pixels:
        return "One face was found. It is large already: click it to enlarge it still."
    return "One face was found. It is too large to enlarge here. To enlarge a part, draw a box."


def result(zoomer: Zoomer, job: Job, on_step: Callable[[int, int], None]) -> list[Any]:
    """Do a job; return updates of the pictures, the line below them and the download button."""
    opened, part, automatic = job.opened, job.part, job.method == AUTO
    assert part is not None  # noqa: S101 - by Work.take
    model = zoomer.choose(opened, part) if automatic else job.method
    scale = zoomer.scale(model)
    after, before = (
        zoomer.enlarge(opened, part, kind, scale, on_step) for kind in (job.method, job.other)
    )
    width, height = part.box.width, part.box.height
    lines = [_CLEANED] if automatic and opened.model == "photo" else []
    lines.append(_INVENTED)
    with_model = "" if automatic else f" with {name(model)}"
    size = f"{scale * width}x{scale * height}"
    lines.append(f"{width}x{height} pixels became {size}{with_model}.")
    names = (
        "Before" if job.other == "pixels" else name(job.other),
        f"{'After' if automatic else name(model)}: details are invented",
    )
    return [
        _side_by_side(names, (before, after), width, height),
        " ".join(lines),
        gr.update(value=str(after.file), interactive=True),
    ]


def _side_by_side(
    names: Sequence[str], pictures: Sequence[Enlargement], width: int, height: int
) -> str:
    """HTML of two pictures of this shape."""
    figures = [
        f'<figure><figcaption>{escape(name)}</figcaption><img alt="{escape(name)}" '
        f'width="{width}" height="{height}" '
        f'src="gradio_api/file={quote(picture.shown.as_posix())}"></figure>'
        for name, picture in zip(names, pictures, strict=True)
    ]
    return f'<div class="pair">{"".join(figures)}</div>'


def no_result(note: str = "") -> list[Any]:
    """Updates like those of ``result``."""
    return [HINT, note, gr.update(value=None, interactive=False)]
