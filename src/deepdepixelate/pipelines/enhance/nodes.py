"""Nodes of the stage ``enhance``."""

from deepdepixelate.enhancing.enhancer import Enhancer
from deepdepixelate.enhancing.files import enhance_files, find_photographs, told
from deepdepixelate.errors import UserError
from deepdepixelate.models.pretrained import find_generator, label_of
from deepdepixelate.parameters import EnhanceParameters


def enhance_photographs(parameters: EnhanceParameters) -> list[str]:
    """Enlarge photographs; the paths of what was written.

    Raises:
        UserError: there is nothing to enlarge, or some could not be, after the rest were.
    """
    if parameters.input is None or parameters.output is None:
        raise UserError(
            "say what to enlarge and where to put it: --params "
            '"enhance.input=DIR_OR_FILE,enhance.output=DIR".'
        )
    photographs = find_photographs([parameters.input])
    enhancer = Enhancer(
        find_generator(parameters.model),
        device=parameters.device,
        precision=parameters.precision,
        tile=parameters.tile,
        self_ensemble=parameters.self_ensemble,
    )
    outcome = enhance_files(
        photographs,
        parameters.output,
        enhancer,
        label=label_of(parameters.model),
        max_pixels=parameters.max_pixels,
        overwrite=parameters.overwrite,
    )
    if outcome.failures:
        raise UserError(told(outcome))
    return [str(path) for path in outcome.written]
