"""How the figures are made, in words that travel with them."""

from typing import Any

from deepdepixelate.data.resize import KERNEL
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.metrics import identity, st_lpips
from deepdepixelate.metrics.psnr_ssim import PROTOCOL
from deepdepixelate.metrics.spectrum import DEFINITION


def describe_protocol(
    lr: ShardedImages, border: int | None, *, self_ensemble: bool = False, faces: bool = False
) -> dict[str, Any]:
    """The protocol of ``evaluation.json``.

    Args:
        lr: the LR images of the test split.
        border: pixels left out at each side; None for as many as the scale.
        self_ensemble: whether the generators' outputs are means over mirrored images.
        faces: whether faces were recognised.
    """
    scale = lr.manifest.details["scale"]
    return {
        **PROTOCOL,
        "high_frequency_ratio": f"{DEFINITION}; averaged over images",
        "st_lpips": st_lpips.DEFINITION,
        **(identity.PROTOCOL if faces else {}),
        "ci95": "Student's t over images",
        "border": scale if border is None else border,
        "scale": scale,
        "self_ensemble": "mean over the image and its mirror image" if self_ensemble else "none",
        "degradation": _degradation(lr.manifest.details["kernel"]),
    }


def _degradation(kernel: str) -> str:
    """How LR was made; a benchmark without LR of its own is always shrunk by the field's kernel."""
    return kernel if kernel == KERNEL else f"test: {kernel}; benchmarks without LR: {KERNEL}"
