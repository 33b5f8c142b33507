"""The trained generators that come with the package, and finding any other."""

import os
from importlib.resources import as_file, files
from pathlib import Path

from deepdepixelate.errors import UserError
from deepdepixelate.models.weights import Weights, load_weights

NAMES = ("srgan", "srresnet", "photo")
"""The packaged generators, the default first; see MODEL_CARD.md beside this module."""


def find_generator(model: str) -> Weights:
    """Load a packaged generator by its name, or any other from a file.

    Raises:
        UserError: there is no such name or file, or the file is damaged or of another format.
    """
    if model in NAMES:
        with as_file(files(__name__) / f"{model}.safetensors") as path:
            return load_weights(path)
    place = os.path.expanduser(model)  # noqa: PTH111 - see below
    if not os.path.isfile(place):  # noqa: PTH113 - Path's own raises if the name is too long
        known = ", ".join(NAMES)
        raise UserError(f"there is no model {model}: give one of {known}, or a .safetensors file.")
    return load_weights(Path(place))


def label_of(model: str) -> str:
    """A short name of a model for file names: the packaged name, or the file's without suffix."""
    return model if model in NAMES else Path(model).stem
