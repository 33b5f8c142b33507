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
from PIL import Image
from tiny_model import tiny_weights

from deepdepixelate.errors import UserError
from deepdepixelate.photographs.enhance import Enhancer, conclude, enhance_files
from deepdepixelate.photographs.finding import Found, find_photographs
from deepdepixelate.photographs.photograph import FileFormat, Photograph, read_photograph

PNG = FileFormat()


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
) -> Found:
    found = find_photographs(inputs, output)
    enhance_files(
        found,
        output,
        enhancer,
        label="tiny",
        max_pixels=10**6,
        form=form,
        overwrite=overwrite,
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

    monkeypatch.setattr("deepdepixelate.photographs.enhance.read_photograph", read)
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
