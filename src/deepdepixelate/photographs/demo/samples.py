"""Photographs to try the page on, made from those inside the scikit-image package."""

from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from deepdepixelate.data.resize import downscale

_SHRUNK = 4

SAMPLES = {
    "face": ("astronaut.png", (140, 2, 316, 218)),
    "portrait": ("astronaut.png", (0, 0, 512, 512)),
    "cat": ("chelsea.png", (60, 0, 400, 300)),
    "coffee": ("coffee.png", (0, 0, 600, 400)),
}
"""Name, photograph, and which part of it: left, top, right, bottom."""


def write_samples(folder: Path) -> list[Path]:
    """Write each sample, shrunk by the field's bicubic kernel, as a PNG file; their paths."""
    photographs = Path(skimage.__file__).parent / "data"
    written = []
    for name, (photograph, part) in SAMPLES.items():
        with Image.open(photographs / photograph) as image:
            pixels = np.asarray(image.convert("RGB").crop(part))
        path = folder / f"{name}.png"
        Image.fromarray(downscale(pixels[None], _SHRUNK)[0]).save(path)
        written.append(path)
    return written
