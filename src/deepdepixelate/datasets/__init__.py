"""Kedro datasets that kedro-datasets lacks.

Kedro and its plugins open every catalogue entry at each start, so PyTorch is imported only when
weights are loaded or saved.
"""

from deepdepixelate.datasets.faces import CelebAFaces, OwnFaces, SampleFaces
from deepdepixelate.datasets.pictures import Picture
from deepdepixelate.datasets.shards import Folder, ImageShards, ShardFolder
from deepdepixelate.datasets.weights import (
    History,
    NetworkWeights,
    PackagedHistory,
    PackagedWeights,
    RegisteredWeights,
)

__all__ = [
    "CelebAFaces",
    "Folder",
    "History",
    "ImageShards",
    "NetworkWeights",
    "OwnFaces",
    "PackagedHistory",
    "PackagedWeights",
    "Picture",
    "RegisteredWeights",
    "SampleFaces",
    "ShardFolder",
]
