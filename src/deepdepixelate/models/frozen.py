"""Batch-norms whose statistics no longer follow the batch, for training a trained generator on."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from deepdepixelate.models.generator import Generator


class FrozenBatchNorm(nn.Module):
    """What is left of a batch-norm whose scale is in the convolution before it: a bias to learn.

    Its state dict is that of a ``torch.nn.BatchNorm2d`` which, in evaluation mode, adds the same.
    """

    weight: Tensor

    def __init__(self, bias: Tensor, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.bias = nn.Parameter(bias.detach().clone())
        self.register_buffer("weight", torch.full_like(bias, 1.0 + eps).sqrt())
        self.register_buffer("running_mean", torch.zeros_like(bias))
        self.register_buffer("running_var", torch.ones_like(bias))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape, in place: the convolution before it keeps no copy."""
        return features.add_(self.bias.to(features.dtype).view(1, -1, 1, 1))


def freeze_batch_norms(generator: Generator) -> None:
    """Let a generator compute while it is trained what it computes when it is used.

    Batch statistics differ from image to image and from crops to whole images. Early on they speed
    training up; in the end they are noise, and under an adversarial loss the discriminator judges
    images that nobody will ever get (Lim et al., arXiv 1707.02921, and Wang et al., ESRGAN,
    arXiv 1809.00219, do without batch-norm altogether). Here a trained generator's statistics and
    scales are moved into the convolutions, which changes its output by rounding only, and its
    weights can be loaded into a ``Generator`` as before.
    """
    for module in list(generator.modules()):
        if isinstance(module, nn.Sequential):
            _freeze_pairs(module)


def _freeze_pairs(layers: nn.Sequential) -> None:
    for index in range(1, len(layers)):
        convolution: Any = layers[index - 1]
        norm = layers[index]
        if isinstance(norm, nn.BatchNorm2d):
            folded = fuse_conv_bn_eval(convolution.eval(), norm.eval())
            assert folded.bias is not None  # noqa: S101 - the batch-norm's
            with torch.no_grad():
                convolution.weight.copy_(folded.weight)
            layers[index] = FrozenBatchNorm(folded.bias, norm.eps)
