"""Weights as safetensors files, with architecture and provenance in the header.

Nothing is unpickled. The header's metadata has three entries: ``kind`` (generator or
discriminator), ``architecture`` and ``provenance`` (JSON objects).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write

if TYPE_CHECKING:  # torch is imported by the functions: Kedro imports this module at each start
    from torch import Tensor

    from deepdepixelate.models.generator import Generator

Kind = Literal["generator", "discriminator"]


@dataclass(frozen=True)
class Weights:
    """A network's weights, architecture and provenance.

    Attributes:
        kind: generator or discriminator.
        architecture: the fields of the network's architecture class.
        tensors: state dict, on the CPU.
        provenance: stage, parameters, data, run, commit and versions of the training.
    """

    kind: Kind
    architecture: Mapping[str, Any]
    tensors: Mapping[str, "Tensor"]
    provenance: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors, independent of the file; see ``digest``."""
        return digest(self.tensors)


def digest(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 of the names and bytes of tensors, on any device."""
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        hashed.update(name.encode())
        hashed.update(tensors[name].cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def save_weights(path: Path, weights: Weights) -> None:
    """Write weights and their header, atomically."""
    from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in weights.tensors.items()}
    metadata = {
        "kind": weights.kind,
        "architecture": json.dumps(dict(weights.architecture)),
        "provenance": json.dumps(dict(weights.provenance)),
    }
    with atomic_write(path) as file:
        file.write(save(tensors, metadata))


def load_weights(path: Path) -> Weights:
    """Read weights and their header.

    Raises:
        UserError: the file is missing, damaged or of another format, or has values that are not
            finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kind = metadata["kind"]
        if kind not in ("generator", "discriminator"):
            raise ValueError(f"kind {kind}")
        weights = Weights(
            kind=kind,
            architecture=json.loads(metadata["architecture"]),
            tensors=tensors,
            provenance=json.loads(metadata["provenance"]),
        )
    except FileNotFoundError:
        raise UserError(f"the weights {path} are not there.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"the weights {path} are damaged or not safetensors: {error}") from error
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} was not written by DeepDepixelate: its header does not describe the network "
            f"({error})."
        ) from error
    check_finite(tensors, f"the weights {path}")
    return weights


def check_finite(tensors: Mapping[str, "Tensor"], what: str) -> None:
    """Check that all values are finite.

    Args:
        tensors: by name, of any shape, type and device.
        what: description of the tensors for the message.

    Raises:
        UserError: a tensor has NaN or infinite values.
    """
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"{what} cannot be used: {name} holds NaN or infinite values. Use other weights."
            )


def build_generator(weights: Weights) -> "Generator":
    """Build a generator with these weights, in evaluation mode.

    Raises:
        UserError: the weights are not a generator's, or do not fit their architecture.
    """
    from deepdepixelate.models.generator import Generator, GeneratorArchitecture

    if weights.kind != "generator":
        raise UserError(f"the weights are of a {weights.kind}; a generator is needed.")
    try:
        architecture = GeneratorArchitecture.model_validate(dict(weights.architecture))
        generator = Generator(architecture)
        generator.load_state_dict(dict(weights.tensors))
    except ValidationError as error:
        raise UserError(f"the weights have an impossible architecture: {error}") from error
    except RuntimeError as error:
        raise UserError(f"the weights do not fit their architecture: {error}") from error
    return generator.eval()
