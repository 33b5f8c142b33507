from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tiny_model import tiny_weights

from deepdepixelate.cli import cli
from deepdepixelate.errors import UserError
from deepdepixelate.models.interpolation import interpolate
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.models.weights import Weights, load_weights, save_weights


@pytest.fixture
def start() -> Weights:
    return replace(tiny_weights(), provenance={"git_commit": "a", "degrade.kind": "bicubic"})


@pytest.fixture
def end(start: Weights) -> Weights:
    """Weights as those of a training that began with ``start``."""
    torch.manual_seed(5)
    tensors = {
        name: tensor + 0.1 * torch.rand_like(tensor) if tensor.is_floating_point() else tensor + 7
        for name, tensor in start.tensors.items()
    }
    provenance = {
        "fingerprint": {"stage": "train_gan"},
        "git_commit": "b",
        "degrade.kind": "realistic",
        "validation": {"psnr_y": 30.0},
        "trained_from": start.lineage(),
    }
    return replace(start, tensors=tensors, provenance=provenance)


def test_weights_0_and_1_give_the_two_generators(start: Weights, end: Weights) -> None:
    assert interpolate(start, end, 0).tensors.keys() == start.tensors.keys()
    for weight, expected in ((0, start), (1, end)):
        for name, tensor in interpolate(start, end, weight).tensors.items():
            if tensor.is_floating_point():  # the counters of batch-norm updates mean nothing
                assert torch.equal(tensor, expected.tensors[name]), name


@pytest.mark.parametrize("weight", [0.25, 1.5])
def test_every_parameter_moves_by_the_weight(start: Weights, end: Weights, weight: float) -> None:
    for name, tensor in interpolate(start, end, weight).tensors.items():
        if tensor.is_floating_point():
            a, b = start.tensors[name].double(), end.tensors[name].double()
            torch.testing.assert_close(tensor.double(), a + weight * (b - a), rtol=0, atol=1e-6)


def test_half_precision_is_not_rounded_again() -> None:
    srresnet, srgan = find_generator("srresnet"), find_generator("srgan")
    between = interpolate(srresnet, srgan, 0.5).tensors["head.0.weight"]
    expected = (srresnet.tensors["head.0.weight"].float() + srgan.tensors["head.0.weight"]) / 2
    assert between.dtype == torch.float32
    torch.testing.assert_close(between, expected)


def test_provenance_names_the_weight_and_both_with_what_they_came_from_once(
    start: Weights, end: Weights
) -> None:
    between = interpolate(start, end, 0.25)
    assert between.provenance["interpolation"] == {"weight": 0.25}
    assert between.provenance["degrade.kind"] == "realistic"
    assert "validation" not in between.provenance  # that is another generator's
    assert between.training == end.training == {"stage": "train_gan"}
    lineage = between.lineage()
    assert [each["digest"] for each in lineage] == [between.digest, end.digest, start.digest]
    assert [each.get("git_commit") for each in lineage] == [None, "b", "a"]


def test_what_gives_no_generator_is_refused(start: Weights, end: Weights) -> None:
    with pytest.raises(UserError, match=r"architectures: 1 blocks of 4 channels for 4x, and .* 2x"):
        interpolate(start, tiny_weights(2), 0.5)
    with pytest.raises(UserError, match="a generator is needed"):
        interpolate(start, replace(end, kind="discriminator"), 0.5)
    shrunk = {
        name: 0.1 * tensor if name.endswith("running_var") else tensor
        for name, tensor in end.tensors.items()
    }
    with pytest.raises(UserError, match="the weight 2 makes a variance negative"):
        interpolate(start, replace(end, tensors=shrunk), 2)


def test_the_command_writes_a_generator_and_replaces_no_file_unasked(
    start: Weights, end: Weights, tmp_path: Path
) -> None:
    names = [str(tmp_path / f"{name}.safetensors") for name in ("start", "end", "between")]
    save_weights(Path(names[0]), start)
    save_weights(Path(names[1]), end)
    command = ["interpolate", *names, "--weight"]

    outcome = CliRunner().invoke(cli, [*command, "0.5"])
    assert (outcome.exit_code, outcome.stdout) == (0, f"{names[2]}\n")
    assert find_generator(names[2]).digest == interpolate(start, end, 0.5).digest

    outcome = CliRunner().invoke(cli, [*command, "0.75"])
    assert outcome.exit_code == 1
    assert "between.safetensors exists; --overwrite replaces it." in outcome.stderr
    assert load_weights(Path(names[2])).provenance["interpolation"] == {"weight": 0.5}
    assert CliRunner().invoke(cli, [*command, "0.75", "--overwrite"]).exit_code == 0
    assert load_weights(Path(names[2])).provenance["interpolation"] == {"weight": 0.75}
    assert CliRunner().invoke(cli, [*command, "3"]).exit_code == 2
    outcome = CliRunner().invoke(cli, [*command, "nan", "--overwrite"])
    assert outcome.exit_code == 1
    assert "the weight nan is not a finite number" in outcome.stderr
