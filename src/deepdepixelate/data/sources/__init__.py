"""Encoded face images with their splits: CelebA from all its copies, and a user's own folder."""

from deepdepixelate.data.sources.celeba import check_celeba, open_celeba
from deepdepixelate.data.sources.decoding import decode, decode_face
from deepdepixelate.data.sources.lists import read_partition
from deepdepixelate.data.sources.own import check_faces, open_faces
from deepdepixelate.data.sources.source import (
    SPLITS,
    EncodedImages,
    FaceSource,
    RejectedImageError,
    Split,
)

__all__ = [
    "SPLITS",
    "EncodedImages",
    "FaceSource",
    "RejectedImageError",
    "Split",
    "check_celeba",
    "check_faces",
    "decode",
    "decode_face",
    "open_celeba",
    "open_faces",
    "read_partition",
]
