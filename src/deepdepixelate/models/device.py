"""Where to compute, and in which precision."""

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any

import torch

from deepdepixelate.errors import UserError, first_line

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Constants of glibc's malloc.h."""


@dataclass(frozen=True)
class Compute:
    """A device and how a training uses it.

    Attributes:
        device: where the tensors are.
        bf16: whether matrix work runs in bfloat16 (autocast) or in float32.
        compiled: whether networks run through ``torch.compile``.
        tf32: whether a GPU may round the factors of float32 products to TF32 (10-bit mantissa).
    """

    device: torch.device
    bf16: bool
    compiled: bool = False
    tf32: bool = False

    @property
    def precision(self) -> str:
        """As in the parameters: bf16, tf32 or fp32."""
        return "bf16" if self.bf16 else "tf32" if self.tf32 else "fp32"

    def autocast(self) -> torch.autocast:
        """The context for forward passes; does nothing in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def peak_memory(self) -> dict[str, float]:
        """``peak_device_memory_mib`` of this process so far, on a GPU; nothing elsewhere."""
        if self.device.type != "cuda":
            return {}
        return {"peak_device_memory_mib": torch.cuda.max_memory_allocated(self.device) / 2**20}

    def __str__(self) -> str:
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"{self.device}, {torch.get_num_threads()} threads"
        )
        precision = "bf16 autocast" if self.bf16 else self.precision
        return f"{name}, {precision}, compiled" if self.compiled else f"{name}, {precision}"


def find_device(name: str) -> torch.device:
    """The device of this name; ``auto`` takes a CUDA GPU, Apple's GPU or the CPU, in this order.

    Raises:
        UserError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"the device {name!r} cannot be used here ({first_line(error)}). "
            "Choose auto, cpu, cuda, cuda:N or mps."
        ) from error
    return device


def choose_compute(device: str, precision: str, *, deterministic: bool = False) -> Compute:
    """Resolve ``auto``: bf16 if the hardware supports it, float32 otherwise.

    On CUDA this sets, for the whole process, whether float32 products may use TF32 (PyTorch's
    default in convolutions), and whether kernels are chosen by speed (``cudnn.benchmark``) or must
    be deterministic. PyTorch raises RuntimeError for operations without a deterministic kernel.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, bf16, fp32 or tf32.
        deterministic: see above.

    Raises:
        UserError: this machine has no such device, or the device no TF32.
    """
    found = find_device(device)
    tf32 = precision == "tf32"
    if found.type == "cuda":
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = not deterministic
        torch.use_deterministic_algorithms(deterministic)
        if deterministic:  # PyTorch requires it; cuBLAS reads it at its first use
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    elif tf32:
        raise UserError(f"the precision tf32 is for a CUDA GPU; {found} computes in fp32 or bf16.")
    bf16 = precision == "bf16" or (precision == "auto" and _has_bf16(found))
    return Compute(found, bf16, tf32=tf32)


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed CPU tensors; only with glibc, never undone.

    By default glibc returns large blocks to the system, which clears them page by page when the
    next update takes them again. CPU time per update without and with this call (one thread, bf16,
    medians of four interleaved pairs of processes): SRResNet on 16 crops of 96x96 344 and 289 ms
    (25,900 and 2 page faults), SRGAN of conf/recipe.yml 1042 and 979 ms, the sample's SRResNet 12.3
    and 11.6 ms. Peak memory grows by 1 % at most.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
