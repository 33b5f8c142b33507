import base64
import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import AbstractDataset, DatasetError
from PIL import Image
from stored_images import plan_images

from deepdepixelate.data.writing import DatasetPlan
from deepdepixelate.datasets import (
    CelebAFaces,
    Folder,
    History,
    ImageShards,
    NetworkWeights,
    OwnFaces,
    PackagedHistory,
    PackagedWeights,
    Picture,
    SampleFaces,
)
from deepdepixelate.errors import UserError
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.models.weights import Weights


def image_plan(count: int) -> DatasetPlan:
    pixels = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return plan_images([f"{number}.png" for number in range(count)], pixels, per_shard=2)


def test_opening_the_datasets_does_not_import_torch() -> None:
    program = (
        "import sys, deepdepixelate.datasets as d\n"
        "d.SampleFaces(photographs={}, width=1, height=1, overlap=0).exists()\n"
        "d.ImageShards(filepath='nowhere', split='train')\n"
        "d.NetworkWeights(filepath='nowhere').exists()\n"
        "d.Folder(filepath='nowhere').exists()\n"
        "d.Picture(filepath='nowhere.png').exists()\n"
        "d.CelebAFaces(filepath='nowhere').exists()\n"
        "d.OwnFaces(filepath='nowhere', split={}).exists()\n"
        "d.History(filepath='nowhere.csv').load()\n"
        "d.PackagedWeights(name='srgan').exists()\n"
        "d.PackagedHistory(name='train_gan').load()\n"
        "print(sorted(name for name in ('torch', 'torchvision') if name in sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


# -- ImageShards -----------------------------------------------------------------------------------


def test_image_shards_exist_from_the_manifest_on(tmp_path: Path) -> None:
    folder = tmp_path / "hr" / "val"
    dataset = ImageShards(filepath=str(folder), split="val")
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="no complete dataset"):
        dataset.load()

    dataset.save(image_plan(5))
    assert dataset.exists()
    images = dataset.load()
    assert len(images) == 5
    assert images.manifest.split == "val"
    assert [shard.count for shard in images.manifest.shards] == [2, 2, 1]

    (folder / "manifest.json").unlink()
    assert not dataset.exists()


def test_image_shards_that_fail_to_save_do_not_exist(tmp_path: Path) -> None:
    dataset = ImageShards(filepath=str(tmp_path), split="val")
    dataset.save(image_plan(3))
    with pytest.raises(DatasetError, match="no usable images"):
        dataset.save(image_plan(0))
    assert not dataset.exists()


def opened(preview: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(preview)))


def test_image_shards_are_previewed_as_a_contact_sheet(tmp_path: Path) -> None:
    dataset = ImageShards(filepath=str(tmp_path / "lr"), split="val")
    dataset.save(image_plan(10))
    images = dataset.load()
    sheet = opened(dataset.preview(images=4))
    assert sheet.height == 17 * 42  # two images of 8 and a gap of 1, each pixel 42 x 42
    shown = np.asarray(sheet.crop(sheet.getchannel("A").getbbox()).reduce(42))
    for index, top, left in ((0, 0, 0), (3, 0, 9), (6, 9, 0), (9, 9, 9)):
        image = shown[top : top + 8, left : left + 8, :3]
        np.testing.assert_array_equal(image, images[index])
    assert not shown[8].any()
    assert not shown[:, 8].any()


@pytest.mark.parametrize("count", [1, 3])
def test_a_contact_sheet_has_each_image_once(tmp_path: Path, count: int) -> None:
    dataset = ImageShards(filepath=str(tmp_path / "lr"), split="val")
    dataset.save(image_plan(count))
    tile = 720 // (9 * min(count, 2) - 1) * 8
    shown = np.asarray(opened(dataset.preview()))[..., 3] > 0
    assert shown.sum() == count * tile**2


def test_a_contact_sheet_of_large_images_is_scaled_down(tmp_path: Path) -> None:
    pixels = np.full((2, 400, 500, 3), 100, np.uint8)
    dataset = ImageShards(filepath=str(tmp_path / "hr"), split="val")
    dataset.save(plan_images(["a.png", "b.png"], pixels))
    left, top, right, bottom = opened(dataset.preview()).getchannel("A").getbbox() or (0, 0, 0, 0)
    assert (right - left, bottom - top) == (720, 285)


# -- NetworkWeights --------------------------------------------------------------------------------


def make_weights() -> Weights:
    generator = torch.Generator().manual_seed(0)
    return Weights(
        kind="generator",
        architecture={"blocks": 1, "channels": 4, "scale": 2},
        tensors={
            "head.weight": torch.randn(4, 3, 9, 9, generator=generator),
            "counter": torch.tensor(7),
            "turned": torch.randn(3, 5, generator=generator).T,
        },
        provenance={"stage": "pretrain", "updates": 3, "data": {"train": "abc"}},
    )


def test_network_weights_come_back_with_their_meaning(tmp_path: Path) -> None:
    path = tmp_path / "models" / "srresnet.safetensors"
    dataset = NetworkWeights(filepath=str(path))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"srresnet\.safetensors are not there"):
        dataset.load()

    weights = make_weights()
    dataset.save(weights)
    assert dataset.exists()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    loaded = dataset.load()
    assert loaded.kind == "generator"
    assert loaded.architecture == weights.architecture
    assert loaded.provenance == weights.provenance
    assert loaded.tensors.keys() == weights.tensors.keys()
    for name, tensor in weights.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
    assert loaded.digest == weights.digest


def test_network_weights_are_plain_safetensors_with_a_readable_header(tmp_path: Path) -> None:
    path = tmp_path / "srgan.safetensors"
    NetworkWeights(filepath=str(path)).save(make_weights())
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    assert metadata["kind"] == "generator"
    assert json.loads(metadata["architecture"])["scale"] == 2
    assert json.loads(metadata["provenance"])["stage"] == "pretrain"


@pytest.mark.parametrize("kept", [0, 4, 100, 500])
def test_damaged_network_weights_are_reported(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "srgan.safetensors"
    dataset = NetworkWeights(filepath=str(path))
    dataset.save(make_weights())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DatasetError, match="damaged or not safetensors"):
        dataset.load()


# -- History ---------------------------------------------------------------------------------------


def test_a_history_comes_back_and_need_not_be_there(tmp_path: Path) -> None:
    dataset = History(filepath=str(tmp_path / "reporting" / "history.csv"))
    assert dataset.optional
    assert not dataset.exists()
    empty = dataset.load()
    assert empty.empty
    assert list(empty.columns) == []

    history = pd.DataFrame({"update": [10, 20], "loss": [0.5, 0.25], "val.psnr_y": [None, 27.5]})
    dataset.save(history)
    assert dataset.exists()
    loaded = dataset.load()
    pd.testing.assert_frame_equal(loaded[["update", "loss"]], history[["update", "loss"]])
    assert loaded["val.psnr_y"].isna().tolist() == [True, False]

    (tmp_path / "reporting" / "history.csv").unlink()
    dataset.release()
    assert dataset.load().empty


def test_a_damaged_history_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_bytes(b"")
    with pytest.raises(DatasetError):
        History(filepath=str(tmp_path / "history.csv")).load()


# -- Picture, Folder, CelebAFaces, OwnFaces --------------------------------------------------------


def test_a_picture_is_saved_loaded_and_previewed(tmp_path: Path) -> None:
    path = tmp_path / "figures" / "comparison.png"
    dataset = Picture(filepath=str(path))
    assert not dataset.exists()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    dataset.save(Image.fromarray(pixels))
    assert dataset.exists()
    np.testing.assert_array_equal(np.asarray(dataset.load()), pixels)

    # Kedro-Viz squeezes any preview into its own frame: this one has the frame's proportions.
    with opened(dataset.preview()) as image:
        assert image.width / image.height == pytest.approx(458 / 300, abs=0.1)
        left, top = (image.width - 17) // 2, (image.height - 12) // 2
        shown = image.convert("RGB").crop((left, top, left + 17, top + 12))
        np.testing.assert_array_equal(np.asarray(shown), pixels)


def test_a_folder_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "models" / "checkpoints"
    dataset = Folder(filepath=str(path))
    assert dataset.exists()
    assert not path.exists()
    assert dataset.load() == path
    assert path.is_dir()
    (path / "update.pt").write_bytes(b"mine")
    assert dataset.load() == path
    assert (path / "update.pt").read_bytes() == b"mine"
    with pytest.raises(DatasetError):
        dataset.save(None)


def test_a_folder_that_cannot_be_written_to_is_reported_on_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may do anything
    with pytest.raises(DatasetError, match="cannot be written to"):
        Folder(filepath=str(tmp_path / "checkpoints")).load()


def test_celeba_reports_what_is_missing_when_it_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "celeba"
    dataset = CelebAFaces(filepath=str(folder))
    with pytest.raises(DatasetError, match="no CelebA images"):
        dataset.load()

    folder.mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "000001.jpg")
    (folder / "list_eval_partition.txt").write_text("000001.jpg 2\n")
    assert dataset.exists()
    assert dataset.load().splits["test"] == ["000001.jpg"]
    with pytest.raises(DatasetError):
        dataset.save(None)


def test_own_faces_are_split_as_configured(tmp_path: Path) -> None:
    for number in range(20):
        face = Image.fromarray(np.full((4, 4, 3), number, np.uint8))
        face.save(tmp_path / f"{number}.png")
    dataset = OwnFaces(filepath=str(tmp_path), split={"val": 0.4, "test": 0.4})
    assert dataset.exists()
    dataset.check()
    assert all(dataset.load().splits.values())
    with pytest.raises(UserError, match="too few images"):
        OwnFaces(filepath=str(tmp_path), split={"val": 0, "test": 0.4}).check()


@pytest.mark.parametrize(
    ("dataset", "shown"),
    [
        (
            ImageShards(filepath="a/b", split="train"),
            "filepath='a/b', split='train'",
        ),
        (
            SampleFaces(photographs={"val": ["a.png"]}, width=3, height=4, overlap=0.5),
            "photographs={'val': ['a.png']}, width=3, height=4, overlap=0.5",
        ),
        (NetworkWeights(filepath="a/b"), "filepath='a/b'"),
        (Folder(filepath="a/b"), "filepath='a/b'"),
        (CelebAFaces(filepath="a/b"), "filepath='a/b'"),
        (OwnFaces(filepath="s3://a/b", split={"val": 0.2}), "filepath='s3://a/b'"),
        (PackagedWeights(name="srgan"), "name='srgan'"),
        (PackagedHistory(name="pretrain"), "name='pretrain'"),
        (History(filepath="a/b.csv"), "a/b.csv"),
        (Picture(filepath="a/b.png"), "a/b.png"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_datasets_show_their_arguments(dataset: AbstractDataset[Any, Any], shown: str) -> None:
    assert f"{type(dataset).__name__}(" in str(dataset)
    assert shown in str(dataset)
    assert " at 0x" not in str(dataset)


# -- PackagedWeights, PackagedHistory --------------------------------------------------------------


def test_packaged_weights_are_the_packages_and_read_only() -> None:
    packaged = PackagedWeights(name="srgan")
    assert packaged.exists()
    assert packaged.load().digest == find_generator("srgan").digest
    with pytest.raises(DatasetError, match="read-only"):
        packaged.save(packaged.load())


@pytest.mark.parametrize(("stage", "name"), [("pretrain", "srresnet"), ("train_gan", "srgan")])
def test_packaged_history_is_that_of_the_packaged_weights(stage: str, name: str) -> None:
    history = PackagedHistory(name=stage).load()
    assert history["update"].iloc[-1] == find_generator(name).training["settings"]["updates"]
    losses = history["loss"].dropna()  # a row may be a validation's alone
    assert len(losses) > 5
    assert np.isfinite(losses).all()
