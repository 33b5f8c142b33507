"""How much faster photographs are enlarged than by the generator's plain forward pass.

    python tests/benchmarks/enlarge.py --model FILE.safetensors --seconds 60

Prints one JSON object: milliseconds a face of 44x54 LR pixels of both, in turns in one process,
their ratio, and by how many levels their pixels differ at the most. The plain pass is float32,
eager and NCHW, layer by layer; ours is what ``deepdepixelate enhance`` runs.
"""

import argparse
import json
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pixel_shuffle, prelu

from deepdepixelate import downscale
from deepdepixelate.data.sources import decode
from deepdepixelate.datasets import SampleFaces
from deepdepixelate.models.device import choose_compute
from deepdepixelate.models.enlarge import FoldedGenerator
from deepdepixelate.models.generator import Generator, from_pixels, to_pixels
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.models.weights import build_generator

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="srgan", help="srgan, srresnet or a file")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()

    generator = build_generator(find_generator(arguments.model))
    compute = choose_compute("cpu", "auto")
    folded = FoldedGenerator(generator, bf16=compute.bf16)
    faces = lr_faces()
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    difference = 0
    with torch.inference_mode():
        start = perf_counter()
        for turn in range(10**6):
            lr = faces[turn % len(faces)]
            begin = perf_counter()
            expected = to_pixels(plain(generator, from_pixels(lr)))
            between = perf_counter()
            made = to_pixels(folded(from_pixels(lr)))
            end = perf_counter()
            difference = max(difference, int((made.int() - expected.int()).abs().max()))
            if turn:  # the first was to warm up
                seconds["plain"].append(between - begin)
                seconds["ours"].append(end - between)
            if end - start > arguments.seconds and turn >= len(faces):
                break
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    measured = {
        "compute": str(compute),
        "turns": len(seconds["ours"]),
        "plain_milliseconds": round(medians["plain"] / BATCH * 1e3, 1),
        "our_milliseconds": round(medians["ours"] / BATCH * 1e3, 1),
        "ratio": round(medians["plain"] / medians["ours"], 2),
        "largest_difference_in_levels": difference,
    }
    print(json.dumps(measured))


def plain(generator: Generator, lr: Tensor) -> Tensor:
    """The generator layer by layer, as it is written down in the paper."""

    def convolved(features: Tensor, layer: Any) -> Tensor:
        return conv2d(features, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)

    head: Any = generator.head
    features = prelu(convolved(lr.contiguous(), head[0]), head[1].weight)
    features = features + generator.body(features)
    for doubling in generator.upsampling:
        layers: Any = doubling
        features = prelu(pixel_shuffle(convolved(features, layers[0]), 2), layers[2].weight)
    return convolved(features, generator.tail)


def lr_faces() -> list[Tensor]:
    """Batches of LR crops of scikit-image's photographs, uint8 (BATCH, 3, 54, 44)."""
    photographs = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"]
    faces = SampleFaces(
        photographs={"train": [], "val": [], "test": photographs}, width=178, height=218, overlap=0
    ).load()
    encoded = map(faces.images.read, faces.splits["test"])
    hr = [decode(each, 178, 218)[1:217, 1:177] for each in encoded]
    lr = torch.from_numpy(downscale(np.stack(hr), 4)).permute(0, 3, 1, 2)
    return [batch for batch in lr.split(BATCH) if len(batch) == BATCH]


if __name__ == "__main__":
    main()
