import torch

from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights


def tiny_weights(scale: int = 4, seed: int = 0) -> Weights:
    """A small generator's weights, with learned batch-norm statistics."""
    torch.manual_seed(seed)
    architecture = GeneratorArchitecture(blocks=1, channels=4, scale=scale)
    generator = Generator(architecture)
    with torch.no_grad():
        for _ in range(10):
            generator(torch.rand(4, 3, 8, 8))
    return Weights("generator", architecture.model_dump(), generator.state_dict(), {})
