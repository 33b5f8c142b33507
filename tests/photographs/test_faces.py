import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from PIL import ExifTags, Image

from deepdepixelate.errors import UserError
from deepdepixelate.photographs.faces import (
    Box,
    FaceFinder,
    cut,
    enlarge_face,
    face_region,
    put_back,
)
from deepdepixelate.photographs.photograph import Photograph, read_photograph

ASTRONAUT = Box(173, 80, 93, 93)
"""The face that the detector finds in scikit-image's picture."""


class Nearest:
    """A generator that repeats pixels, and remembers the sizes of its inputs."""

    scale = 4

    def __init__(self, *, for_photographs: bool = True) -> None:
        self.for_photographs = for_photographs
        self.sizes: list[tuple[int, ...]] = []

    def __call__(
        self, images: NDArray[np.uint8], on_tile: Callable[[], object] = lambda: None, /
    ) -> NDArray[np.uint8]:
        self.sizes.append(images.shape[1::-1])
        on_tile()
        return images.repeat(self.scale, 0).repeat(self.scale, 1)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    pytest.importorskip("dlib")
    return FaceFinder()


def picture(width: int = 640, height: int = 480) -> Image.Image:
    return Image.fromarray(skimage.data.coffee()).resize((width, height))


def face(width: int) -> Image.Image:
    """The astronaut with as much margin as ``face_region`` gives, and a face of this width."""
    region = face_region(ASTRONAUT, 512, 512)
    right, bottom = region.left + region.width, region.top + region.height
    portrait = Image.fromarray(skimage.data.astronaut()).crop((*region[:2], right, bottom))
    share = width / ASTRONAUT.width
    return portrait.resize((round(region.width * share), round(region.height * share)))


def is_near(box: Box, centre: tuple[float, float], width: float) -> bool:
    x, y = box.left + box.width / 2, box.top + box.height / 2
    off = max(abs(x - centre[0]), abs(y - centre[1]))
    return off < 0.25 * width and 0.7 < box.width / width < 1.4


def test_faces_of_all_sizes_are_found_once_and_row_by_row(finder: FaceFinder) -> None:
    group = picture()
    places = {20: (20, 40), 40: (150, 30), 60: (300, 20), 90: (100, 200), 140: (340, 180)}
    centres = []
    for width, place in places.items():
        pasted = face(width)
        group.paste(pasted, place)
        centres.append((place[0] + pasted.width / 2, place[1] + 0.6 * pasted.height))
    boxes = finder.find(np.asarray(group))
    assert len(boxes) == len(places)
    for box, centre, width in zip(boxes, centres, places, strict=True):
        assert is_near(box, centre, width)


def test_a_crowd_is_found(finder: FaceFinder) -> None:
    one = face(20)
    crowd = Image.new("RGB", (12 * one.width, 10 * one.height))
    for place in range(120):
        crowd.paste(one, (place % 12 * one.width, place // 12 * one.height))
    boxes = finder.find(np.asarray(crowd))
    assert len(boxes) == 120
    assert [box.left // one.width for box in boxes[:12]] == list(range(12))


def test_a_face_that_the_detector_gives_twice_is_found_once(
    finder: FaceFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dlib

    # As it gives for some faces that are upside down, at a zoom of 6; and a neighbour.
    corners = [(900, 114, 1115, 329), (948, 216, 1127, 395), (1000, 330, 1215, 545)]
    found = [dlib.rectangle(*each) for each in corners]
    monkeypatch.setattr(finder, "_detect", lambda *_: found)
    boxes = finder.find(np.zeros((170, 212, 3), np.uint8))
    assert boxes == [Box(150, 19, 36, 36), Box(167, 55, 36, 36)]


@pytest.mark.parametrize("turn", [90, 180])
def test_a_turned_face_is_found_if_the_file_says_how_it_is_turned(
    finder: FaceFinder, tmp_path: Path, turn: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = {90: 6, 180: 3}[turn]
    turned = face(40).convert("L").rotate(turn, expand=True)
    assert finder.find(np.asarray(turned.convert("RGB"))) == []
    turned.save(tmp_path / "turned.jpg", exif=exif)
    photograph = read_photograph(tmp_path / "turned.jpg", max_pixels=10**6)
    (box,) = finder.find(photograph.pixels)
    assert is_near(box, (photograph.pixels.shape[1] / 2, 0.6 * photograph.pixels.shape[0]), 40)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "brick", "coins"])
def test_nothing_is_found_where_no_face_is(finder: FaceFinder, name: str) -> None:
    pixels = getattr(skimage.data, name)()
    assert finder.find(np.asarray(Image.fromarray(pixels).convert("RGB"))) == []


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (30_000, 8), (8, 30_000)])
def test_pictures_of_any_shape_are_searched(finder: FaceFinder, size: tuple[int, int]) -> None:
    width, height = size
    assert finder.find(np.zeros((height, width, 3), np.uint8)) == []


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_a_face_at_the_border_is_found_and_its_box_is_clipped(
    finder: FaceFinder, side: str
) -> None:
    x, y, width, height = ASTRONAUT
    within = {
        "left": (x + 4, 0, 512, 512),
        "top": (0, y + 4, 512, 512),
        "right": (0, 0, x + width - 4, 512),
        "bottom": (0, 0, 512, y + height - 4),
    }[side]
    pixels = np.asarray(Image.fromarray(skimage.data.astronaut()).crop(within))
    (box,) = finder.find(pixels)
    for each in (box, face_region(box, pixels.shape[1], pixels.shape[0])):
        assert min(each.left, each.top) >= 0
        assert each.left + each.width <= pixels.shape[1]
        assert each.top + each.height <= pixels.shape[0]


def test_missing_dlib_is_an_error_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"^dlib, which finds faces.*deepdepixelate\[identity\]"):
        FaceFinder()


def test_the_region_is_that_of_celeba() -> None:
    assert face_region(Box(143, 165, 90, 90), 400, 400) == Box(100, 80, 176, 216)
    assert face_region(Box(0, 0, 90, 90), 400, 400) == Box(0, 0, 133, 131)


def small(width: int, height: int) -> Photograph:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Photograph(pixels, Image.new("L", (width, height), 7), False, None, ())


def test_a_part_keeps_alpha() -> None:
    part = cut(small(20, 10), Box(3, 2, 5, 6))
    assert part.pixels.shape == (6, 5, 3)
    assert part.alpha is not None
    assert part.alpha.size == (5, 6)


@pytest.mark.parametrize(
    ("region", "shown"),
    [
        (Box(0, 0, 22, 27), (44, 54)),
        (Box(4, 4, 11, 12), (44, 48)),
        (Box(5, 5, 1, 1), (44, 44)),
        (Box(1, 2, 38, 46), (38, 46)),
        (Box(1, 2, 80, 90), (80, 90)),
    ],
)
def test_a_small_face_is_enlarged_first_if_the_generator_knows_blur(
    region: Box, shown: tuple[int, int]
) -> None:
    tiles: list[int] = []
    for for_photographs in (True, False):
        generator = Nearest(for_photographs=for_photographs)
        enlarged = enlarge_face(small(100, 100), region, generator, lambda: tiles.append(1))
        assert enlarged.shape == (4 * region.height, 4 * region.width, 3)
        assert generator.sizes == [shown if for_photographs else region[2:]]
    assert tiles == [1, 1]


def test_a_face_that_is_put_back_fades_out_and_leaves_the_rest_alone() -> None:
    whole = np.full((80, 80, 3), 100, np.uint8)
    face, region = np.full((40, 48, 3), 200, np.uint8), Box(4, 5, 12, 10)
    put_back(whole, face, region, 4)
    assert (whole[40, 32:48] == 200).all()
    outside = whole.copy()
    outside[20:60, 16:64] = 100
    assert (outside == 100).all()
    line = whole[40, 16:64, 0].astype(int)
    assert (np.abs(np.diff(np.concatenate([[100], line, [100]]))) < 10).all()
    assert (whole[20:60, 16:64] == whole[20:60, 16:64][::-1, ::-1]).all()


def test_a_face_in_the_corner_reaches_the_border() -> None:
    whole = np.zeros((40, 40, 3), np.uint8)
    put_back(whole, np.full((20, 20, 3), 200, np.uint8), Box(0, 0, 10, 10), 2)
    assert (whole[:12, :12] == 200).all()
    assert whole[10, 20, 0] == 0
