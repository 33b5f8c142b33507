from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kedro.io import DatasetError
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from skimage.feature import Cascade

from deepdepixelate.data.sources import SPLITS, FaceSource, decode
from deepdepixelate.datasets import SampleFaces

CATALOG = Path(__file__).parents[2] / "conf" / "base" / "catalog.yml"
WIDTH, HEIGHT = 178, 218


def catalogue_entry() -> dict[str, Any]:
    entry: dict[str, Any] = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))["faces"]
    assert entry["type"] == "deepdepixelate.datasets.SampleFaces"
    return {name: value for name, value in entry.items() if name not in ("type", "metadata")}


@pytest.fixture(scope="module")
def faces() -> FaceSource:
    return SampleFaces(**catalogue_entry()).load()


def pixels(encoded: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(encoded)) as image:
        return np.asarray(image)


def test_every_split_has_crops_of_the_right_size(faces: FaceSource) -> None:
    assert list(faces.splits) == list(SPLITS)
    for split in SPLITS:
        assert len(faces.splits[split]) >= 4
        for name in faces.splits[split]:
            assert decode(faces.images.read(name), WIDTH, HEIGHT).shape == (HEIGHT, WIDTH, 3)
    assert (catalogue_entry()["width"], catalogue_entry()["height"]) == (WIDTH, HEIGHT)


def test_nothing_is_missing_or_unlisted(faces: FaceSource) -> None:
    assert faces.missing == {"train": 0, "val": 0, "test": 0}
    assert faces.unlisted == 0


@pytest.mark.slow
def test_two_loads_are_equal(faces: FaceSource) -> None:
    again = SampleFaces(**catalogue_entry()).load()
    assert again.splits == faces.splits
    for names in faces.splits.values():
        assert all(again.images.read(name) == faces.images.read(name) for name in names)


def test_no_photograph_and_no_crop_is_in_two_splits(faces: FaceSource) -> None:
    photographs = [name for names in catalogue_entry()["photographs"].values() for name in names]
    assert len(set(photographs)) == len(photographs)
    crops = [name for names in faces.splits.values() for name in names]
    assert len(set(crops)) == len(crops)
    contents = {
        split: {faces.images.read(n) for n in names} for split, names in faces.splits.items()
    }
    assert not contents["train"] & contents["val"]
    assert not contents["train"] & contents["test"]
    assert not contents["val"] & contents["test"]


def test_crops_are_named_after_their_photograph_and_place(faces: FaceSource) -> None:
    for split, photographs in catalogue_entry()["photographs"].items():
        stems = {name.rsplit("_", 2)[0] for name in faces.splits[split]}
        assert stems == {Path(photograph).stem for photograph in photographs}
        assert all(name.endswith(".png") for name in faces.splits[split])
        for stem in stems:
            assert f"{stem}_0_0.png" in faces.splits[split]


def test_a_face_is_in_the_test_split(faces: FaceSource) -> None:
    detector = Cascade(data.lbp_frontal_face_cascade_filename())
    found = [
        name
        for name in faces.splits["test"]
        if detector.detect_multi_scale(
            img=pixels(faces.images.read(name)),
            scale_factor=1.2,
            step_ratio=1,
            min_size=(60, 60),
            max_size=(160, 160),
        )
    ]
    assert any(name.startswith("astronaut_") for name in found)


def test_crops_without_overlap_tile_the_photograph() -> None:
    photographs: dict[Any, list[str]] = {"train": ["coffee.png"], "val": [], "test": []}
    source = SampleFaces(photographs=photographs, width=300, height=200, overlap=0).load()
    assert source.splits["train"] == [f"coffee_{r}_{c}.png" for r in (0, 1) for c in (0, 1)]
    rows = [
        np.concatenate(
            [pixels(source.images.read(f"coffee_{row}_{column}.png")) for column in (0, 1)], 1
        )
        for row in (0, 1)
    ]
    np.testing.assert_array_equal(np.concatenate(rows), data.coffee())


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75])
def test_neighbouring_crops_overlap_enough_and_reach_both_ends(overlap: float) -> None:
    photographs: dict[Any, list[str]] = {"train": ["coffee.png"], "val": [], "test": []}
    width = 178
    source = SampleFaces(photographs=photographs, width=width, height=400, overlap=overlap).load()
    coffee = data.coffee()
    starts = []
    for name in source.splits["train"]:
        crop = pixels(source.images.read(name))
        places = [
            left
            for left in range(coffee.shape[1] - width + 1)
            if np.array_equal(crop[:, 0], coffee[:, left])
        ]
        assert len(places) == 1
        np.testing.assert_array_equal(crop, coffee[:, places[0] : places[0] + width])
        starts += places
    assert starts[0] == 0
    assert starts[-1] == coffee.shape[1] - width
    assert max(np.diff(starts)) <= width * (1 - overlap) + 1
    assert min(np.diff(starts)) > 0


def test_the_sample_is_always_there_and_cannot_be_saved() -> None:
    dataset = SampleFaces(**catalogue_entry())
    assert dataset.exists()
    with pytest.raises(DatasetError):
        dataset.save(None)
