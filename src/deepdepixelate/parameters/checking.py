"""All parameters together, checked before anything runs."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError, model_validator

from deepdepixelate.errors import UserError
from deepdepixelate.metrics.psnr_ssim import SSIM_WINDOW
from deepdepixelate.parameters.data import DegradeParameters, IngestParameters
from deepdepixelate.parameters.results import EnhanceParameters, EvaluateParameters
from deepdepixelate.parameters.training import (
    PretrainParameters,
    TrainGanParameters,
    TrainingParameters,
)
from deepdepixelate.parameters.types import Section, UserPath


class Parameters(Section):
    """All parameters of the project.

    Attributes:
        celeba_dir: folder with CelebA's archive and partition list (environment ``celeba``).
    """

    ingest: IngestParameters
    degrade: DegradeParameters
    training: TrainingParameters
    pretrain: PretrainParameters
    train_gan: TrainGanParameters
    evaluate: EvaluateParameters
    enhance: EnhanceParameters
    celeba_dir: UserPath | None = None

    @model_validator(mode="after")
    def _crops_and_border_fit(self) -> "Parameters":
        side = min(self.ingest.crop_width, self.ingest.crop_height)
        for stage in ("pretrain", "train_gan"):
            crop_size = getattr(self, stage).crop_size
            if crop_size > side or crop_size % self.degrade.scale:
                raise ValueError(
                    f"{stage}.crop_size must be at most {side}, the smaller side of the images, "
                    f"and a multiple of degrade.scale ({self.degrade.scale}), not {crop_size}"
                )
        border = self.evaluate.border
        if border is not None and side - 2 * border < SSIM_WINDOW:
            raise ValueError(
                f"evaluate.border leaves less than {SSIM_WINDOW} pixels, which SSIM needs"
            )
        return self


def check_parameters(values: Mapping[str, Any]) -> Parameters:
    """Check all parameters at once.

    Raises:
        UserError: names each bad value, and for an unknown key the allowed ones.
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
        section = _section(location[:-1])
        prefix = ".".join([*location[:-1], ""])
        allowed = ", ".join(prefix + field for field in section.model_fields)
        return f"{name} is no parameter; allowed are {allowed}"
    if problem["type"] == "missing":
        return f"{name} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" + (
        f" (found {problem['input']!r})" if not isinstance(problem["input"], dict) else ""
    )


def _section(location: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = Parameters
    parts = iter(location)
    for part in parts:
        annotation = section.model_fields[part].annotation
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            next(parts, None)  # the name in the dictionary
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        section = annotation
    return section
