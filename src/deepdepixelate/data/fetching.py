"""Downloads of single files over HTTP: resumed after an interruption, and checked by their hash."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import requests
from tqdm import tqdm

from deepdepixelate.data.sources.names import brief
from deepdepixelate.errors import UserError
from deepdepixelate.files import make_folder, sync_directory

logger = logging.getLogger(__name__)

_BLOCK = 64 * 1024  # bytes; at most this much is lost when a connection breaks
_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring less than a block
_PAUSE = 1.0  # seconds before the next attempt; doubled after each one without progress
_BUSY = {408, 429, 500, 502, 503, 504}  # HTTP status codes that may pass
_LARGEST = 2 * 2**30  # bytes that a file of unknown size may have
_PAGE = 64 * 1024  # bytes of a web page that are searched for its title


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        name: path in the folder, with forward slashes.
        url: its address.
        algorithm: of the hash; git is the SHA-1 of a Git blob.
        digest: hash of the content, in hexadecimal.
        size: in bytes, if known.
        headers: of the request, such as credentials.
        remedy: what to do if the download fails, for messages.
    """

    name: str
    url: str
    algorithm: Literal["md5", "sha256", "git"]
    digest: str
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    remedy: str = "Run the same command again."


class _InterruptedError(Exception):
    """The connection ended too early, or the server is busy."""


def fetch_all(files: Sequence[RemoteFile], folder: Path) -> list[dict[str, Any]]:
    """Download files into a folder, one after another; see ``fetch``.

    Returns:
        Name, size in bytes and hash of each file.

    Raises:
        UserError: the disk is too small, or see ``fetch``.
    """
    make_folder(folder)
    missing = [file for file in files if not os.path.lexists(folder / file.name)]
    _check_space(folder, sum(_remaining(file, folder) for file in missing))
    for file in sorted(files, key=missing.__contains__):  # what is there is checked first
        fetch(file, folder)
    return [
        {
            "name": file.name,
            "bytes": (folder / file.name).stat().st_size,
            file.algorithm: file.digest,
        }
        for file in files
    ]


def fetch(file: RemoteFile, folder: Path) -> None:
    """Download a file, or the rest of it. It gets its name when its hash is right.

    Until then its name ends in ``.part``. A file that exists is checked, and never replaced.

    Raises:
        UserError: the file cannot be downloaded, has another hash, or differs from an existing one.
    """
    place = folder / file.name
    if os.path.lexists(place):
        _check_existing(place, file)
        logger.info("%s is complete", place)
        return
    make_folder(place.parent)
    part = _part(place)
    if os.path.lexists(part) and (part.is_symlink() or not part.is_file()):
        raise UserError(f"{part} is not a regular file: move it, then run the same command again.")
    at_once = _receive_all(file, part)
    found = _digest(part, file)
    if found != file.digest and not at_once:
        logger.warning("%s changed between two attempts: downloading all of it again", file.name)
        part.unlink()
        _receive_all(file, part)
        found = _digest(part, file)
    if found != file.digest:
        part.unlink()
        raise _failure(
            file,
            f"the server sent another file, with the hash {found} instead of {file.digest} "
            f"({file.algorithm}); it was removed",
        )
    part.replace(place)
    sync_directory(place.parent)


def _check_existing(place: Path, file: RemoteFile) -> None:
    if place.is_file() and _digest(place, file) == file.digest:
        return
    raise UserError(
        f"{place} exists, but is not the file to download ({file.algorithm} {file.digest}). Move "
        "it to download that file. If you want to use yours, there is no need to download."
    )


def _part(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _remaining(file: RemoteFile, folder: Path) -> int:
    return max(0, (file.size or 0) - _size(_part(folder / file.name)))


def _receive_all(file: RemoteFile, part: Path) -> bool:
    """Download the rest of a file, in several attempts; True if one response had all of it."""
    failures, most = 0, _size(part)
    with tqdm(total=file.size, initial=most, desc=file.name, unit="B", unit_scale=True) as progress:
        while True:
            try:
                return _receive(file, part, progress)
            except (requests.RequestException, _InterruptedError) as error:
                failures = 0 if _size(part) >= most + _BLOCK else failures + 1
                most = max(most, _size(part))
                if failures == _ATTEMPTS:
                    kept = f"; {most:,} bytes are in {part}, and the same command continues"
                    raise _failure(file, f"{brief(error)}{kept if most else ''}") from error
            time.sleep(_PAUSE * 2**failures)


def _receive(file: RemoteFile, part: Path, progress: "tqdm[Any]") -> bool:
    """Append the rest of a file to its part; True if this response had all of it."""
    done = _size(part)
    if file.size is not None and done >= file.size:
        return False
    with _request(file, done) as response:
        if response.status_code == 416:  # there is no more
            return False
        _check_response(file, response)
        continued = response.status_code == 206
        start = done if continued else 0
        announced = response.raw.length_remaining or 0  # 0 without Content-Length
        _check_space(part.parent, announced - (done - start))
        progress.n = start
        with part.open("ab" if continued else "wb") as target:
            for block in response.iter_content(_BLOCK):
                target.write(block)
                progress.update(len(block))
                if progress.n > (file.size or _LARGEST):
                    raise _failure(file, f"the server sent more than {progress.n:,} bytes")
            target.flush()
            os.fsync(target.fileno())
    if file.size is not None and progress.n < file.size:
        raise _InterruptedError("the connection ended before the end of the file")
    return not continued


def _request(file: RemoteFile, done: int) -> requests.Response:
    headers = {**file.headers, "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        return requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT)
    except (requests.ConnectionError, requests.Timeout):
        raise
    except (requests.RequestException, ValueError) as error:  # a bad address or redirection
        raise _failure(file, brief(error)) from error


def _check_response(file: RemoteFile, response: requests.Response) -> None:
    status = f"the server answered {response.status_code} {response.reason}"
    if response.status_code in _BUSY:
        raise _InterruptedError(status)
    if response.status_code not in (200, 206):
        raise _failure(file, status)
    if "text/html" in response.headers.get("Content-Type", "").lower():
        page = next(response.iter_content(_PAGE), b"").decode(errors="replace")
        title = page.partition("<title>")[2].partition("</title>")[0].strip()
        named = f" titled {brief(title)!r}" if title else ""
        raise _failure(
            file,
            f"the server answered with a web page{named} instead of the file. Google Drive does so "
            "when a file was downloaded too often in a day: the same command may work tomorrow",
        )


def _failure(file: RemoteFile, what: str) -> UserError:
    return UserError(f"{file.name} cannot be downloaded: {what}. {file.remedy}")


def _check_space(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UserError(
            f"the download needs {needed / 1e9:.1f} GB, and {folder} has only {free / 1e9:.1f} GB "
            "free. Free disk space, or choose another folder: --params celeba_dir=DIR."
        )


def _digest(path: Path, file: RemoteFile) -> str:
    """The hash of a file on the disk, in hexadecimal."""
    if file.algorithm == "git":
        hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        hasher = hashlib.new(file.algorithm, usedforsecurity=False)
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hasher).hexdigest()
