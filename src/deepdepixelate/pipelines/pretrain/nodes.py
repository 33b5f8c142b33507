"""Nodes of the stage ``pretrain``.

They import torch when they run: Kedro imports this module at every start.
"""

from functools import partial
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.models.weights import Weights
from deepdepixelate.parameters import PretrainParameters, TrainingParameters


def train_srresnet(
    hr_train: ShardedImages,
    lr_train: ShardedImages,
    hr_val: ShardedImages,
    lr_val: ShardedImages,
    checkpoints: Path,
    parameters: PretrainParameters,
    training: TrainingParameters,
) -> tuple[Weights, pd.DataFrame]:
    """Train SRResNet; its weights and the history of the training, one row per logged point."""
    from deepdepixelate.tracking import record as tracking
    from deepdepixelate.training import runs
    from deepdepixelate.training.stage import TrainingData

    data = TrainingData(ImagePairs(hr_train, lr_train), ImagePairs(hr_val, lr_val), checkpoints)
    job = partial(runs.pretrain, data, parameters, training)
    (weights, history), record = tracking.train("pretrain", job, training)
    return record.sign(weights), pd.DataFrame(history)


def plot_curves(history: pd.DataFrame) -> go.Figure:
    """Validation scores, losses and learning rate over the updates."""
    from deepdepixelate.evaluation.figures import training_curves

    return training_curves(history)
