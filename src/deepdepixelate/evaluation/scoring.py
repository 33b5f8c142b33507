"""Scores of every model on every image: bicubic enlargement and the generators."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from deepdepixelate.data.resize import KERNEL, upscale
from deepdepixelate.data.shards import ImageBatch, ShardedImages
from deepdepixelate.errors import UserError
from deepdepixelate.evaluation.benchmarks import Benchmark
from deepdepixelate.metrics.identity import PROTOCOL as IDENTITY_PROTOCOL
from deepdepixelate.metrics.identity import Identity
from deepdepixelate.metrics.psnr_ssim import PROTOCOL as PSNR_SSIM_PROTOCOL
from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
from deepdepixelate.metrics.spectrum import BINS, Spectrum, ring_frequencies, spectrum
from deepdepixelate.metrics.spectrum import DEFINITION as HIGH_FREQUENCY_DEFINITION
from deepdepixelate.metrics.st_lpips import DEFINITION as ST_LPIPS_DEFINITION
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.models import enlarge
from deepdepixelate.models.device import find_device
from deepdepixelate.models.weights import Weights
from deepdepixelate.parallel import LOCAL, Engine, map_in_order

Enlarger = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Enlarges uint8 images (N, h, w, 3) by a scale."""

_IMAGES_PER_TASK = 256

ORIGINAL = "hr"
"""Name of the originals among the models in ``Scores.spectra``."""


class Pairs(Protocol):
    """HR images with their LR images: the test split, a degraded set, or a benchmark."""

    scale: int

    def __len__(self) -> int: ...

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        """Batches of HR and LR images, at most ``size`` each; equal sizes within a batch.

        ``part`` are the images' numbers, in steps of 1; None for all.
        """


@dataclass(frozen=True)
class Scores:
    """Scores of all images.

    Attributes:
        images: one row per image and model: ``set``, ``image``, ``model``, ``psnr_y`` (dB, infinite
            for identical images), ``ssim_y``, ``high_frequency_ratio`` (NaN if the original has no
            high-frequency energy), ``st_lpips`` (NaN for images too small for its network) and, if
            identity is measured, ``identity_distance`` (NaN if the original shows no face).
        spectra: mean power spectra of luma: ``set``, ``model`` (``hr`` for the originals),
            ``frequency`` (cycles per pixel), ``power``.
    """

    images: pd.DataFrame
    spectra: pd.DataFrame


def enlargers(
    generators: Mapping[str, Weights], *, scale: int, device: str, self_ensemble: bool = False
) -> dict[str, Enlarger]:
    """Bicubic enlargement first, then the generators, by name.

    Args:
        generators: their weights.
        scale: of the images.
        device: auto, cpu, cuda, cuda:1, mps.
        self_ensemble: take the mean over each image and its mirror image.

    Raises:
        UserError: the weights are damaged or of another scale, or the device does not exist.
    """
    find_device(device)

    def enlarger(name: str, weights: Weights) -> Enlarger:
        generator = enlarge.Enlarger(
            weights, device=device, precision="fp32", tile=None, self_ensemble=self_ensemble
        )
        if generator.scale != scale:
            raise UserError(
                f"{name} enlarges {generator.scale} times, the images are of scale {scale}: train "
                "it on them, or degrade by its scale (degrade.scale)."
            )
        return lambda images, _: generator(images)

    return {"bicubic": upscale} | {name: enlarger(name, each) for name, each in generators.items()}


def score(
    sets: Mapping[str, Pairs],
    models: Mapping[str, Enlarger],
    *,
    batch_size: int,
    border: int | None,
    st_lpips: STLPIPS,
    identity: Identity,
    engine: Engine = LOCAL,
) -> Scores:
    """Score every model on every image of every set. Only a few batches are in memory at a time.

    Args:
        sets: by name.
        models: by name.
        batch_size: images enlarged at a time.
        border: pixels left out on each side; None for as many as the scale.
        st_lpips: the perceptual distance.
        identity: the identity distance, if available.
        engine: where to score; benchmarks, which are small, are always scored here.

    Raises:
        UserError: no image of a set can be scored.
    """
    rows: list[dict[str, Any]] = []
    spectra: list[pd.DataFrame] = []
    for set_name, pairs in sets.items():
        margin = pairs.scale if border is None else border
        scorer = ImageScorer(pairs.scale, margin, st_lpips, identity)
        mean = _MeanSpectra()
        results = (LOCAL if isinstance(pairs, Benchmark) else engine).map_ranges(
            partial(_score_part, pairs, models, batch_size, scorer), len(pairs), _IMAGES_PER_TASK
        )
        with tqdm(total=len(pairs), desc=f"score {set_name}", unit="image") as progress:
            for of_image, of_spectra in results:
                rows += [{"set": set_name, **row} for row in of_image]
                mean.add(of_spectra)
                progress.update()
            progress.update(len(pairs) - mean.count)  # skipped images
        if not mean.count:
            raise UserError(f"none of the {len(pairs)} images of {set_name} can be scored.")
        spectra.append(mean.table(set_name))
    return Scores(pd.DataFrame(rows), pd.concat(spectra, ignore_index=True))


def describe_protocol(
    lr: ShardedImages,
    border: int | None,
    *,
    self_ensemble: bool = False,
    faces: bool = False,
    degraded_sets: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The entry ``protocol`` of ``evaluation.json``: how the scores are computed, in words.

    Args:
        lr: the LR images of the test split.
        border: pixels left out on each side; None for as many as the scale.
        self_ensemble: whether the generators' outputs are means over mirrored images.
        faces: whether the identity distance is measured.
        degraded_sets: by name, what ``DegradedImages.describe`` returns.
    """
    scale, kernel = lr.manifest.details["scale"], lr.manifest.details["kernel"]
    return {
        **PSNR_SSIM_PROTOCOL,
        "high_frequency_ratio": f"{HIGH_FREQUENCY_DEFINITION}; averaged over images",
        "st_lpips": ST_LPIPS_DEFINITION,
        **(IDENTITY_PROTOCOL if faces else {}),
        "ci95": "Student's t over images",
        "border": scale if border is None else border,
        "scale": scale,
        "self_ensemble": "mean over the image and its mirror image" if self_ensemble else "none",
        "degradation": (  # benchmarks without LR images are always downscaled with KERNEL
            kernel
            if kernel == KERNEL
            else f"test: {kernel}; benchmarks without LR and degraded sets: {KERNEL}"
        ),
        **({"degraded_sets": dict(degraded_sets)} if degraded_sets else {}),
    }


@dataclass(frozen=True)
class EnlargedImage:
    """An image and its enlargements.

    Attributes:
        image: its name.
        lr: uint8 (h, w, 3).
        hr: uint8 (H, W, 3), H and W multiples of h and w.
        by_model: enlargements, uint8 (H, W, 3).
    """

    image: str
    lr: NDArray[np.uint8]
    hr: NDArray[np.uint8]
    by_model: Mapping[str, NDArray[np.uint8]]

    @property
    def scale(self) -> int:
        """How many times smaller LR is."""
        return int(self.hr.shape[0] // self.lr.shape[0])


def _score_part(
    pairs: Pairs,
    models: Mapping[str, Enlarger],
    batch_size: int,
    scorer: "ImageScorer",
    part: range,
    threads: int | None,
) -> Iterator[tuple[list[dict[str, Any]], dict[str, Spectrum]]]:
    """The scores and spectra of some images: enlarged in this thread, scored on others."""
    return map_in_order(scorer, _enlarged(pairs, models, batch_size, part), threads)


def _enlarged(
    pairs: Pairs, models: Mapping[str, Enlarger], batch_size: int, part: range
) -> Iterator[EnlargedImage]:
    for hr, lr in pairs.batches(batch_size, part):
        by_model = {model: enlarger(lr.pixels, pairs.scale) for model, enlarger in models.items()}
        for index, name in enumerate(hr.names):
            of_image = {model: images[index] for model, images in by_model.items()}
            yield EnlargedImage(name, lr.pixels[index], hr.pixels[index], of_image)


@dataclass(frozen=True)
class ImageScorer:
    """Computes all metrics of one image. Thread-safe."""

    scale: int
    border: int
    st_lpips: STLPIPS
    identity: Identity

    def __call__(self, enlarged: EnlargedImage) -> tuple[list[dict[str, Any]], dict[str, Spectrum]]:
        """One row of scores per model, and the spectra of the original and of each model."""
        hr, images = enlarged.hr, list(enlarged.by_model.values())
        original = spectrum(hr, self.border, self.scale)
        spectra = {
            model: spectrum(sr, self.border, self.scale) for model, sr in enlarged.by_model.items()
        }
        columns = {
            "psnr_y": [float(psnr_y(sr, hr, self.border)) for sr in images],
            "ssim_y": [float(ssim_y(sr, hr, self.border)) for sr in images],
            "high_frequency_ratio": [
                each.high_frequency_ratio(original) for each in spectra.values()
            ],
            "st_lpips": self.st_lpips.distances(images, hr),
        }
        if self.identity.measure is not None:
            columns["identity_distance"] = self.identity.measure(images, hr)
        rows = [
            {
                "image": enlarged.image,
                "model": model,
                **{metric: values[index] for metric, values in columns.items()},
            }
            for index, model in enumerate(enlarged.by_model)
        ]
        return rows, {ORIGINAL: original, **spectra}


@dataclass
class _MeanSpectra:
    """Running sums of the power spectra of a set, by model."""

    count: int = 0
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def add(self, spectra: Mapping[str, Spectrum]) -> None:
        for model, each in spectra.items():
            self.sums[model] = self.sums.get(model, 0.0) + np.nan_to_num(each.rings)
        self.counts += np.isfinite(spectra[ORIGINAL].rings)
        self.count += 1

    def table(self, set_name: str) -> pd.DataFrame:
        counts = np.where(self.counts > 0, self.counts, np.nan)
        of_models = [
            {
                "set": set_name,
                "model": model,
                "frequency": ring_frequencies(),
                "power": total / counts,
            }
            for model, total in self.sums.items()
        ]
        return pd.concat(map(pd.DataFrame, of_models))
