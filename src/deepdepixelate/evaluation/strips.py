"""Faces for the report: which to show, and what to show of them."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.data.resize import upscale
from deepdepixelate.metrics.psnr_ssim import luma

CROP = 48
"""Side of the magnified part of a face, in HR pixels."""


@dataclass(frozen=True)
class Example:
    """One image and what was made of it.

    Attributes:
        image: its name.
        role: why it is shown: ``best``, ``median`` or ``worst``.
        lr: the input, uint8 (h, w, 3).
        hr: the original, uint8 (H, W, 3), H and W multiples of h and w.
        enlarged: by model, in the order of the columns, uint8 (H, W, 3).
    """

    image: str
    role: str
    lr: NDArray[np.uint8]
    hr: NDArray[np.uint8]
    enlarged: Mapping[str, NDArray[np.uint8]]

    @property
    def scale(self) -> int:
        """How many times smaller LR is."""
        return int(self.hr.shape[0] // self.lr.shape[0])


@dataclass(frozen=True)
class Window:
    """A square part of an image: its place and side in HR pixels, multiples of the scale."""

    top: int
    left: int
    side: int

    def cut(self, image: NDArray[np.uint8], scale: int = 1) -> NDArray[np.uint8]:
        """This part of an image that is ``scale`` times smaller than HR."""
        top, left, side = self.top // scale, self.left // scale, self.side // scale
        return image[top : top + side, left : left + side]


def choose_examples(scores: pd.DataFrame, *, of_each: int) -> list[tuple[str, str]]:
    """The test images that SRResNet improves most, least, and as usual, over bicubic in PSNR.

    Each image is chosen once. Of fewer than ``3 * of_each`` images the roles get equal shares; one
    left over is a median, two are a best and a worst. Images of equal gain go by their name; one
    whose gain is not finite is never chosen.

    Args:
        scores: one row per image and model: ``set``, ``image``, ``model``, ``psnr_y``.
        of_each: images of each role.

    Returns:
        Role (``best``, ``median``, ``worst``) and image, from the largest gain to the smallest.
    """
    of_test = scores[scores["set"] == "test"]
    psnr = {
        model: of_test[of_test["model"] == model].set_index("image")["psnr_y"]
        for model in ("bicubic", "srresnet")
    }
    gains = (psnr["srresnet"] - psnr["bicubic"]).astype(float)
    gains = gains[np.isfinite(gains)]
    ranked = sorted(gains.index, key=lambda image: (-gains[image], image))
    share, rest = divmod(min(len(ranked), 3 * of_each), 3)
    extremes, medians = share + (rest == 2), share + (rest == 1)
    start = (len(ranked) - medians) // 2
    return [
        *(("best", image) for image in ranked[:extremes]),
        *(("median", image) for image in ranked[start : start + medians]),
        *(("worst", image) for image in ranked[len(ranked) - extremes :]),
    ]


def busiest_window(example: Example, side: int = CROP) -> Window:
    """The part of an image where its LR lost the most energy, at whole LR pixels."""
    scale = example.scale
    lost = luma(example.hr) - luma(upscale(example.lr[None], scale)[0])
    height, width = lost.shape
    side = min(side, height, width) // scale * scale
    sums = np.pad((lost**2).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    tops, lefts = np.arange(0, height - side + 1, scale), np.arange(0, width - side + 1, scale)
    energy = (
        sums[np.ix_(tops + side, lefts + side)]
        - sums[np.ix_(tops, lefts + side)]
        - sums[np.ix_(tops + side, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(int(energy.argmax()), energy.shape)
    return Window(int(tops[row]), int(lefts[column]), side)


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image as a PNG inside an address."""
    encoded = BytesIO()
    Image.fromarray(image).save(encoded, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(encoded.getvalue()).decode()}"
