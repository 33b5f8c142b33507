"""Nodes of the stages ``pretrain`` and ``train_gan``.

They import torch when they run: Kedro imports this module at every start.
"""

from functools import partial
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from deepdepixelate.data.shards import ImagePairs, ShardedImages
from deepdepixelate.models.weights import Weights
from deepdepixelate.parameters import PretrainParameters, TrainGanParameters, TrainingParameters


def train_srresnet(
    hr_train: ShardedImages,
    lr_train: ShardedImages,
    hr_val: ShardedImages,
    lr_val: ShardedImages,
    checkpoints: Path,
    parameters: PretrainParameters,
    training: TrainingParameters,
) -> tuple[Weights, pd.DataFrame]:
    """Train SRResNet; its weights and the history, one row per logged point."""
    from deepdepixelate.tracking import record as tracking
    from deepdepixelate.training import stages
    from deepdepixelate.training.session import TrainingData

    data = TrainingData(ImagePairs(hr_train, lr_train), ImagePairs(hr_val, lr_val), checkpoints)
    job = partial(stages.pretrain, data, parameters, training)
    (weights, history), record = tracking.train("pretrain", job, training)
    return record.sign(weights), pd.DataFrame(history)


def train_srgan(
    hr_train: ShardedImages,
    lr_train: ShardedImages,
    hr_val: ShardedImages,
    lr_val: ShardedImages,
    checkpoints: Path,
    parameters: TrainGanParameters,
    training: TrainingParameters,
    srresnet: Weights,
) -> tuple[Weights, Weights, pd.DataFrame]:
    """Train SRGAN from SRResNet; generator, discriminator and history, one row per logged point."""
    from deepdepixelate.tracking import record as tracking
    from deepdepixelate.training import stages
    from deepdepixelate.training.session import TrainingData

    data = TrainingData(ImagePairs(hr_train, lr_train), ImagePairs(hr_val, lr_val), checkpoints)
    job = partial(stages.train_gan, data, srresnet, parameters, training)
    (generator, discriminator, history), record = tracking.train("train_gan", job, training)
    return record.sign(generator), record.sign(discriminator), pd.DataFrame(history)


def plot_curves(history: pd.DataFrame) -> go.Figure:
    """Validation scores, losses and learning rate over the updates."""
    from deepdepixelate.evaluation.figures import training_curves

    return training_curves(history)
