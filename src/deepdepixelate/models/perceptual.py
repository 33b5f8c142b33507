"""Feature maps of an ImageNet VGG19 for the content loss (section 2.2.1 of the SRGAN paper).

VGG22 is the second convolution before the second pooling, VGG54 the fourth before the fifth, both
after their ReLU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deepdepixelate.errors import UserError
from deepdepixelate.models.weights import check_finite

FeatureLayer = Literal["vgg22", "vgg54"]

_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and number of convolutions between poolings: configuration E of Simonyan and Zisserman
(arXiv 1409.1556). Torchvision has this network, too, but cannot be imported if it was built for
another version of torch."""

_CONVOLUTIONS: dict[FeatureLayer, int] = {"vgg22": 4, "vgg54": 16}

DEFAULT_FEATURE_SCALE: dict[FeatureLayer, float] = {"vgg22": 1.0, "vgg54": 1 / 12.75}
"""Factor of the features. The paper's 1/12.75 brings VGG54 to the magnitude of the MSE."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class PerceptualNetwork(nn.Module):
    """Feature maps of a frozen VGG19 up to one layer.

    Input: (N, 3, H, W) in [-1, 1]. Output: features after the layer's ReLU, times
    ``feature_scale``: (N, 128, H / 2, W / 2) for vgg22, (N, 512, H / 16, W / 16) for vgg54.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, layer: FeatureLayer, weights: Mapping[str, Tensor], feature_scale: float
    ) -> None:
        super().__init__()
        self.features = _build(layer)
        self.features.load_state_dict(_select(self.features, weights))
        self.feature_scale = feature_scale
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_IMAGENET_DEVIATION).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] to scaled features; see the class."""
        normalised = ((images + 1.0) / 2.0 - self.mean) / self.deviation
        features: Tensor = self.features(normalised)
        return features * self.feature_scale


def load_vgg19_weights(layer: FeatureLayer, path: Path | None) -> dict[str, Tensor]:
    """Load the weights up to a layer, named as in torchvision's ``vgg19().features``.

    Args:
        layer: the last layer needed.
        path: a ``.safetensors`` or ``.pth`` file with a torchvision ``vgg19`` state dict, at least
            up to the layer; None to download torchvision's own (548 MB, once).

    Raises:
        UserError: the weights are missing, damaged or of another network.
    """
    available = _load_torchvision() if path is None else _load_file(path)
    skeleton = _build(layer)
    try:
        selected = _select(skeleton, available)
    except KeyError as error:
        raise UserError(
            f"{path or 'torchvision'} lacks {error.args[0]}, which the content loss {layer} needs. "
            "Name a file that reaches further with train_gan.vgg_weights, or choose "
            "train_gan.content=vgg22 or mse."
        ) from None
    except ValueError as error:
        raise UserError(f"{path or 'torchvision'} is not a VGG19: {error}.") from None
    check_finite(selected, f"the VGG19 weights {path or 'of torchvision'}")
    return selected


def _build(layer: FeatureLayer) -> nn.Sequential:
    modules: list[nn.Module] = []
    inputs, missing = 3, _CONVOLUTIONS[layer]
    for channels, convolutions in _STAGES:
        modules += [nn.MaxPool2d(2)] if modules else []
        for _ in range(min(convolutions, missing)):
            modules += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs, missing = channels, missing - 1
        if not missing:
            break
    return nn.Sequential(*modules)


def _select(network: nn.Module, available: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network, by their names with or without torchvision's prefix."""
    selected = {}
    for name, expected in network.state_dict().items():
        tensor = available.get(f"features.{name}", available.get(name))
        if tensor is None:
            raise KeyError(f"features.{name}")
        if tensor.shape != expected.shape:
            raise ValueError(
                f"features.{name} has shape {tuple(tensor.shape)}, not {tuple(expected.shape)}"
            )
        selected[name] = tensor.float()
    return selected


def _load_file(path: Path) -> Mapping[str, Tensor]:
    advice = (
        "train_gan.vgg_weights must name a torchvision vgg19 state dict (.safetensors or .pth); "
        "without it torchvision's weights are downloaded, and train_gan.content=mse needs none."
    )
    if not path.is_file():
        raise UserError(f"the VGG19 weights {path} are not there: {advice}")
    try:
        if path.suffix == ".safetensors":
            weights: Mapping[str, Tensor] = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise UserError(f"the VGG19 weights {path} cannot be read ({error}): {advice}") from error
    except Exception as error:  # pickle.UnpicklingError, and others from foreign pickles
        raise UserError(f"the VGG19 weights {path} hold more than tensors: {advice}") from error
    if not isinstance(weights, Mapping) or not all(map(torch.is_tensor, weights.values())):
        raise UserError(f"the VGG19 weights {path} are not a state dict: {advice}")
    return weights


def _load_torchvision() -> Mapping[str, Tensor]:
    try:
        from torchvision.models import VGG19_Weights

        weights: Mapping[str, Tensor] = VGG19_Weights.IMAGENET1K_V1.get_state_dict(
            check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError, ImportError) as error:
        raise UserError(
            f"torchvision's VGG19 weights cannot be downloaded here ({error}). Download "
            "vgg19-dcbb9e9d.pth elsewhere and pass it: --params train_gan.vgg_weights=FILE; or "
            "train with train_gan.content=mse, which needs no weights."
        ) from error
    return weights
