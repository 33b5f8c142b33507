"""Nodes of the stage ``evaluate``."""

from typing import Any

import pandas as pd
from PIL import Image

from deepdepixelate import tracking
from deepdepixelate.evaluation import comparison, scoring
from deepdepixelate.imaging.shards import ImagePairs, ShardedImages
from deepdepixelate.models.weights import Weights
from deepdepixelate.parameters import EvaluateParameters


def score_test_faces(
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    parameters: EvaluateParameters,
) -> pd.DataFrame:
    """PSNR and SSIM of each model on each test face, a row each."""
    pairs = ImagePairs(hr_test, lr_test)
    return scoring.score_pairs(
        "test",
        pairs,
        _models(pairs, srresnet, srgan, parameters),
        batch_size=parameters.batch_size,
        border=parameters.border,
    )


def summarise_scores(
    scores: pd.DataFrame,
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    parameters: EvaluateParameters,
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """The evaluation (protocol, provenance, averages), and its averages as MLflow metrics."""
    summary = scoring.summarise(scores)
    border = (
        parameters.border if parameters.border is not None else lr_test.manifest.details["scale"]
    )
    evaluation = {
        "protocol": scoring.describe_protocol(lr_test, border),
        "provenance": {
            **tracking.provenance(),
            "data": {"hr": hr_test.manifest.digest, "lr": lr_test.manifest.digest},
            "weights": {
                name: {"digest": weights.digest, **weights.provenance}
                for name, weights in (("srresnet", srresnet), ("srgan", srgan))
            },
        },
        "sets": summary,
    }
    return evaluation, scoring.as_metrics(summary)


def draw_comparison(
    hr_test: ShardedImages,
    lr_test: ShardedImages,
    srresnet: Weights,
    srgan: Weights,
    scores: pd.DataFrame,
    parameters: EvaluateParameters,
) -> Image.Image:
    """LR, bicubic, SRResNet, SRGAN and HR side by side, a row a test face."""
    pairs = ImagePairs(hr_test, lr_test)
    models = _models(pairs, srresnet, srgan, parameters)
    return comparison.draw(pairs, models, scores, faces=parameters.faces_shown)


def _models(
    pairs: ImagePairs, srresnet: Weights, srgan: Weights, parameters: EvaluateParameters
) -> dict[str, scoring.Enlarger]:
    return scoring.enlargers(
        {"srresnet": srresnet, "srgan": srgan}, scale=pairs.scale, device=parameters.device
    )
