"""The split that a word in a Parquet file, or in its path, stands for."""

import re
from pathlib import PurePosixPath

from deepdepixelate.data.sources.source import Split

_WORDS: dict[str, Split] = {
    **dict.fromkeys(("0", "train", "training"), "train"),
    **dict.fromkeys(("1", "val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("2", "test", "testing"), "test"),
}


def split_of(word: str) -> Split | None:
    """The split that a word such as ``valid``, or a number of CelebA's list, stands for."""
    return _WORDS.get(word.lower())


def split_of_path(path: str) -> Split | None:
    """The split that a file's name, or else a folder's, begins with."""
    for part in reversed(PurePosixPath(path).parts):
        if split := split_of(re.split(r"[^a-z]", part.lower())[0]):
            return split
    return None
