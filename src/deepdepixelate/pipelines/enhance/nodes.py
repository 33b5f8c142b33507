"""Node of the stage ``enhance``."""

from deepdepixelate.errors import UserError
from deepdepixelate.parallel import find_engine
from deepdepixelate.parameters import EnhanceParameters, RayParameters


def enhance_photographs(
    parameters: EnhanceParameters, engine: str, ray: RayParameters
) -> list[str]:
    """Enlarge photographs, as the command ``deepdepixelate enhance`` does; return the paths.

    Raises:
        UserError: the input is missing, or see ``enhance``.
    """
    if parameters.input is None:
        raise UserError("the input is missing: add --params enhance.input=DIR_OR_FILE.")
    from deepdepixelate.photographs.enhance import enhance, printable  # these import torch

    options = parameters.model_dump(exclude={"input", "output"})
    written = enhance(
        [parameters.input], parameters.output, **options, engine=find_engine(engine, ray.address)
    )
    return list(map(printable, written))
