import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from group_photograph import group_photograph
from PIL import Image

from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights, load_weights, save_weights
from deepdepixelate.photographs.demo.zooming import Part, Zoomer
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import Box, cut, enlarge_face, face_region
from deepdepixelate.photographs.photograph import read_photograph


@pytest.fixture
def model(tmp_path: Path) -> str:
    torch.manual_seed(0)
    architecture = GeneratorArchitecture(blocks=1, channels=4, scale=4)
    tensors = Generator(architecture).state_dict()
    path = tmp_path / "mine.safetensors"
    provenance = {"degrade.kind": "realistic"}  # small faces are enlarged separately
    save_weights(path, Weights("generator", architecture.model_dump(), tensors, provenance))
    return str(path)


@pytest.fixture
def zoomer(tmp_path: Path, model: str) -> Zoomer:
    folder = tmp_path / "results"
    folder.mkdir()
    return Zoomer(folder, [model], device="cpu", tile=16, max_pixels=10_000)


def photograph(path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*reversed(size), 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, icc_profile=b"a profile")
    return path


def test_a_part_is_enlarged_like_a_photograph_of_it(
    zoomer: Zoomer, model: str, tmp_path: Path
) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))
    calls: list[tuple[int, int]] = []
    chosen = Part(Box(5, 7, 20, 30))
    result = zoomer.enlarge(opened, chosen, model, 4, lambda *done: calls.append(done))
    part = Image.fromarray(opened.photograph.pixels[7:37, 5:25])
    part.save(tmp_path / "part.png")
    alone = read_photograph(tmp_path / "part.png", max_pixels=10**6)
    expected = Enhancer(load_weights(Path(model)), device="cpu").enlarge(alone)
    with Image.open(result.file) as after:
        np.testing.assert_array_equal(np.asarray(after), np.asarray(expected))
        assert after.info["icc_profile"] == b"a profile"
    assert result.file.name == "face-mine-4x.png"
    assert result.shown == result.file
    assert calls == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    again = zoomer.enlarge(opened, chosen, model, 4, lambda *done: calls.append(done))
    assert again == result
    assert len(calls) == 5  # nothing is done twice


def test_faces_are_enlarged_with_their_margin_and_put_back_into_the_whole(
    zoomer: Zoomer, model: str, tmp_path: Path
) -> None:
    pytest.importorskip("dlib")
    group_photograph([30, 34]).save(tmp_path / "group.png")
    opened = zoomer.open(tmp_path / "group.png")
    assert opened.faces == []
    zoomer.find(opened)
    assert zoomer.finds_faces
    assert len(opened.faces) == 2
    second = opened.face(1)
    assert second == Part(face_region(opened.faces[1], *opened.size), 2)
    enhancer = Enhancer(load_weights(Path(model)), device="cpu")
    expected = enlarge_face(opened.photograph, second.box, enhancer)
    alone = zoomer.enlarge(opened, second, model, 4).file
    assert alone.name == "group-face-2-mine-4x.png"
    with Image.open(alone) as image:
        np.testing.assert_array_equal(np.asarray(image), expected)

    calls: list[tuple[int, int]] = []
    whole = zoomer.enlarge(opened, opened.whole, model, 4, lambda *done: calls.append(done)).file
    assert whole.name == "group-mine-4x.png"
    assert [done for done, _ in calls] == list(range(calls[-1][1] + 1))
    with Image.open(whole) as image:
        pixels = np.asarray(image)
    plain = enhancer(opened.photograph.pixels)
    left, top, width, height = (4 * side for side in second.box)
    middle = np.s_[top + height // 2, left + width // 2]
    np.testing.assert_array_equal(pixels[middle], expected[height // 2, width // 2])
    first = 4 * opened.face(0).box.left
    np.testing.assert_array_equal(pixels[:, :first], plain[:, :first])


def test_the_only_face_or_a_picture_without_faces_is_enlarged_at_once_unless_it_is_large(
    zoomer: Zoomer, tmp_path: Path
) -> None:
    opened = zoomer.open(photograph(tmp_path / "small.png"))
    assert opened.at_once == opened.whole
    opened.faces = [Box(10, 10, 12, 12)]
    assert opened.at_once == opened.face(0)
    opened.faces.append(Box(40, 10, 12, 12))
    assert opened.at_once is None
    large = zoomer.open(photograph(tmp_path / "large.png", size=(900, 900)))
    assert large.at_once is None
    large.faces = [Box(250, 250, 400, 400)]
    assert large.at_once is None
    large.faces = [Box(250, 250, 40, 40)]
    assert large.at_once == large.face(0)


def test_without_dlib_there_are_no_faces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    zoomer = Zoomer(tmp_path, [model], device="cpu", tile=16, max_pixels=10_000)
    group_photograph([60]).save(tmp_path / "group.png")
    opened = zoomer.open(tmp_path / "group.png")
    zoomer.find(opened)
    assert not zoomer.finds_faces
    assert opened.faces == []


def test_an_enlargement_without_a_generator_is_as_large(zoomer: Zoomer, tmp_path: Path) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))
    part = Part(Box(5, 7, 20, 30))
    for kind, method in (
        ("pixels", Image.Resampling.NEAREST),
        ("bicubic", Image.Resampling.BICUBIC),
    ):
        original = Image.fromarray(opened.photograph.pixels[7:37, 5:25])
        path = zoomer.enlarge(opened, part, kind, 4).file
        assert path.name == f"face-{kind}-4x.png"
        with Image.open(path) as image:
            expected = original.resize((80, 120), method)
            np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize("mode", ["RGB", "LA"])
def test_the_page_shows_large_results_smaller(
    zoomer: Zoomer, model: str, tmp_path: Path, mode: str
) -> None:
    opened = zoomer.open(photograph(tmp_path / "wide.png", mode, (600, 15)))
    result = zoomer.enlarge(opened, opened.whole, model, 4)
    before = zoomer.enlarge(opened, opened.whole, "pixels", 4)
    with Image.open(result.file) as image:
        assert image.size == (2400, 60)
    for path in (result.shown, before.shown):
        with Image.open(path) as image:
            assert image.size == (2048, 51)


def test_an_exception_ends_the_work(zoomer: Zoomer, model: str, tmp_path: Path) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))

    def stop(done: int, steps: int) -> None:
        assert done < 2
        if done == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        zoomer.enlarge(opened, Part(Box(0, 0, 20, 30)), model, 4, stop)
    assert opened.results == {}


def test_the_generator_is_chosen_by_the_file(tmp_path: Path, model: str) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "low.jpg", quality=60)
    Image.new("RGB", (20, 20)).save(tmp_path / "high.jpg", quality=90)
    Image.new("RGB", (20, 20)).save(tmp_path / "clean.png")
    zoomer = Zoomer(tmp_path, [model, "photo", "srgan"], device="cpu", tile=16, max_pixels=10_000)
    names = "low.jpg", "high.jpg", "clean.png"
    opened = [zoomer.open(tmp_path / name) for name in names]
    assert [each.model for each in opened] == ["photo", "photo", "srgan"]
    assert [each.notes for each in opened] == [(), (), ()]


def test_small_faces_get_the_generator_for_them(tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    group_photograph([30, 90]).save(tmp_path / "group.png")
    folder = tmp_path / "results"
    folder.mkdir()
    zoomer = Zoomer(folder, ["srgan", "photo"], device="cpu", tile=64, max_pixels=10**6)
    opened = zoomer.open(tmp_path / "group.png")
    zoomer.find(opened)
    small, large = opened.face(0), opened.face(1)
    assert [zoomer.choose(opened, each) for each in (small, large, opened.whole)] == [
        "photo",
        "srgan",
        "srgan",
    ]
    names = []
    for part in (small, large):
        model = zoomer.choose(opened, part)
        automatic, chosen = (zoomer.enlarge(opened, part, kind, 4).file for kind in ("auto", model))
        assert automatic.read_bytes() == chosen.read_bytes()
        names.append(automatic.name)
    assert names == ["group-face-1-photo-4x.png", "group-face-2-srgan-4x.png"]

    automatic, chosen = (
        zoomer.enlarge(opened, opened.whole, kind, 4).file for kind in ("auto", "srgan")
    )
    assert automatic.name == chosen.name == "group-srgan-4x.png"
    with Image.open(automatic) as first, Image.open(chosen) as second:
        changed = (np.asarray(first) != np.asarray(second)).any(axis=2)
    assert changed[:, :400].any()
    assert not changed[:, 400:].any()


def test_without_a_generator_for_it_a_compressed_photograph_gets_a_note(
    zoomer: Zoomer, model: str, tmp_path: Path
) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "low.jpg", quality=60)
    Image.new("RGB", (20, 20)).save(tmp_path / "high.jpg", quality=90)
    low, high = (zoomer.open(tmp_path / name) for name in ("low.jpg", "high.jpg"))
    assert low.model == high.model == model
    (note,) = low.notes
    assert note.startswith("it is compressed (JPEG quality about 60)")
    assert high.notes == ()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_gray_and_alpha_are_kept(zoomer: Zoomer, model: str, tmp_path: Path, mode: str) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png", mode))
    for kind in (model, "pixels", "bicubic"):
        for part in (Part(Box(0, 0, 8, 8)), Part(Box(0, 0, 8, 8), face=1)):
            with Image.open(zoomer.enlarge(opened, part, kind, 4).file) as image:
                assert (image.mode, image.size) == (mode, (32, 32))


def test_the_cut_takes_alpha_along(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    pixels[..., 3] |= 1
    Image.fromarray(pixels).save(tmp_path / "face.png")
    part = cut(read_photograph(tmp_path / "face.png", max_pixels=10**6), Box(10, 20, 30, 15))
    np.testing.assert_array_equal(part.pixels, pixels[20:35, 10:40, :3])
    np.testing.assert_array_equal(np.asarray(part.alpha), pixels[20:35, 10:40, 3])


def test_old_results_are_deleted(zoomer: Zoomer, model: str, tmp_path: Path) -> None:
    opened = zoomer.open(photograph(tmp_path / "face.png"))
    part = Part(Box(0, 0, 8, 8))
    first, second = (zoomer.enlarge(opened, part, kind, 4).file for kind in (model, "bicubic"))
    long_ago = time.time() - 4000
    os.utime(first.parent, (long_ago, long_ago))
    third = zoomer.enlarge(opened, part, "pixels", 4).file
    assert not first.parent.exists()
    assert second.is_file()
    assert third.is_file()
    assert zoomer.enlarge(opened, part, model, 4).file.is_file()
