"""Realistic degradations of one image: blur, several ways to shrink, noise, JPEG, enlarging.

They follow the first-order degradation model of Real-ESRGAN (Wang et al., arXiv 2107.10833,
section 3), with motion blur, mosaics and a share of clean images added. From its resizing, they
have the kind that small faces in photographs need: shrinking further, and enlarging at the end.
Nothing here shifts an image: kernels are centred, and every way to resize is aligned as
``downscale`` is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import simplejpeg
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft
from torch.nn.functional import interpolate

from deepdepixelate.data.random_numbers import random_of
from deepdepixelate.data.resize import downscale, resized
from deepdepixelate.parameters.degrading import RealisticParameters, Weights

Image = NDArray[np.uint8]
"""One image: uint8, shape (H, W, 3), RGB."""

_LUMA = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Degradation:
    """The degradation of one image. The steps are in the order of the attributes; None: left out.

    Attributes:
        clean: bicubic shrinking and nothing else.
        blur: isotropic, anisotropic or motion.
        blur_sigma: standard deviation of a Gaussian in HR pixels, along ``blur_angle`` if any.
        blur_sigma_across: standard deviation at a right angle to ``blur_angle``.
        blur_length: length of a motion in HR pixels.
        blur_angle: of an anisotropic Gaussian or a motion, in radians from right to bottom.
        shrink: bicubic, area, bilinear or mosaic.
        enlarged_from: size to which the shrunk image is shrunk further, as a share of LR's; after
            all other steps it is enlarged to the size of LR.
        mosaic_cell: side of a mosaic's cells in pixels of the shrunk image.
        noise: gaussian or poisson.
        noise_strength: gaussian: standard deviation in levels of 255; poisson: factor on the noise.
        noise_gray: whether the noise is the same in all channels.
        jpeg_quality: 1 to 100.
        jpeg_color: chroma subsampling of all JPEG files: 420 or 444.
        jpeg_quality_again: of a second JPEG compression, after the first.
    """

    clean: bool = False
    blur: str | None = None
    blur_sigma: float | None = None
    blur_sigma_across: float | None = None
    blur_length: float | None = None
    blur_angle: float | None = None
    shrink: str = "bicubic"
    enlarged_from: float | None = None
    mosaic_cell: int | None = None
    noise: str | None = None
    noise_strength: float | None = None
    noise_gray: bool | None = None
    jpeg_quality: int | None = None
    jpeg_color: Literal["420", "444"] | None = None
    jpeg_quality_again: int | None = None


def degrade_realistically(
    image: Image, parameters: RealisticParameters, scale: int
) -> tuple[Image, Degradation]:
    """Draw a degradation of an HR image and apply it.

    The random numbers depend on the image's pixels and ``parameters.seed`` alone, so the result
    does not depend on the image's place in the dataset or the number of threads.
    """
    random = random_of(image, parameters.seed)
    degradation = draw(parameters, random)
    return apply_degradation(degradation, image, scale, random), degradation


def apply_degradation(
    degradation: Degradation, image: Image, scale: int, random: Generator
) -> Image:
    """Make the LR image of an HR image.

    Args:
        degradation: the steps.
        image: uint8, shape (H, W, 3), H and W multiples of ``scale``.
        scale: how many times smaller LR is.
        random: random numbers for the noise.

    Returns:
        uint8, shape (H / scale, W / scale, 3).
    """
    if degradation.blur:
        image = convolve(image, blur_kernel(degradation))
    image = shrink_image(image, degradation.shrink, scale)
    height, width, _ = image.shape
    if share := degradation.enlarged_from:
        image = resized(image, (max(1, round(width * share)), max(1, round(height * share))))
    if degradation.mosaic_cell:
        image = mosaic(image, degradation.mosaic_cell)
    if degradation.noise:
        image = add_noise(image, degradation, random)
    for quality in (degradation.jpeg_quality, degradation.jpeg_quality_again):
        if quality:
            image = compress_jpeg(image, quality, degradation.jpeg_color or "420")
    return resized(image, (width, height)) if degradation.enlarged_from else image


def blur_kernel(degradation: Degradation) -> NDArray[np.float64]:
    """The kernel of a blur: square, of odd size, symmetric about its centre, with sum 1."""
    angle = degradation.blur_angle or 0.0
    if degradation.blur_length is not None:
        return _line(degradation.blur_length, angle)
    along = degradation.blur_sigma or 0.0
    across = degradation.blur_sigma_across or along
    radius = max(1, int(np.ceil(3 * max(along, across))))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    turned_x = x * np.cos(angle) + y * np.sin(angle)
    turned_y = y * np.cos(angle) - x * np.sin(angle)
    kernel: NDArray[np.float64] = np.exp(-((turned_x / along) ** 2 + (turned_y / across) ** 2) / 2)
    kernel /= kernel.sum()
    return kernel


def _line(length: float, angle: float) -> NDArray[np.float64]:
    """A line through the centre, drawn as points that are spread bilinearly over four pixels."""
    radius = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    places = np.linspace(-length / 2, length / 2, 8 * int(np.ceil(length)) + 1)
    x, y = radius + places * np.cos(angle), radius + places * np.sin(angle)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for right in (0, 1):
        for down in (0, 1):
            weights = (1 - np.abs(x - left - right)) * (1 - np.abs(y - top - down))
            np.add.at(kernel, (top + down, left + right), weights)
    kernel += kernel[::-1, ::-1]  # rounding can put a point to one side
    kernel /= kernel.sum()
    return kernel


def convolve(image: Image, kernel: NDArray[np.float64]) -> Image:
    """Convolve an image with a symmetric kernel by FFT; mirrored border, edge pixel repeated."""
    height, width, _ = image.shape
    radius = len(kernel) // 2
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32)
    sizes = [fft.next_fast_len(size, real=True) for size in planes.shape[1:]]
    product = fft.rfft2(planes, sizes) * fft.rfft2(kernel.astype(np.float32), sizes)
    blurred = fft.irfft2(product, sizes)[:, 2 * radius :, 2 * radius :][:, :height, :width]
    return _rounded(blurred.transpose(1, 2, 0))


def shrink_image(image: Image, kind: str, scale: int) -> Image:
    """Shrink an image, (H, W, 3) to (H / scale, W / scale, 3).

    Args:
        image: uint8, H and W multiples of ``scale``.
        kind: ``bicubic``: ``downscale``; ``bilinear``: antialiased, as Pillow and torchvision do;
            ``area`` and ``mosaic``: the mean of scale x scale pixels, halves rounded up.
        scale: how many times smaller.
    """
    if kind == "bicubic":
        shrunk: Image = downscale(image[None], scale)[0]
        return shrunk
    height, width = (size // scale for size in image.shape[:2])
    if kind == "bilinear":
        planes = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)
        made = interpolate(planes[None], size=(height, width), mode="bilinear", antialias=True)
        return np.ascontiguousarray(made[0].permute(1, 2, 0).numpy())
    squares = image.reshape(height, scale, width, scale, 3)
    sums = squares.sum(axis=1, dtype=np.uint32).sum(axis=2)
    return _rounded(sums / scale**2)


def mosaic(image: Image, cell: int) -> Image:
    """Give squares of ``cell`` pixels their mean colour, halves rounded up.

    The last squares at the right and bottom may be cut, so an image smaller than a cell gets one
    colour. uint8 (H, W, 3) of the same shape.
    """
    height, width, _ = image.shape
    rows, columns = np.arange(0, height, cell), np.arange(0, width, cell)
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.uint32), rows), columns, axis=1)
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    cells = _rounded(sums / counts[:, :, None]).repeat(cell, axis=0).repeat(cell, axis=1)
    return cells[:height, :width]


def add_noise(image: Image, degradation: Degradation, random: Generator) -> Image:
    """Add Gaussian or Poisson noise; Poisson: one photon per level, times ``noise_strength``.

    Gray noise is drawn once, from the luma if Poisson, and added to all channels. Halves are
    rounded to even: Poisson noise has many, and rounded up they would brighten the image.
    """
    strength = degradation.noise_strength or 0.0
    values = image.astype(float)
    light = (values @ _LUMA)[:, :, None] if degradation.noise_gray else values
    if degradation.noise == "gaussian":
        noise = random.normal(0, strength, light.shape)
    else:
        noise = strength * (random.poisson(light) - light)
    return np.clip(np.rint(values + noise), 0, 255).astype(np.uint8)


def compress_jpeg(image: Image, quality: int, color: str) -> Image:
    """Compress an image as JPEG, with chroma subsampling 420 or 444, and decode it."""
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling=color
    )
    decoded: Image = simplejpeg.decode_jpeg(encoded, colorspace="RGB")
    return decoded


def draw(parameters: RealisticParameters, random: Generator) -> Degradation:
    """Draw the degradation of one image."""
    if random.random() < parameters.clean:
        return Degradation(clean=True)
    shrink = _choose(parameters.shrink, random)
    return Degradation(
        **_draw_blur(parameters, random),
        shrink=shrink,
        mosaic_cell=_draw_integer(parameters.mosaic_cell, random) if shrink == "mosaic" else None,
        **_draw_noise(parameters, random),
        **_draw_jpeg(parameters, random),
        **_draw_enlarging(parameters, random),
    )


def _draw_blur(parameters: RealisticParameters, random: Generator) -> Mapping[str, Any]:
    settings = parameters.blur
    if random.random() >= settings.probability:
        return {}
    kind = _choose(settings.kinds, random)
    if kind == "isotropic":
        return {"blur": kind, "blur_sigma": random.uniform(*settings.sigma)}
    angle = {"blur": kind, "blur_angle": random.uniform(0, np.pi)}
    if kind == "motion":
        return {**angle, "blur_length": random.uniform(*settings.length)}
    along, across = random.uniform(*settings.sigma), random.uniform(*settings.sigma)
    return {**angle, "blur_sigma": along, "blur_sigma_across": across}


def _draw_noise(parameters: RealisticParameters, random: Generator) -> Mapping[str, Any]:
    settings = parameters.noise
    if random.random() >= settings.probability:
        return {}
    kind = _choose(settings.kinds, random)
    strength = random.uniform(*(settings.sigma if kind == "gaussian" else settings.scale))
    gray = bool(random.random() < settings.gray)
    return {"noise": kind, "noise_strength": strength, "noise_gray": gray}


def _draw_jpeg(parameters: RealisticParameters, random: Generator) -> Mapping[str, Any]:
    settings = parameters.jpeg
    if random.random() >= settings.probability:
        return {}
    color = "444" if random.random() < settings.full_color else "420"
    drawn = {"jpeg_quality": _draw_integer(settings.quality, random), "jpeg_color": color}
    if random.random() < settings.twice:
        drawn["jpeg_quality_again"] = _draw_integer(settings.quality, random)
    return drawn


def _draw_enlarging(parameters: RealisticParameters, random: Generator) -> Mapping[str, Any]:
    settings = parameters.enlarged
    if settings is None or random.random() >= settings.probability:
        return {}
    return {"enlarged_from": random.uniform(*settings.size)}


def _choose(weights: Weights, random: Generator) -> str:
    kinds = weights.model_dump()
    shares = np.array(list(kinds.values())) / sum(kinds.values())
    return str(random.choice(list(kinds), p=shares))


def _draw_integer(limits: tuple[int, int], random: Generator) -> int:
    return int(random.integers(*limits, endpoint=True))


def _rounded(values: NDArray[Any]) -> Image:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
