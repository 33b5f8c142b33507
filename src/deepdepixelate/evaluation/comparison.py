"""The comparison picture: the same faces, enlarged by each model, side by side."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.evaluation.scoring import Enlarger

TITLES = {"bicubic": "bicubic", "srresnet": "SRResNet", "srgan": "SRGAN"}

_GAP = 8
_HEADER = 34
_CAPTION = 18
_TEXT, _BACKGROUND = (32, 32, 32), (255, 255, 255)


def draw(
    pairs: ImagePairs, models: Mapping[str, Enlarger], scores: pd.DataFrame, *, faces: int
) -> Image.Image:
    """Draw LR (its pixels as squares), each model's enlargement with its scores, and HR.

    Every enlargement is shown pixel for pixel.

    Args:
        pairs: the images.
        models: by name, in the order of the columns.
        scores: as from ``score_pairs``, for the captions.
        faces: rows, spread evenly over the images.
    """
    count = min(faces, len(pairs))
    chosen = [round(index * (len(pairs) - 1) / max(1, count - 1)) for index in range(count)]
    hr = np.stack([pairs.hr[index] for index in chosen])
    lr = np.stack([pairs.lr[index] for index in chosen])
    names = [pairs.hr.names[index] for index in chosen]
    columns: list[tuple[str, NDArray[np.uint8], list[str]]] = [
        ("LR", lr.repeat(pairs.scale, axis=1).repeat(pairs.scale, axis=2), names)
    ]
    lookup = scores[scores["set"] == "test"].set_index(["image", "model"])
    for model, enlarger in models.items():
        captions = [_caption(lookup.loc[[(name, model)]]) for name in names]
        columns.append((TITLES.get(model, model), enlarger(lr, pairs.scale), captions))
    columns.append(("HR (original)", hr, [""] * count))
    return _compose(columns)


def _caption(row: pd.DataFrame) -> str:
    """PSNR, SSIM and, of images that it can judge, ST-LPIPS."""
    psnr, ssim, distance = row[["psnr_y", "ssim_y", "st_lpips"]].to_numpy(float)[0]
    caption = f"{psnr:.2f} dB / {ssim:.3f}"
    return caption if np.isnan(distance) else f"{caption} / {distance:.3f}"


def _compose(columns: list[tuple[str, NDArray[np.uint8], list[str]]]) -> Image.Image:
    count, height, width, _ = columns[0][1].shape
    picture = Image.new(
        "RGB",
        (
            len(columns) * (width + _GAP) + _GAP,
            _HEADER + count * (height + _CAPTION + _GAP),
        ),
        _BACKGROUND,
    )
    canvas = ImageDraw.Draw(picture)
    title_font, caption_font = ImageFont.load_default(16), ImageFont.load_default(11)
    for column, (title, images, captions) in enumerate(columns):
        left = _GAP + column * (width + _GAP)
        middle = left + width // 2
        canvas.text((middle, _HEADER // 2), title, _TEXT, title_font, anchor="mm")
        for row, (image, caption) in enumerate(zip(images, captions, strict=True)):
            top = _HEADER + row * (height + _CAPTION + _GAP)
            picture.paste(Image.fromarray(image), (left, top))
            below = top + height + _CAPTION // 2
            canvas.text((middle, below), caption, _TEXT, caption_font, anchor="mm")
    return picture
