"""Pictures of test faces beside their enlargements: which faces, and the comparison picture."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deepdepixelate.data.resize import upscale
from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.evaluation.formatting import model_title
from deepdepixelate.evaluation.scoring import EnlargedImage, Enlarger
from deepdepixelate.metrics.psnr_ssim import luma

CLOSE_UP = 48
"""Side of the magnified part of a face, in HR pixels."""

_GAP = 8
_HEADER = 34
_CAPTION = 18
_TEXT, _BACKGROUND = (32, 32, 32), (255, 255, 255)


class Square(NamedTuple):
    """A square part of an image, in LR pixels."""

    top: int
    left: int
    side: int

    def cut(self, image: NDArray[np.uint8], scale: int = 1) -> NDArray[np.uint8]:
        """This part of an image that is ``scale`` times larger than LR."""
        top, left, side = self.top * scale, self.left * scale, self.side * scale
        return image[top : top + side, left : left + side]


def enlarge_faces(
    pairs: ImagePairs, models: Mapping[str, Enlarger], images: Iterable[str]
) -> list[EnlargedImage]:
    """Enlarge the test images of these names with every model."""
    faces = []
    for image in images:
        index = pairs.hr.names.index(image)
        lr = np.array(pairs.lr[index])
        by_model = {model: enlarge(lr[None], pairs.scale)[0] for model, enlarge in models.items()}
        faces.append(EnlargedImage(image, lr, np.array(pairs.hr[index]), by_model))
    return faces


def choose_spread(names: Sequence[str], count: int) -> list[str]:
    """``count`` of the names, or all if there are fewer, evenly spread."""
    count = min(count, len(names))
    return [names[round(index * (len(names) - 1) / max(1, count - 1))] for index in range(count)]


def choose_examples(scores: pd.DataFrame, *, of_each: int) -> dict[str, list[str]]:
    """The test images with the largest, median and smallest PSNR gain of SRResNet over bicubic.

    Each image is chosen once. If there are fewer than ``3 * of_each`` images, the roles get equal
    shares; one left over is a median, two are a best and a worst. Images of equal gain are ordered
    by name. Images whose gain is not finite are never chosen.

    Args:
        scores: one row per image and model: ``set``, ``image``, ``model``, ``psnr_y``.
        of_each: images of each role.

    Returns:
        The images by role (``best``, ``median``, ``worst``), by falling gain.
    """
    of_test = scores[scores["set"] == "test"]
    psnr = of_test.pivot(index="image", columns="model", values="psnr_y")
    psnr = psnr.reindex(columns=["bicubic", "srresnet"]).astype(float)
    gains = psnr["srresnet"] - psnr["bicubic"]
    gains = gains[np.isfinite(gains)]
    ranked = sorted(gains.index, key=lambda image: (-gains[image], image))
    share, rest = divmod(min(len(ranked), 3 * of_each), 3)
    extremes, medians = share + (rest == 2), share + (rest == 1)
    start = (len(ranked) - medians) // 2
    return {
        "best": ranked[:extremes],
        "median": ranked[start : start + medians],
        "worst": ranked[len(ranked) - extremes :],
    }


def find_close_up(face: EnlargedImage, side: int = CLOSE_UP) -> Square:
    """The square in which bicubic enlargement of LR has the largest squared error of luma."""
    scale, (height, width, _) = face.scale, face.lr.shape
    errors = (luma(face.hr) - luma(upscale(face.lr[None], scale)[0])) ** 2
    per_lr_pixel = errors.reshape(height, scale, width, scale).sum(axis=(1, 3))
    side = min(side // scale, height, width)
    sums = sliding_window_view(per_lr_pixel, (side, side)).sum(axis=(2, 3))
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return Square(int(top), int(left), side)


def draw_comparison(faces: Sequence[EnlargedImage], scores: pd.DataFrame) -> Image.Image:
    """One row per face: LR with its pixels as squares, each model with its scores, and HR.

    All images are shown at the size of HR, without resampling.

    Args:
        faces: of the test split, all of one size.
        scores: one row per image and model, for the captions.
    """
    lookup = scores[scores["set"] == "test"].set_index(["image", "model"])
    lr = [face.lr.repeat(face.scale, axis=0).repeat(face.scale, axis=1) for face in faces]
    columns = [("LR", lr, [face.image for face in faces])]
    for model in faces[0].by_model:
        captions = [_caption(lookup.loc[[(face.image, model)]].iloc[0]) for face in faces]
        columns.append((model_title(model), [face.by_model[model] for face in faces], captions))
    columns.append(("HR (original)", [face.hr for face in faces], [""] * len(faces)))

    height, width, _ = faces[0].hr.shape
    row_height, column_width = height + _CAPTION + _GAP, width + _GAP
    size = (len(columns) * column_width + _GAP, _HEADER + len(faces) * row_height)
    picture = Image.new("RGB", size, _BACKGROUND)
    canvas = ImageDraw.Draw(picture)
    title_font, caption_font = ImageFont.load_default(16), ImageFont.load_default(11)
    for column, (title, images, captions) in enumerate(columns):
        left = _GAP + column * column_width
        middle = left + width // 2
        canvas.text((middle, _HEADER // 2), title, _TEXT, title_font, anchor="mm")
        for row, (image, caption) in enumerate(zip(images, captions, strict=True)):
            top = _HEADER + row * row_height
            picture.paste(Image.fromarray(image), (left, top))
            below = top + height + _CAPTION // 2
            canvas.text((middle, below), caption, _TEXT, caption_font, anchor="mm")
    return picture


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image as a ``data:`` address of a PNG."""
    encoded = BytesIO()
    Image.fromarray(image).save(encoded, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(encoded.getvalue()).decode()}"


def _caption(row: pd.Series) -> str:
    """PSNR, SSIM and, if available, ST-LPIPS."""
    caption = f"{row['psnr_y']:.2f} dB / {row['ssim_y']:.3f}"
    return caption if np.isnan(row["st_lpips"]) else f"{caption} / {row['st_lpips']:.3f}"
