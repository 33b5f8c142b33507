import numpy as np
import pytest

from deepdepixelate.photographs.tiles import tiles


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 7), (16, 16), (33, 47)])
@pytest.mark.parametrize("size", [1, 5, 16, 100])
@pytest.mark.parametrize("overlap", [0, 3, 50])
def test_every_pixel_comes_from_exactly_one_tile(
    height: int, width: int, size: int, overlap: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale = 2
    joined = np.zeros((scale * height, scale * width, 3), np.uint8)
    counts = np.zeros(joined.shape[:2], int)
    for tile in tiles(height, width, size=size, overlap=overlap):
        enlarged = tile.cut(image).repeat(scale, axis=0).repeat(scale, axis=1)
        part = tile.trim(enlarged, scale)
        rows = slice(scale * tile.top, scale * tile.bottom)
        columns = slice(scale * tile.left, scale * tile.right)
        joined[rows, columns] = part
        counts[rows, columns] += 1
    assert (counts == 1).all()
    np.testing.assert_array_equal(joined, image.repeat(scale, axis=0).repeat(scale, axis=1))


def test_a_tile_looks_as_far_as_the_overlap_and_not_over_the_edge() -> None:
    image = np.arange(100, dtype=np.uint8).reshape(10, 10, 1)
    first, *_, last = tiles(10, 10, size=4, overlap=3)
    assert first.cut(image).shape == (7, 7, 1)
    assert last.cut(image).shape == (5, 5, 1)
    assert last.cut(image)[0, 0] == 55
