"""``mlflow models serve`` of a registered generator: a real server, and many clients at a time."""

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from model_server import (
    PeakMemory,
    base64_of,
    database_in,
    file_of,
    memory_of,
    model_server,
    register,
)

from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.photographs.reading import decode_rgb

pytestmark = pytest.mark.slow

CLIENTS = 16
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 24, 3), np.uint8)
SIZES = [(1, 1), (54, 44), (9, 200), (31, 17), (64, 64)]
IMAGES = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
FILES = [
    *(file_of(image, kind) for image in IMAGES for kind in ("PNG", "JPEG", "WEBP")),
    *(file_of(PIXELS, mode=mode) for mode in ("1", "L", "LA", "P", "RGBA")),
    file_of(PIXELS, "JPEG", "CMYK"),
    file_of(PIXELS, "GIF", "P"),
    file_of(RNG.integers(0, 65536, (20, 24), np.uint16)),
]


def png_of_size(width: int, height: int) -> bytes:
    """A small PNG that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    return b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b"")


def body(inputs: Any) -> str:
    return json.dumps({"inputs": inputs})


DAMAGED = file_of(IMAGES[4], "JPEG")[:600]
BAD = [
    ("", "valid JSON"),
    ("{not", "valid JSON"),
    ('{"pixels": []}', "'inputs' key"),
    (body(None), "the image is missing"),
    (body([base64_of(FILES[0]), None]), "image 1 is missing"),
    (body([5]), "image 0 is of shape ()"),
    (body({"image": "x"}), "the image holds object values: uint8"),
    (body((PIXELS / 255).tolist()), "float64 values: uint8, 0 to 255, is needed"),
    ('{"inputs": [[[NaN, 1, 2]]]}', "float64 values"),
    (body([[[-1, 2, 3]]]), "int64 values"),
    (body([[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]]), "rows of different lengths"),
    (body(PIXELS[..., 0].tolist()), "of shape (20, 24) (gray)"),
    (body(["%%%"]), "image 0 is text, but not base64"),
    (body([base64_of(FILES[0])[:-3]]), "image 0 is text, but not base64"),
    (body([""]), "not an image that can be read"),
    (body([base64_of(b"<svg/>")]), "not an image that can be read"),
    (body([base64_of(DAMAGED)]), "image 0 cannot be used: damaged image"),
    (body([base64_of(png_of_size(9000, 9000))]), "9000x9000 pixels: more than 4 megapixels"),
    (body([base64_of(png_of_size(2**31 - 1, 2**31 - 1))]), "too many pixels"),
    (body(["A" * 20_000_000]), "not an image that can be read"),
    (json.dumps({"inputs": [base64_of(FILES[0])], "params": {"on_error": "skip"}}), "on_error is"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    folder = tmp_path_factory.mktemp("serving")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", database_in(folder))
        model = register(find_generator("srgan"), folder)
    with model_server(model, folder) as (address, process):
        yield address, psutil.Process(process.pid)


def post(address: str, data: str) -> requests.Response:
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{address}/invocations", data=data, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def enlarger() -> Enlarger:
    return Enlarger("srgan", device="cpu", precision="fp32")


def expected(file: bytes, enlarger: Enlarger) -> bytes:
    return file_of(enlarger(decode_rgb(BytesIO(file))))


def test_good_and_bad_requests_at_a_time_are_all_answered(
    server: tuple[str, psutil.Process], enlarger: Enlarger
) -> None:
    address, _ = server
    requested = [body([base64_of(file)]) for file in FILES]
    requested += [body(image.tolist()) for image in IMAGES]
    requested += [data for data, _ in BAD]
    mixed = np.random.default_rng(1).permutation(len(requested) * 3) % len(requested)
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda index: post(address, requested[index]), mixed))
    wanted = [expected(file, enlarger) for file in FILES]
    for index, answer in zip(mixed, answers, strict=True):
        if index < len(FILES):
            (file,) = answer.json()["predictions"]
            assert base64.b64decode(file) == wanted[index]
        elif index < len(FILES) + len(IMAGES):
            pixels = enlarger(IMAGES[index - len(FILES)])
            assert answer.json()["predictions"] == pixels.tolist()
        else:
            data, reason = BAD[index - len(FILES) - len(IMAGES)]
            assert answer.status_code == 400, (data[:100], answer.text[:500])
            assert reason in answer.json()["message"], data[:100]
    assert requests.get(f"{address}/ping", timeout=10).status_code == 200


def test_bombs_take_no_memory(server: tuple[str, psutil.Process]) -> None:
    """Decoded, each takes 108 MB."""
    address, process = server
    bomb = body([base64_of(file_of(np.zeros((6000, 6000, 3), np.uint8)))])
    before = memory_of(process)
    with PeakMemory(process) as peak, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: post(address, bomb), range(32)))
    assert {answer.status_code for answer in answers} == {400}
    assert peak.bytes - before < 100e6


def test_damaged_images_are_reported_beside_the_others(
    server: tuple[str, psutil.Process], enlarger: Enlarger
) -> None:
    address, _ = server
    images = [base64_of(FILES[0]), base64_of(DAMAGED), None]
    answer = post(address, json.dumps({"inputs": images, "params": {"on_error": "report"}}))
    good, damaged, missing = answer.json()["predictions"]
    assert (base64.b64decode(good["image"]), good["error"]) == (expected(FILES[0], enlarger), "")
    assert damaged["image"] == ""
    assert damaged["error"].startswith("the image cannot be used: damaged image")
    assert missing == {"image": "", "error": "the image is missing."}
