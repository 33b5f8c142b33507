"""The figures of every model on every image."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from deepdepixelate.data.resize import upscale
from deepdepixelate.data.shards import ImageBatch
from deepdepixelate.errors import UserError
from deepdepixelate.metrics.identity import Identity
from deepdepixelate.metrics.psnr_ssim import psnr_y, ssim_y
from deepdepixelate.metrics.spectrum import BINS, Spectrum, ring_frequencies, spectrum
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.models.device import find_device
from deepdepixelate.models.folded import FoldedGenerator
from deepdepixelate.models.inference import FlipEnsemble, enlarge
from deepdepixelate.models.weights import Weights, build_generator
from deepdepixelate.parallel import map_in_order

Enlarger = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""Enlarges uint8 images (N, h, w, 3) by a scale."""

ORIGINAL = "hr"
"""The name of the originals among the models in ``Scores.spectra``."""


class Pairs(Protocol):
    """Originals and what was made of them: the test split, or a benchmark."""

    scale: int

    def __len__(self) -> int: ...

    def batches(self, size: int) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        """HR and LR images, at most ``size`` of each at a time, those of a batch of one size."""


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Attributes:
        images: one row per image and model: ``set``, ``image``, ``model``, ``psnr_y`` (dB, infinite
            for identical images), ``ssim_y``, ``high_frequency_ratio`` (NaN where the original has
            nothing there), ``st_lpips`` (NaN for images too small for its network) and, where faces
            are recognised, ``identity_distance`` (NaN where the original shows none).
        spectra: mean power spectra of luma: ``set``, ``model`` (``hr`` for the originals),
            ``frequency`` (cycles per pixel), ``power``.
    """

    images: pd.DataFrame
    spectra: pd.DataFrame


def enlargers(
    generators: Mapping[str, Weights], *, scale: int, device: str, self_ensemble: bool = False
) -> dict[str, Enlarger]:
    """Bicubic enlargement, always a row, and then the generators, by name.

    Args:
        generators: their weights.
        scale: of the images.
        device: auto, cpu, cuda, cuda:1, mps.
        self_ensemble: take the mean over each image and its mirror image.

    Raises:
        UserError: weights that are damaged or of another scale, or no such device.
    """
    found = find_device(device)

    def of(name: str, weights: Weights) -> Enlarger:
        generator = build_generator(weights)
        if generator.architecture.scale != scale:
            raise UserError(
                f"{name} enlarges {generator.architecture.scale} times, the images are of scale "
                f"{scale}: train it on them, or degrade by its scale (degrade.scale)."
            )
        network: nn.Module = FoldedGenerator(generator)
        network = (FlipEnsemble(network) if self_ensemble else network).to(found)
        return lambda images, _: enlarge(network, images, found)

    return {"bicubic": upscale} | {name: of(name, each) for name, each in generators.items()}


def score(
    sets: Mapping[str, Pairs],
    models: Mapping[str, Enlarger],
    *,
    batch_size: int,
    border: int | None,
    st_lpips: STLPIPS,
    identity: Identity,
) -> Scores:
    """Score every model on every pair of every set, in memory for a few batches.

    Args:
        sets: by name.
        models: by name.
        batch_size: images enlarged at a time.
        border: pixels left out at each side; None for as many as the scale.
        st_lpips: the perceptual distance.
        identity: the distance between faces, if there is.

    Raises:
        UserError: no image of a set can be scored.
    """
    rows: list[dict[str, Any]] = []
    spectra: list[pd.DataFrame] = []
    for set_name, pairs in sets.items():
        margin = pairs.scale if border is None else border
        ruler = _Ruler(pairs.scale, margin, st_lpips, identity)
        mean = _MeanSpectra()
        enlarged = _enlarged(pairs, models, batch_size)
        with tqdm(total=len(pairs), desc=f"score {set_name}", unit="image") as progress:
            for measured in map_in_order(ruler.measure, enlarged):
                rows += [{"set": set_name, **row} for row in measured.rows]
                mean.add(measured.spectra)
                progress.update()
            progress.update(len(pairs) - mean.count)  # those that were skipped
        if not mean.count:
            raise UserError(f"none of the {len(pairs)} images of {set_name} can be scored.")
        spectra.append(mean.table(set_name))
    return Scores(pd.DataFrame(rows), pd.concat(spectra, ignore_index=True))


@dataclass(frozen=True)
class _Enlarged:
    """An original, (H, W, 3), and each model's attempt at it."""

    image: str
    hr: NDArray[np.uint8]
    by_model: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class _Measured:
    rows: list[dict[str, Any]]
    spectra: Mapping[str, Spectrum]


def _enlarged(pairs: Pairs, models: Mapping[str, Enlarger], batch_size: int) -> Iterator[_Enlarged]:
    for hr, lr in pairs.batches(batch_size):
        by_model = {model: enlarger(lr.pixels, pairs.scale) for model, enlarger in models.items()}
        for index, name in enumerate(hr.names):
            of_image = {model: images[index] for model, images in by_model.items()}
            yield _Enlarged(name, hr.pixels[index], of_image)


@dataclass(frozen=True)
class _Ruler:
    """Measures an image: on any thread."""

    scale: int
    border: int
    st_lpips: STLPIPS
    identity: Identity

    def measure(self, enlarged: _Enlarged) -> _Measured:
        spectra = {ORIGINAL: spectrum(enlarged.hr, self.border, self.scale)}
        rows: list[dict[str, Any]] = []
        for model, sr in enlarged.by_model.items():
            spectra[model] = spectrum(sr, self.border, self.scale)
            rows.append(
                {
                    "image": enlarged.image,
                    "model": model,
                    "psnr_y": float(psnr_y(sr, enlarged.hr, self.border)),
                    "ssim_y": float(ssim_y(sr, enlarged.hr, self.border)),
                    "high_frequency_ratio": spectra[model].high_frequency_ratio(spectra[ORIGINAL]),
                }
            )
        for metric, distances in self._distances(enlarged).items():
            for row, distance in zip(rows, distances, strict=True):
                row[metric] = distance
        return _Measured(rows, spectra)

    def _distances(self, enlarged: _Enlarged) -> dict[str, list[float]]:
        """What networks say, a value each model: they look at the original once for all of them."""
        images = list(enlarged.by_model.values())
        distances = {"st_lpips": self.st_lpips.distances(images, enlarged.hr)}
        if self.identity.measure is not None:
            distances["identity_distance"] = self.identity.measure(images, enlarged.hr)
        return distances


@dataclass
class _MeanSpectra:
    """Sums of power spectra, by model."""

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
        return pd.concat(
            pd.DataFrame(
                {
                    "set": set_name,
                    "model": model,
                    "frequency": ring_frequencies(),
                    "power": sums / counts,
                }
            )
            for model, sums in self.sums.items()
        )
