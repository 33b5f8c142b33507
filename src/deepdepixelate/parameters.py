"""Every parameter that a person can change, with its type and its bounds; values are in ``conf/``.

Kedro makes these objects from ``conf/*/parameters_*.yml`` and ``--params`` by the type hints of the
nodes; ``check_parameters`` checks all of them, and names the allowed ones, before any stage runs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deepdepixelate.errors import UserError
from deepdepixelate.imaging.metrics import WINDOW
from deepdepixelate.models.discriminator import SHRINKING
from deepdepixelate.models.generator import SCALES

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IngestParameters(_Section):
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


class DegradeParameters(_Section):
    """From HR to LR shards.

    Attributes:
        scale: how many times smaller LR is, and what the generators undo: 2, 4 or 8.
    """

    scale: int

    @field_validator("scale")
    @classmethod
    def _scale_can_be_undone(cls, scale: int) -> int:
        if scale not in SCALES:
            raise ValueError(f"scale must be 2, 4 or 8, not {scale}")
        return scale


class TrainingParameters(_Section):
    """What both trainings share.

    Attributes:
        seed: of the weights and of the crops; equal seeds give equal runs on one machine.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: bf16 autocast or fp32; auto takes bf16 where the hardware has it.
        deterministic: on a GPU, only kernels that give the same bits each time; slower.
        compile: fuse the networks with torch.compile; auto does on a CUDA GPU, by itself and not
            deterministic. Where compiling fails, training goes on without it.
        log_every: updates between two points of the curves.
        batch_norm_updates: training batches from which the batch-norm statistics of the final
            generator are estimated anew; 0 keeps the running ones.
        checkpoints_kept: the newest checkpoints that stay, beside the best one.
        devices: processes on this host, a GPU each: a number, or auto for all GPUs (one on a CPU).
        hosts: how many hosts train together.
        rendezvous: HOST:PORT where several hosts meet; HOST is this one.
        max_restarts: how often the processes are started again after one of them died.
        sync_batch_norm: batch-norm statistics of the whole batch, not of each process's share.
    """

    seed: Annotated[int, Field(ge=0)]
    device: str
    precision: Literal["auto", "bf16", "fp32"]
    deterministic: bool
    compile: Literal["auto"] | bool
    log_every: Count
    batch_norm_updates: Annotated[int, Field(ge=0)]
    checkpoints_kept: Count
    devices: Literal["auto"] | Count
    hosts: Count
    rendezvous: str | None
    max_restarts: Annotated[int, Field(ge=0)]
    sync_batch_norm: bool

    @model_validator(mode="after")
    def _hosts_have_a_meeting_point(self) -> "TrainingParameters":
        if self.hosts > 1 and not re.fullmatch(r"[^:\s]+:\d+", self.rendezvous or ""):
            raise ValueError(
                "several hosts need training.rendezvous=HOST:PORT, HOST being this one"
            )
        return self


class LearningRate(_Section):
    """Adam's learning rate over the updates of a training.

    Attributes:
        initial: the rate at the first update.
        schedule: constant; cosine, to zero at the last update; or steps.
        decay_at: for steps: the fractions of all updates at which the rate is multiplied.
        decay_factor: for steps: by what.
    """

    initial: Positive
    schedule: Literal["constant", "cosine", "steps"]
    decay_at: tuple[Fraction, ...] = ()
    decay_factor: Positive = 0.1


class GeneratorParameters(_Section):
    """The generator's size; its scale is that of the data.

    Attributes:
        blocks: residual blocks, 16 in the paper.
        channels: feature channels, 64 in the paper.
    """

    blocks: Count
    channels: Count


class Schedule(_Section):
    """What a training repeats, and how often.

    Attributes:
        updates: optimisation steps in all.
        batch_size: crops an update.
        crop_size: side of the square HR crops, in pixels; a multiple of the scale.
        learning_rate: see LearningRate.
        validate_every: updates between two validations.
        validation_images: images of the val split that are used for it, the first ones.
        checkpoint_every: updates between two checkpoints.
        restart: begin anew where this very training has left checkpoints, or has finished.
    """

    updates: Count
    batch_size: Count
    crop_size: Count
    learning_rate: LearningRate
    validate_every: Count
    validation_images: Count
    checkpoint_every: Count
    restart: bool


class PretrainParameters(Schedule):
    """MSE-only training of the generator (SRResNet); see also its base.

    Attributes:
        generator: its size.
        start_from: weights to begin with: srresnet or srgan, from the package, or a file; null for
            random ones.
    """

    generator: GeneratorParameters
    start_from: str | None


class DiscriminatorParameters(_Section):
    """The discriminator's size.

    Attributes:
        channels: feature channels of the first layer, 64 in the paper.
        dense: units of the hidden dense layer, 1024 in the paper.
    """

    channels: Count
    dense: Count


class TrainGanParameters(Schedule):
    """Adversarial training of the generator (SRGAN); see also its base.

    Attributes:
        discriminator: its size.
        content: the content loss: mse, or VGG19 features at vgg22 or vgg54.
        vgg_weights: file with the VGG19 weights; null for torchvision's own.
        vgg_feature_scale: factor on the features; null for 1/12.75 (vgg54) or 1 (vgg22).
        adversarial_weight: factor on the adversarial loss, 1e-3 in the paper.
        ema_decay: of the averaged generator that is kept; 0 keeps the last one as it is.
    """

    discriminator: DiscriminatorParameters
    content: Literal["mse", "vgg22", "vgg54"]
    vgg_weights: Path | None
    vgg_feature_scale: Positive | None
    adversarial_weight: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]

    @field_validator("crop_size")
    @classmethod
    def _crop_suits_the_discriminator(cls, crop_size: int) -> int:
        if crop_size % SHRINKING:
            raise ValueError(f"crop_size must be a multiple of {SHRINKING}, not {crop_size}")
        return crop_size


class BenchmarkFolders(_Section):
    """Where a benchmark's images are; a path alone stands for ``hr``.

    Attributes:
        hr: folder of HR images of any size, or one that holds such a folder named HR.
        lr: folder of LR images named as the HR ones (or with x4 and the like added); null to make
            them with the project's own bicubic kernel.
    """

    hr: Path
    lr: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"hr": value} if isinstance(value, str | Path) else value


SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class EvaluateParameters(_Section):
    """Scoring, the comparison picture and the report.

    Attributes:
        batch_size: images enlarged at a time.
        border: pixels left out at each side; null for as many as the scale.
        faces_shown: test images in the comparison picture.
        examples_shown: test images in the report, of the best, the median and the worst ones each.
        device: auto, cpu, cuda, cuda:1, mps.
        benchmarks: sets of images to score beside the test split, by name.
        lpips: auto takes AlexNet's weights if they were downloaded before, download fetches them
            (233 MB), off does without.
    """

    batch_size: Count
    border: Annotated[int, Field(ge=0)] | None
    faces_shown: Count
    examples_shown: Count
    device: str
    benchmarks: dict[SetName, BenchmarkFolders]
    lpips: Literal["auto", "download", "off"]

    @field_validator("lpips", mode="before")
    @classmethod
    def _off_is_no_boolean(cls, lpips: Any) -> Any:
        return "off" if lpips is False else lpips  # what YAML makes of a plain off

    @field_validator("benchmarks")
    @classmethod
    def _test_is_taken(cls, benchmarks: dict[str, BenchmarkFolders]) -> dict[str, BenchmarkFolders]:
        if "test" in map(str.lower, benchmarks):
            raise ValueError("a benchmark cannot be called test: that is the test split")
        return benchmarks


class EnhanceParameters(_Section):
    """Enlarging a person's photographs.

    Attributes:
        input: a photograph, or a folder of them.
        output: folder for the enlarged ones.
        model: srgan or srresnet, from the package; or a file of a generator's weights.
        tile: side of the tiles that are enlarged at a time, in pixels of the photograph.
        max_pixels: photographs of more pixels are refused.
        overwrite: replace files that are there already.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: bf16, fp32, or auto: bf16 where the hardware computes in it.
    """

    input: Path | None
    output: Path | None
    model: str
    tile: Annotated[int, Field(ge=16)]
    max_pixels: Count
    overwrite: bool
    device: str
    precision: Literal["auto", "bf16", "fp32"]


class Parameters(_Section):
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
    celeba_dir: str | None = None

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
        if border is not None and side - 2 * border < WINDOW:
            raise ValueError(f"evaluate.border leaves less than {WINDOW} pixels, which SSIM needs")
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
