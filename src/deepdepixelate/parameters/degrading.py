"""Parameters of realistic LR: what is done to an image, and how often."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from deepdepixelate.parameters.types import Fraction, Section

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"the range must begin with its lower end, not [{ends[0]}, {ends[1]}]")
    return ends


def _in_order_whole(ends: tuple[int, int]) -> tuple[int, int]:
    _in_order(ends)
    return ends


Sigma = Annotated[float, Field(gt=0, le=20)]
Length = Annotated[float, Field(ge=1, le=63)]
Levels = Annotated[float, Field(ge=0, le=255)]
PhotonNoise = Annotated[float, Field(ge=0, le=10)]
Quality = Annotated[int, Field(ge=1, le=100)]
Cell = Annotated[int, Field(ge=2, le=16)]

Sigmas = Annotated[tuple[Sigma, Sigma], AfterValidator(_in_order)]
Lengths = Annotated[tuple[Length, Length], AfterValidator(_in_order)]
LevelsRange = Annotated[tuple[Levels, Levels], AfterValidator(_in_order)]
PhotonNoises = Annotated[tuple[PhotonNoise, PhotonNoise], AfterValidator(_in_order)]
Qualities = Annotated[tuple[Quality, Quality], AfterValidator(_in_order_whole)]
Cells = Annotated[tuple[Cell, Cell], AfterValidator(_in_order_whole)]


class Weights(Section):
    """How often each of several kinds is taken, in proportion to the sum of all."""

    @model_validator(mode="after")
    def _one_can_be_taken(self) -> "Weights":
        if sum(self.model_dump().values()) <= 0:
            raise ValueError(f"one of {', '.join(type(self).model_fields)} must be above 0")
        return self


class BlurKinds(Weights):
    """How often a blur is of which kind.

    Attributes:
        isotropic: a Gaussian as wide in every direction.
        anisotropic: a Gaussian with two widths, turned by any angle.
        motion: a line at any angle.
    """

    isotropic: Weight
    anisotropic: Weight
    motion: Weight


class BlurParameters(Section):
    """Blur of the HR image.

    Attributes:
        probability: of any blur.
        kinds: how often which one.
        sigma: range of the standard deviation of Gaussians, in HR pixels.
        length: range of the length of lines, in HR pixels.
    """

    probability: Fraction
    kinds: BlurKinds
    sigma: Sigmas
    length: Lengths


class ShrinkKinds(Weights):
    """How often LR is made in which way.

    Attributes:
        bicubic: the kernel of ``degrade.kind=bicubic``.
        area: the mean of the HR pixels under each LR pixel.
        bilinear: a triangle twice as wide.
        mosaic: area, and then square cells of several LR pixels that have one colour each.
    """

    bicubic: Weight
    area: Weight
    bilinear: Weight
    mosaic: Weight


class NoiseKinds(Weights):
    """How often noise is of which kind.

    Attributes:
        gaussian: as strong everywhere.
        poisson: that of counted light, stronger where the image is bright.
    """

    gaussian: Weight
    poisson: Weight


class NoiseParameters(Section):
    """Noise on the LR image.

    Attributes:
        probability: of any noise.
        kinds: how often which one.
        sigma: range of the standard deviation of Gaussian noise, in levels of 255.
        scale: range of the factor on Poisson noise; 1 is that of one photon a level.
        gray: share of noise that is the same in all three colours.
    """

    probability: Fraction
    kinds: NoiseKinds
    sigma: LevelsRange
    scale: PhotonNoises
    gray: Fraction


class JpegParameters(Section):
    """JPEG files that the LR image was stored in.

    Attributes:
        probability: of any.
        twice: share of those that are stored a second time, at a quality of its own.
        quality: range, both ends included; 1 to 100.
        full_color: share that keeps a colour for each pixel (4:4:4), not each four (4:2:0).
    """

    probability: Fraction
    twice: Fraction
    quality: Qualities
    full_color: Fraction


class RealisticParameters(Section):
    """What LR went through, drawn for each image.

    Attributes:
        seed: of all draws, together with the image's own pixels.
        clean: share of images that are left as ``degrade.kind=bicubic`` makes them.
        blur: of HR, before it is shrunk.
        shrink: how often LR is made in which way.
        mosaic_cell: range of the side of a mosaic's cells, in LR pixels.
        noise: on LR.
        jpeg: last of all.
    """

    seed: Annotated[int, Field(ge=0)]
    clean: Annotated[float, Field(ge=0, lt=1)]
    blur: BlurParameters
    shrink: ShrinkKinds
    mosaic_cell: Cells
    noise: NoiseParameters
    jpeg: JpegParameters
