"""Parameters of the data: ingestion and LR generation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from deepdepixelate.models.generator import SCALES
from deepdepixelate.parameters.degrading import RealisticParameters
from deepdepixelate.parameters.types import Count, Fraction, Section


class IngestParameters(Section):
    """From the archive to HR shards. Sizes in pixels.

    Attributes:
        limit_per_split: take only the first so many images of each split; null for all.
        width: width that every image must have.
        height: height that every image must have.
        crop_width: width of the centre crop that is kept.
        crop_height: height of the centre crop that is kept.
        max_rejected_fraction: share of unusable images at which the run stops.
    """

    limit_per_split: Count | None
    width: Count
    height: Count
    crop_width: Annotated[int, Field(ge=8, multiple_of=8)]
    crop_height: Annotated[int, Field(ge=8, multiple_of=8)]
    max_rejected_fraction: Fraction

    @model_validator(mode="after")
    def _crop_fits(self) -> "IngestParameters":
        if self.crop_width > self.width or self.crop_height > self.height:
            raise ValueError(
                f"the crop of {self.crop_width}x{self.crop_height} pixels is larger than the "
                f"images, {self.width}x{self.height}"
            )
        return self


class DegradeParameters(Section):
    """From HR to LR shards.

    Attributes:
        scale: how many times smaller LR is, and what the generators undo: 2, 4 or 8.
        kind: bicubic, the benchmarks' kernel and nothing else; or realistic: blur, several ways to
            shrink, noise and JPEG, drawn for each image.
        realistic: what realistic LR goes through; bicubic LR knows nothing of it.
    """

    scale: int
    kind: Literal["bicubic", "realistic"]
    realistic: RealisticParameters

    @field_validator("scale")
    @classmethod
    def _scale_can_be_undone(cls, scale: int) -> int:
        if scale not in SCALES:
            raise ValueError(f"scale must be 2, 4 or 8, not {scale}")
        return scale
