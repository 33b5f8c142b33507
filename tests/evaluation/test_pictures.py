import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from stored_images import store_images

from deepdepixelate import downscale, upscale
from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.shards import (
    ImagePairs,
    ShardedImages,
)
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.evaluation.pictures import (
    choose_examples,
    choose_spread,
    draw_comparison,
    enlarge_faces,
    find_close_up,
)
from deepdepixelate.evaluation.scoring import EnlargedImage, Enlarger, score
from deepdepixelate.metrics.identity import Identity
from deepdepixelate.metrics.st_lpips import STLPIPS

COUNT, HEIGHT, WIDTH = 5, 24, 32


def nearest(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def inverted(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return 255 - nearest(images, scale)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ImagePairs:
    folder: Path = tmp_path_factory.mktemp("pairs")
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    names = [f"{number}.png" for number in range(COUNT)]
    hr = store_images(folder / "hr", names, pixels, per_shard=2)
    write_dataset(folder / "lr", degrade(hr, 4), split="test")
    return ImagePairs(hr, ShardedImages(folder / "lr"))


def scored(pairs: ImagePairs, models: dict[str, Enlarger], name: str = "test") -> pd.DataFrame:
    return score(
        {name: pairs},
        models,
        batch_size=3,
        border=None,
        st_lpips=STLPIPS(),
        identity=Identity(reason="not here"),
    ).images


def drawn(pairs: ImagePairs, models: dict[str, Enlarger], faces: int) -> Image.Image:
    return draw(pairs, models, scored(pairs, models), faces=faces)


def draw(
    pairs: ImagePairs, models: dict[str, Enlarger], scores: pd.DataFrame, faces: int
) -> Image.Image:
    shown = choose_spread(pairs.hr.names, faces)
    return draw_comparison(enlarge_faces(pairs, models, shown), scores)


def places(picture: Image.Image, block: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Where (top, left) these very pixels are in the picture."""
    pixels = np.asarray(picture)
    first_rows = sliding_window_view(pixels, (1, block.shape[1], 3)).squeeze(axis=(2, 3))
    candidates = np.argwhere((first_rows == block[0]).all(axis=(2, 3)))
    height, width, _ = block.shape
    return [
        (int(top), int(left))
        for top, left in candidates
        if np.array_equal(pixels[top : top + height, left : left + width], block)
    ]


@pytest.mark.parametrize(
    ("faces", "shown"), [(1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (5, [0, 1, 2, 3, 4])]
)
def test_faces_are_shown_pixel_for_pixel_spread_over_the_set(
    pairs: ImagePairs, faces: int, shown: list[int]
) -> None:
    picture = drawn(pairs, {"bicubic": upscale}, faces)
    tops = []
    for index in range(COUNT):
        found = places(picture, np.array(pairs.hr[index]))
        assert len(found) == (1 if index in shown else 0)
        tops += [top for top, _ in found]
    assert tops == sorted(tops)
    assert all(below - above >= HEIGHT for above, below in pairwise(tops))


def test_a_row_is_lr_then_the_models_in_order_then_hr(pairs: ImagePairs) -> None:
    models: dict[str, Enlarger] = {"bicubic": upscale, "srresnet": inverted}
    picture = drawn(pairs, models, 2)
    for index in (0, 4):
        lr = np.array(pairs.lr[index])[None]
        blocks = [nearest(lr, 4)[0], upscale(lr, 4)[0], inverted(lr, 4)[0], pairs.hr[index]]
        found = [places(picture, np.array(block)) for block in blocks]
        assert [len(place) for place in found] == [1, 1, 1, 1]
        tops = [place[0][0] for place in found]
        lefts = [place[0][1] for place in found]
        assert len(set(tops)) == 1
        assert all(b - a >= WIDTH for a, b in pairwise(lefts))


def test_more_faces_than_there_are_show_all_once(pairs: ImagePairs) -> None:
    many, all_of_them = (
        drawn(pairs, {"bicubic": upscale}, 50),
        drawn(pairs, {"bicubic": upscale}, 5),
    )
    assert many.tobytes() == all_of_them.tobytes()


def test_the_picture_grows_by_a_column_a_model_and_a_row_a_face(pairs: ImagePairs) -> None:
    one_model, two_models = {"bicubic": upscale}, {"bicubic": upscale, "srgan": nearest}
    small = drawn(pairs, dict(one_model), 1)
    wide = drawn(pairs, dict(two_models), 1)
    tall, taller = drawn(pairs, dict(one_model), 2), drawn(pairs, dict(one_model), 3)
    assert small.mode == "RGB"
    assert wide.height == small.height
    assert tall.width == small.width
    assert small.width > 3 * (wide.width - small.width) >= 3 * WIDTH
    assert tall.height - small.height == taller.height - tall.height > HEIGHT


def test_the_captions_are_those_of_the_shown_images(pairs: ImagePairs) -> None:
    models: dict[str, Enlarger] = {"bicubic": upscale}
    scores = scored(pairs, models)
    picture = draw(pairs, models, scores, faces=2)
    hidden, shown = scores.copy(), scores.copy()
    hidden.loc[hidden["image"] == "2.png", "psnr_y"] = 99.99
    shown.loc[shown["image"] == "4.png", "psnr_y"] = 99.99
    assert draw(pairs, models, hidden, faces=2).tobytes() == picture.tobytes()
    changed = np.asarray(draw(pairs, models, shown, faces=2)) != np.asarray(picture)
    rows = np.flatnonzero(changed.any(axis=(1, 2)))
    ((last_top, _),) = places(picture, np.array(pairs.hr[4]))
    assert rows.min() >= last_top + HEIGHT


def test_the_captions_are_of_the_test_split_whatever_else_has_such_names(pairs: ImagePairs) -> None:
    models: dict[str, Enlarger] = {"bicubic": upscale}
    alone = scored(pairs, models)
    beside = alone.assign(set="own", psnr_y=99.99)
    for scores in (pd.concat([alone, beside]), pd.concat([beside, alone])):
        picture = draw(pairs, models, scores, faces=2)
        assert picture.tobytes() == draw(pairs, models, alone, faces=2).tobytes()


# -- examples of the report ------------------------------------------------------------------------


def table_of_gains(gains: list[float]) -> pd.DataFrame:
    """Scores whose images, named a, b, c and so on, have these gains over bicubic."""
    rows = []
    for index, gain in enumerate(gains):
        for model, psnr in (("bicubic", 20.0), ("srgan", 99.0), ("srresnet", 20.0 + gain)):
            rows.append(
                {"set": "test", "image": "abcdefghij"[index], "model": model, "psnr_y": psnr}
            )
    return pd.DataFrame(rows, columns=["set", "image", "model", "psnr_y"])


@pytest.mark.parametrize(
    ("gains", "of_each", "best", "median", "worst"),
    [
        ([], 2, "", "", ""),
        ([1], 2, "", "a", ""),
        ([1, 2], 2, "b", "", "a"),
        ([1, 2, 3], 2, "c", "b", "a"),
        ([1, 2, 3, 4], 2, "d", "cb", "a"),
        ([1, 2, 3, 4, 5], 2, "ed", "c", "ba"),
        ([1, 2, 3, 4, 5, 6], 2, "fe", "dc", "ba"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 1, "i", "e", "a"),
        ([0, 0, 0, 0, 0], 1, "a", "c", "e"),
        ([2, 1, 2, 1, 2], 1, "a", "e", "d"),
        ([5, math.nan, 1, math.inf, 3], 1, "a", "e", "c"),
        ([1, 2, 3], 0, "", "", ""),
    ],
)
def test_examples_are_the_best_the_median_and_the_worst(
    gains: list[float], of_each: int, best: str, median: str, worst: str
) -> None:
    chosen = choose_examples(table_of_gains(gains), of_each=of_each)
    assert chosen == {"best": list(best), "median": list(median), "worst": list(worst)}
    images = [image for role in chosen.values() for image in role]
    assert len(set(images)) == len(images)


def test_examples_are_of_the_test_split_and_scored_by_both_models() -> None:
    of_test = table_of_gains([1.0, 2.0])
    elsewhere = table_of_gains([0.0, 0.0, 9.0]).assign(set="set5")
    half_scored = of_test[(of_test["image"] != "a") | (of_test["model"] != "srresnet")]
    both = choose_examples(pd.concat([elsewhere, of_test]), of_each=1)
    assert both == {"best": ["b"], "median": [], "worst": ["a"]}
    assert choose_examples(half_scored, of_each=1) == {"best": [], "median": ["b"], "worst": []}
    assert choose_examples(elsewhere, of_each=1) == {"best": [], "median": [], "worst": []}


def test_the_magnified_part_is_where_lr_lost_most() -> None:
    hr = np.full((96, 128, 3), 128, dtype=np.uint8)
    checks = np.indices((40, 40)).sum(axis=0) % 2 * 255
    hr[44:84, 68:108] = checks[..., None]
    face = EnlargedImage("a", downscale(hr[None], 4)[0], hr, {})
    square = find_close_up(face)
    assert square.side == 12
    assert 9 <= square.top <= 11
    assert 15 <= square.left <= 17
    assert square.cut(face.lr).shape == (12, 12, 3)
    assert square.cut(face.hr, 4).shape == (48, 48, 3)
    small = EnlargedImage("a", hr[:5, :9], hr[:20, :36], {})
    assert find_close_up(small).cut(small.hr, 4).shape == (20, 20, 3)
