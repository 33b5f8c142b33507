"""Generators between two others, or beyond the second."""

import math

import torch

from deepdepixelate.errors import UserError
from deepdepixelate.models.weights import Weights, build_generator


def interpolate(start: Weights, end: Weights, weight: float) -> Weights:
    """Network interpolation (ESRGAN, arXiv 1809.00219, section 3.4): start + weight (end - start).

    From a generator that minimises the error of pixels to one that was trained from it against a
    discriminator, images become sharper, and the error of pixels grows. Networks that were trained
    independently of each other have no useful generators between them.

    Args:
        start: weights of a generator.
        end: weights of a generator of the same architecture.
        weight: 0 gives ``start``, 1 gives ``end``, more than 1 exaggerates their difference.

    Returns:
        The generator in single precision. Its provenance: ``interpolation`` (the weight), the kind
        of LR images, and ``trained_from``, the lineage of both.

    Raises:
        UserError: the weights are not of generators, or their architectures differ, or the weight
            is not finite or so large that the result is not a generator.
    """
    if not math.isfinite(weight):
        raise UserError(f"the weight {weight} is not a finite number.")
    architecture = build_generator(start).architecture
    if (other := build_generator(end).architecture) != architecture:
        raise UserError(
            f"the generators have different architectures: {architecture.blocks} blocks of "
            f"{architecture.channels} channels for {architecture.scale}x, and {other.blocks} of "
            f"{other.channels} for {other.scale}x."
        )
    tensors = {
        name: torch.lerp(start.tensors[name].float(), tensor.float(), weight)
        if tensor.is_floating_point()
        else tensor  # counters of batch-norm updates
        for name, tensor in end.tensors.items()
    }
    variances = (each for name, each in tensors.items() if name.endswith("running_var"))
    if any(bool((each < 0).any()) for each in variances):
        raise UserError(f"the weight {weight} makes a variance negative: take a smaller one.")
    lineages = end.lineage() + start.lineage()  # which may have common ancestors
    return Weights(
        kind="generator",
        architecture=end.architecture,
        tensors=tensors,
        provenance={
            "interpolation": {"weight": weight},
            "degrade.kind": end.provenance.get("degrade.kind", "bicubic"),
            "trained_from": list({each["digest"]: each for each in lineages}.values()),
        },
    )
