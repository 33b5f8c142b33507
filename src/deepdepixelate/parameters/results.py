"""Parameters of what is done with trained generators: evaluation, and enlarging photographs."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from deepdepixelate.metrics.identity import Mode
from deepdepixelate.parameters.types import Count, Section, UserPath
from deepdepixelate.photographs import FormatName


class BenchmarkFolders(Section):
    """Where a benchmark's images are; a path alone stands for ``hr``.

    Attributes:
        hr: folder of HR images of any size, or one that holds such a folder named HR.
        lr: folder of LR images named as the HR ones (or with x4 and the like added); null to make
            them with the project's own bicubic kernel.
    """

    hr: UserPath
    lr: UserPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"hr": value} if isinstance(value, str | int | Path) else value


SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class EvaluateParameters(Section):
    """Scoring, the comparison picture and the report.

    Attributes:
        batch_size: images enlarged at a time.
        border: pixels left out at each side; null for as many as the scale.
        faces_shown: test images in the comparison picture.
        examples_shown: test images in the report, of the best, the median and the worst ones each.
        device: auto, cpu, cuda, cuda:1, mps.
        self_ensemble: let generators enlarge each image and its mirror image, and score the mean.
        benchmarks: sets of images to score beside the test split, by name.
        identity: how far faces are from the originals: auto measures it if the extra ``identity``
            is installed, on requires it, off leaves it out.
    """

    batch_size: Count
    border: Annotated[int, Field(ge=0)] | None
    faces_shown: Count
    examples_shown: Count
    device: str
    self_ensemble: bool
    benchmarks: dict[SetName, BenchmarkFolders]
    identity: Mode

    @field_validator("identity", mode="before")
    @classmethod
    def _on_and_off_are_words(cls, identity: Any) -> Any:
        if isinstance(identity, bool):  # what YAML makes of a plain on or off
            return "on" if identity else "off"
        return identity

    @field_validator("benchmarks")
    @classmethod
    def _test_is_taken(cls, benchmarks: dict[str, BenchmarkFolders]) -> dict[str, BenchmarkFolders]:
        if "test" in map(str.lower, benchmarks):
            raise ValueError("a benchmark cannot be called test: that is the test split")
        return benchmarks


class EnhanceParameters(Section):
    """Enlarging a user's photographs.

    Attributes:
        input: a photograph, or a folder with those in it and below it.
        output: folder for the enlarged ones.
        model: srgan or srresnet, from the package; or a file of a generator's weights.
        tile: side of the tiles that are enlarged at a time, in pixels of the photograph.
        max_pixels: photographs of more pixels are refused.
        overwrite: replace files that are there already.
        format: of the enlarged ones: png, jpeg or webp.
        quality: 1 to 100, of jpeg and webp.
        strip_metadata: leave out EXIF and resolution.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: bf16, fp32, or auto: bf16 where the hardware computes in it.
        self_ensemble: enlarge each photograph and its mirror image, and keep the mean.
    """

    input: UserPath | None
    output: UserPath | None
    model: str
    tile: Annotated[int, Field(ge=16)]
    max_pixels: Count
    overwrite: bool
    format: FormatName
    quality: Annotated[int, Field(ge=1, le=100)]
    strip_metadata: bool
    device: str
    precision: Literal["auto", "bf16", "fp32"]
    self_ensemble: bool
