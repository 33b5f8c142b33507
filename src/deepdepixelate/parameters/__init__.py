"""Every parameter that a user can change: type, bounds and description. Values are in ``conf/``.

Kedro makes these objects from ``conf/*/parameters_*.yml`` and ``--params`` by the type hints of the
nodes. ``check_parameters`` checks all of them before any stage runs. ``python -m
deepdepixelate.parameters`` prints the reference, ``docs/reference/parameters.md``.
"""

from deepdepixelate.parameters.checking import Parameters, check_parameters
from deepdepixelate.parameters.data import (
    DegradeParameters,
    IngestParameters,
    RayParameters,
    SplitParameters,
    TrainingCropParameters,
)
from deepdepixelate.parameters.degrading import DegradedSet
from deepdepixelate.parameters.downloading import DownloadParameters
from deepdepixelate.parameters.results import (
    BenchmarkFolders,
    EnhanceParameters,
    EvaluateParameters,
)
from deepdepixelate.parameters.training import (
    DiscriminatorParameters,
    GeneratorParameters,
    LearningRate,
    PretrainParameters,
    Schedule,
    TrainGanParameters,
    TrainingParameters,
)

__all__ = [
    "BenchmarkFolders",
    "DegradeParameters",
    "DegradedSet",
    "DiscriminatorParameters",
    "DownloadParameters",
    "EnhanceParameters",
    "EvaluateParameters",
    "GeneratorParameters",
    "IngestParameters",
    "LearningRate",
    "Parameters",
    "PretrainParameters",
    "RayParameters",
    "Schedule",
    "SplitParameters",
    "TrainGanParameters",
    "TrainingCropParameters",
    "TrainingParameters",
    "check_parameters",
]
