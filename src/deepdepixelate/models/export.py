"""Export of a generator to ONNX, for other runtimes."""

import logging
import warnings
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write
from deepdepixelate.models.enlarge import FoldedGenerator
from deepdepixelate.models.weights import Weights, build_generator, check_finite

_SIDE = 16
"""Side of the image that the network is traced with; the exported model takes any size."""


class _UnitRange(nn.Module):
    """A generator whose output is in [0, 1], like its input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.network(lr)
        return sr.add(1.0).mul(0.5).clamp(0.0, 1.0)


def export_onnx(weights: Weights, path: Path) -> None:
    """Write a generator as ONNX in float32, for batches and images of any size.

    The input ``lr`` is RGB in [0, 1], (N, 3, h, w); the output ``sr`` is RGB in [0, 1],
    (N, 3, scale x h, scale x w). The file's metadata holds the architecture and the digest of the
    weights.

    Raises:
        UserError: the packages for ONNX are not installed, or the weights are not a generator's or
            not all finite.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - the exporter needs it
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed. Install the packages for ONNX: "
            'pip install "deepdepixelate[onnx]".'
        ) from error
    generator = build_generator(weights)
    network = _UnitRange(FoldedGenerator(generator)).eval()
    check_finite(network.state_dict(), "the folded generator")  # a negative variance folds to NaN
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.rand(2, 3, _SIDE, _SIDE + 1),),
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes={"lr": {0: "images", 2: "height", 3: "width"}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - only the old exporter returns None
    model = program.model_proto
    details = {"architecture": generator.architecture.model_dump_json(), "digest": weights.digest}
    onnx.helper.set_model_props(model, details)
    content = BytesIO()
    onnx.save_model(model, content)
    with atomic_write(path) as file:
        file.write(content.getvalue())
