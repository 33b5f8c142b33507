"""Pictures, and their previews in Kedro-Viz."""

import base64
import math
from collections.abc import Sequence
from io import BytesIO
from typing import NewType

import numpy as np
from kedro_datasets.pillow import ImageDataset
from numpy.typing import NDArray
from PIL import Image, ImageOps

ImagePreview = NewType("ImagePreview", str)

_SHEET = 720  # greatest width of a contact sheet, in pixels
_FRAME = 458 / 300  # width to height of Kedro-Viz's panel, which stretches a preview to fill it


class Picture(ImageDataset):
    """``pillow.ImageDataset`` with a preview for Kedro-Viz."""

    def preview(self, height: int | None = None) -> ImagePreview:
        """The picture, or its upper part.

        Args:
            height: in pixels, how much of the picture is shown, from its top; None for all of it.
        """
        picture: Image.Image = self.load.__wrapped__(self)  # without Kedro's log message
        shown = min(height or picture.height, picture.height)
        return _framed(picture.crop((0, 0, picture.width, shown)))


def contact_sheet(images: Sequence[NDArray[np.uint8]]) -> ImagePreview:
    """Images of one size, side by side and in rows.

    Small images are enlarged by a whole factor without smoothing, so that their pixels show.

    Args:
        images: RGB, (H, W, 3).
    """
    height, width, _ = images[0].shape
    columns = max(1, round(math.sqrt(len(images) * _FRAME * height / width)))
    rows = math.ceil(len(images) / columns)
    gap = max(1, width // 40)
    right, down = width + gap, height + gap
    sheet = Image.new("RGBA", (columns * right - gap, rows * down - gap))
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        sheet.paste(Image.fromarray(image), (column * right, row * down))
    scale = _SHEET / sheet.width
    if scale < 1:
        return _framed(ImageOps.scale(sheet, scale))
    return _framed(ImageOps.scale(sheet, int(scale), Image.Resampling.NEAREST))


def _framed(image: Image.Image) -> ImagePreview:
    """An image as a PNG in base64, in a transparent frame of the panel's proportions."""
    width = max(image.width, round(image.height * _FRAME))
    frame = Image.new("RGBA", (width, max(image.height, round(width / _FRAME))))
    frame.paste(image, ((frame.width - image.width) // 2, (frame.height - image.height) // 2))
    file = BytesIO()
    frame.save(file, "PNG")
    return ImagePreview(base64.b64encode(file.getvalue()).decode())
