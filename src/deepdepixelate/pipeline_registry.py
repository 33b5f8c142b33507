"""All pipelines by name: one per stage, and the whole chain as the default."""

from kedro.pipeline import Pipeline, pipeline

from deepdepixelate.pipelines import degrade, download, enhance, evaluate, ingest, training, verify

STAGES = {
    "ingest": ingest.create_pipeline,
    "degrade": degrade.create_pipeline,
    "pretrain": training.create_pretrain,
    "train_gan": training.create_train_gan,
    "evaluate": evaluate.create_pipeline,
}

PACKAGED = ("srresnet", "srgan", "photo", "pretrain_history", "train_gan_history")
"""Inputs that ``evaluate_packaged`` takes from the package. ``evaluate`` has no ``photo``."""

REGISTERED = ("srresnet", "srgan", "pretrain_history", "train_gan_history")
"""Inputs that ``evaluate_registered`` takes from MLflow's registry."""

RESULTS = ("scores", "spectra", "evaluation", "comparison", "report")
"""Outputs of ``evaluate`` that these two write to folders of their own."""


def register_pipelines() -> dict[str, Pipeline]:
    """Pipelines for ``kedro run --pipeline NAME``; without a name, the whole chain runs."""
    stages = {name: create() for name, create in STAGES.items()}
    chain = sum(stages.values(), Pipeline([]))
    return {
        **stages,
        "evaluate_packaged": pipeline(
            evaluate.create_pipeline("photo"),
            inputs={name: f"packaged_{name}" for name in PACKAGED},
            outputs={name: f"packaged_{name}" for name in RESULTS},
        ),
        "evaluate_registered": pipeline(
            evaluate.create_pipeline(),
            inputs={name: f"registered_{name}" for name in REGISTERED},
            outputs={name: f"registered_{name}" for name in RESULTS},
        ),
        "download": download.create_pipeline(),
        "verify": verify.create_pipeline(),
        "enhance": enhance.create_pipeline(),
        "__default__": chain,
    }
