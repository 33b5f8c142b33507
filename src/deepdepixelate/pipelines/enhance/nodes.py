"""Node of the stage ``enhance``."""

from deepdepixelate.errors import UserError
from deepdepixelate.parameters import EnhanceParameters


def enhance_photographs(parameters: EnhanceParameters) -> list[str]:
    """Enlarge photographs, as the command ``deepdepixelate enhance`` does; return the paths.

    Raises:
        UserError: the input is missing, or see ``enhance``.
    """
    if parameters.input is None:
        raise UserError("the input is missing: add --params enhance.input=DIR_OR_FILE.")
    from deepdepixelate.photographs.enhance import enhance, printable  # these import torch

    options = parameters.model_dump(exclude={"input", "output"})
    return list(map(printable, enhance([parameters.input], parameters.output, **options)))
