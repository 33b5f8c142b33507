"""All pipelines by name: one per stage, and the whole chain as the default."""

from kedro.pipeline import Pipeline, pipeline

from deepdepixelate.pipelines import degrade, enhance, evaluate, ingest, pretrain, train_gan

STAGES = {
    "ingest": ingest,
    "degrade": degrade,
    "pretrain": pretrain,
    "train_gan": train_gan,
    "evaluate": evaluate,
}

PACKAGED = ("srresnet", "srgan", "pretrain_history", "train_gan_history")
"""Outputs of the trainings that ``evaluate_packaged`` takes from the package instead."""


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines for ``kedro run --pipeline NAME``; without a name, the whole chain runs."""
    stages = {name: stage.create_pipeline() for name, stage in STAGES.items()}
    chain = sum(stages.values(), Pipeline([]))
    return {
        **stages,
        "evaluate_packaged": pipeline(
            stages["evaluate"], inputs={name: f"packaged_{name}" for name in PACKAGED}
        ),
        "enhance": enhance.create_pipeline(),
        "__default__": chain,
    }
