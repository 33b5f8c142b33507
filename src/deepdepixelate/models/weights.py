"""Weights on disk: safetensors whose header says what they are and where they come from.

Nothing is unpickled. The header's metadata holds three entries: ``kind`` (generator or
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
    """A network's weights with their meaning.

    Attributes:
        kind: which network.
        architecture: what builds it, as plain values.
        tensors: its state dict, on the CPU.
        provenance: where they come from: stage, parameters, data, run, commit, versions.
    """

    kind: Kind
    architecture: Mapping[str, Any]
    tensors: Mapping[str, "Tensor"]
    provenance: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 over the tensors, whatever file they are in."""
        return digest(self.tensors)


def digest(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 over the names and bytes of tensors, wherever they are."""
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
        UserError: missing, damaged, of another format, or not all finite.
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
        raise UserError(f"the weights {path} are damaged or no safetensors: {error}") from error
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} was not written by DeepDepixelate: its header lacks what says which network "
            f"it is ({error})."
        ) from error
    check_finite(tensors, f"the weights {path}")
    return weights


def check_finite(tensors: Mapping[str, "Tensor"], what: str) -> None:
    """Check that tensors hold finite numbers only.

    Args:
        tensors: by name, of any shape, type and device.
        what: they are, for the message.

    Raises:
        UserError: one holds NaN or an infinity.
    """
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"{what} cannot be used: {name} holds NaN or infinite values. Take other weights."
            )


def build_generator(weights: Weights) -> "Generator":
    """A generator in evaluation mode with these weights.

    Raises:
        UserError: they are not a generator's, or do not fit the architecture that they name.
    """
    from deepdepixelate.models.generator import Generator, GeneratorArchitecture

    if weights.kind != "generator":
        raise UserError(f"the weights are a {weights.kind}'s: a generator's are needed.")
    try:
        architecture = GeneratorArchitecture.model_validate(dict(weights.architecture))
        generator = Generator(architecture)
        generator.load_state_dict(dict(weights.tensors))
    except ValidationError as error:
        raise UserError(f"the weights name an impossible architecture: {error}") from error
    except RuntimeError as error:
        raise UserError(f"the weights do not fit the architecture they name: {error}") from error
    return generator.eval()
