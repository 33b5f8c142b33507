"""Benchmark folders such as Set5: HR images of any size, scored beside the test split."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepdepixelate.data.resize import downscale
from deepdepixelate.data.shards import ImageBatch
from deepdepixelate.errors import UserError
from deepdepixelate.limits import SSIM_WINDOW
from deepdepixelate.parameters import BenchmarkFolders
from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.reading import image_files, read_rgb

logger = logging.getLogger(__name__)


def check_benchmarks(benchmarks: Mapping[str, BenchmarkFolders]) -> None:
    """Check that every benchmark has images.

    Raises:
        UserError: a folder is missing or holds no images.
    """
    for name, folders in benchmarks.items():
        Benchmark(name, folders, scale=1, border=None)


class Benchmark:
    """The HR images of a folder with LR images, from ``downscale`` or from another folder.

    Attributes:
        scale: how many times smaller LR is.
        skipped: the images that could not be scored so far: ``{"image": name, "reason": why}``.
    """

    def __init__(
        self, name: str, folders: BenchmarkFolders, *, scale: int, border: int | None
    ) -> None:
        """List the images without reading them.

        Args:
            name: of the benchmark, for messages.
            folders: the folders of its images.
            scale: how many times smaller LR is.
            border: pixels left out on each side; None for as many as the scale.

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

    def batches(
        self, size: int, part: range | None = None
    ) -> Iterator[tuple[ImageBatch, ImageBatch]]:
        """HR and LR images in order. Batches hold one image, whatever ``size``: sizes may differ.

        HR is cropped at the right and the bottom to multiples of the scale. Images that cannot be
        scored are skipped and added to ``skipped``.
        """
        for path in self._hr if part is None else self._hr[part.start : part.stop]:
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
                f"{hr.shape[1]}x{hr.shape[0]} pixels are too few: with the border SSIM needs "
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
            raise UnreadableImageError("it has no LR image of the same name")
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
        """``baby`` or, as in the usual archives, ``babyx4``."""
        return stem, f"{stem}x{self.scale}"


def hr_folder(directory: Path) -> Path:
    """The folder of a benchmark's HR images: its subfolder ``HR`` if there is one, or itself."""
    inner = directory / "HR"
    return inner if inner.is_dir() else directory


def _images(name: str, directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise UserError(
            f"benchmark {name} not found: {directory} is not a folder. Check evaluate.benchmarks."
        )
    if not (found := image_files(directory)):
        raise UserError(
            f"benchmark {name} is empty: no images in {directory}. Check evaluate.benchmarks."
        )
    return found
