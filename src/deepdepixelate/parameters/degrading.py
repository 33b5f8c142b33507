"""Parameters of realistic LR: random degradations of a dataset, fixed ones of test sets."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, model_validator

from deepdepixelate.parameters.types import (
    Fraction,
    FractionBelowOne,
    Quality,
    Range,
    Section,
    Weight,
)

Sigma = Annotated[float, Field(gt=0, le=20)]
Length = Annotated[float, Field(ge=1, le=63)]
Level = Annotated[float, Field(ge=0, le=255)]
PhotonNoise = Annotated[float, Field(ge=0, le=10)]
CellSide = Annotated[int, Field(ge=2, le=16)]


class Weights(Section):
    """Relative frequencies of several kinds."""

    @model_validator(mode="after")
    def _not_all_zero(self) -> "Weights":
        if sum(self.model_dump().values()) <= 0:
            raise ValueError(f"one of {', '.join(type(self).model_fields)} must be above 0")
        return self


class BlurKinds(Weights):
    """Relative frequencies of the kinds of blur."""

    isotropic: Weight
    """Weight of Gaussian blur of the same width in all directions."""
    anisotropic: Weight
    """Weight of Gaussian blur of two widths, rotated by a random angle."""
    motion: Weight
    """Weight of motion blur along a line at a random angle."""


class BlurParameters(Section):
    """Blur of the HR image."""

    probability: Fraction
    """Probability that an image is blurred."""
    kinds: BlurKinds
    sigma: Range[Sigma]
    """Range of the standard deviation of Gaussian blur, in HR pixels."""
    length: Range[Length]
    """Range of the length of motion blur, in HR pixels."""


class ShrinkKinds(Weights):
    """Relative frequencies of the ways to shrink HR to LR."""

    bicubic: Weight
    """Weight of the kernel of ``degrade.kind=bicubic``."""
    area: Weight
    """Weight of the mean over the HR pixels of each LR pixel."""
    bilinear: Weight
    """Weight of the antialiased bilinear kernel."""
    mosaic: Weight
    """Weight of the area mean followed by a mosaic of square cells of one colour."""


class NoiseKinds(Weights):
    """Relative frequencies of the kinds of noise."""

    gaussian: Weight
    """Weight of Gaussian noise, equally strong everywhere."""
    poisson: Weight
    """Weight of Poisson (shot) noise, stronger in bright areas."""


class NoiseParameters(Section):
    """Noise on the LR image."""

    probability: Fraction
    """Probability that noise is added."""
    kinds: NoiseKinds
    sigma: Range[Level]
    """Range of the standard deviation of Gaussian noise, in levels of 255."""
    scale: Range[PhotonNoise]
    """Range of the factor on Poisson noise; 1: one photon per level."""
    gray: Fraction
    """Fraction of noise that is the same in all channels."""


class JpegParameters(Section):
    """JPEG compression of the LR image."""

    probability: Fraction
    """Probability that an image is compressed."""
    twice: Fraction
    """Fraction of compressed images that are compressed again, at another quality."""
    quality: Range[Quality]
    """Range of the JPEG quality."""
    full_color: Fraction
    """Fraction of files without chroma subsampling (4:4:4); the others are 4:2:0."""


class EnlargedParameters(Section):
    """LR images of faces that were smaller: shrunk further, and enlarged at the end."""

    probability: Fraction
    """Probability that an image is one of them."""
    size: Range[Annotated[float, Field(gt=0, le=1)]]
    """Range of the size before enlarging, as a share of the size of LR."""


class DegradedSet(Section):
    """One fixed degradation of the test images: these steps in order; null leaves a step out."""

    blur_sigma: Sigma | None = None
    """Standard deviation of isotropic Gaussian blur of HR, in HR pixels."""
    mosaic_cell: CellSide | None = None
    """Side of the cells of a mosaic in LR pixels, after an area mean; null: bicubic LR."""
    noise_sigma: Annotated[float, Field(gt=0, le=255)] | None = None
    """Standard deviation of Gaussian noise on LR, in levels of 255, independent in each channel."""
    noise_seed: NonNegativeInt = 0
    """Random seed of the noise, which also depends on the image's pixels."""
    jpeg_quality: Quality | None = None
    """Quality of JPEG compression of LR, with 4:2:0 chroma subsampling."""

    @model_validator(mode="after")
    def _seed_needs_noise(self) -> "DegradedSet":
        if self.noise_seed and self.noise_sigma is None:
            raise ValueError(f"noise_seed={self.noise_seed} has no effect without noise_sigma")
        return self


class RealisticParameters(Section):
    """Random degradations, drawn per image, after Real-ESRGAN (arXiv 2107.10833, section 3)."""

    seed: NonNegativeInt
    """Random seed; the draws also depend on the image's pixels."""
    clean: FractionBelowOne
    """Fraction of images that are only shrunk, as with ``degrade.kind=bicubic``."""
    blur: BlurParameters
    shrink: ShrinkKinds
    mosaic_cell: Range[CellSide]
    """Range of the side of mosaic cells, in LR pixels."""
    noise: NoiseParameters
    jpeg: JpegParameters
    enlarged: EnlargedParameters | None = None
    """null: none. Otherwise some LR images are shrunk further before noise and JPEG, and enlarged
    to the size of LR after them, as ``enhance`` enlarges small faces first:
    ``{probability: 0.3, size: [0.3, 0.9]}``."""
