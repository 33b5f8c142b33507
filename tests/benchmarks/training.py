"""Our training loop and the plain one of public SRGAN projects, in turns, in one process.

    python tests/benchmarks/training.py --stage pretrain --device cpu --seconds 120 --batch-size 16

Prints one JSON object: the crops/s of both, and the share of our time outside the update itself.

- Ours is ``deepdepixelate.training.trainer.train`` with the settings of ``--env celeba`` on shards
  of the sample's photographs, with curves in an MLflow database and checkpoints as often as there;
  content loss ``mse``, which needs no weights. Compiled if a run is. No validations.
- The plain loop is float32, eager and NCHW: a ``DataLoader`` over JPEG files, Pillow's decoding and
  bicubic LR, ``torch.optim.Adam`` as it comes, ``.item()`` on every loss. Where public projects
  differ it has the faster habit: pinned memory, worker processes if there are processors for
  them, one forward pass of the generator per update, no gradients of the discriminator in it.

Turns average out a machine whose speed drifts; the first turn of each is warm-up. Settings of the
whole process (``cudnn.benchmark``, threads, freed memory that is kept) are those of our trainings,
for both.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from time import perf_counter
from typing import Any

import mlflow
import numpy as np
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torch.utils.data import DataLoader, Dataset

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.ingest import ingest
from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.datasets import SampleFaces
from deepdepixelate.models.device import Compute, choose_compute, keep_freed_memory
from deepdepixelate.models.discriminator import Discriminator, DiscriminatorArchitecture
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.parallel import available_processors
from deepdepixelate.parameters import Parameters, check_parameters
from deepdepixelate.tracking.record import StageRecord
from deepdepixelate.training.adversarial import AdversarialStep
from deepdepixelate.training.checkpoints import CheckpointStore
from deepdepixelate.training.crops import CropSampler, fits_on_device
from deepdepixelate.training.steps import PretrainStep, TrainingStep
from deepdepixelate.training.trainer import Log, Progress, train

CONF = Path(__file__).parents[2] / "conf"
EPOCH = 162_770  # CelebA's training images: the plain loop starts an epoch as rarely as it would
TURNS = 6
NEVER = 10**9
COUNTED_LIMIT = {"pretrain": 38_000, "train_gan": 8_300}
"""Crops/s that the arithmetic and the memory of one H200 allow, counted without overlap."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--stage", choices=["pretrain", "train_gan"], default="pretrain")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=120, help="of measuring, all together")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(arguments, Path(folder))))


def measure(arguments: argparse.Namespace, work: Path) -> dict[str, object]:
    stage, batch_size = arguments.stage, arguments.batch_size
    parameters = celeba_parameters()
    settings = getattr(parameters, stage)
    pairs = write_images(work, parameters)
    compute = choose_compute(arguments.device, arguments.precision)
    device, on_cuda = compute.device, compute.device.type == "cuda"
    if not on_cuda:
        keep_freed_memory()
    step = our_step(stage, parameters, compute)
    size, seed = settings.crop_size, parameters.training.seed
    crops = CropSampler(
        pairs,
        crop_size=size,
        batch_size=batch_size,
        seed=seed,
        device=device,
        resident=fits_on_device(pairs, device),
    )
    fixed_batch = crops.batch(0)
    compiled = on_cuda and step.compile(*fixed_batch)

    seconds = arguments.seconds / TURNS / (3 if on_cuda else 2)
    ours = InTurns(step, seconds, device)
    bare, theirs = Turns(), Turns()
    plain = plain_training(
        stage, parameters, JpegCrops(work / "jpeg", parameters), batch_size, device
    )
    peak = 0

    def others() -> None:
        nonlocal peak
        if on_cuda and not theirs.seconds:  # the plain loop has nothing on the device yet
            peak = torch.cuda.max_memory_allocated(device)
        if on_cuda:
            take_turn(lambda: step.update(*fixed_batch), seconds, bare, device)
        take_turn(lambda: next(plain), seconds, theirs, device)
        if len(theirs.seconds) > TURNS:
            raise TimeIsUpError

    ours.at_end_of_turn = others
    endless = settings.model_copy(update={"updates": NEVER, "validate_every": NEVER})
    store = CheckpointStore(work / "checkpoints", {})
    log = mlflow_log(work, stage)
    with suppress(TimeIsUpError):
        train(
            ours,
            crops,
            Progress(),
            name=stage,
            settings=endless,
            training=parameters.training,
            validate=lambda _: {},
            checkpoints=store,
            log=log,
        )

    # A GPU computes while Python continues: there only the rates show the share of the updates.
    in_steps = sum(ours.in_steps[1:]) / sum(ours.turns.seconds[1:])
    step_share = ours.turns.rate / bare.rate if on_cuda else in_steps
    measured = {
        "stage": stage,
        "compute": str(replace(compute, compiled=compiled)),
        "torch": torch.__version__,
        "processors": available_processors(),
        "batch_size": batch_size,
        "engine_updates": sum(ours.turns.updates[1:]),
        "plain_updates": sum(theirs.updates[1:]),
        "plain_workers": workers(),
        "engine_crops_per_second": round(ours.turns.rate * batch_size, 1),
        "plain_crops_per_second": round(theirs.rate * batch_size, 1),
        "ratio": round(ours.turns.rate / theirs.rate, 2),
        "overhead_share": round(1 - step_share, 4),
    }
    if on_cuda:
        measured["peak_device_memory_mib"] = round(peak / 1024**2)
        if "H200" in torch.cuda.get_device_name(device):
            limit = COUNTED_LIMIT[stage]
            measured["counted_limit_crops_per_second"] = limit
            measured["fraction_of_limit"] = round(ours.turns.rate * batch_size / limit, 3)
    return measured


def mlflow_log(work: Path, stage: str) -> Log:
    """What keeps the curves in a run: a database in a file."""
    mlflow.set_tracking_uri(f"sqlite:///{work}/mlflow.db")
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("benchmark", str(work / "artifacts")))
    return StageRecord(stage, run.info.run_id).log


def our_step(stage: str, parameters: Parameters, compute: Compute) -> TrainingStep:
    architecture = GeneratorArchitecture(
        **parameters.pretrain.generator.model_dump(), scale=parameters.degrade.scale
    )
    generator = Generator(architecture)
    if stage == "pretrain":
        return PretrainStep(generator, compute)
    discriminator = our_discriminator(parameters)
    return AdversarialStep(generator, discriminator, None, parameters.train_gan, compute)


@dataclass
class Turns:
    """Updates and seconds of each turn that a contender had; the first was to warm up."""

    updates: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Updates a second."""
        return sum(self.updates[1:]) / sum(self.seconds[1:])


def take_turn(
    update: Callable[[], object], seconds: float, turns: Turns, device: torch.device
) -> None:
    start, updates = perf_counter(), 0
    while not updates or perf_counter() - start < seconds:
        update()
        updates += 1
    synchronise(device)
    turns.updates.append(updates)
    turns.seconds.append(perf_counter() - start)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class TimeIsUpError(Exception):
    """Ends the training loop, which is endless."""


class InTurns(TrainingStep):
    """A training step that hands over to others after an update, whenever its turn is over.

    So ``train`` is measured as it is: from the end of one update to the end of a later one, with
    all that it does in between.
    """

    def __init__(self, step: TrainingStep, seconds: float, device: torch.device) -> None:
        self.optimizers, self.first_updates = step.optimizers, step.first_updates
        self.result = step.result
        self.turns = Turns()
        self.in_steps: list[float] = []
        self.at_end_of_turn: Callable[[], None] = lambda: None
        self._step, self._seconds, self._device = step, seconds, device
        self._begin()

    def update(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        start = perf_counter()
        losses = self._step.update(lr, hr)
        end = perf_counter()
        self._updates += 1
        self._in_step += end - start
        if end - self._since >= self._seconds:
            synchronise(self._device)
            self.turns.updates.append(self._updates)
            self.turns.seconds.append(perf_counter() - self._since)
            self.in_steps.append(self._in_step)
            self.at_end_of_turn()
            self._begin()
        return losses

    def state_dict(self) -> dict[str, Any]:
        return self._step.state_dict()

    def _begin(self) -> None:
        self._updates, self._in_step, self._since = 0, 0.0, perf_counter()


def plain_training(
    stage: str, parameters: Parameters, images: "JpegCrops", batch_size: int, device: torch.device
) -> Iterator[None]:
    """The loop that public SRGAN projects use, an update at a time."""
    loader = DataLoader(
        images,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers(),
        pin_memory=device.type == "cuda",
    )
    generator = PlainGenerator(parameters).to(device)
    discriminator = our_discriminator(parameters).to(device)
    rate = getattr(parameters, stage).learning_rate.initial
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=rate)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=rate)
    for lr, hr in chain.from_iterable(repeat(loader)):
        originals = hr.to(device)
        sr = generator(lr.to(device))
        content_loss = mse_loss(sr, originals)
        losses = [content_loss]
        if stage == "train_gan":
            real, fake = discriminator(originals), discriminator(sr.detach())
            discriminator_loss = towards(real, 1.0) + towards(fake, 0.0)
            discriminator_optimizer.zero_grad()
            discriminator_loss.backward()
            discriminator_optimizer.step()

            discriminator.requires_grad_(False)
            adversarial_loss = towards(discriminator(sr), 1.0)
            discriminator.requires_grad_(True)
            loss = content_loss + parameters.train_gan.adversarial_weight * adversarial_loss
            losses = [loss, content_loss, adversarial_loss, discriminator_loss]
        generator_optimizer.zero_grad()
        losses[0].backward()
        generator_optimizer.step()
        for value in losses:
            value.item()
        yield


def workers() -> int:
    """Processes that load the plain loop's images; two processors are better left to PyTorch."""
    processors = available_processors()
    return min(8, processors) if processors > 2 else 0


def towards(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


class PlainGenerator(nn.Module):
    """SRResNet layer by layer, as public projects write it down."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        blocks, channels = parameters.pretrain.generator.model_dump().values()
        self.head = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.PReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
            )
            for _ in range(blocks)
        )
        self.end_of_body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        )
        doublings = parameters.degrade.scale.bit_length() - 1
        self.tail = nn.Sequential(
            *chain.from_iterable(
                (nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
                for _ in range(doublings)
            ),
            nn.Conv2d(channels, 3, 9, padding=4),
        )

    def forward(self, lr: Tensor) -> Tensor:
        features = first = self.head(lr)
        for block in self.blocks:
            features = features + block(features)
        sr: Tensor = self.tail(first + self.end_of_body(features))
        return sr


class JpegCrops(Dataset[tuple[Tensor, Tensor]]):
    """Random LR and HR crops of the JPEG files in a folder, as floats in [0, 1] and [-1, 1]."""

    def __init__(self, folder: Path, parameters: Parameters) -> None:
        self._paths = sorted(folder.iterdir())
        self._size = parameters.pretrain.crop_size or parameters.ingest.crop_width
        self._lr_size = self._size // parameters.degrade.scale

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.open(self._paths[index % len(self._paths)]).convert("RGB")
        left = int(torch.randint(image.width - self._size + 1, ()))
        top = int(torch.randint(image.height - self._size + 1, ()))
        hr = image.crop((left, top, left + self._size, top + self._size))
        if torch.rand(()) < 0.5:
            hr = hr.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        lr = hr.resize((self._lr_size, self._lr_size), Image.Resampling.BICUBIC)
        return to_tensor(lr), to_tensor(hr) * 2 - 1


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255


def celeba_parameters() -> Parameters:
    """The parameters of ``--env celeba``: those of the environment over those of the base."""
    files = [*(CONF / "base").glob("parameters*.yml"), *(CONF / "celeba").glob("parameters*.yml")]
    merged = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.load, files)))
    assert isinstance(merged, dict)
    return check_parameters({str(name): value for name, value in merged.items()})


def our_discriminator(parameters: Parameters) -> Discriminator:
    settings = parameters.train_gan
    return Discriminator(
        DiscriminatorArchitecture(
            **settings.discriminator.model_dump(), crop_size=settings.crop_size
        )
    )


def write_images(work: Path, parameters: Parameters) -> ImagePairs:
    """The sample's photographs as HR and LR shards and, the same pixels, as JPEG files."""
    catalog = (CONF / "base/catalog.yml").read_text().split("\nhr_{split}")[0]
    entry = yaml.safe_load(catalog)["faces"]
    names = ("photographs", "width", "height", "overlap")
    faces = SampleFaces(**{name: entry[name] for name in names}).load()
    write_dataset(work / "hr", ingest(faces, parameters.ingest)["train"], split="train")
    hr = ShardedImages(work / "hr")
    write_dataset(work / "lr", degrade(hr, parameters.degrade.scale), split="train")
    (work / "jpeg").mkdir()
    for index in range(len(hr)):
        Image.fromarray(hr[index]).save(work / "jpeg" / f"{index:06d}.jpg", quality=90)
    return ImagePairs(hr, ShardedImages(work / "lr"))


if __name__ == "__main__":
    main()
