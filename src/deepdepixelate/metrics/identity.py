"""Whether an enlarged face is still the same person's, in the eyes of a face recognition network.

The network of dlib (King, "High quality face recognition with deep metric learning", 2017; a ResNet
of 29 layers after He et al., arXiv 1512.03385) maps a face to 128 numbers. Those of one person's
photographs lie closer together than 0.6, those of different people farther apart; so it was
trained. Its weights come with ``face_recognition_models``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepdepixelate.errors import UserError, first_line
from deepdepixelate.files import find_file, reinstall

Mode = Literal["auto", "on", "off"]

PACKAGE = "face_recognition_models"
"""The distribution that carries the weights (CC0). Its own code, which needs ``pkg_resources``, is
not imported."""

ANOTHER_PERSON = 0.6
"""The distance beyond which two faces count as different people's."""

DIFFERENT_PEOPLE = 0.85
"""The mean distance between originals of different people in CelebA, measured."""

PROTOCOL = {
    "identity_distance": "Euclidean distance between the 128 numbers that dlib's face recognition "
    "network gives the enlarged and the original face, both aligned by the original's landmarks; "
    "averaged over faces; smaller is better",
    "identity_lost": f"share of faces beyond {ANOTHER_PERSON}, which count as another person's",
}
"""The figures in words, for the files that carry them."""

_INSTALL = 'pip install "deepdepixelate[identity]" (110 MB), or go without: evaluate.identity=off.'


class FaceRecognition:
    """Finds faces and tells how alike they are; on any thread, on one at a time."""

    def __init__(self) -> None:
        """Load the detector and both networks.

        Raises:
            UserError: a package or a file is missing or damaged.
        """
        try:
            import dlib
        except ImportError as error:
            raise UserError(
                f"dlib, which recognises faces, cannot be imported ({first_line(error)}): "
                f"{_INSTALL}"
            ) from error
        self._dlib: Any = dlib
        self._lock = Lock()  # dlib's networks keep what they compute: two threads would mix it up
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = _load(dlib.shape_predictor, "shape_predictor_5_face_landmarks.dat")
        self._describe = _load(
            dlib.face_recognition_model_v1, "dlib_face_recognition_resnet_model_v1.dat"
        )

    def distances(
        self, images: Sequence[NDArray[np.uint8]], original: NDArray[np.uint8]
    ) -> list[float]:
        """How far the face of each image is from that of the original.

        The largest face of the original is taken; the same part of each image is compared with it.

        Args:
            images: uint8 RGB (H, W, 3) each.
            original: uint8 RGB (H, W, 3).

        Returns:
            A distance each, 0 for an equal image; NaN each where the original shows no face.

        Raises:
            UserError: the network computes something that is no number.
        """
        with self._lock:
            if (landmarks := self._find(original)) is None:
                return [math.nan] * len(images)
            chips = [
                self._dlib.get_face_chip(np.ascontiguousarray(image), landmarks)
                for image in (original, *images)
            ]
            described = np.array(self._describe.compute_face_descriptor(chips))
        distances = np.linalg.norm(described[1:] - described[0], axis=1)
        if not np.isfinite(distances).all():
            raise UserError(
                "the face recognition network computes what is no number: its file is damaged. "
                f"Reinstall it: {reinstall(PACKAGE)}"
            )
        return [float(distance) for distance in distances]

    def _find(self, image: NDArray[np.uint8]) -> Any:
        """Landmarks of the largest face, or None."""
        image = np.ascontiguousarray(image)
        # Faces of less than 80 pixels are found only once the image is doubled.
        faces = self._detect(image, 0) or self._detect(image, 1)
        if not faces:
            return None
        return self._landmarks(image, max(faces, key=lambda face: face.area()))


@dataclass(frozen=True)
class Identity:
    """The distance between faces, or why there is none.

    Attributes:
        measure: images and their original to a distance each, see ``FaceRecognition.distances``; on
            any thread. Or None.
        reason: why ``measure`` is None.
    """

    measure: Callable[[Sequence[NDArray[np.uint8]], NDArray[np.uint8]], list[float]] | None = None
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """As ``evaluation.json`` says it."""
        if self.measure is None:
            return {"available": False, "reason": self.reason}
        return {"available": True}


def find_identity(mode: Mode) -> Identity:
    """The distance between faces, where it is wanted and can be had.

    Args:
        mode: ``auto`` measures it where both packages are installed, ``on`` insists, ``off`` does
            without.

    Raises:
        UserError: it is wanted, and a package or a file is missing or damaged.
    """
    if mode == "off":
        return Identity(reason="switched off by evaluate.identity")
    if mode == "auto" and not _installed():
        return Identity(reason='not installed: pip install "deepdepixelate[identity]"')
    return Identity(FaceRecognition().distances)


def _installed() -> bool:
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        return False
    return find_spec("dlib") is not None


def _load(maker: Callable[[str], Any], name: str) -> Any:
    path = find_file(PACKAGE, f"face_recognition_models/models/{name}", install=_INSTALL)
    try:
        return maker(str(path))
    except RuntimeError as error:
        raise UserError(
            f"the weights of the face recognition in {path} are damaged ({first_line(error)}). "
            f"Reinstall them: {reinstall(PACKAGE)}"
        ) from error
