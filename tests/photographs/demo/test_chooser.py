import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from deepdepixelate.photographs.demo.chooser import box_within, shown, with_faces
from deepdepixelate.photographs.faces import Box


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([10, 20, 30, 40], Box(10, 20, 30, 40)),
        ([-5, 90, 30, 40], Box(0, 60, 30, 40)),
        ([50, 50, 1e9, 1e9], Box(0, 0, 80, 100)),
        ([79, 99, 0, -3], Box(76, 96, 4, 4)),
        ([1.4, 2.6, 10.2, 10], Box(1, 3, 10, 10)),
    ],
)
def test_a_box_from_a_browser_is_put_inside_the_photograph(
    value: list[float], expected: Box
) -> None:
    assert box_within(value, width=80, height=100) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(None, "box", {}, [], [1, 2, 3]),
        *([1, 2, 3, "x"], [1, 2, 3, None], [0, 0, float("nan"), 9], [0, 0, float("inf"), 9]),
    ],
)
def test_values_that_are_not_boxes_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a box"):
        box_within(value, width=80, height=100)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((44, 54), (352, 432)), ((2000, 500), (1024, 256)), ((500, 400), (500, 400))],
)
def test_what_is_shown_is_neither_tiny_nor_huge(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*reversed(size), 3), dtype=np.uint8)
    update = shown(pixels, whole=True)
    assert (update["value"], update["width"], update["height"]) == (None, *size)
    assert (update["faces"], update["whole"]) == ([], True)
    picture = Image.open(BytesIO(base64.b64decode(update["image"].partition(",")[2])))
    assert picture.size == expected
    if size == expected:
        np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_faces_are_shown_without_changing_a_choice_unless_one_is_made() -> None:
    assert "value" not in with_faces([Box(1, 2, 3, 4)])
    update = with_faces([Box(1, 2, 3, 4)], value=0)
    assert (update["faces"], update["value"]) == ([[1, 2, 3, 4]], 0)
