"""A picture that Kedro-Viz shows."""

import base64
from io import BytesIO
from typing import NewType

from kedro_datasets.pillow import ImageDataset
from PIL import Image

ImagePreview = NewType("ImagePreview", str)

_FRAME = 458 / 300  # width to height, of Kedro-Viz's panel: it stretches a preview to fill it


class Picture(ImageDataset):
    """``pillow.ImageDataset`` with the preview that it lacks; Pillow images in and out."""

    def preview(self, height: int | None = None) -> ImagePreview:
        """The picture for Kedro-Viz: a PNG in base64.

        It stands in a transparent frame of the panel's proportions, so that it keeps its own.

        Args:
            height: in pixels, how much of the picture is shown, from its top; None for all of it.
        """
        picture: Image.Image = self.load.__wrapped__(self)  # the plain loader: it logs nothing
        shown = picture.crop((0, 0, picture.width, min(height or picture.height, picture.height)))
        width = max(shown.width, round(shown.height * _FRAME))
        frame = Image.new("RGBA", (width, max(shown.height, round(width / _FRAME))))
        frame.paste(shown, ((frame.width - shown.width) // 2, (frame.height - shown.height) // 2))
        file = BytesIO()
        frame.save(file, "PNG")
        return ImagePreview(base64.b64encode(file.getvalue()).decode())
