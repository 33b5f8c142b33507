import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import tiny_weights

from deepdepixelate.enhancing.enhancer import Enhancer
from deepdepixelate.enhancing.files import Outcome, enhance_files, find_photographs, told
from deepdepixelate.errors import UserError


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return Enhancer(tiny_weights(), device="cpu")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "b.jpg")
    return folder


def enhance(
    inputs: list[Path], output: Path, enhancer: Enhancer, *, overwrite: bool = False
) -> Outcome:
    found = find_photographs(inputs)
    return enhance_files(
        found, output, enhancer, label="tiny", max_pixels=10**6, overwrite=overwrite
    )


def test_a_folder_becomes_a_folder(photographs: Path, tmp_path: Path, enhancer: Enhancer) -> None:
    output = tmp_path / "new" / "folder"
    outcome = enhance([photographs], output, enhancer)
    assert outcome.failures == []
    assert outcome.written == [output / "a-tiny-4x.png", output / "b-tiny-4x.png"]
    assert sorted(output.iterdir()) == outcome.written
    for path in outcome.written:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (48, 32))


def test_a_bad_one_is_named_and_the_rest_are_done(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    (photographs / "aa.png").write_bytes(b"no image")
    (photographs / "z.jpg").write_bytes((photographs / "b.jpg").read_bytes()[:200])
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    assert [path.name for path in outcome.written] == ["a-tiny-4x.png", "b-tiny-4x.png"]
    assert [failure.photograph.name for failure in outcome.failures] == ["aa.png", "z.jpg"]
    message = told(outcome)
    assert message.startswith("2 of 4 photographs could not be enlarged:\n")
    assert "aa.png: not an image that can be read" in message
    assert len(list((tmp_path / "out").iterdir())) == 2  # nothing half-written beside them


def test_nothing_is_overwritten_unasked(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    there = tmp_path / "out" / "a-tiny-4x.png"
    there.parent.mkdir()
    there.write_text("mine")
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    assert there.read_text() == "mine"
    assert [path.name for path in outcome.written] == ["b-tiny-4x.png"]
    assert "is there already" in outcome.failures[0].reason

    outcome = enhance([photographs], tmp_path / "out", enhancer, overwrite=True)
    assert outcome.failures == []
    assert there.read_bytes().startswith(b"\x89PNG")


def test_two_of_one_name_do_not_replace_each_other(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    Image.new("RGB", (5, 5), "red").save(photographs / "a.webp")
    outcome = enhance([photographs], tmp_path / "out", enhancer, overwrite=True)
    (failure,) = outcome.failures
    assert failure.photograph.name == "a.webp"
    with Image.open(tmp_path / "out" / "a-tiny-4x.png") as image:
        assert image.size == (48, 32)


def test_colour_profile_reaches_the_file(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    Image.new("RGB", (5, 5)).save(photographs / "c.png", icc_profile=b"a profile")
    enhance([photographs / "c.png"], tmp_path / "out", enhancer)
    with Image.open(tmp_path / "out" / "c-tiny-4x.png") as image:
        assert image.info["icc_profile"] == b"a profile"


def test_what_is_not_there_is_told_before_anything_is_done(photographs: Path) -> None:
    with pytest.raises(UserError, match=r"there is no photograph .*missing\.png"):
        find_photographs([photographs, photographs / "missing.png"])
    empty = photographs / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no images in"):
        find_photographs([empty])


def test_one_named_twice_is_done_once(photographs: Path) -> None:
    assert find_photographs([photographs / "b.jpg", photographs]) == [
        photographs / "b.jpg",
        photographs / "a.png",
    ]


def test_an_output_that_is_a_file_is_refused(photographs: Path, enhancer: Enhancer) -> None:
    with pytest.raises(UserError, match="cannot be made"):
        enhance([photographs], photographs / "a.png", enhancer)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_is_refused(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written to"):
        enhance([photographs], locked, enhancer)
