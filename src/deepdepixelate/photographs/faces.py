"""Finding faces in a photograph, and enlarging them one by one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.data.resize import resized
from deepdepixelate.metrics.identity import import_dlib
from deepdepixelate.photographs.photograph import Photograph

INSTALL = 'pip install "deepdepixelate[identity]"'
"""How to get dlib."""

_LARGEST_ENLARGEMENT = 6.0
"""The detector's window is 80 pixels wide. Measured on groups of CelebA's validation faces as JPEG
files of quality 75, it finds 97 % of the faces of 30 pixels, 88 % of 20 and 65 % of 12. Enlarging 8
times finds no more of them, but writing on a page of scikit-image's pictures becomes a face."""

_SEARCHED_PIXELS = 48_000_000
"""Limit of the enlarged picture that is searched; bounds time and memory."""

_FACE = 90
"""Width and height of the detector's box around a face of CelebA, in pixels: the median."""

_REGION = 176, 216
"""Width and height of CelebA's crop around that face."""

_FACE_CENTRE = 0.6
"""Height of the face's centre in that crop, from the top, as a share of the crop's height."""

_KNOWN_WIDTH, _KNOWN_HEIGHT = 44, 54
"""Size of CelebA's crop after shrinking it 4 times: the LR images of the training."""

_SMALL = 1.2
"""Regions that are smaller than the above by this factor or more are enlarged first."""


class Box(NamedTuple):
    """A part of a photograph, in pixels of the photograph."""

    left: int
    top: int
    width: int
    height: int


class Enlarging(Protocol):
    """A generator that is applied to pixels, such as ``Enhancer``."""

    scale: int
    for_photographs: bool

    def __call__(
        self, images: NDArray[np.uint8], on_tile: Callable[[], object] = ..., /
    ) -> NDArray[np.uint8]:
        """Enlarge uint8 RGB (h, w, 3) ``scale`` times."""


class FaceFinder:
    """Finds faces with dlib's frontal detector. Thread-safe, one thread at a time."""

    def __init__(self) -> None:
        """Load the detector.

        Raises:
            UserError: dlib is missing or damaged.
        """
        dlib = import_dlib("finds faces", f"{INSTALL}.")
        self._detect: Any = dlib.get_frontal_face_detector()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type["FaceFinder"], tuple[()]]:
        return FaceFinder, ()  # dlib's detector cannot be pickled

    def find(self, pixels: NDArray[np.uint8]) -> list[Box]:
        """Find the faces in a picture.

        The picture is searched enlarged, so that small faces are found, too: 6 times up to 1.3
        megapixels, 2 times at 12. Measured with 84 faces of CelebA as JPEG of quality 75: 10 of 12
        faces of 20 pixels were found at 1 and 4 megapixels, all of 30 pixels at 12, and 10 of 12 of
        40 pixels at 24; nothing else was. The search took at most 4 s on one core, and 0.4 GB.
        Faces in profile, or strongly tilted, are missed.

        Args:
            pixels: uint8 RGB (H, W, 3).

        Returns:
            One box per face, from forehead to chin, inside the picture; row by row.
        """
        height, width, _ = pixels.shape
        zoom = min(_LARGEST_ENLARGEMENT, (_SEARCHED_PIXELS / (width * height)) ** 0.5)
        size = max(1, round(width * zoom)), max(1, round(height * zoom))
        gray = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BICUBIC)
        with self._lock:
            found = self._detect(np.asarray(gray), 0)
        boxes = [
            _clipped(
                face.left() / zoom,
                face.top() / zoom,
                (face.right() + 1) / zoom,
                (face.bottom() + 1) / zoom,
                width,
                height,
            )
            for face in found
        ]
        return _in_rows(_one_per_face(boxes))


def face_region(box: Box, width: int, height: int) -> Box:
    """A face with the margin that CelebA's images have around it, the generators' training data.

    Args:
        box: of the face, as ``FaceFinder`` finds it.
        width: of the photograph.
        height: of the photograph.

    Returns:
        About twice the width and 2.4 times the height of the box, less at the photograph's border.
    """
    region_width, region_height = (
        side * known / _FACE for side, known in zip(box[2:], _REGION, strict=True)
    )
    left = box.left + (box.width - region_width) / 2
    top = box.top + box.height / 2 - _FACE_CENTRE * region_height
    return _clipped(left, top, left + region_width, top + region_height, width, height)


def cut(photograph: Photograph, box: Box) -> Photograph:
    """Cut a part out of a photograph, with its alpha and everything else."""
    left, top, width, height = box
    right, bottom = left + width, top + height
    alpha = photograph.alpha
    return replace(
        photograph,
        pixels=photograph.pixels[top:bottom, left:right],
        alpha=None if alpha is None else alpha.crop((left, top, right, bottom)),
    )


def enlarge_face(
    photograph: Photograph,
    region: Box,
    enhancer: Enlarging,
    on_tile: Callable[[], object] = lambda: None,
) -> NDArray[np.uint8]:
    """Enlarge the region of a face.

    A face narrower than 19 pixels is first enlarged to 22, the width in the LR images of CelebA, by
    bicubic interpolation, if the generator was trained on blurred images. Measured with ``photo``
    on 12 validation faces of CelebA, as JPEG of quality 75, against enlarging them as they are:

    ============= ================== ================== =====================
    width of face PSNR / dB          identity distance  ST-LPIPS
    ============= ================== ================== =====================
    8             24.27 → 24.85      .701 → .640        .220 → .370 (softer)
    12            25.68 → 26.54      .650 → .647        .208 → .264 (softer)
    16            26.59 → 27.24      .607 → .597        .202 → .222 (softer)
    ============= ================== ================== =====================

    The pictures show more than the figures: eyes and mouths are in place then, and smeared
    otherwise. ``srgan`` expects sharp images: it enlarges a face that was enlarged before no
    better than bicubic interpolation does. Larger faces are not shrunk first: of faces of 30 and 45
    pixels at quality 40, the identity distance hardly changed (.506 → .504, .392 → .391) when they
    were shrunk to 22, and of 90 pixels it rose (.179 → .344).

    Args:
        photograph: the whole photograph.
        region: the face with its margin, see ``face_region``.
        enhancer: a generator.
        on_tile: called after each tile.

    Returns:
        uint8 RGB (scale x region.height, scale x region.width, 3).
    """
    pixels = cut(photograph, region).pixels
    known = size_for_generator(region, enhancer)
    if known == (region.width, region.height):
        return enhancer(pixels, on_tile)
    size = enhancer.scale * region.width, enhancer.scale * region.height
    return resized(enhancer(resized(pixels, known), on_tile), size)


def size_for_generator(region: Box, enhancer: Enlarging) -> tuple[int, int]:
    """Width and height at which ``enlarge_face`` gives a region to the generator."""
    zoom = min(_KNOWN_WIDTH / region.width, _KNOWN_HEIGHT / region.height)
    if zoom < _SMALL or not enhancer.for_photographs:
        return region.width, region.height
    return round(region.width * zoom), round(region.height * zoom)


def is_small(region: Box, enhancer: Enlarging) -> bool:
    """Whether a generator gets a region enlarged; see ``enlarge_face``."""
    return size_for_generator(region, enhancer) != region[2:]


def put_back(whole: NDArray[np.uint8], face: NDArray[np.uint8], region: Box, scale: int) -> None:
    """Paste an enlarged face into the enlarged photograph, in place, with a feathered border.

    The face replaces the photograph in the middle of its region, and fades out towards the
    region's border, unless that is the photograph's own. Pixels outside the region do not change.

    Args:
        whole: the photograph, ``scale`` times enlarged; uint8 RGB (H, W, 3).
        face: the region, ``scale`` times enlarged; uint8 RGB (h, w, 3).
        region: in pixels of the original photograph.
        scale: of the enlargement.
    """
    left, top, width, height = (scale * each for each in region)
    rows = _feather(top, height, whole.shape[0])
    columns = _feather(left, width, whole.shape[1])
    weight = (rows[:, None] * columns)[..., None]
    place = whole[top : top + height, left : left + width]
    place[:] = np.rint(place + weight * (face.astype(np.float32) - place)).astype(np.uint8)


def _feather(start: int, length: int, end: int) -> NDArray[np.float32]:
    """Weights along a region's side: rising from 0 over a quarter, and falling over the last."""
    position = (np.arange(length, dtype=np.float32) + 0.5) / length
    before = position if start > 0 else np.ones_like(position)
    after = position[::-1] if start + length < end else np.ones_like(position)
    weights: NDArray[np.float32] = np.minimum(1, 4 * np.minimum(before, after))
    return weights


def _clipped(left: float, top: float, right: float, bottom: float, width: int, height: int) -> Box:
    """A box of at least one pixel inside a picture of this width and height."""
    x, y = (min(max(round(start), 0), end - 1) for start, end in ((left, width), (top, height)))
    x_end, y_end = max(min(round(right), width), x + 1), max(min(round(bottom), height), y + 1)
    return Box(x, y, x_end - x, y_end - y)


def _one_per_face(boxes: Sequence[Box]) -> list[Box]:
    """Leave out each box whose centre is in an earlier one; the detector's best come first."""
    kept: list[Box] = []
    for box in boxes:
        x, y = box.left + box.width / 2, box.top + box.height / 2
        if not any(
            other.left <= x < other.left + other.width and other.top <= y < other.top + other.height
            for other in kept
        ):
            kept.append(box)
    return kept


def _in_rows(boxes: list[Box]) -> list[Box]:
    """Sort faces from top left to bottom right; faces side by side are one row."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.top + box.height / 2):
        if rows and box.top + box.height / 2 < rows[-1][0].top + rows[-1][0].height:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row)]
