"""Random numbers that do not depend on an image's place in a dataset."""

import hashlib

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def random_of(image: NDArray[np.uint8], seed: int) -> Generator:
    """Random numbers that depend on the image's pixels and the seed alone."""
    content = hashlib.sha256(image.tobytes()).digest()
    return np.random.default_rng([seed, int.from_bytes(content)])
