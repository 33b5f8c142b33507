"""Data and networks small enough to train in a test."""

from collections.abc import Callable, Mapping
from os import mkdir
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stored_images import store_images
from torch import Tensor

from deepdepixelate.data.shards import ImagePairs
from deepdepixelate.models.device import Compute
from deepdepixelate.models.discriminator import Discriminator, DiscriminatorArchitecture
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.parameters import PretrainParameters, TrainGanParameters, TrainingParameters
from deepdepixelate.training.adversarial import AdversarialStep
from deepdepixelate.training.steps import PretrainStep

CPU = torch.device("cpu")
FP32 = Compute(CPU, bf16=False)


def smooth_images(
    count: int, *, height: int = 32, width: int = 32, seed: int = 0
) -> NDArray[np.uint8]:
    """Coloured waves with a little noise, uint8 (N, H, W, 3)."""
    random = np.random.default_rng(seed)
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    images = []
    for _ in range(count):
        frequency, phase = random.uniform(0.05, 0.25, (2, 3)), random.uniform(0, 6, 3)
        waves = np.sin(rows * frequency[0] + columns * frequency[1] + phase)
        images.append(70 + 60 * waves + random.normal(0, 4, waves.shape))
    pixels: NDArray[np.uint8] = np.clip(images, 0, 255).astype(np.uint8)
    return pixels


def write_pairs(
    directory: Path, hr: NDArray[np.uint8], *, scale: int = 4, split: str = "train"
) -> ImagePairs:
    """HR images as shards of four, and every ``scale``-th pixel of them as LR."""
    names = [f"{index:06d}.png" for index in range(len(hr))]
    lr = np.ascontiguousarray(hr[:, ::scale, ::scale])
    stored = store_images(directory / "hr" / split, names, hr, split=split)
    details = {"source": stored.manifest.digest, "scale": scale}
    shrunk = store_images(directory / "lr" / split, names, lr, split=split, details=details)
    return ImagePairs(stored, shrunk)


def tiny_generator(seed: int = 0, *, channels: int = 8, scale: int = 4) -> Generator:
    torch.manual_seed(seed)
    return Generator(GeneratorArchitecture(blocks=1, channels=channels, scale=scale))


def tiny_discriminator(seed: int = 0, *, crop_size: int | None = 16) -> Discriminator:
    torch.manual_seed(seed)
    return Discriminator(DiscriminatorArchitecture(channels=4, dense=8, crop_size=crop_size))


SCHEDULE: dict[str, Any] = {
    "updates": 4,
    "batch_size": 2,
    "crop_size": 16,
    "learning_rate": {"initial": 1e-3, "schedule": "cosine"},
    "validate_every": 2,
    "validation_images": 2,
    "checkpoint_every": 2,
    "batch_norm": "learned",
    "identity": None,
    "restart": False,
}


def training_parameters(**changes: Any) -> TrainingParameters:
    values = {
        "seed": 0,
        "device": "cpu",
        "precision": "fp32",
        "log_every": 2,
        "batch_norm_updates": 1,
        "checkpoints_kept": 2,
        "deterministic": False,
        "compile": "auto",
        "devices": 1,
        "hosts": 1,
        "rendezvous": None,
        "max_restarts": 0,
        "sync_batch_norm": True,
    }
    return TrainingParameters.model_validate(values | changes)


DISCRIMINATOR: dict[str, Any] = {"kind": "paper", "channels": 2, "dense": 4, "start_from": None}


def pretrain_parameters(**changes: Any) -> PretrainParameters:
    values = {
        **SCHEDULE,
        "generator": {"blocks": 1, "channels": 4},
        "loss": "mse",
        "start_from": None,
    }
    return PretrainParameters.model_validate(values | changes)


def gan_parameters(**changes: Any) -> TrainGanParameters:
    values = {
        **SCHEDULE,
        "discriminator": DISCRIMINATOR,
        "content": "mse",
        "vgg_weights": None,
        "vgg_feature_scale": None,
        "adversarial_weight": 1e-3,
        "ema_decay": 0.5,
        "discriminator_head_start": 0,
        "shift": 0,
        "grid_weight": 0,
        "artifact_weight": 0,
        "pixel_weight": 0,
    }
    return TrainGanParameters.model_validate(values | changes)


def pretraining(compute: Compute = FP32) -> PretrainStep:
    return PretrainStep(tiny_generator(), compute)


def adversarial(compute: Compute = FP32, **changes: Any) -> AdversarialStep:
    """With the content loss mse; ``changes`` of its parameters."""
    settings = gan_parameters(**{"adversarial_weight": 1e-2, "ema_decay": 0.8} | changes)
    discriminator = tiny_discriminator(crop_size=settings.crop_size)
    return AdversarialStep(tiny_generator(), discriminator, None, settings, compute)


def vgg22_weights(seed: int = 0) -> dict[str, Tensor]:
    """Random weights for the first four convolutions of VGG19, named as in torchvision."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for position, inputs, outputs in ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128)):
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        weights[f"features.{position}.weight"] = kernel
        weights[f"features.{position}.bias"] = torch.zeros(outputs)
    return weights


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def assert_equal(actual: Any, expected: Any, where: str = "state") -> None:
    """Exact equality of nested states, naming where they differ."""
    if isinstance(expected, Tensor):
        assert torch.equal(actual, expected), where
    elif isinstance(expected, Mapping):
        assert actual.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(actual[key], value, f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), where
        for index, value in enumerate(expected):
            assert_equal(actual[index], value, f"{where}[{index}]")
    else:
        assert actual == expected, where


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return mkdir, (str(self.folder),)
