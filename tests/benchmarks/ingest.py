"""How fast faces go from the archive to HR and LR shards, in how much memory, and what limits it.

    python tests/benchmarks/ingest.py --images 10000 50000 202599 --celeba data/01_raw/celeba

Prints one JSON object for each number of images. Each is measured in a process of its own, on an
archive that repeats the images of ``--celeba`` (or those of the sample) under new names. The two
limits are measured in the same run: JPEG decoding alone, on all processors, and writing as many
bytes as all shards have to the same disk, after the shards were removed. All times include the sync
to the disk.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import simplejpeg
import yaml
from PIL import Image

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.ingest import ingest
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.sources import SPLITS, open_celeba
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.datasets import SampleFaces
from deepdepixelate.parallel import available_processors, find_engine, map_in_order
from deepdepixelate.parameters import IngestParameters

PROJECT = Path(__file__).parents[2]
SHARES = {0: 0.803, 1: 0.098, 2: 0.099}  # of CelebA's images, by the code of the split
PIXELS = 216 * 176 * 3 + 54 * 44 * 3  # bytes of an image in HR and LR shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000])
    parser.add_argument("--celeba", type=Path, default=PROJECT / "data/01_raw/celeba")
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--output", type=Path, help="where to write; by default a temporary folder")
    arguments = parser.parse_args()
    for images in arguments.images:
        with tempfile.TemporaryDirectory(dir=arguments.output) as folder:
            make_archive(Path(folder), arguments.celeba, images)
            pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            with pool:
                figures = pool.submit(measure, Path(folder), arguments.engine).result()
        print(json.dumps({"images": images, "engine": arguments.engine, **figures}), flush=True)


def measure(work: Path, engine_name: str) -> dict[str, Any]:
    settings = yaml.safe_load((PROJECT / "conf/base/parameters_ingest.yml").read_text())["ingest"]
    scale = yaml.safe_load((PROJECT / "conf/base/parameters_degrade.yml").read_text())["degrade"]
    parameters = IngestParameters(**{**settings, "max_rejected_fraction": 0})
    engine = find_engine(engine_name)
    source = open_celeba(work)
    images = sum(len(names) for names in source.splits.values())

    start = perf_counter()
    for split, plan in ingest(source, parameters, engine).items():
        write_dataset(work / "hr" / split, plan, split=split)
    os.sync()
    middle = perf_counter()
    for split in SPLITS:
        hr = ShardedImages(work / "hr" / split)
        plan = degrade(hr, scale["scale"], engine=engine)
        write_dataset(work / "lr" / split, plan, split=split)
    os.sync()
    end = perf_counter()

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    train = source.splits["train"]
    decoding = images / decode_rate([source.images.read(name) for name in train[:20_000]])
    for kind in ("hr", "lr"):
        shutil.rmtree(work / kind)
    os.sync()
    writing = time_writing(work, images * PIXELS)
    return {
        "processors": available_processors(),
        "ingest_images_per_second": round(images / (middle - start)),
        "degrade_images_per_second": round(images / (end - middle)),
        "images_per_second": round(images / (end - start)),
        "seconds": round(end - start, 1),
        "seconds_of_decoding_alone": round(decoding, 1),
        "seconds_of_writing_alone": round(writing, 1),
        "of_the_limit": round((end - start) / max(decoding, writing), 2),
        "peak_resident_mib": round(peak / (1024**2 if sys.platform == "darwin" else 1024)),
    }


def decode_rate(encoded: list[bytes]) -> float:
    """JPEG images per second, decoded on all processors."""

    def decode_all(part: list[bytes]) -> None:
        for each in part:
            simplejpeg.decode_jpeg(each, strict=True)

    start = perf_counter()
    parts = [encoded[first : first + 32] for first in range(0, len(encoded), 32)]
    for _ in map_in_order(decode_all, parts):
        pass
    return len(encoded) / (perf_counter() - start)


def time_writing(folder: Path, size: int) -> float:
    """Seconds to write so many bytes in sequence, and to sync them."""
    block = np.random.default_rng(0).bytes(8 * 1024**2)
    start = perf_counter()
    with (folder / "sequential").open("wb") as file:
        for _ in range(-(-size // len(block))):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return perf_counter() - start


def make_archive(work: Path, celeba: Path, images: int) -> None:
    """An archive and a list as CelebA's, of so many images."""
    encoded = celeba_images(celeba) if (celeba / "img_align_celeba.zip").exists() else sample()
    lines = []
    codes = np.repeat(list(SHARES), [round(images * share) for share in SHARES.values()])
    codes = np.resize(codes, images)
    with zipfile.ZipFile(work / "img_align_celeba.zip", "w") as archive:
        for number, (code, image) in enumerate(zip(codes, cycle(encoded), strict=False), start=1):
            archive.writestr(f"img_align_celeba/{number:06d}.jpg", image)
            lines.append(f"{number:06d}.jpg {code}")
    (work / "list_eval_partition.txt").write_text("\n".join(lines))


def celeba_images(celeba: Path, most: int = 27_500) -> Iterator[bytes]:
    source = open_celeba(celeba)
    names = (name for split in SPLITS for name in source.splits[split])
    return map(source.images.read, islice(names, most))


def sample() -> Iterator[bytes]:
    catalog = (PROJECT / "conf/base/catalog.yml").read_text().split("\nhr_{split}")[0]
    entry = yaml.safe_load(catalog)["faces"]
    arguments = {name: entry[name] for name in ("photographs", "width", "height", "overlap")}
    source = SampleFaces(**arguments).load()
    for split in SPLITS:
        for name in source.splits[split]:
            jpeg = BytesIO()
            Image.open(BytesIO(source.images.read(name))).save(jpeg, "JPEG", quality=90)
            yield jpeg.getvalue()


if __name__ == "__main__":
    main()
