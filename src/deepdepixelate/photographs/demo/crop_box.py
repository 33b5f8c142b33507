"""The component with which a user selects the part of a photograph to enlarge."""

import base64
from importlib.resources import files
from io import BytesIO
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.photographs.faces import Box
from deepdepixelate.photographs.photograph import SMALLEST

_PREVIEW = 384, 1024
"""Least and greatest longer side of the preview under the box, in pixels."""


def crop_box() -> gr.HTML:
    """Create the component. Its value is a ``Box`` as a list; it is hidden without a photograph."""
    here = files("deepdepixelate.photographs.demo")
    return gr.HTML(
        value=None,
        html_template=(here / "crop_box.html").read_text("utf-8"),
        css_template=(here / "crop_box.css").read_text("utf-8"),
        js_on_load=(here / "crop_box.js").read_text("utf-8"),
        image="",
        width=0,
        height=0,
        smallest=SMALLEST,
        elem_id="crop-box",
    )


def shown(pixels: NDArray[np.uint8], box: Box) -> dict[str, Any]:
    """The update that shows a photograph, uint8 (H, W, 3), under the box."""
    height, width, _ = pixels.shape
    least, most = _PREVIEW
    preview = Image.fromarray(pixels)
    preview.thumbnail((most, most))
    if (larger := -(-least // max(preview.size))) > 1:
        preview = preview.resize((width * larger, height * larger), Image.Resampling.NEAREST)
    encoded = BytesIO()
    preview.save(encoded, "PNG" if max(preview.size) < most else "JPEG")
    data = base64.b64encode(encoded.getvalue()).decode()
    image = f"data:image;base64,{data}"
    update: dict[str, Any] = gr.update(value=list(box), image=image, width=width, height=height)
    return update


def hidden() -> dict[str, Any]:
    """The update that removes the photograph."""
    update: dict[str, Any] = gr.update(value=None, image="", width=0, height=0)
    return update


def first_box(width: int, height: int, max_pixels: int) -> Box:
    """The initial box: the whole photograph, or its centre if it has more than ``max_pixels``."""
    share = min(1.0, (max_pixels / (width * height)) ** 0.5)
    box_width, box_height = max(SMALLEST, int(width * share)), max(SMALLEST, int(height * share))
    return Box((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)


def box_within(value: Any, width: int, height: int) -> Box:
    """Turn a value from the browser into a box inside the photograph.

    Raises:
        ValueError: the value is not a list of four numbers.
        TypeError: it holds something that is not a number.
    """
    if not isinstance(value, list) or len(value) != len(Box._fields):
        raise ValueError(f"not a box: {value!r}")
    left, top, box_width, box_height = (round(float(number)) for number in value)
    box_width = min(max(box_width, SMALLEST), width)
    box_height = min(max(box_height, SMALLEST), height)
    left = min(max(left, 0), width - box_width)
    top = min(max(top, 0), height - box_height)
    return Box(left, top, box_width, box_height)
