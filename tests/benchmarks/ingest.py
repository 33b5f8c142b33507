"""How fast faces go from the archive to HR and LR shards, and in how much memory.

    python tests/benchmarks/ingest.py --images 27500 --celeba data/01_raw/celeba

Prints one JSON object. If ``--celeba`` has no archive, one is made of the sample's photographs, as
JPEG. If ``--images`` exceeds the number of images, they are repeated.
"""

import argparse
import json
import resource
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from time import perf_counter

import yaml
from PIL import Image

from deepdepixelate.data.degrade import degrade
from deepdepixelate.data.ingest import ingest
from deepdepixelate.data.shards import ShardedImages
from deepdepixelate.data.sources import SPLITS, EncodedImages, FaceSource, open_celeba
from deepdepixelate.data.writing import write_dataset
from deepdepixelate.datasets import SampleFaces
from deepdepixelate.parallel import Engine, available_processors, find_engine
from deepdepixelate.parameters import IngestParameters

PROJECT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--celeba", type=Path, default=PROJECT / "data/01_raw/celeba")
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--output", type=Path, help="where to write; by default a temporary folder")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=arguments.output) as folder:
        work = Path(folder)
        celeba = arguments.celeba
        if not (celeba / "img_align_celeba.zip").exists():
            celeba = make_archive(work)
        source = take(open_celeba(celeba), arguments.images)
        figures = measure(source, work, find_engine(arguments.engine))
        print(json.dumps({"archive": str(celeba), "engine": arguments.engine, **figures}))


def measure(source: FaceSource, work: Path, engine: Engine) -> dict[str, object]:
    settings = yaml.safe_load((PROJECT / "conf/base/parameters_ingest.yml").read_text())["ingest"]
    scale = yaml.safe_load((PROJECT / "conf/base/parameters_degrade.yml").read_text())["degrade"]
    parameters = IngestParameters(**{**settings, "max_rejected_fraction": 0})

    start = perf_counter()
    for split, plan in ingest(source, parameters, engine).items():
        write_dataset(work / "hr" / split, plan, split=split)
    middle = perf_counter()
    for split in SPLITS:
        hr = ShardedImages(work / "hr" / split)
        write_dataset(work / "lr" / split, degrade(hr, scale["scale"], engine=engine), split=split)
    end = perf_counter()

    count = sum(len(names) for names in source.splits.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return {
        "images": count,
        "processors": available_processors(),
        "ingest_images_per_second": round(count / (middle - start)),
        "degrade_images_per_second": round(count / (end - middle)),
        "images_per_second": round(count / (end - start)),
        "peak_resident_mib": round(peak / (1024**2 if sys.platform == "darwin" else 1024)),
    }


def take(source: FaceSource, images: int) -> FaceSource:
    """A source of exactly so many images, in the proportions of the splits."""
    available = sum(len(names) for names in source.splits.values())
    splits = {}
    for split, names in source.splits.items():
        wanted = max(1, round(images * len(names) / available))
        splits[split] = [f"{i // len(names)}/{names[i % len(names)]}" for i in range(wanted)]
    return replace(source, splits=splits, images=Repeated(source.images))


@dataclass(frozen=True)
class Repeated:
    """Images under many names: that of an image follows a number and a slash."""

    images: EncodedImages

    def read(self, name: str) -> bytes:
        return self.images.read(name.split("/")[1])

    def stamp(self, name: str) -> str:
        return self.images.stamp(name.split("/")[1])


def make_archive(work: Path) -> Path:
    folder = work / "celeba"
    folder.mkdir()
    lines = []
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for number, (code, encoded) in enumerate(sample_images(), start=1):
            name = f"{number:06d}.jpg"
            jpeg = BytesIO()
            Image.open(BytesIO(encoded)).save(jpeg, "JPEG", quality=90)
            archive.writestr(f"img_align_celeba/{name}", jpeg.getvalue())
            lines.append(f"{name} {code}")
    (folder / "list_eval_partition.txt").write_text("\r\n".join(lines))
    return folder


def sample_images() -> Iterator[tuple[int, bytes]]:
    catalog = (PROJECT / "conf/base/catalog.yml").read_text().split("\nhr_{split}")[0]
    entry = yaml.safe_load(catalog)["faces"]
    arguments = {name: entry[name] for name in ("photographs", "width", "height", "overlap")}
    source = SampleFaces(**arguments).load()
    for code, split in enumerate(SPLITS):
        for name in source.splits[split]:
            yield code, source.images.read(name)


if __name__ == "__main__":
    main()
