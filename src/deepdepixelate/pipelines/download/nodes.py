"""Node of the stage ``download``."""

from pathlib import Path
from typing import Any

from deepdepixelate.data.download import download
from deepdepixelate.parameters import DownloadParameters


def download_celeba(folder: Path, parameters: DownloadParameters) -> dict[str, Any]:
    """Download CelebA into a folder; return source, size and hash of each file."""
    return download(folder, parameters)
