"""Parameters of ``evaluate`` and ``enhance``."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from deepdepixelate.parameters.degrading import DegradedSet
from deepdepixelate.parameters.types import Count, Device, Quality, Section, UserPath
from deepdepixelate.photographs import Faces, FormatName


class BenchmarkFolders(Section):
    """Folders of a benchmark. A path alone stands for ``hr``."""

    hr: UserPath
    """Folder of HR images of any size, or one with such a subfolder named HR."""
    lr: UserPath | None = None
    """Folder of LR images, named like the HR images (x4 may be appended); null: made by MATLAB's
    bicubic kernel."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"hr": value} if isinstance(value, str | int | Path) else value


SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


def _check_model(uri: str) -> str:
    if not uri.startswith("models:/"):
        raise ValueError("must be models:/NAME@latest or models:/NAME/VERSION")
    return uri


RegisteredModel = Annotated[str, AfterValidator(_check_model)]


class RegisteredModels(Section):
    """Generators of MLflow's registry, for ``evaluate_registered``."""

    srresnet: RegisteredModel | None
    """The SRResNet that ``evaluate_registered`` scores, as ``models:/NAME@latest`` or
    ``models:/NAME/3``; null: the newest one that was trained on this data set."""
    srgan: RegisteredModel | None
    """The SRGAN, likewise."""


class EvaluateParameters(Section):
    """Scores, the comparison picture and the report."""

    batch_size: Count
    """Images that are enlarged at a time."""
    border: NonNegativeInt | None
    """Pixels cropped from each side before scoring; null: as many as the scale."""
    faces_shown: Count
    """Test images in the comparison picture."""
    examples_shown: Count
    """Test images in the report: this many each of the best, median and worst."""
    device: Device
    self_ensemble: bool
    """Score the mean over each image and its mirror image; doubles the time."""
    benchmarks: dict[SetName, BenchmarkFolders]
    """More sets of images to score, by name, e.g. ``evaluate.benchmarks.set5=DIR``."""
    degraded_sets: dict[SetName, DegradedSet]
    """Test images with other LR, each set scored by itself, by name; see conf/degraded_sets.yml."""
    degraded_images: Count | None
    """Test images of each degraded set, spread evenly over the split; null: all."""
    identity: Literal["auto", "on", "off"]
    """Measure the identity distance of faces. auto: if the extra ``identity`` is installed."""
    registered: RegisteredModels

    @field_validator("identity", mode="before")
    @classmethod
    def _on_and_off_are_words(cls, identity: Any) -> Any:
        if isinstance(identity, bool):  # YAML's meaning of a plain on or off
            return "on" if identity else "off"
        return identity

    @field_validator("benchmarks", "degraded_sets")
    @classmethod
    def _test_is_taken(cls, sets: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "test" in map(str.lower, sets):
            kind = "benchmark" if info.field_name == "benchmarks" else "degraded set"
            raise ValueError(f"a {kind} cannot be called test: that is the test split")
        return sets

    @model_validator(mode="after")
    def _names_differ(self) -> "EvaluateParameters":
        benchmarks = {name.lower() for name in self.benchmarks}
        for name in self.degraded_sets:
            if name.lower() in benchmarks:
                raise ValueError(
                    f"a benchmark and a degraded set are both called {name}: rename one of them"
                )
        return self


class EnhanceParameters(Section):
    """Enlarging photographs, see also ``deepdepixelate enhance``."""

    input: UserPath | None
    """A photograph, or a folder that is searched with its subfolders."""
    output: UserPath
    """Folder for the results."""
    model: str
    """auto (photo for files with lossy compression and for small faces, srgan for the rest), srgan,
    srresnet, photo, or a .safetensors file."""
    faces: Faces
    """ignore: enlarge whole photographs; put_back: enlarge small faces separately; files: write
    each face to a file, instead of the photograph. The last two need the extra ``identity``."""
    tile: Annotated[int, Field(ge=16)]
    """Side of the tiles that are enlarged at a time, in input pixels. Memory grows with its
    square."""
    max_pixels: Count
    """Photographs with more pixels are refused."""
    overwrite: bool
    """Replace existing files."""
    format: FormatName
    """File format of the results."""
    quality: Quality
    """Quality of jpeg and webp."""
    strip_metadata: bool
    """Do not copy EXIF and resolution."""
    device: Device
    precision: Literal["auto", "bf16", "fp32"]
    """auto: bf16 if the hardware supports it, else fp32."""
    self_ensemble: bool
    """Keep the mean over each photograph and its mirror image; doubles the time."""
