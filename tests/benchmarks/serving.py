"""How many requests a second ``mlflow models serve`` answers, how fast, and in how much memory.

    python tests/benchmarks/serving.py --clients 16 --seconds 60
    python tests/benchmarks/serving.py --python ENVIRONMENT/bin/python --workers 2

Prints one JSON object. Each client sends one PNG of a face after the other. ``--python`` is that of
an environment in which the model's ``requirements.txt`` is installed, and the project is not.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import requests

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from model_server import PeakMemory, base64_of, database_in, file_of, model_server, register

from deepdepixelate.models.pretrained import find_generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="srgan", help="srgan, srresnet, photo or a file")
    parser.add_argument("--python", default=sys.executable, help="of the server's environment")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of PyTorch in each worker; default: its own")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--width", type=int, default=44)
    parser.add_argument("--height", type=int, default=54)
    arguments = parser.parse_args()

    pixels = np.random.default_rng(0).integers(0, 256, (arguments.height, arguments.width, 3))
    request = {"inputs": [base64_of(file_of(pixels.astype(np.uint8)))]}
    threads = arguments.threads
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = database_in(folder)
        model = register(find_generator(arguments.model), folder)
        environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        with model_server(
            model, folder, workers=arguments.workers, python=arguments.python,
            environment=environment,
        ) as (address, process):  # fmt: skip
            url, server = f"{address}/invocations", psutil.Process(process.pid)
            for _ in range(4 * arguments.workers):  # to warm up
                requests.post(url, json=request, timeout=60).raise_for_status()
            with PeakMemory(server) as peak:
                start = perf_counter()
                latencies = load(url, request, arguments.clients, arguments.seconds)
                seconds = perf_counter() - start
    p50, p99 = np.percentile(latencies, [50, 99])
    measured = {
        "clients": arguments.clients,
        "workers": arguments.workers,
        "threads": threads,
        "image": f"{arguments.width}x{arguments.height}",
        "requests": len(latencies),
        "requests_per_second": round(len(latencies) / seconds, 1),
        "p50_milliseconds": round(p50 * 1e3),
        "p99_milliseconds": round(p99 * 1e3),
        "peak_memory_gigabytes": round(peak.bytes / 1e9, 2),
    }
    print(json.dumps(measured))


def load(url: str, request: dict[str, Any], clients: int, seconds: float) -> list[float]:
    """The seconds of each answer, of clients that send requests for a time."""
    end = perf_counter() + seconds

    def client(_: int) -> list[float]:
        found = []
        with requests.Session() as session:
            while (begin := perf_counter()) < end:
                session.post(url, json=request, timeout=120).raise_for_status()
                found.append(perf_counter() - begin)
        return found

    with ThreadPoolExecutor(clients) as pool:
        return [each for found in pool.map(client, range(clients)) for each in found]


if __name__ == "__main__":
    main()
