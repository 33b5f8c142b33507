import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_faces import HEIGHT, INGESTION, WIDTH, damage_entry, encode, jpeg, picture, write_celeba

from deepdepixelate.data.ingest import centre_crop, ingest, report, training_crop
from deepdepixelate.data.sample import ImagesInMemory
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.sources import SPLITS, FaceSource, Split, decode, open_celeba
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.errors import UserError
from deepdepixelate.parameters import IngestParameters, TrainingCropParameters

SMALL = INGESTION.model_copy(update={"width": 10, "height": 10, "crop_width": 8, "crop_height": 8})


@dataclass(frozen=True)
class Recorded(ImagesInMemory):
    """Images that record which of them were read."""

    were_read: list[str] = field(default_factory=list)

    def read(self, name: str) -> bytes:
        self.were_read.append(name)
        return super().read(name)


def make_source(
    images: Mapping[str, bytes], **splits: Sequence[str]
) -> tuple[FaceSource, list[str]]:
    """A source of these images, and the list of the names that were read of it."""
    recorded = Recorded(images)
    chosen: dict[Split, Sequence[str]] = {split: splits[split] for split in SPLITS}
    source = FaceSource(splits=chosen, images=recorded, origin={"path": "a source"})
    return source, recorded.were_read


def numbered_source(
    make: Callable[[int], bytes], train: int, val: int, test: int
) -> tuple[FaceSource, list[str], list[str]]:
    """A source with so many images in each split, their names, and those that were read."""
    names = [str(number) for number in range(train + val + test)]
    source, read = make_source(
        {name: make(number) for number, name in enumerate(names)},
        train=names[:train],
        val=names[train : train + val],
        test=names[train + val :],
    )
    return source, names, read


def run(
    folder: Path,
    source: FaceSource,
    parameters: IngestParameters = INGESTION,
    **changed: Any,
) -> dict[Split, ShardedImages]:
    plans = ingest(source, parameters.model_copy(update=changed))
    for split, plan in plans.items():
        write_dataset(folder / split, plan, split=split)
    return {split: ShardedImages(folder / split) for split in plans}


def small_png(value: int) -> bytes:
    image = np.random.default_rng(value).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return encode(image, "PNG", compress_level=1)


# -- the crop --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "left", "top"),
    [(8, 8, 0, 0), (10, 12, 1, 2), (9, 8, 0, 0), (11, 13, 1, 2), (8, 15, 0, 3)],
)
def test_the_crop_is_the_centre_and_cuts_an_odd_pixel_right_and_below(
    width: int, height: int, left: int, top: int
) -> None:
    image = picture(0, width, height)
    cropped = centre_crop(image, 8, 8)
    np.testing.assert_array_equal(cropped, image[top : top + 8, left : left + 8])


def test_celebas_crop_keeps_all_but_a_pixel_at_each_side() -> None:
    image = picture(0, 178, 218)
    cropped = centre_crop(image, 176, 216)
    np.testing.assert_array_equal(cropped, image[1:217, 1:177])


# -- crops for training ----------------------------------------------------------------------------

QUARTERS = np.kron([[0, 80], [160, 240]], np.ones((32, 20)))
"""A picture of 40x64 pixels whose values tell the quarter, so that a crop's size can be seen."""


def crop_of(image: NDArray[np.uint8], **parameters: float) -> NDArray[np.uint8]:
    chosen = {"side": 16, "smallest": 0.4, "unchanged": 0.0, **parameters}
    return training_crop(image, TrainingCropParameters.model_validate(chosen))


def test_an_image_that_is_not_shrunk_is_cut_and_its_pixels_stay() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 40, 3), dtype=np.uint8)
    crop = crop_of(image, unchanged=1)
    windows = np.lib.stride_tricks.sliding_window_view(image, (16, 16, 3))
    assert (windows == crop).all((-3, -2, -1)).any()


def test_crops_of_shrunk_images_show_more_of_them() -> None:
    noise = np.random.default_rng(0).integers(0, 8, (300, 64, 40, 3))
    images = (noise + QUARTERS[..., None]).astype(np.uint8)
    whole, shrunk = (
        np.array([len(np.unique(crop_of(image, unchanged=share) // 40)) for image in images])
        for share in (1, 0)
    )
    assert shrunk.mean() > 1.1 * whole.mean()


def test_about_as_many_images_stay_unchanged_as_the_parameter_says() -> None:
    images = np.random.default_rng(0).choice([0, 255], (400, 24, 24, 3)).astype(np.uint8)
    black_and_white = [
        set(np.unique(crop_of(image, smallest=0.7, unchanged=0.3))) == {0, 255} for image in images
    ]
    assert 80 < sum(black_and_white) < 160  # 120 expected; the standard deviation is 9


def test_a_crop_depends_on_the_pixels_alone() -> None:
    first, second = picture(0), picture(1)
    np.testing.assert_array_equal(crop_of(first), crop_of(first.copy()))
    assert (crop_of(first) != crop_of(second)).any()


def test_the_smallest_size_is_as_large_as_the_crop() -> None:
    for seed in range(20):
        assert crop_of(picture(seed, 40, 64), side=16, smallest=0.4).shape == (16, 16, 3)


def test_only_training_images_are_cut_to_crops(tmp_path: Path) -> None:
    source, _, _ = numbered_source(jpeg, train=3, val=1, test=2)
    crops = TrainingCropParameters(side=16, smallest=0.5, unchanged=0.5)
    whole, cut = (
        run(tmp_path / "whole", source),
        run(tmp_path / "cut", source, training_crops=crops),
    )
    for split in ("val", "test"):
        assert cut[split].manifest == whole[split].manifest
    assert cut["train"].manifest.shape == (16, 16, 3)
    assert cut["train"].manifest.details["training_crops"] == crops.model_dump()
    for index in range(3):
        np.testing.assert_array_equal(
            cut["train"][index], training_crop(whole["train"][index], crops)
        )


# -- ingest ----------------------------------------------------------------------------------------


def test_an_archive_becomes_cropped_pixels_in_its_splits(tmp_path: Path) -> None:
    faces = {f"{number:06d}.jpg": jpeg(number) for number in range(1, 8)}
    codes = dict(zip(faces, "0120122", strict=True))
    write_celeba(tmp_path, faces, "".join(f"{name} {code}\r\n" for name, code in codes.items()))
    images = run(tmp_path / "hr", open_celeba(tmp_path))
    for code, split in enumerate(SPLITS):
        names = [name for name in faces if codes[name] == str(code)]
        assert images[split].names == tuple(names)
        assert images[split].manifest.split == split
        assert images[split].manifest.shape == (32, 40, 3)
        for index, name in enumerate(names):
            expected = decode(faces[name], WIDTH, HEIGHT)[4:36, 4:44]
            np.testing.assert_array_equal(images[split][index], expected)


def test_nothing_is_read_before_it_is_written(tmp_path: Path) -> None:
    source, names, read = numbered_source(small_png, train=3, val=1, test=2)
    plans = ingest(source, SMALL)
    assert list(plans) == ["train", "val", "test"]
    assert read == []
    write_dataset(tmp_path, plans["train"], split="train")
    assert sorted(read) == names[:3]


def test_a_limit_takes_the_first_images_of_each_split(tmp_path: Path) -> None:
    source, names, read = numbered_source(small_png, train=5, val=1, test=3)
    images = run(tmp_path, source, SMALL, limit_per_split=2)
    assert {split: list(stored.names) for split, stored in images.items()} == {
        "train": names[:2],
        "val": names[5:6],
        "test": names[6:8],
    }
    assert sorted(read) == [*names[:2], names[5], *names[6:8]]


def test_names_stay_with_their_pixels_across_groups_and_rejected_images(tmp_path: Path) -> None:
    names = [f"{number:03d}.png" for number in range(203)]
    bad = {"000.png", "063.png", "064.png", "100.png", "199.png"}
    encoded = {
        name: b"nothing" if name in bad else small_png(number) for number, name in enumerate(names)
    }
    source, _ = make_source(encoded, train=names[:200], val=names[200:201], test=names[201:])
    images = run(tmp_path, source, SMALL, max_rejected_fraction=0.05)["train"]
    assert list(images.names) == [name for name in names[:200] if name not in bad]
    for index, name in enumerate(images.names):
        np.testing.assert_array_equal(images[index], decode(encoded[name], 10, 10)[1:9, 1:9])
    rejected = images.manifest.details["rejected"]
    assert [entry["name"] for entry in rejected] == sorted(bad)


@pytest.mark.parametrize("empty", [["train"], ["val"], ["test"], ["train", "test"]])
def test_a_split_without_images_is_an_error_before_anything_is_read(empty: list[str]) -> None:
    splits = {split: [] if split in empty else [f"{split}.png"] for split in SPLITS}
    source, read = make_source({}, **splits)
    with pytest.raises(UserError, match=f"a source has no image of the {' and the '.join(empty)}"):
        ingest(source, SMALL)
    assert read == []


def test_the_error_about_an_empty_split_names_no_path_if_there_is_none() -> None:
    source = FaceSource(
        splits={"train": [], "val": [], "test": []},
        images=ImagesInMemory({}),
        origin={"dataset": "photographs", "path": None},
    )
    with pytest.raises(UserError, match="has no image of the train") as caught:
        ingest(source, SMALL)
    assert "None" not in str(caught.value)


def test_a_split_without_usable_images_is_an_error(tmp_path: Path) -> None:
    encoded = {"a.png": small_png(1), "b.png": b"nothing", "c.png": small_png(3)}
    source, _ = make_source(encoded, train=["a.png"], val=["b.png"], test=["c.png"])
    with pytest.raises(UserError, match="no usable images for the val split"):
        run(tmp_path, source, SMALL, max_rejected_fraction=1)
    assert not (tmp_path / "val" / "manifest.json").exists()


def twenty_images(rejected: Sequence[int]) -> FaceSource:
    names = [f"{number:02d}.png" for number in range(20)]
    encoded = {
        name: b"nothing" if number in rejected else small_png(number)
        for number, name in enumerate(names)
    }
    return make_source(encoded, train=names[:10], val=names[10:15], test=names[15:])[0]


@pytest.mark.parametrize("rejected", [[], [3], [3, 12], [3, 19], [18, 19]])
def test_as_many_rejected_images_as_allowed_pass(tmp_path: Path, rejected: list[int]) -> None:
    images = run(tmp_path, twenty_images(rejected), SMALL, max_rejected_fraction=0.1)
    assert sum(len(stored) for stored in images.values()) == 20 - len(rejected)


@pytest.mark.parametrize("rejected", [[3, 4, 5], [3, 12, 19], [16, 17, 18]])
def test_more_rejected_images_than_allowed_stop_the_run(
    tmp_path: Path, rejected: list[int]
) -> None:
    with pytest.raises(UserError, match=r"ingest\.max_rejected_fraction") as caught:
        run(tmp_path, twenty_images(rejected), SMALL, max_rejected_fraction=0.1)
    assert f"{rejected[-1]:02d}.png (not an image that can be read)" in str(caught.value)
    split = "train" if rejected[-1] < 10 else "test"
    assert not (tmp_path / split / "manifest.json").exists()


def test_no_rejected_image_passes_at_zero(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 images cannot be used.*\(0 of 20\)"):
        run(tmp_path, twenty_images([7]), SMALL, max_rejected_fraction=0)


# -- the report ------------------------------------------------------------------------------------


def test_the_report_counts_every_image(tmp_path: Path) -> None:
    faces = {f"{number:06d}.jpg": jpeg(number) for number in range(1, 10)}
    faces["000002.jpg"] = faces["000002.jpg"][:300]
    faces["000004.jpg"] = encode(picture(4, WIDTH + 1, HEIGHT), "JPEG")
    partition = "".join(
        f"{number:06d}.jpg {code}\n" for number, code in enumerate("00011222000", start=1)
    )
    archive = write_celeba(tmp_path, {**faces, "unknown.jpg": jpeg(0)}, partition)
    damage_entry(archive, "000006.jpg")
    source = open_celeba(tmp_path)
    images = run(tmp_path / "hr", source, max_rejected_fraction=0.5)
    found: dict[str, Any] = json.loads(json.dumps(report(images)))

    assert found["images"] == {"train": 3, "val": 1, "test": 2}
    assert found["missing"] == {"train": 2, "val": 0, "test": 0}
    assert found["unlisted"] == 1
    assert found["source"]["path"] == str(archive)
    reasons = {
        split: {entry["name"]: entry["reason"] for entry in rejected}
        for split, rejected in found["rejected"].items()
    }
    assert list(reasons["train"]) == ["000002.jpg"]
    assert "damaged JPEG" in reasons["train"]["000002.jpg"]
    assert reasons["val"] == {"000004.jpg": "49x40 pixels, expected 48x40"}
    assert list(reasons["test"]) == ["000006.jpg"]
    assert "damaged in the archive" in reasons["test"]["000006.jpg"]
    assert found["duplicates_across_splits"] == []
    assert found["digests"] == {split: images[split].manifest.digest for split in SPLITS}


def test_the_report_names_images_that_are_in_more_than_one_split(tmp_path: Path) -> None:
    encoded = {f"{number}.png": small_png(number) for number in range(6)}
    encoded["copy.png"] = encoded["again.png"] = encoded["1.png"]
    encoded["twin.png"] = encoded["0.png"]
    source, _ = make_source(
        encoded,
        train=["0.png", "twin.png", "1.png", "2.png"],
        val=["3.png", "copy.png"],
        test=["again.png", "4.png", "5.png"],
    )
    duplicates = report(run(tmp_path, source, SMALL))["duplicates_across_splits"]
    assert duplicates == [
        [
            {"split": "train", "name": "1.png"},
            {"split": "val", "name": "copy.png"},
            {"split": "test", "name": "again.png"},
        ]
    ]
