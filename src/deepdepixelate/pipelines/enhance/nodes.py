"""Nodes of the stage ``enhance``.

They import torch when they run: Kedro imports this module at every start.
"""

import logging

from deepdepixelate.errors import UserError
from deepdepixelate.parameters import EnhanceParameters

logger = logging.getLogger(__name__)


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
    from deepdepixelate.models.pretrained import find_generator, label_of
    from deepdepixelate.photographs.enhance import conclude, enhance_files, printable
    from deepdepixelate.photographs.enhancer import Enhancer
    from deepdepixelate.photographs.finding import find_photographs
    from deepdepixelate.photographs.saving import FileFormat

    found = find_photographs([parameters.input], parameters.output)
    enhancer = Enhancer(
        find_generator(parameters.model),
        device=parameters.device,
        precision=parameters.precision,
        tile=parameters.tile,
        self_ensemble=parameters.self_ensemble,
    )
    outcome = enhance_files(
        found,
        parameters.output,
        enhancer,
        label=label_of(parameters.model),
        max_pixels=parameters.max_pixels,
        form=FileFormat(
            parameters.format, parameters.quality, metadata=not parameters.strip_metadata
        ),
        overwrite=parameters.overwrite,
    )
    if message := conclude(outcome):
        logger.warning(message)
    return [printable(path) for path in outcome.written]
