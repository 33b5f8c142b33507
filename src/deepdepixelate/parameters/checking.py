"""All parameters together, checked before anything runs."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError, model_validator

from deepdepixelate.errors import UserError
from deepdepixelate.limits import SSIM_WINDOW
from deepdepixelate.parameters.data import DegradeParameters, IngestParameters, RayParameters
from deepdepixelate.parameters.downloading import DownloadParameters
from deepdepixelate.parameters.results import EnhanceParameters, EvaluateParameters
from deepdepixelate.parameters.training import (
    PretrainParameters,
    TrainGanParameters,
    TrainingParameters,
)
from deepdepixelate.parameters.types import Section, UserLocation


class Parameters(Section):
    """All parameters of the project."""

    download: DownloadParameters
    ingest: IngestParameters
    degrade: DegradeParameters
    training: TrainingParameters
    pretrain: PretrainParameters
    train_gan: TrainGanParameters
    evaluate: EvaluateParameters
    enhance: EnhanceParameters
    engine: Literal["local", "ray"]
    """Where the tasks of all stages but the trainings run: on this machine, or on a Ray cluster."""
    ray: RayParameters
    celeba_dir: UserLocation | None = None
    """Folder or URL with CelebA's archive (or images) and partition list, for ``--env celeba``;
    null: that of conf/base/globals.yml."""
    shards_dir: UserLocation | None = None
    """Folder or URL for the HR and LR shards; null: data/05_model_input/<dataset>."""
    faces_dir: UserLocation | None = None
    """Folder or URL with your own images, for ``--env own``; null: that of conf/own/globals.yml."""

    @model_validator(mode="after")
    def _crops_and_border_fit(self) -> "Parameters":
        training_side = min(self.ingest.training_shape[:2])
        for stage in ("pretrain", "train_gan"):
            crop_size = getattr(self, stage).crop_size
            if crop_size is None:
                self._check_face(stage)
            elif crop_size > training_side or crop_size % self.degrade.scale:
                raise ValueError(
                    f"{stage}.crop_size must be at most {training_side}, the smaller side of the "
                    f"training images, and a multiple of degrade.scale ({self.degrade.scale}), not "
                    f"{crop_size}"
                )
        side = min(self.ingest.crop_width, self.ingest.crop_height)
        border = self.evaluate.border
        if border is not None and side - 2 * border < SSIM_WINDOW:
            raise ValueError(
                f"evaluate.border={border} leaves less than the {SSIM_WINDOW} pixels that SSIM "
                f"needs; it must be at most {(side - SSIM_WINDOW) // 2}"
            )
        return self

    def _check_face(self, stage: str) -> None:
        width, height = self.ingest.crop_width, self.ingest.crop_height
        if (identity := getattr(self, stage).identity) is not None:
            left, top, face = identity.box
            if self.ingest.training_crops is not None:
                raise ValueError(
                    f"{stage}.identity needs faces at the same place in all training images; set "
                    "ingest.training_crops to null"
                )
            if left + face > width or top + face > height:
                raise ValueError(
                    f"{stage}.identity.box: the square of {face} pixels at {left}, {top} is not "
                    f"inside the images of {width}x{height}"
                )


def check_parameters(values: Mapping[str, Any]) -> Parameters:
    """Check all parameters at once.

    Raises:
        UserError: names every bad value and unknown parameter.
    """
    try:
        return Parameters.model_validate(values)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
    raise UserError("the parameters cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    name = ".".join(location)
    if problem["type"] == "extra_forbidden":
        *sections, unknown = location
        allowed = _section(sections).model_fields
        close = get_close_matches(unknown, allowed, n=1)
        names = [".".join([*sections, field]) for field in close or allowed]
        hint = "did you mean " + names[0] + "?" if close else "allowed are " + ", ".join(names)
        return f"unknown parameter {name}; {hint}"
    if problem["type"] == "missing":
        return f"{name} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    return f"{name}: {message}{found}" if name else f"{message}{found}"


def _section(location: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = Parameters
    parts = iter(location)
    for part in parts:
        annotation: Any = section.model_fields[part].annotation
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            next(parts)  # the name in the dictionary
        if isinstance(annotation, UnionType):  # a section or None
            annotation, _ = get_args(annotation)
        section = annotation
    return section
