"""What to say before photographs are enlarged: sizes, time, and warnings."""

import os
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.photographs import AUTO, FormatName, UnreadableImageError
from deepdepixelate.photographs.reading import is_quarter_turned, opened

_LOW_QUALITY = 85
"""JPEG files below this quality get a warning. Measured on the astronaut of scikit-image: SRResNet
is 2.6 dB above bicubic interpolation for PNG, 0.6 dB at quality 75, and below it at quality 40."""

_EFFECT = "blocks and noise will be enlarged too; the model photo removes them"

_LONG = 15
"""Seconds of work from which the time is announced."""

_LONG_PIXELS = 100_000
"""Fewer pixels take so little time that it is not even estimated."""

_VERY_LARGE = 100
"""Megapixels of a result from which it is pointed out."""

_LOSSY = frozenset({"JPEG", "MPO", "HEIF", "AVIF", "GIF"})
"""Pillow's names of lossy formats."""

_LOSSY_IN_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp"})
"""Pillow's names of TIFF's lossy compressions."""

_JPEG_2000_HEAD = 1 << 16
"""Bytes at the start of a JPEG 2000 file that are searched for its coding style."""

_BYTES_PER_PIXEL: dict[FormatName, float] = {"png": 1.5, "jpeg": 0.45, "webp": 0.3}
"""Of enlargements of pictures of Set14 and scikit-image, at the default quality."""

_LUMINANCE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 "
    "14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 "
    "49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99 "
)
"""The luminance table of the JPEG standard (ITU-T T.81, table K.1), which is IJG's quality 50."""


@dataclass(frozen=True)
class Header:
    """What the header of a photograph's file says.

    Attributes:
        path: of the file.
        width: of the upright image.
        height: of the upright image.
        jpeg_quality: see ``jpeg_quality``.
        lossy: see ``is_lossy``.
    """

    path: Path
    width: int
    height: int
    jpeg_quality: int | None
    lossy: bool = False


def read_header(path: Path) -> Header | None:
    """Read the header of a photograph, of any size; None if it cannot be read."""
    with suppress(UnreadableImageError, OSError):
        if not path.is_file():  # opening a pipe would block
            return None
        with path.open("rb") as file, opened(file, max_pixels=sys.maxsize) as image:
            size = image.size[::-1] if is_quarter_turned(image) else image.size
            return Header(path, *size, jpeg_quality(image), is_lossy(image, file))
    return None


FOR_SMALL_FACES = "photo"
"""The packaged generator for small faces in any file, see ``enlarge_face``."""


def generator_for(header: Header | None) -> Literal["photo", "srgan"]:
    """The packaged generator for a photograph: photo for a lossy file, else srgan.

    A file that cannot be read counts as lossless.
    """
    return "photo" if header is not None and header.lossy else "srgan"


def is_lossy(image: Image.Image, file: IO[bytes]) -> bool:
    """Whether a file's compression is lossy.

    AVIF and HEIC always count as lossy: their headers do not say it. JPEG 2000 does if it uses the
    irreversible transform. So do colours reduced to a palette, as in GIF: dithering is noise.
    Measured on 16 faces with 64 colours each, photo is 1.5 dB better than srgan.

    Args:
        image: as ``opened`` gave it.
        file: of the image.
    """
    if image.format == "WEBP":
        return _webp_codec(file) == b"VP8 "
    if image.format == "JPEG2000":
        return _is_irreversible(file)
    if image.format == "TIFF":
        return image.info.get("compression") in _LOSSY_IN_TIFF
    return image.format in _LOSSY or image.mode in ("P", "PA")


def announcements(
    headers: Sequence[Header],
    scale: int,
    device: str,
    seconds_for: Callable[[Sequence[tuple[int, int]]], float],
    *,
    model: str,
    form: FormatName,
    whole: bool = True,
) -> list[str]:
    """Messages before the work; none for small lossless photographs and a chosen model.

    Args:
        headers: of the photographs to enlarge.
        scale: how many times larger the results are.
        device: name of the device, such as CPU.
        seconds_for: estimates the time for photographs of these widths and heights.
        model: as the user has chosen it; for auto, the generators for the files are announced.
        form: format of the results.
        whole: whether whole photographs are enlarged; otherwise, their sizes do not matter.
    """
    messages = []
    if model == AUTO and headers:
        messages.append(_choice(headers))
    if whole:
        messages += _size_and_time(headers, scale, device, seconds_for)
        messages += _very_large(headers, scale, form)
    low = (
        [] if model in (AUTO, "photo") else [each for each in headers if is_low(each.jpeg_quality)]
    )
    if len(low) == 1:
        messages.append(f"{low[0].path.name} {compression_note(low[0].jpeg_quality)}.")
    elif low:
        lowest = min(each.jpeg_quality or 0 for each in low)
        messages.append(
            f"{len(low)} photographs are compressed (JPEG quality down to {lowest}): {_EFFECT}."
        )
    return messages


def is_low(jpeg_quality: int | None) -> bool:
    """Whether a JPEG file is compressed so much that it deserves a warning."""
    return jpeg_quality is not None and jpeg_quality < _LOW_QUALITY


def compression_note(quality: int | None) -> str:
    """The warning about a JPEG file of this quality; empty if it is high, or no JPEG."""
    if not is_low(quality):
        return ""
    return f"is compressed (JPEG quality about {quality}): {_EFFECT}"


def jpeg_quality(image: Image.Image) -> int | None:
    """Estimate a JPEG file's quality on IJG's scale, 1 to 100, from its quantisation table.

    The estimate is the quality whose table is nearest. None for other formats.
    """
    tables = getattr(image, "quantization", None)
    if not tables:
        return None
    table = np.array(next(iter(tables.values())))
    return min(range(100, 0, -1), key=lambda quality: np.abs(_table(quality) - table).sum())


def _webp_codec(file: IO[bytes]) -> bytes:
    """The kind of the first chunk with pixels: VP8 is lossy, VP8L lossless."""
    file.seek(12)
    while len(header := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", header)
        if kind in (b"VP8 ", b"VP8L"):
            return bytes(kind)
        if kind == b"ANMF":
            file.seek(16, os.SEEK_CUR)  # its frame is a chunk inside
        else:
            file.seek(size + size % 2, os.SEEK_CUR)
    return b""


def _is_irreversible(file: IO[bytes]) -> bool:
    """Whether a JPEG 2000 file's coding style (ITU-T T.800, A.6.1) is the 9-7 wavelet."""
    file.seek(0)
    head = file.read(_JPEG_2000_HEAD)
    _, _, main = head.partition(b"\xff\x4f\xff\x51")
    _, _, style = main.partition(b"\xff\x52")
    return style[11:12] == b"\x00"


def _table(quality: int) -> NDArray[np.int64]:
    """IJG's luminance table (libjpeg, ``jpeg_quality_scaling`` and ``jpeg_add_quant_table``)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array(_LUMINANCE.split(), np.int64)
    return ((base * percent + 50) // 100).clip(1, 255)


def _choice(headers: Sequence[Header]) -> str:
    lossy = sum(header.lossy for header in headers)
    chosen = []
    if lossy:
        chosen.append(f"photo for {_files(lossy)} with lossy compression (such as JPEG)")
    if lossless := len(headers) - lossy:
        chosen.append(f"srgan for {_files(lossless)} without (such as PNG)")
    return f"Generator: {', '.join(chosen)}. --model chooses another."


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _size_and_time(
    headers: Sequence[Header],
    scale: int,
    device: str,
    seconds_for: Callable[[Sequence[tuple[int, int]]], float],
) -> list[str]:
    sizes = [(header.width, header.height) for header in headers]
    if sum(width * height for width, height in sizes) < _LONG_PIXELS:
        return []
    if (seconds := seconds_for(sizes)) < _LONG:
        return []
    time = f"about {_duration(seconds)} on this {device}"
    return [f"{_counted(headers)}, {_sizes(sizes, scale)}: {time}."]


def _very_large(headers: Sequence[Header], scale: int, form: FormatName) -> list[str]:
    large = [each for each in headers if scale**2 * _megapixels(each) > _VERY_LARGE]
    if not large:
        return []
    largest = max(large, key=_megapixels)
    megapixels = scale**2 * _megapixels(largest)
    size = (
        f"{scale * largest.width}x{scale * largest.height} ({megapixels:.0f} megapixels, about "
        f"{float(f'{megapixels * _BYTES_PER_PIXEL[form]:.1g}'):.0f} MB)"
    )
    one = f"{largest.path.name} becomes {size}"
    many = f"{len(large)} photographs become very large, up to {size}"
    return [
        f"{one if len(large) == 1 else many}: many programs cannot open such a file. To enlarge "
        "only the faces, add --face-files; for any other part, use `deepdepixelate demo`."
    ]


def _megapixels(header: Header) -> float:
    return header.width * header.height / 1e6


def _counted(headers: Sequence[Header]) -> str:
    return headers[0].path.name if len(headers) == 1 else f"{len(headers)} photographs"


def _sizes(sizes: Sequence[tuple[int, int]], scale: int) -> str:
    if len(set(sizes)) == 1:
        width, height = sizes[0]
        return f"{width}x{height} → {scale * width}x{scale * height}"
    megapixels = sum(width * height for width, height in sizes) / 1e6
    return f"{megapixels:.3g} → {scale**2 * megapixels:.3g} megapixels in all"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds / 10)) * 10} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.2g} hours"
