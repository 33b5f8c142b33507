"""Parameters of ``ingest`` and ``degrade``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from deepdepixelate.limits import Scale
from deepdepixelate.parameters.degrading import RealisticParameters
from deepdepixelate.parameters.types import Count, Fraction, FractionBelowOne, Section, UserLocation

CropSide = Annotated[int, Field(ge=8, multiple_of=8)]


class RayParameters(Section):
    """The Ray cluster, for ``engine: ray``."""

    address: str | None
    """Of the cluster, such as ray://HOST:10001 or auto; null: one of this machine alone."""


class SplitParameters(Section):
    """The splits of your own images, for ``--env own``."""

    by: Literal["name", "folder", "identity"] = "name"
    """name: each image by itself. folder: images in one sub-folder show one person, who is in one
    split. identity: a list names the person of each image."""
    identities: UserLocation | None = None
    """List for ``by=identity``, with a file name and an identity per line; null: the column
    identity or celeb_id of Parquet files, or identity_CelebA.txt in the folder of the images."""
    val: FractionBelowOne = 0.1
    """Fraction of images (or people) for validation, chosen by a hash of the name."""
    test: FractionBelowOne = 0.1
    """Fraction for the test split, chosen alike. The others are for training."""

    @model_validator(mode="after")
    def _some_are_left(self) -> "SplitParameters":
        if self.val + self.test >= 1:
            raise ValueError(
                f"val ({self.val:g}) and test ({self.test:g}) leave no image for training"
            )
        return self


class TrainingCropParameters(Section):
    """A square crop of each training image, which is shrunk by a random factor before."""

    side: CropSide
    """Side of the crops that are stored, in pixels."""
    smallest: Annotated[float, Field(gt=0, le=1)]
    """The random factor is uniform from this to 1."""
    unchanged: Fraction
    """Fraction of images that are not shrunk."""


class IngestParameters(Section):
    """From the archive to HR shards."""

    limit_per_split: Count | None
    """Use only the first N images of each split; null: all."""
    fit: Literal["exact", "cover"] = "exact"
    """exact: images of another size than width and height are rejected. cover: images of any size
    are shrunk until they just cover the crop; the aspect ratio stays, and smaller ones are
    rejected."""
    width: Count
    """Width of every input image, in pixels, with ``fit=exact``."""
    height: Count
    """Height of every input image, in pixels, with ``fit=exact``."""
    crop_width: CropSide
    """Width of the centre crop that is stored, in pixels."""
    crop_height: CropSide
    """Height of the centre crop that is stored, in pixels."""
    max_rejected_fraction: Fraction
    """The run stops if a larger fraction of the images is unusable."""
    images_per_shard: Count
    """Images in a file of HR or LR images. A task of the engine makes one such file."""
    training_crops: TrainingCropParameters | None = None
    """null: training images are like those of the other splits. Otherwise a square crop of each,
    with faces of random sizes: ``{side: 96, smallest: 0.55, unchanged: 0.5}``."""
    split: SplitParameters = SplitParameters()

    @property
    def training_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of stored training images; of all, if there are no crops."""
        if crops := self.training_crops:
            return crops.side, crops.side, 3
        return self.crop_height, self.crop_width, 3

    @model_validator(mode="after")
    def _training_crop_fits(self) -> "IngestParameters":
        if crops := self.training_crops:
            shorter = min(self.crop_width, self.crop_height)
            if crops.side > round(crops.smallest * shorter):
                raise ValueError(
                    f"training_crops: images of {shorter} pixels, shrunk by {crops.smallest:g}, "
                    f"are smaller than the crop of {crops.side}; smallest must be at least "
                    f"{crops.side / shorter:.3f}"
                )
        return self

    @model_validator(mode="after")
    def _crop_fits(self) -> "IngestParameters":
        if self.fit == "cover":
            return self
        if self.crop_width > self.width or self.crop_height > self.height:
            raise ValueError(
                f"the crop of {self.crop_width}x{self.crop_height} pixels is larger than the "
                f"images, {self.width}x{self.height}"
            )
        return self


class DegradeParameters(Section):
    """From HR to LR shards."""

    scale: Scale
    """HR is shrunk, and the generators enlarge, by this factor."""
    kind: Literal["bicubic", "realistic"]
    """bicubic: MATLAB's bicubic kernel alone. realistic: also random blur, noise and JPEG."""
    realistic: RealisticParameters
