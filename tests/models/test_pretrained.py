import json

import numpy as np
import pytest
import torch

from deepdepixelate import downscale, psnr_y, st_lpips, upscale
from deepdepixelate.data.sources import decode
from deepdepixelate.datasets import SampleFaces
from deepdepixelate.errors import UserError
from deepdepixelate.models.enlarge import enlarge
from deepdepixelate.models.pretrained import NAMES, find_generator, label_of
from deepdepixelate.models.weights import build_generator


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_papers_generator_and_says_where_it_comes_from(name: str) -> None:
    weights = find_generator(name)
    assert weights.architecture == {"blocks": 16, "channels": 64, "scale": 4}
    assert all(tensor.isfinite().all() for tensor in weights.tensors.values())
    trainings = [each for each in weights.lineage() if "fingerprint" in each]
    stages = [each["fingerprint"]["stage"] for each in trainings]
    assert stages[0] == ("pretrain" if name == "srresnet" else "train_gan")
    assert stages[-1] == "pretrain"
    assert "start_from" not in trainings[-1]["fingerprint"]  # that one began with random weights
    assert all(len(each["git_commit"]) == 40 for each in trainings)  # of clean checkouts
    assert "/" not in json.dumps(dict(weights.provenance))  # no place on anybody's machine
    assert label_of(name) == name


def test_each_is_better_by_what_it_was_trained_for_on_a_face_that_it_never_saw() -> None:
    faces = SampleFaces(
        photographs={"train": [], "val": [], "test": ["astronaut.png"]},
        width=178,
        height=218,
        overlap=0.5,
    ).load()
    face = decode(faces.images.read("astronaut_0_1.png"), 178, 218)[None, 1:217, 1:177]
    lr = downscale(face, 4)
    srresnet, srgan = (
        enlarge(build_generator(find_generator(name)), lr, torch.device("cpu"))
        for name in ("srresnet", "srgan")
    )
    bicubic = psnr_y(upscale(lr, 4), face, 4)[0]
    assert psnr_y(srresnet, face, 4)[0] > bicubic + 1.0
    assert psnr_y(srgan, face, 4)[0] > bicubic - 2.5
    assert st_lpips(srgan, face)[0] < 0.8 * st_lpips(srresnet, face)[0]
    for enlarged in (srresnet, srgan):  # no shift of colour
        means = np.abs(enlarged.mean((0, 1, 2)) - face.mean((0, 1, 2)))
        assert means.max() < 3


def test_other_names_are_files_or_refused() -> None:
    with pytest.raises(UserError, match="there is no model esrgan: give one of srgan, srresnet"):
        find_generator("esrgan")
    assert label_of("some/place/mine.safetensors") == "mine"
