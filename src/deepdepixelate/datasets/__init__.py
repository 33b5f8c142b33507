"""Kedro datasets of our own: what kedro-datasets lacks, and nothing that it has.

PyTorch is imported only when something is loaded or saved: Kedro and its plugins open every
catalogue entry at each start.
"""

from deepdepixelate.datasets.faces import CelebAFaces, SampleFaces
from deepdepixelate.datasets.folder import Folder
from deepdepixelate.datasets.history import History
from deepdepixelate.datasets.packaged import PackagedHistory, PackagedWeights
from deepdepixelate.datasets.picture import Picture
from deepdepixelate.datasets.shards import ImageShards
from deepdepixelate.datasets.weights import NetworkWeights

__all__ = [
    "CelebAFaces",
    "Folder",
    "History",
    "ImageShards",
    "NetworkWeights",
    "PackagedHistory",
    "PackagedWeights",
    "Picture",
    "SampleFaces",
]
