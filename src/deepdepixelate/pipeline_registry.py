"""All pipelines by name: one a stage, and the whole chain as the default."""

from kedro.pipeline import Pipeline, pipeline

from deepdepixelate.pipelines import degrade, enhance, evaluate, ingest, training

STAGES = {
    "ingest": ingest.create_pipeline,
    "degrade": degrade.create_pipeline,
    "pretrain": training.create_pretrain,
    "train_gan": training.create_train_gan,
    "evaluate": evaluate.create_pipeline,
}

PACKAGED = ("srresnet", "srgan", "pretrain_history", "train_gan_history")
"""What ``evaluate_packaged`` takes from the package, in place of a training's."""


def register_pipelines() -> dict[str, Pipeline]:
    """The pipelines that ``kedro run --pipeline NAME`` knows; the chain runs without a name."""
    stages = {name: create() for name, create in STAGES.items()}
    chain = sum(stages.values(), Pipeline([]))
    return {
        **stages,
        "evaluate_packaged": pipeline(
            stages["evaluate"], inputs={name: f"packaged_{name}" for name in PACKAGED}
        ),
        "enhance": enhance.create_pipeline(),
        "__default__": chain,
    }
