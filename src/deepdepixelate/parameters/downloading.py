"""Parameters of ``download``."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from deepdepixelate.parameters.types import Section


def _file_address(server: str) -> str:
    if not server.startswith(("https://", "http://")) or "ID" not in server:
        raise ValueError("the address of a file begins with https:// or http:// and has an ID")
    return server


class DownloadParameters(Section):
    """CelebA from the internet to ``celeba_dir``."""

    source: Literal["celeba", "hub"]
    """celeba: its authors' files on Google Drive. hub: a copy in Parquet on the Hugging Face
    Hub."""
    server: Annotated[str, AfterValidator(_file_address)]
    """For celeba: the address of a file, with ID in place of its identifier on Google Drive."""
    repository: str
    """For hub: OWNER/NAME of a data set that has the aligned faces in Parquet."""
    revision: str
    """For hub: a branch, tag or commit of the repository."""
    files: str
    """For hub: which files to download, as a pattern with * and ?."""
