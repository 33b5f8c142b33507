"""Enlarging images with a trained generator."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepdepixelate.errors import UserError
from deepdepixelate.models.generator import from_pixels, to_pixels


class FlipEnsemble(nn.Module):
    """The mean of what a generator makes of an image and, mirrored back, of its mirror image.

    Twice the work; a little nearer to the original, and a little softer. Input and output as the
    generator's.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, lr: Tensor) -> Tensor:
        """LR in [0, 1] to SR around [-1, 1]."""
        mirrored: Tensor = self.generator(lr.flip(-1)).flip(-1)
        sr: Tensor = self.generator(lr)
        return sr.add(mirrored).mul(0.5)


def enlarge(
    generator: nn.Module, images: NDArray[np.uint8], device: torch.device
) -> NDArray[np.uint8]:
    """Super-resolve a batch, with the batch-norm statistics of training.

    All pixels that a generator makes are made here.

    Args:
        generator: a Generator, FoldedGenerator or FlipEnsemble on ``device``; its mode (training
            or evaluation) is restored afterwards.
        images: uint8 RGB, shape (N, h, w, 3).
        device: where to compute.

    Returns:
        uint8 RGB, shape (N, scale x h, scale x w, 3).

    Raises:
        UserError: the generator gives NaN or infinite values.
    """
    was_training = generator.training
    generator.eval()
    try:
        with torch.inference_mode():
            lr = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2)
            sr = generator(from_pixels(lr))
            if not bool(sr.isfinite().all()):  # uint8 would hide it: NaN becomes black
                raise UserError(
                    "the generator gives NaN or infinite values: its weights are damaged, or too "
                    "large for this precision. Take other weights, or precision fp32."
                )
            pixels = to_pixels(sr)
    finally:
        generator.train(was_training)
    enlarged: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return enlarged
