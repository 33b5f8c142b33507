"""Benchmark folders: HR images of any size, such as Set5, beside the test split."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepdepixelate.data.resize import downscale
from deepdepixelate.data.shards import ImageBatch
from deepdepixelate.errors import UserError
from deepdepixelate.metrics.psnr_ssim import SSIM_WINDOW
from deepdepixelate.parameters import BenchmarkFolders
from deepdepixelate.photographs.reading import UnreadableImageError, image_files, read_rgb

logger = logging.getLogger(__name__)


def check_benchmarks(benchmarks: Mapping[str, BenchmarkFolders]) -> None:
    """Look whether there is something to score.

    Raises:
        UserError: a folder is missing or holds no images.
    """
    for name, folders in benchmarks.items():
        Benchmark(name, folders, scale=1, border=None)


class Benchmark:
    """The HR images of a folder and their LR, made by ``downscale`` or read from another folder.

    Attributes:
        scale: how many times smaller LR is.
        skipped: what could not be scored so far, as ``{"image": name, "reason": why}``.
    """

    def __init__(
        self, name: str, folders: BenchmarkFolders, *, scale: int, border: int | None
    ) -> None:
        """Find the images, without reading them.

        Args:
            name: of the benchmark, for messages.
            folders: where its images are.
            scale: how many times smaller LR is.
            border: pixels that the scores leave out at each side; None for as many as the scale.

        Raises:
            UserError: a folder is missing or holds no images.
        """
        self.scale = scale
        self.skipped: list[dict[str, str]] = []
        self._name = name
        self._border = scale if border is None else border
        self._hr = _images(name, hr_folder(folders.hr))
        self._lr = None
        if folders.lr is not None:
            self._lr = {path.stem: path for path in _images(name, folders.lr)}

    def __len__(self) -> int:
        return len(self._hr)

    def batches(self, size: int) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        """HR and LR images in order, one by one whatever ``size``: no two need be alike.

        HR is cropped at the right and the bottom to multiples of the scale. An image that cannot be
        scored is skipped, and noted in ``skipped``.
        """
        for path in self._hr:
            try:
                hr, lr = self._pair(path)
            except UnreadableImageError as error:
                logger.warning("%s: %s is skipped: %s", self._name, path.name, error)
                self.skipped.append({"image": path.name, "reason": str(error)})
                continue
            yield hr, lr

    def _pair(self, path: Path) -> tuple[ImageBatch, ImageBatch]:
        hr = read_rgb(path)
        height, width = (side - side % self.scale for side in hr.shape[:2])
        smallest = SSIM_WINDOW + 2 * self._border
        if min(height, width) < smallest:
            raise UnreadableImageError(
                f"{hr.shape[1]}x{hr.shape[0]} pixels are too few: inside the border SSIM needs "
                f"{smallest}x{smallest}"
            )
        hr = np.ascontiguousarray(hr[:height, :width])[None]
        names = [path.name]
        return ImageBatch(names, hr), ImageBatch(names, self._shrunk(path, hr))

    def _shrunk(self, path: Path, hr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._lr is None:
            return downscale(hr, self.scale)
        found = next(
            (self._lr[stem] for stem in self._lr_stems(path.stem) if stem in self._lr), None
        )
        if found is None:
            raise UnreadableImageError("there is no LR image of this name")
        try:
            lr = read_rgb(found)[None]
        except UnreadableImageError as error:
            raise UnreadableImageError(f"its LR image {found.name}: {error}") from error
        expected = (hr.shape[1] // self.scale, hr.shape[2] // self.scale)
        if lr.shape[1:3] != expected:
            raise UnreadableImageError(
                f"its LR image is {lr.shape[2]}x{lr.shape[1]} pixels, not "
                f"{expected[1]}x{expected[0]}"
            )
        return lr

    def _lr_stems(self, stem: str) -> tuple[str, ...]:
        """``baby`` or, as in the field's archives, ``babyx4``."""
        return stem, f"{stem}x{self.scale}"


def hr_folder(directory: Path) -> Path:
    """Where a benchmark's HR images are: in the folder named, or in one called ``HR`` in it."""
    inner = directory / "HR"
    return inner if inner.is_dir() else directory


def _images(name: str, directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise UserError(
            f"the benchmark {name} is not there: {directory} is no folder. See evaluate.benchmarks."
        )
    if not (found := image_files(directory)):
        raise UserError(f"the benchmark {name} is empty: no images in {directory}.")
    return found
