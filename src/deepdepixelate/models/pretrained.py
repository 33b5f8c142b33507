"""The generators in the box."""

import os
from importlib.resources import as_file, files
from pathlib import Path

from deepdepixelate.errors import UserError
from deepdepixelate.models.weights import Weights, load_weights

NAMES = ("srgan", "srresnet")
"""The generators that the package carries, the default first; see ``pretrained/MODEL_CARD.md``."""


def find_generator(model: str) -> Weights:
    """A generator of the package by its name, or any other by the path of its weights.

    Raises:
        UserError: neither such a name nor a file, or the file is damaged or of another format.
    """
    if model in NAMES:
        with as_file(files("deepdepixelate") / "pretrained" / f"{model}.safetensors") as path:
            return load_weights(path)
    place = os.path.expanduser(model)  # noqa: PTH111 - see below
    if not os.path.isfile(place):  # noqa: PTH113 - Path's own raises where a name is too long
        known = ", ".join(NAMES)
        raise UserError(f"there is no model {model}: give one of {known}, or a .safetensors file.")
    return load_weights(Path(place))


def label_of(model: str) -> str:
    """A short name of a model for file names: its own, or that of its file."""
    return model if model in NAMES else Path(model).stem
