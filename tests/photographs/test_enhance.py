import os
import re
import sys
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from group_photograph import group_photograph
from numpy.typing import NDArray
from PIL import Image
from tiny_model import tiny_weights

from deepdepixelate.errors import UserError
from deepdepixelate.photographs.enhance import enhance as enhance_all
from deepdepixelate.photographs.enhance import enhance_files
from deepdepixelate.photographs.enhancer import Enhancer
from deepdepixelate.photographs.faces import Box, FaceFinder, face_region
from deepdepixelate.photographs.finding import Found, conclude, find_photographs
from deepdepixelate.photographs.photograph import FileFormat, Photograph, read_photograph

PNG = FileFormat()

SETTINGS: dict[str, Any] = {
    "model": "auto", "faces": "ignore", "format": "png", "quality": 90, "tile": 64,
    "strip_metadata": False, "overwrite": False, "max_pixels": 10**6,
    "device": "cpu", "precision": "fp32", "self_ensemble": False,
}  # fmt: skip


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
    inputs: list[Path],
    output: Path,
    enhancer: Enhancer,
    *,
    form: FileFormat = PNG,
    overwrite: bool = False,
    **faces: Any,
) -> Found:
    found = find_photographs(inputs, output)
    enhance_files(
        found,
        output,
        lambda path: ("tiny", enhancer),
        model="tiny",
        max_pixels=10**6,
        form=form,
        overwrite=overwrite,
        **faces,
    )
    return found


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
    assert [failure.path.name for failure in outcome.failures] == ["aa.png", "z.jpg"]
    with pytest.raises(UserError, match=r"^2 of 4 photographs could not be enlarged:\n") as error:
        conclude(outcome)
    assert "aa.png: not an image that can be read" in str(error.value)
    assert len(list((tmp_path / "out").iterdir())) == 2  # nothing half-written beside them


def test_a_stopped_batch_is_finished_by_the_same_command(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    there = tmp_path / "out" / "a-tiny-4x.png"
    there.parent.mkdir()
    there.write_text("mine")
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    assert there.read_text() == "mine"
    assert [path.name for path in outcome.written] == ["b-tiny-4x.png"]
    assert conclude(outcome) == "1 already there, skipped (--overwrite replaces them)."
    assert enhance([photographs], tmp_path / "out", enhancer).already_there == 2

    outcome = enhance([photographs], tmp_path / "out", enhancer, overwrite=True)
    assert conclude(outcome) == ""
    assert there.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("length", [240, 244, 250])
def test_a_name_that_is_too_long_is_one_failure_or_none(
    photographs: Path, tmp_path: Path, enhancer: Enhancer, length: int
) -> None:
    (photographs / "a.png").rename(photographs / ("a" * (length - 4) + ".png"))
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    written = [path.name for path in outcome.written]
    assert written[-1] == "b-tiny-4x.png"
    if length == 250:
        assert outcome.failures[0].reason.endswith("cannot be written: File name too long")
    else:
        assert len(written) == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["full", "memory", "gpu", "cpu"],
)
def test_what_fails_at_writing_is_one_failure(
    photographs: Path,
    tmp_path: Path,
    enhancer: Enhancer,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = Image.Image.save

    def save(image: Image.Image, file: Any, *others: Any, **settings: Any) -> None:
        if image.size == (48, 32):
            file.write(b"half of it")
            raise error
        real(image, file, *others, **settings)

    Image.new("RGB", (5, 5)).save(photographs / "aa.png")
    monkeypatch.setattr(Image.Image, "save", save)
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    assert [failure.path.name for failure in outcome.failures] == ["a.png", "b.jpg"]
    assert re.search("No space left|not enough memory", outcome.failures[0].reason)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["aa-tiny-4x.png"]
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'aa-tiny-4x.png'}\n"


def test_what_was_written_is_printed_although_a_later_one_is_interrupted(
    photographs: Path,
    tmp_path: Path,
    enhancer: Enhancer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = iter([read_photograph])

    def read(path: Path, max_pixels: int) -> Photograph:
        for once in results:
            return once(path, max_pixels=max_pixels)
        raise KeyboardInterrupt

    monkeypatch.setattr("deepdepixelate.photographs.work.read_photograph", read)
    with pytest.raises(KeyboardInterrupt):
        enhance([photographs], tmp_path / "out", enhancer)
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'a-tiny-4x.png'}\n"


def test_results_that_are_not_finite_are_failures(photographs: Path, tmp_path: Path) -> None:
    weights = tiny_weights()
    broken = dict(weights.tensors) | {"tail.bias": torch.full((3,), torch.nan)}
    outcome = enhance(
        [photographs], tmp_path / "out", Enhancer(replace(weights, tensors=broken), device="cpu")
    )
    assert outcome.written == []
    assert "NaN" in outcome.failures[0].reason


def test_what_is_too_large_for_the_format_fails_before_the_work(
    photographs: Path, tmp_path: Path, enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (5000, 4)).save(photographs / "a.png")
    real = Enhancer.enlarge

    def enlarge(self: Enhancer, original: Photograph, *others: Any, **settings: Any) -> Image.Image:
        assert original.pixels.shape[1] < 5000
        return real(self, original, *others, **settings)

    monkeypatch.setattr(Enhancer, "enlarge", enlarge)
    outcome = enhance([photographs], tmp_path / "out", enhancer, form=FileFormat("webp"))
    assert [path.name for path in outcome.written] == ["b-tiny-4x.webp"]
    assert "20000x16 pixels cannot be written as webp" in outcome.failures[0].reason


def test_two_of_one_name_are_both_done(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    Image.new("RGB", (5, 5), "red").save(photographs / "a.webp")
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    names = ["a.png-tiny-4x.png", "a.webp-tiny-4x.png", "b-tiny-4x.png"]
    assert [path.name for path in outcome.written] == names


def test_folders_are_mirrored_and_skipped_files_are_counted(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    (photographs / "sub").mkdir()
    Image.new("RGB", (5, 5)).save(photographs / "sub" / "c.tga")
    (photographs / "film.mov").write_bytes(b"")
    outcome = enhance([photographs], tmp_path / "out", enhancer, form=FileFormat("jpeg"))
    assert [path.relative_to(tmp_path / "out") for path in outcome.written] == [
        Path("a-tiny-4x.jpg"), Path("b-tiny-4x.jpg"), Path("sub/c-tiny-4x.jpg")
    ]  # fmt: skip
    assert conclude(outcome) == "Skipped in folders: 1 .mov."


def test_enlargements_beside_the_photographs_are_not_enlarged(
    photographs: Path, enhancer: Enhancer
) -> None:
    assert len(enhance([photographs], photographs, enhancer).written) == 2
    again = enhance([photographs], photographs, enhancer, overwrite=True)
    assert [path.name for path in again.written] == ["a-tiny-4x.png", "b-tiny-4x.png"]
    assert again.skipped == {"enlarged before": 2}


def test_a_link_that_leads_nowhere_is_not_overwritten(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    place = tmp_path / "out" / "a-tiny-4x.png"
    place.parent.mkdir()
    place.symlink_to("nowhere")
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    assert (outcome.failures, outcome.already_there) == ([], 1)
    assert place.is_symlink()


def test_a_pipe_is_not_waited_for(photographs: Path, tmp_path: Path, enhancer: Enhancer) -> None:
    os.mkfifo(photographs / "pipe.png")
    outcome = enhance([photographs], tmp_path / "out", enhancer)
    assert [(each.path.name, each.reason) for each in outcome.failures] == [
        ("pipe.png", "not a file")
    ]
    assert len(outcome.written) == 2


def test_a_terminal_that_lacks_letters_stops_nothing(
    photographs: Path, tmp_path: Path, enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photographs / "a.png").rename(photographs / "写真.png")
    printed = TextIOWrapper(BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    assert len(enhance([photographs], tmp_path / "out", enhancer).written) == 2
    printed.flush()
    assert b"??-tiny-4x.png" in printed.buffer.getvalue()


def test_colour_profile_reaches_the_file(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    Image.new("RGB", (5, 5)).save(photographs / "c.png", icc_profile=b"a profile")
    enhance([photographs / "c.png"], tmp_path / "out", enhancer)
    with Image.open(tmp_path / "out" / "c-tiny-4x.png") as image:
        assert image.info["icc_profile"] == b"a profile"


def test_an_output_that_is_a_file_is_refused(photographs: Path, enhancer: Enhancer) -> None:
    with pytest.raises(UserError, match="is not a folder but a file"):
        enhance([photographs], photographs / "a.png", enhancer)


def test_long_work_is_announced(
    photographs: Path,
    tmp_path: Path,
    enhancer: Enhancer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (400, 300)).save(photographs / "c.png")
    Image.new("RGB", (400, 300)).save(photographs / "d.jpg", quality=60)
    monkeypatch.setattr(enhancer, "seconds_for", lambda sizes: 1e-4 * sum(w * h for w, h in sizes))
    enhance([photographs], tmp_path / "out", enhancer)
    announced = capsys.readouterr().err
    expected = "4 photographs, 0.24 → 3.84 megapixels in all: about 20 seconds on this CPU.\n"
    assert announced.startswith(expected)
    assert "2 photographs are compressed (JPEG quality down to 60)" in announced


@pytest.mark.parametrize("tile", [16, 64])
def test_the_time_is_proportional_to_the_pixels_of_all_tiles(
    enhancer: Enhancer, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timeit.repeat", lambda work, number, repeat: [5.0, 2.0])
    enhancer = Enhancer(tiny_weights(), device="cpu", tile=tile)
    assert enhancer.seconds_for([(128, 128)]) == pytest.approx(2)
    assert enhancer.seconds_for([(128, 128)] * 3) == pytest.approx(6)
    assert enhancer.seconds_for([(1280, 1280)]) >= 200  # inner tiles have margins on all sides


class Faces:
    """Finds the given faces in every photograph."""

    def __init__(self, *boxes: Box) -> None:
        self.boxes = list(boxes)

    def find(self, pixels: NDArray[np.uint8]) -> list[Box]:
        return [box for box in self.boxes if box.left < pixels.shape[1]]


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A photograph with alpha, wide enough for two faces of 10 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 4), dtype=np.uint8)
    path = tmp_path / "group.png"
    Image.fromarray(pixels).save(path, dpi=(72, 72))
    return path


TWO = Faces(Box(15, 15, 10, 10), Box(60, 15, 10, 10))


def test_each_face_becomes_a_file(
    group: Path, tmp_path: Path, enhancer: Enhancer, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = enhance([group], tmp_path / "out", enhancer, finder=TWO, face_files=True)
    names = ["group-face-1-tiny-4x.png", "group-face-2-tiny-4x.png"]
    assert [path.name for path in outcome.written] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    with Image.open(outcome.written[1]) as image:
        assert (image.mode, image.size) == ("RGBA", (80, 96))
        assert image.info["dpi"] == pytest.approx((72, 72), abs=0.1)
    assert "group.png: 2 faces found.\n" in capsys.readouterr().err


def test_existing_faces_are_kept(group: Path, tmp_path: Path, enhancer: Enhancer) -> None:
    there = tmp_path / "out" / "group-face-1-tiny-4x.png"
    there.parent.mkdir()
    there.write_text("mine")
    settings: dict[str, Any] = {"finder": TWO, "face_files": True}
    outcome = enhance([group], tmp_path / "out", enhancer, **settings)
    assert [path.name for path in outcome.written] == ["group-face-2-tiny-4x.png"]
    assert outcome.already_there == 1
    assert there.read_text() == "mine"
    assert enhance([group], tmp_path / "out", enhancer, **settings).already_there == 2
    outcome = enhance([group], tmp_path / "out", enhancer, overwrite=True, **settings)
    assert len(outcome.written) == 2
    assert there.read_bytes().startswith(b"\x89PNG")


def test_files_of_faces_beside_the_photographs_are_not_enlarged(
    group: Path, enhancer: Enhancer
) -> None:
    group.with_name("group-face-9.png").write_bytes(group.read_bytes())
    for _ in range(2):
        outcome = enhance(
            [group.parent], group.parent, enhancer, finder=TWO, face_files=True, overwrite=True
        )
        assert len(outcome.written) == 4
    assert outcome.skipped == {"enlarged before": 4}


def test_without_a_face_the_whole_photograph_is_enlarged(
    photographs: Path, tmp_path: Path, enhancer: Enhancer, capsys: pytest.CaptureFixture[str]
) -> None:
    found = enhance([photographs], tmp_path / "out", enhancer, finder=Faces(), face_files=True)
    assert [path.name for path in found.written] == ["a-tiny-4x.png", "b-tiny-4x.png"]
    said = capsys.readouterr().err
    assert said.count("no face found; the whole photograph is enlarged.\n") == 2
    again = enhance([photographs], tmp_path / "out", enhancer, finder=Faces(), face_files=True)
    assert again.already_there == 2


def test_a_name_that_a_face_has_taken_is_a_failure(
    photographs: Path, group: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    taken = photographs / "group-face-1.png"
    (photographs / "a.png").rename(taken)
    outcome = enhance([group, taken], tmp_path / "out", enhancer, finder=TWO, face_files=True)
    assert len(outcome.written) == 2
    assert outcome.failures[0].reason.endswith("is already a face of another photograph")


def test_one_bad_photograph_of_many_with_faces_is_counted_once(
    group: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    bad = group.with_name("bad.png")
    bad.write_text("no image")
    outcome = enhance([group, bad], tmp_path / "out", enhancer, finder=TWO, face_files=True)
    with pytest.raises(UserError, match=r"^1 of 2 photographs could not be enlarged"):
        conclude(outcome)


def test_faces_are_put_back_into_the_whole_photograph(
    group: Path, tmp_path: Path, enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,) = enhance([group], tmp_path / "plain", enhancer).written
    (same,) = enhance([group], tmp_path / "same", enhancer, finder=TWO).written
    assert same.read_bytes() == plain.read_bytes()  # only blurred faces need another way
    monkeypatch.setattr(enhancer, "for_photographs", True)
    (other,) = enhance([group], tmp_path / "other", enhancer, finder=TWO).written
    assert other.name == plain.name
    with Image.open(plain) as before, Image.open(other) as after:
        changed = np.asarray(before) != np.asarray(after)
    assert changed[..., 3].sum() == 0
    assert changed[60:100, 60:100].any()
    assert not changed[:, 140:200].any()  # between the faces


def test_small_faces_in_lossless_files_get_the_generator_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dlib")
    group_photograph([30, 90]).save(tmp_path / "group.png")
    settings = {**SETTINGS, "faces": "put_back"}
    (automatic,) = enhance_all([tmp_path / "group.png"], tmp_path / "one", **settings)
    assert "2 faces found; the generator photo enlarges the small ones (1).\n" in (
        capsys.readouterr().err
    )
    (chosen,) = enhance_all(
        [tmp_path / "group.png"], tmp_path / "two", **settings | {"model": "srgan"}
    )
    assert "2 faces found.\n" in capsys.readouterr().err
    assert automatic.name == chosen.name == "group-srgan-4x.png"
    with Image.open(automatic) as first, Image.open(chosen) as second:
        changed = (np.asarray(first) != np.asarray(second)).any(axis=2)
    assert changed[:, :400].any()  # the small face
    assert not changed[:, 400:].any()

    faces = {**settings, "faces": "files"}
    files = enhance_all([tmp_path / "group.png"], tmp_path / "three", **faces)
    photograph = read_photograph(tmp_path / "group.png", max_pixels=10**6)
    for box, file in zip(FaceFinder().find(photograph.pixels), files, strict=True):
        height, width, _ = photograph.pixels.shape
        region = face_region(box, width, height)
        name = "photo" if region.width < 40 else "srgan"
        generator = Enhancer(name, device="cpu", precision="fp32", tile=64)
        expected = generator.enlarge_region(photograph, region)
        with Image.open(file) as image:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_only_the_generator_for_photographs_gets_blurred_faces() -> None:
    assert Enhancer("photo", device="cpu").for_photographs
    assert not Enhancer("srgan", device="cpu").for_photographs


def test_the_tiles_of_all_faces_are_counted(
    group: Path, enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enhancer, "for_photographs", True)
    monkeypatch.setattr(enhancer, "_tile", 16)
    original = read_photograph(group, max_pixels=10**6)
    tiles: list[int] = []
    enhancer.enlarge(original, lambda: tiles.append(1), faces=TWO.boxes)
    assert len(tiles) == enhancer.count_tiles(original, TWO.boxes) > 15

    sharp = Enhancer(tiny_weights(), device="cpu", tile=16)
    before = sharp.count_tiles(original, TWO.boxes)
    sharp.small_faces = enhancer
    tiles.clear()
    sharp.enlarge(original, lambda: tiles.append(1), faces=TWO.boxes)
    assert len(tiles) == sharp.count_tiles(original, TWO.boxes) > before


def test_each_file_gets_its_generator_and_only_those_are_loaded(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SETTINGS}
    out = tmp_path / "out"
    written = enhance_all([photographs], out, **settings)
    assert written == [out / "a-srgan-4x.png", out / "b-photo-4x.png"]
    said = capsys.readouterr().err
    assert said.startswith(
        "Generator: photo for 1 file with lossy compression (such as JPEG), srgan"
    )
    settings["model"] = "srgan"  # another label, another file
    assert enhance_all([photographs], out, **settings) == [out / "b-srgan-4x.png"]


def test_faces_are_not_found_without_dlib(
    photographs: Path, enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match="finds faces"):
        enhancer.enlarge(photographs / "a.png", faces=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_is_refused(
    photographs: Path, tmp_path: Path, enhancer: Enhancer
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written to"):
        enhance([photographs], locked, enhancer)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_gray_and_alpha_are_kept(enhancer: Enhancer, gray: bool, alpha: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (35, 42, 3), dtype=np.uint8)
    ramp = np.tile(np.linspace(0, 255, 42).astype(np.uint8), (35, 1))
    original = Photograph(pixels, Image.fromarray(ramp) if alpha else None, gray, None, ())
    enlarged = enhancer.enlarge(original)
    assert enlarged.mode == ("L" if gray else "RGB") + ("A" if alpha else "")
    if alpha:
        row = np.asarray(enlarged.getchannel("A"))[70].astype(float)
        assert np.abs(row - np.linspace(0, 255, 42 * 4)).max() < 6
