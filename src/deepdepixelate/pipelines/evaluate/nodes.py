"""Nodes of the stage ``evaluate``.

They import torch when they run: Kedro imports this module at every start.
"""

from time import perf_counter
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.models.weights import Weights
from deepdepixelate.parallel import find_engine
from deepdepixelate.parameters import EvaluateParameters, RayParameters

if TYPE_CHECKING:
    from deepdepixelate.evaluation.scoring import Enlarger


def score_images(
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    parameters: EvaluateParameters,
    engine: str,
    ray: RayParameters,
    photo: Weights | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Score each model on each test face, degraded test face and benchmark image.

    Returns:
        One row of scores per image and model; mean power spectra; and a summary of the scoring:
        protocol, provenance, skipped images, and whether identity was measured.

    Raises:
        UserError: a shard is damaged, or no image can be scored.
    """
    from deepdepixelate.evaluation import scoring
    from deepdepixelate.evaluation.benchmarks import Benchmark
    from deepdepixelate.evaluation.degraded import DegradedImages
    from deepdepixelate.metrics.identity import find_identity
    from deepdepixelate.metrics.st_lpips import STLPIPS
    from deepdepixelate.models.device import choose_compute

    start = perf_counter()
    pairs = ImagePairs(hr_test, lr_test)
    pairs.verify()
    degraded = {
        name: DegradedImages(hr_test, settings, scale=pairs.scale, limit=parameters.degraded_images)
        for name, settings in parameters.degraded_sets.items()
    }
    benchmarks = {
        name: Benchmark(name, folders, scale=pairs.scale, border=parameters.border)
        for name, folders in parameters.benchmarks.items()
    }
    compute = choose_compute(parameters.device, "fp32")
    identity = find_identity(parameters.identity)
    generators = _by_name(srresnet, srgan, photo)
    scores = scoring.score(
        {"test": pairs, **degraded, **benchmarks},
        _models(pairs, generators, parameters),
        batch_size=parameters.batch_size,
        border=parameters.border,
        st_lpips=STLPIPS(compute.device),
        identity=identity,
        engine=find_engine(engine, ray.address),
    )
    scoring_summary = {
        "protocol": scoring.describe_protocol(
            lr_test,
            parameters.border,
            self_ensemble=parameters.self_ensemble,
            faces=identity.measure is not None,
            degraded_sets={name: each.describe() for name, each in degraded.items()},
        ),
        "identity": identity.describe(),
        "provenance": {
            "device": str(compute),
            "seconds": round(perf_counter() - start, 1),
            "data": {"hr": hr_test.manifest.digest, "lr": lr_test.manifest.digest},
            "weights": {
                name: {"digest": weights.digest, **weights.provenance}
                for name, weights in generators.items()
            },
        },
        "skipped": {name: benchmark.skipped for name, benchmark in benchmarks.items()},
    }
    return scores.images, scores.spectra, scoring_summary


def summarise_scores(
    scores: pd.DataFrame, scoring_summary: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """The evaluation (protocol, provenance, means), and its means as MLflow metrics."""
    from deepdepixelate.evaluation import statistics
    from deepdepixelate.tracking import record as tracking

    protocol = scoring_summary["protocol"]
    sets = statistics.summarise(scores, protocol["scale"])
    for name, skipped in scoring_summary["skipped"].items():
        sets[name]["skipped"] = skipped
    evaluation = {
        "protocol": protocol,
        "identity": scoring_summary["identity"],
        "provenance": {**tracking.provenance(), **scoring_summary["provenance"]},
        "sets": sets,
    }
    return evaluation, statistics.as_metrics(sets)


def enlarge_faces(
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    scores: pd.DataFrame,
    parameters: EvaluateParameters,
    photo: Weights | None = None,
) -> tuple[list[Any], dict[str, list[Any]]]:
    """The faces of the comparison picture, and those of the report by role, as EnlargedImages."""
    from deepdepixelate.evaluation import pictures

    pairs = ImagePairs(hr_test, lr_test)
    models = _models(pairs, _by_name(srresnet, srgan, photo), parameters)
    spread = pictures.choose_spread(hr_test.names, parameters.faces_shown)
    examples = pictures.choose_examples(scores, of_each=parameters.examples_shown)
    return pictures.enlarge_faces(pairs, models, spread), {
        role: pictures.enlarge_faces(pairs, models, images) for role, images in examples.items()
    }


def draw_comparison(comparison_faces: list[Any], scores: pd.DataFrame) -> Image.Image:
    """LR, each model's image and HR side by side, one row per face."""
    from deepdepixelate.evaluation import pictures

    return pictures.draw_comparison(comparison_faces, scores)


def write_report(
    evaluation: dict[str, Any],
    scores: pd.DataFrame,
    spectra: pd.DataFrame,
    pretrain_history: pd.DataFrame,
    train_gan_history: pd.DataFrame,
    report_faces: dict[str, list[Any]],
) -> str:
    """The evaluation as one HTML page that opens without a network."""
    from deepdepixelate.evaluation import report

    scale, images = evaluation["protocol"]["scale"], evaluation["sets"]["test"]["images"]
    return report.render(
        evaluation,
        scores,
        spectra,
        {"pretrain": pretrain_history, "train_gan": train_gan_history},
        report_faces,
        title="DeepDepixelate: evaluation",
        subtitle=f"{scale}x enlargement of {images} test images that no model was trained on",
    )


def _by_name(srresnet: Weights, srgan: Weights, photo: Weights | None) -> dict[str, Weights]:
    generators = {"srresnet": srresnet, "srgan": srgan}
    return generators if photo is None else {**generators, "photo": photo}


def _models(
    pairs: ImagePairs, generators: dict[str, Weights], parameters: EvaluateParameters
) -> dict[str, "Enlarger"]:
    from deepdepixelate.evaluation import scoring

    return scoring.enlargers(
        generators,
        scale=pairs.scale,
        device=parameters.device,
        self_ensemble=parameters.self_ensemble,
    )
