"""How many test faces a second the metrics of the evaluation take, enlarging left out.

    python tests/benchmarks/metrics.py --images 600
    python tests/benchmarks/metrics.py --images 19962 --st-lpips off

Prints one JSON object. Each face is scored as in ``kedro run --pipeline evaluate``: PSNR, SSIM,
ST-LPIPS and the power spectrum of three enlargements (which are made beforehand) and of the
original. They show nobody: with ``--identity on`` the search for faces is measured, not more.
"""

import argparse
import json
import math
import resource
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from deepdepixelate import downscale, upscale
from deepdepixelate.data.shards import ImageBatch
from deepdepixelate.evaluation.scoring import score
from deepdepixelate.metrics.identity import find_identity
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.parallel import available_processors

WIDTH, HEIGHT, SCALE, BATCH = 176, 216, 4, 16


class Faces:
    """The same batch of smooth random images, again and again."""

    scale = SCALE

    def __init__(self, images: int) -> None:
        self._batches = -(-images // BATCH)
        random = np.random.default_rng(0)
        coarse = random.integers(0, 256, (BATCH, HEIGHT // SCALE, WIDTH // SCALE, 3), np.uint8)
        noise = random.integers(-20, 20, (BATCH, HEIGHT, WIDTH, 3))
        self._hr = (upscale(coarse, SCALE) + noise).clip(0, 255).astype(np.uint8)
        self._lr = downscale(self._hr, SCALE)
        self.enlarged = upscale(self._lr, SCALE)

    def __len__(self) -> int:
        return self._batches * BATCH

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        for batch in range(self._batches):
            names = [f"{batch * BATCH + index:06d}.png" for index in range(BATCH)]
            yield ImageBatch(names, self._hr.copy()), ImageBatch(names, self._lr)


class NoSTLPIPS(STLPIPS):
    """Leaves ST-LPIPS out."""

    def __init__(self) -> None:
        """Load no network."""

    def distances(
        self, images: Iterable[NDArray[np.uint8]], original: NDArray[np.uint8]
    ) -> list[float]:
        return [math.nan for _ in images]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--st-lpips", choices=("on", "off"), default="on")
    parser.add_argument("--identity", choices=("on", "off"), default="off")
    arguments = parser.parse_args()
    faces = Faces(arguments.images)
    models = dict.fromkeys(("bicubic", "srresnet", "srgan"), lambda *_: faces.enlarged.copy())
    st_lpips = STLPIPS() if arguments.st_lpips == "on" else NoSTLPIPS()
    identity = find_identity(arguments.identity)
    start = perf_counter()
    score(
        {"test": faces},
        models,
        batch_size=BATCH,
        border=None,
        st_lpips=st_lpips,
        identity=identity,
    )
    seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    measured = {
        "faces": len(faces),
        "models": len(models),
        "processors": available_processors(),
        "seconds": round(seconds, 2),
        "faces_per_second": round(len(faces) / seconds, 1),
        "peak_resident_mib": round(peak / (1024**2 if sys.platform == "darwin" else 1024)),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
