"""A picture that Kedro-Viz shows."""

import base64
from typing import NewType

from kedro_datasets.pillow import ImageDataset

ImagePreview = NewType("ImagePreview", str)


class Picture(ImageDataset):
    """``pillow.ImageDataset`` with the preview that it lacks; Pillow images in and out."""

    def preview(self) -> ImagePreview:
        """The picture's file in base64, as Kedro-Viz wants it."""
        with self._fs.open(str(self._get_load_path()), "rb") as file:
            return ImagePreview(base64.b64encode(file.read()).decode())
