"""CelebA from the internet: its authors' files, or a copy in Parquet on the Hugging Face Hub."""

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from deepdepixelate.data.fetching import RemoteFile, fetch_all
from deepdepixelate.data.sources.names import brief, is_hidden, unsafe
from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder, sync_directory
from deepdepixelate.parameters import DownloadParameters

CELEBA_FILES = (
    (
        "img_align_celeba.zip",
        "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
        "00d2c5bc6d35e252742224ab0c1e8fcb",
        1_443_490_838,
    ),
    (
        "list_eval_partition.txt",
        "0B7EVK8r0v71pY0NSMzRuSXJEVkk",
        "d32c9cbf5e040fd4025c592c306e6668",
        2_836_386,
    ),
    (
        "identity_CelebA.txt",
        "1_ee_0u7vcNLOfNLegJRHmolfH5ICW-XS",
        "32bd1bd63d3c78cd57e08160ec5ed1e2",
        None,
    ),
    (
        "list_attr_celeba.txt",
        "0B7EVK8r0v71pblRyaVFSWGxPY0U",
        "75e246fa4810816ffd6ee81facbd244c",
        None,
    ),
)
"""Name, identifier on Google Drive, MD5, and size in bytes if known.

Source: ``torchvision.datasets.CelebA.file_list``; importing it takes seconds.
"""

_PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
_HUB_TIMEOUT = 30  # seconds


def download(folder: Path, parameters: DownloadParameters) -> dict[str, Any]:
    """Download CelebA into a folder. Finished files are kept, and unfinished ones continued.

    Returns:
        The source, and name, size in bytes and hash of each file.

    Raises:
        UserError: a file cannot be downloaded, is damaged, or differs from an existing one; the
            disk is too small; or another download to this folder is running.
    """
    make_folder(folder)
    try:
        with FileLock(folder / ".download.lock", timeout=0):
            if parameters.source == "hub":
                return _from_hub(folder, parameters)
            files = celeba_files(folder, parameters.server)
            return {"source": "CelebA, from its authors", "files": fetch_all(files, folder)}
    except Timeout as error:
        raise UserError(
            f"another download to {folder} is running: wait until it has finished, or stop it."
        ) from error


def celeba_files(folder: Path, server: str) -> list[RemoteFile]:
    """CelebA's own files.

    Args:
        folder: for the files, named in messages.
        server: address of a file, with ID in place of its identifier.
    """
    files = []
    for name, identifier, md5, size in CELEBA_FILES:
        stated = f"{size:,} bytes, MD5 {md5}" if size else f"MD5 {md5}"
        remedy = (
            f"Or download it with a browser from {_PAGE} and save it as {folder / name} "
            f"({stated}). Or download a copy: --params download.source=hub."
        )
        url = server.replace("ID", identifier)
        files.append(RemoteFile(name, url, "md5", md5, size, remedy=remedy))
    return files


def _from_hub(folder: Path, parameters: DownloadParameters) -> dict[str, Any]:
    """Download into ``parquet.part``, which becomes ``parquet`` when all files are complete."""
    commit, files = _list_repository(parameters)
    place, part = folder / "parquet", folder / "parquet.part"
    source = f"{parameters.repository} at revision {commit}"
    if os.path.lexists(place):
        for file in files:
            if not os.path.lexists(place / file.name):
                raise UserError(
                    f"{place} exists, but lacks {file.name}: it is not {source}. Move the folder "
                    "to download these files, or set download.revision to the one in the folder."
                )
        _refuse_others(place, files, source)
        found = fetch_all(files, place)  # only checks them
    else:
        _refuse_others(part, files, source)
        found = fetch_all(files, part)
        part.rename(place)
        sync_directory(folder)
    return {
        "source": f"https://huggingface.co/datasets/{parameters.repository}",
        "revision": commit,
        "files": found,
    }


def _refuse_others(folder: Path, files: list[RemoteFile], source: str) -> None:
    """Raise UserError for a Parquet file of another data set, which would be ingested, too."""
    names = {file.name for file in files}
    for path in sorted(folder.rglob("*.parquet")):
        if path.relative_to(folder).as_posix() not in names:
            raise UserError(
                f"{path} is not one of the files to download from {source}. Move it, or change "
                "download.files or download.revision."
            )


def _list_repository(parameters: DownloadParameters) -> tuple[str, list[RemoteFile]]:
    """The commit of a repository on the Hub, and the files in it that match the pattern."""
    from huggingface_hub import HfApi, get_token, hf_hub_url

    name, revision = parameters.repository, parameters.revision
    remedy = (
        "Check download.repository and download.revision, or run the same command again. If the "
        "page of the data set asks you to accept terms, do so and log in with: hf auth login"
    )
    try:
        info = HfApi().dataset_info(
            name, revision=revision, files_metadata=True, timeout=_HUB_TIMEOUT
        )
        commit, token = str(info.sha), get_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        all_names = [each.rfilename for each in info.siblings or []]
        files = [
            RemoteFile(
                each.rfilename,
                hf_hub_url(name, each.rfilename, repo_type="dataset", revision=commit),
                "sha256" if each.lfs else "git",
                str(each.lfs.sha256 if each.lfs else each.blob_id),
                each.size,
                headers,
                remedy,
            )
            for each in info.siblings or []
            if fnmatch(each.rfilename, parameters.files) and not is_hidden(each.rfilename)
        ]
    except Exception as error:  # those of the library's HTTP client, which changes
        raise UserError(
            f"{name} on the Hugging Face Hub cannot be read: {brief(error).rstrip('.')}. {remedy}"
        ) from error
    for file in files:
        if reason := unsafe(file.name):
            raise UserError(f"{name} has a file {brief(file.name)!r}: {reason}. Use another one.")
        if not isinstance(file.size, int):
            raise UserError(f"{name} does not state the size of {file.name}. Use another one.")
    if not files:
        some = ", ".join(map(brief, all_names[:5])) or "no files"
        raise UserError(
            f"{name} has no files {parameters.files} at revision {revision}: it has {some}. Change "
            "download.files or download.repository."
        )
    return commit, files
