"""Nodes of the stage ``evaluate``.

They import torch when they run: Kedro imports this module at every start.
"""

from time import perf_counter
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.models.weights import Weights
from deepdepixelate.parameters import EvaluateParameters

if TYPE_CHECKING:
    from deepdepixelate.evaluation.scoring import Enlarger


def score_images(
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    parameters: EvaluateParameters,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Measure each model on each test face and benchmark image.

    Returns:
        The figures, one row per image and model; mean power spectra; and how the scoring went: what
        was skipped and why, where it ran, how long it took, and whether faces were recognised.
    """
    from deepdepixelate.evaluation import scoring
    from deepdepixelate.evaluation.benchmarks import Benchmark
    from deepdepixelate.metrics.identity import find_identity
    from deepdepixelate.metrics.st_lpips import STLPIPS
    from deepdepixelate.models.device import choose_compute

    start = perf_counter()
    test = ImagePairs(hr_test, lr_test)
    models = _models(test, srresnet, srgan, parameters)
    benchmarks = {
        name: Benchmark(name, folders, scale=test.scale, border=parameters.border)
        for name, folders in parameters.benchmarks.items()
    }
    compute = choose_compute(parameters.device, "fp32")
    identity = find_identity(parameters.identity)
    scores = scoring.score(
        {"test": test, **benchmarks},
        models,
        batch_size=parameters.batch_size,
        border=parameters.border,
        st_lpips=STLPIPS(compute.device),
        identity=identity,
    )
    course = {
        "skipped": {name: benchmark.skipped for name, benchmark in benchmarks.items()},
        "identity": identity.describe(),
        "device": str(compute),
        "seconds": round(perf_counter() - start, 1),
    }
    return scores.images, scores.spectra, course


def summarise_scores(
    scores: pd.DataFrame,
    course: dict[str, Any],
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    parameters: EvaluateParameters,
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """The evaluation (protocol, provenance, averages), and its averages as MLflow metrics."""
    from deepdepixelate.evaluation import statistics
    from deepdepixelate.evaluation.protocol import describe_protocol
    from deepdepixelate.tracking import record as tracking

    sets = statistics.summarise(scores, lr_test.manifest.details["scale"])
    for name, skipped in course["skipped"].items():
        sets[name]["skipped"] = skipped
    evaluation = {
        "protocol": describe_protocol(
            lr_test,
            parameters.border,
            self_ensemble=parameters.self_ensemble,
            faces=course["identity"]["available"],
        ),
        "identity": course["identity"],
        "provenance": {
            **tracking.provenance(),
            "device": course["device"],
            "seconds": course["seconds"],
            "data": {"hr": hr_test.manifest.digest, "lr": lr_test.manifest.digest},
            "weights": {
                name: {"digest": weights.digest, **weights.provenance}
                for name, weights in (("srresnet", srresnet), ("srgan", srgan))
            },
        },
        "sets": sets,
    }
    return evaluation, statistics.as_metrics(sets)


def draw_comparison(
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    scores: pd.DataFrame,
    parameters: EvaluateParameters,
) -> Image.Image:
    """LR, bicubic, SRResNet, SRGAN and HR side by side, one row per test face."""
    from deepdepixelate.evaluation import comparison

    pairs = ImagePairs(hr_test, lr_test)
    models = _models(pairs, srresnet, srgan, parameters)
    return comparison.draw(pairs, models, scores, faces=parameters.faces_shown)


def write_report(
    evaluation: dict[str, Any],
    scores: pd.DataFrame,
    spectra: pd.DataFrame,
    pretrain_history: pd.DataFrame,
    train_gan_history: pd.DataFrame,
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    parameters: EvaluateParameters,
) -> str:
    """The evaluation as one HTML page that opens without a network."""
    from deepdepixelate.evaluation import report

    pairs = ImagePairs(hr_test, lr_test)
    models = _models(pairs, srresnet, srgan, parameters)
    examples = []
    for role, image in report.choose_examples(scores, of_each=parameters.examples_shown):
        index = hr_test.names.index(image)
        lr = lr_test[index]
        enlarged = {name: enlarge(lr[None], pairs.scale)[0] for name, enlarge in models.items()}
        examples.append(report.Example(image, role, lr, hr_test[index], enlarged))
    return report.render(
        evaluation,
        scores,
        spectra,
        {"pretrain": pretrain_history, "train_gan": train_gan_history},
        examples,
        title="DeepDepixelate: evaluation",
        subtitle=f"{pairs.scale}x enlargement of {len(pairs)} test images that no model saw",
    )


def _models(
    pairs: ImagePairs, srresnet: Weights, srgan: Weights, parameters: EvaluateParameters
) -> dict[str, "Enlarger"]:
    from deepdepixelate.evaluation import scoring

    return scoring.enlargers(
        {"srresnet": srresnet, "srgan": srgan},
        scale=pairs.scale,
        device=parameters.device,
        self_ensemble=parameters.self_ensemble,
    )
