"""What only a CUDA GPU can show: that its steps, compiled and resumed, are those of the tests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import (
    adversarial,
    assert_equal,
    gan_parameters,
    pretraining,
    smooth_images,
    tiny_generator,
    write_pairs,
)
from torch import Tensor, nn

from deepdepixelate.data.resize import downscale
from deepdepixelate.models.device import Compute, choose_compute
from deepdepixelate.models.discriminator import UNetDiscriminator
from deepdepixelate.models.enlarge import enlarge
from deepdepixelate.models.face_descriptor import FaceDescriptor
from deepdepixelate.models.generator import freeze_batch_norms
from deepdepixelate.models.shift_tolerant import load_trunk
from deepdepixelate.training.adversarial import AdversarialStep
from deepdepixelate.training.crops import CropSampler
from deepdepixelate.training.steps import TrainingStep

pytestmark = pytest.mark.gpu

Batch = tuple[Tensor, Tensor]
SIZE = 32


@pytest.fixture
def fp32() -> Compute:
    return choose_compute("cuda", "fp32", deterministic=False)


def paper(compute: Compute) -> AdversarialStep:
    return adversarial(compute, crop_size=SIZE)


def recipe(
    compute: Compute, faces: FaceDescriptor | None = None, **changes: Any
) -> AdversarialStep:
    """All that conf/recipe.yml asks for (losses, a head start, shifts), and the loss of LDL."""
    generator = tiny_generator()
    freeze_batch_norms(generator)
    torch.manual_seed(1)
    settings = gan_parameters(
        **{
            "crop_size": SIZE,
            "discriminator": {"kind": "unet", "channels": 4, "dense": 4, "start_from": None},
            "content": "st_lpips",
            "adversarial_weight": 0.1,
            "ema_decay": 0.8,
            "pixel_weight": 1,
            "grid_weight": 0.3,
            "artifact_weight": 1e5,  # that loss is about 1e-5 on these images
            "discriminator_head_start": 2,
            "shift": 16,
        }
        | changes
    )
    content, discriminator = load_trunk("vgg"), UNetDiscriminator(4)
    return AdversarialStep(generator, discriminator, content, settings, compute, faces=faces)


def photo(compute: Compute) -> AdversarialStep:
    """All that conf/photo.yml asks for, with random weights for the identity loss."""
    torch.manual_seed(2)
    box = (4, 4, 24)
    identity = {"weight": 0.5, "box": box}
    return recipe(compute, FaceDescriptor(box), crop_size=None, identity=identity)


BUILDERS = [pretraining, paper, recipe, photo]


def batch(seed: int, device: torch.device) -> Batch:
    hr = smooth_images(2, height=SIZE, width=SIZE, seed=seed)
    pixels = torch.from_numpy(hr).to(device).permute(0, 3, 1, 2)
    return pixels[..., ::4, ::4].contiguous(memory_format=torch.channels_last), pixels


def losses(step: TrainingStep, updates: int, compute: Compute) -> list[dict[str, float]]:
    for optimizer in step.optimizers:
        optimizer.param_groups[0]["lr"] = 1e-4
    made = []
    for seed in range(updates):
        measured = step.update(*batch(seed, compute.device))
        made.append({name: float(loss) for name, loss in measured.items()})
    return made


def assert_close(actual: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("build", BUILDERS)
def test_steps_are_those_of_a_cpu(build: Callable[[Compute], TrainingStep], fp32: Compute) -> None:
    cpu = Compute(torch.device("cpu"), bf16=False)
    assert_close(losses(build(fp32), 5, fp32), losses(build(cpu), 5, cpu))


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDERS)
def test_compiled_steps_are_the_eager_ones(
    build: Callable[[Compute], TrainingStep], fp32: Compute
) -> None:
    """Enough of them that CUDA graphs are prepared, recorded and replayed, each with new crops."""
    eager, compiled = build(fp32), build(replace(fp32, compiled=True))
    assert compiled.compile(*batch(9, fp32.device))
    assert_close(losses(compiled, 8, fp32), losses(eager, 8, fp32))


@pytest.mark.parametrize("build", [pretraining, paper])
def test_a_restored_training_takes_the_same_steps_to_the_bit(
    build: Callable[[Compute], TrainingStep],
) -> None:
    compute = choose_compute("cuda", "bf16", deterministic=True)
    try:
        whole, first, second = build(compute), build(compute), build(compute)
        losses(whole, 3, compute)
        losses(first, 3, compute)
        second.load_state_dict(first.state_dict())
        assert losses(second, 3, compute) == losses(whole, 3, compute)
        assert_equal(second.state_dict(), whole.state_dict())
    finally:
        choose_compute("cuda", "fp32", deterministic=False)


def test_images_in_its_memory_give_the_crops_of_mapped_ones(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, smooth_images(9, height=40, width=48))
    settings: dict[str, Any] = {"crop_size": 16, "batch_size": 6, "seed": 3}
    cuda = torch.device("cuda")
    resident = CropSampler(pairs, device=cuda, resident=True, **settings)
    mapped = CropSampler(pairs, device=cuda, resident=False, **settings)
    for update in range(5):
        for ours, theirs in zip(resident.batch(update), mapped.batch(update), strict=True):
            assert ours.device.type == "cuda"
            assert torch.equal(ours, theirs)


def test_images_are_shrunk_and_enlarged_as_on_a_cpu(fp32: Compute) -> None:
    hr = smooth_images(3, height=64, width=96)
    lr = downscale(hr, 4)
    generator = tiny_generator().eval()
    expected = enlarge(generator, lr, torch.device("cpu"))
    generator = nn.Module.to(generator, fp32.device)
    difference = enlarge(generator, lr, fp32.device).astype(int) - expected
    assert abs(difference).max() <= 1
