import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from deepdepixelate.errors import UserError
from deepdepixelate.models.perceptual import (
    DEFAULT_FEATURE_SCALE,
    FeatureLayer,
    PerceptualNetwork,
    load_vgg19_weights,
)

# The convolutions of torchvision's vgg19().features: position, input and output channels.
CONVOLUTIONS = (
    (0, 3, 64), (2, 64, 64),
    (5, 64, 128), (7, 128, 128),
    (10, 128, 256), (12, 256, 256), (14, 256, 256), (16, 256, 256),
    (19, 256, 512), (21, 512, 512), (23, 512, 512), (25, 512, 512),
    (28, 512, 512), (30, 512, 512), (32, 512, 512), (34, 512, 512),
)  # fmt: skip

StateDict = dict[str, Tensor]


def random_weights(convolutions: int, *, prefix: str = "features.") -> StateDict:
    """Random weights, sized so that activations keep their size from layer to layer."""
    generator = torch.Generator().manual_seed(7)
    weights = {}
    for position, inputs, outputs in CONVOLUTIONS[:convolutions]:
        spread = (2 / (9 * inputs)) ** 0.5
        kernel = torch.randn(outputs, inputs, 3, 3, generator=generator) * spread
        weights[f"{prefix}{position}.weight"] = kernel
        weights[f"{prefix}{position}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    return weights


@pytest.fixture(scope="module")
def vgg22() -> StateDict:
    return random_weights(4)


@pytest.fixture(scope="module")
def vgg54() -> StateDict:
    return random_weights(16)


def images(count: int = 2, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, side, side, generator=generator) * 2 - 1


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize(
    ("layer", "convolutions", "poolings", "shape"),
    [("vgg22", 4, 1, (2, 128, 16, 16)), ("vgg54", 16, 4, (2, 512, 2, 2))],
)
def test_layer_lies_where_the_paper_says(
    layer: FeatureLayer,
    convolutions: int,
    poolings: int,
    shape: tuple[int, ...],
    request: pytest.FixtureRequest,
) -> None:
    network = PerceptualNetwork(layer, request.getfixturevalue(layer), 1.0)
    features = network(images())

    assert count(network, nn.Conv2d) == convolutions
    assert count(network, nn.MaxPool2d) == poolings
    assert features.shape == shape
    # It ends after a ReLU: nothing below zero, and much of it exactly zero.
    assert features.min() == 0.0
    assert features.max() > 0.0


def test_features_are_those_of_the_normalised_image(vgg22: StateDict) -> None:
    pictures = images(side=12)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    expected = ((pictures * 0.5 + 0.5) - mean) / deviation
    for position in (0, 2, 5, 7):
        if position == 5:
            expected = functional.max_pool2d(expected, 2)
        weight, bias = vgg22[f"features.{position}.weight"], vgg22[f"features.{position}.bias"]
        expected = functional.conv2d(expected, weight, bias, padding=1).relu()

    features = PerceptualNetwork("vgg22", vgg22, 1.0)(pictures)

    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_feature_scale_multiplies_the_features(vgg22: StateDict) -> None:
    plain = PerceptualNetwork("vgg22", vgg22, 1.0)(images())
    scaled = PerceptualNetwork("vgg22", vgg22, 0.25)(images())

    torch.testing.assert_close(scaled, plain * 0.25)


def test_papers_scale_is_the_default_for_vgg54() -> None:
    assert DEFAULT_FEATURE_SCALE["vgg54"] == pytest.approx(1 / 12.75)
    assert DEFAULT_FEATURE_SCALE["vgg22"] == 1.0


def test_gradient_passes_through_and_stays_nowhere(vgg22: StateDict) -> None:
    network = PerceptualNetwork("vgg22", vgg22, 1.0)
    pictures = images().requires_grad_()
    network(pictures).square().mean().backward()

    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert pictures.grad is not None
    assert pictures.grad.abs().max() > 0.0


def write(path: Path, weights: StateDict) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["features.", ""])
def test_partial_state_dict_is_enough(
    tmp_path: Path, suffix: str, prefix: str, vgg22: StateDict
) -> None:
    # One convolution more than needed, and a layer of the classifier, as in a whole file.
    stored = random_weights(5, prefix=prefix) | {"classifier.0.bias": torch.zeros(3)}
    loaded = load_vgg19_weights("vgg22", write(tmp_path / f"vgg{suffix}", stored))
    features = PerceptualNetwork("vgg22", loaded, 1.0)(images())

    assert torch.equal(features, PerceptualNetwork("vgg22", vgg22, 1.0)(images()))


def test_half_precision_weights_are_used_in_full_precision(tmp_path: Path) -> None:
    stored = {name: tensor.half() for name, tensor in random_weights(4).items()}
    loaded = load_vgg19_weights("vgg22", write(tmp_path / "vgg.safetensors", stored))

    assert all(tensor.dtype == torch.float32 for tensor in loaded.values())
    assert PerceptualNetwork("vgg22", loaded, 1.0)(images()).dtype == torch.float32


def test_missing_layer_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "vgg.safetensors", random_weights(5))
    with pytest.raises(UserError, match=r"lacks features\.12\.weight.*vgg54"):
        load_vgg19_weights("vgg54", path)


def test_missing_bias_is_named(tmp_path: Path) -> None:
    weights = random_weights(4)
    del weights["features.5.bias"]
    with pytest.raises(UserError, match=r"lacks features\.5\.bias"):
        load_vgg19_weights("vgg22", write(tmp_path / "vgg.pth", weights))


def test_wrong_shape_is_named(tmp_path: Path) -> None:
    weights = random_weights(4) | {"features.2.weight": torch.zeros(64, 64, 5, 5)}
    with pytest.raises(UserError, match=r"features\.2\.weight has shape \(64, 64, 5, 5\)"):
        load_vgg19_weights("vgg22", write(tmp_path / "vgg.safetensors", weights))


@pytest.mark.parametrize("name", ["vgg.safetensors", "vgg.pth"])
def test_missing_file_is_named_with_advice(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"{name}.*not there.*vgg_weights"):
        load_vgg19_weights("vgg22", tmp_path / name)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def replace(content: bytes) -> bytes:
    return b"<html>404 not found</html>"


def empty(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", [cut, replace, empty])
def test_damaged_file_is_refused(
    tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes], vgg22: StateDict
) -> None:
    path = write(tmp_path / f"vgg{suffix}", vgg22)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"vgg{suffix}.*train_gan\.vgg_weights"):
        load_vgg19_weights("vgg22", path)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path, vgg22: StateDict) -> None:
    made, path = tmp_path / "made", tmp_path / "vgg.pth"
    torch.save({**vgg22, "note": Payload(made)}, path)
    with pytest.raises(UserError, match="more than tensors"):
        load_vgg19_weights("vgg22", path)
    assert not made.exists()

    torch.load(path, weights_only=False)  # the payload is live: a careless reader runs it
    assert made.exists()


def test_bare_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "vgg.pth"
    path.write_bytes(pickle.dumps(Payload(made), protocol=2))
    with pytest.raises(UserError, match=r"vgg\.pth"):
        load_vgg19_weights("vgg22", path)
    assert not made.exists()


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"features.0.weight": 3}])
def test_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "vgg.pth")
    with pytest.raises(UserError, match=r"vgg\.pth"):
        load_vgg19_weights("vgg22", tmp_path / "vgg.pth")


def test_without_torchvision_the_advice_names_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(UserError, match=r"vgg19-dcbb9e9d\.pth.*train_gan\.vgg_weights"):
        load_vgg19_weights("vgg54", None)


class TestSharedWeights:
    NAME = "vgg19_conv1_1_to_conv3_1.safetensors"

    def test_serve_vgg22(self, shared: Path) -> None:
        loaded = load_vgg19_weights("vgg22", shared / "weights" / self.NAME)
        network = PerceptualNetwork("vgg22", loaded, 1.0)
        features = network(images(side=64))

        assert features.shape == (2, 128, 32, 32)
        assert features.isfinite().all()
        # Every layer of this file is rescaled to a mean activation of about one.
        assert 0.1 < features.mean() < 10.0

    def test_do_not_reach_vgg54(self, shared: Path) -> None:
        with pytest.raises(UserError, match=rf"{self.NAME} lacks features\.12\.weight.*vgg22"):
            load_vgg19_weights("vgg54", shared / "weights" / self.NAME)
