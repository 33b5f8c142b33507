"""Weights as safetensors files, with architecture and provenance in the header.

Nothing is unpickled. The header's metadata has three entries: ``kind`` (generator or
discriminator), ``architecture`` and ``provenance`` (JSON objects).
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from deepdepixelate.errors import UserError
from deepdepixelate.files import atomic_write

if TYPE_CHECKING:  # torch is imported by the functions: Kedro imports this module at each start
    from torch import Tensor

    from deepdepixelate.models.generator import Generator

logger = logging.getLogger(__name__)

Kind = Literal["generator", "discriminator"]


@dataclass(frozen=True)
class Weights:
    """A network's weights, architecture and provenance.

    Attributes:
        kind: generator or discriminator.
        architecture: the fields of the network's architecture class.
        tensors: state dict, on the CPU.
        provenance: stage, parameters, data, run, commit and versions of the training; and, if it
            began with other weights, ``trained_from``: see ``lineage``.
    """

    kind: Kind
    architecture: Mapping[str, Any]
    tensors: Mapping[str, "Tensor"]
    provenance: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors, independent of the file; see ``digest``."""
        return digest(self.tensors)

    def lineage(self) -> list[dict[str, Any]]:
        """Digest and provenance of these weights, then of those that they were trained from."""
        own = {"digest": self.digest, **self.provenance}
        earlier = own.pop("trained_from", [])
        return [own, *earlier]

    @property
    def training(self) -> Mapping[str, Any]:
        """Fingerprint of the last training. Interpolated weights have none of their own."""
        provenances = (self.provenance, *self.provenance.get("trained_from", []))
        return next(each["fingerprint"] for each in provenances if "fingerprint" in each)


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


def keep_previous(path: Path, weights: Weights) -> None:
    """Copy a generator's file that ``weights`` are about to replace, unless they are as good.

    They are as good if both were validated on the same images, and ST-LPIPS (of the stage
    train_gan) or PSNR (of pretrain) is not worse. The copy lies beside the file and is called
    ``<name>.previous-<date>-<time>.safetensors``, after the time of the file.
    """
    if weights.kind != "generator" or not path.is_file():
        return
    try:
        old = load_weights(path)
    except UserError:
        return  # nothing that could be used
    fingerprint = weights.provenance.get("fingerprint")
    if old.digest == weights.digest or (
        fingerprint and old.provenance.get("fingerprint") == fingerprint
    ):
        return
    if (why := _why_keep(old.provenance, weights.provenance)) is None:
        return
    written = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    copy = path.with_name(f"{path.stem}.previous-{written:%Y%m%d-%H%M%S}{path.suffix}")
    shutil.copy2(path, copy)
    logger.info("kept the replaced %s as %s: %s", path.name, copy.name, why)


def _why_keep(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Why the new weights may be worse, from the provenance of both; None if they are as good."""
    before, after = old.get("validation", {}), new.get("validation", {})
    gan = new.get("fingerprint", {}).get("stage") == "train_gan"
    name, label = ("st_lpips", "ST-LPIPS") if gan else ("psnr_y", "PSNR")
    if name not in before or name not in after:
        return f"there is no validation {label} to compare"
    if any(before[key] != after[key] for key in ("hr", "lr", "images")):
        return "it was validated on other images"
    if after[name] <= before[name] if gan else after[name] >= before[name]:
        return None
    return f"its validation {label} was better ({before[name]:.3f}, now {after[name]:.3f})"


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
