"""The component with which a user chooses a face, or draws a box over a part of the photograph."""

import base64
from collections.abc import Sequence
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
"""Least and greatest longer side of the preview, in pixels."""

WHOLE = "whole"
"""The choice of the whole picture."""

_EMPTY: dict[str, Any] = {
    "value": None,
    "image": "",
    "width": 1,
    "height": 1,
    "faces": [],
    "whole": False,
}


def chooser() -> gr.HTML:
    """Create the component; it is hidden without a photograph.

    Its event ``select`` carries the choice as ``value``: the index of a face, ``WHOLE``, or a box
    as a list of four numbers.
    """
    here = files("deepdepixelate.photographs.demo")
    return gr.HTML(
        html_template=(here / "chooser.html").read_text("utf-8"),
        css_template=(here / "chooser.css").read_text("utf-8"),
        js_on_load=(here / "chooser.js").read_text("utf-8"),
        apply_default_css=False,
        smallest=SMALLEST,
        elem_id="chooser",
        **_EMPTY,
    )


def shown(pixels: NDArray[np.uint8], *, whole: bool) -> dict[str, Any]:
    """The update that shows a photograph, without faces yet.

    Args:
        pixels: uint8 RGB (H, W, 3).
        whole: whether the whole picture may be chosen.
    """
    height, width, _ = pixels.shape
    least, most = _PREVIEW
    preview = Image.fromarray(pixels)
    preview.thumbnail((most, most))
    if (larger := -(-least // max(preview.size))) > 1:
        preview = preview.resize((width * larger, height * larger), Image.Resampling.NEAREST)
    encoded = BytesIO()
    preview.save(encoded, "PNG" if max(preview.size) < most else "JPEG")
    image = f"data:image;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    return _update(value=None, image=image, width=width, height=height, faces=[], whole=whole)


def with_faces(faces: Sequence[Box], **chosen: Any) -> dict[str, Any]:
    """The update that shows faces on the photograph, and perhaps the ``value`` that is chosen."""
    return _update(faces=[list(face) for face in faces], **chosen)


def hidden() -> dict[str, Any]:
    """The update that removes the photograph."""
    return _update(**_EMPTY)


def box_within(value: Any, width: int, height: int) -> Box:
    """Turn a value from the browser into a box inside the photograph.

    Raises:
        ValueError: the value is not a list of four finite numbers.
    """
    try:
        left, top, box_width, box_height = (round(float(number)) for number in value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"not a box: {value!r}") from None
    box_width = min(max(box_width, SMALLEST), width)
    box_height = min(max(box_height, SMALLEST), height)
    left = min(max(left, 0), width - box_width)
    top = min(max(top, 0), height - box_height)
    return Box(left, top, box_width, box_height)


def _update(**props: Any) -> dict[str, Any]:
    update: dict[str, Any] = gr.update(**props)
    return update
