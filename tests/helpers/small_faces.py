"""Small encoded images and archives of them, for the tests of this folder."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.parameters import IngestParameters

WIDTH, HEIGHT = 48, 40
"""Size in pixels of the images below."""

INGESTION = IngestParameters(
    limit_per_split=None,
    width=WIDTH,
    height=HEIGHT,
    crop_width=40,
    crop_height=32,
    max_rejected_fraction=0.0,
    images_per_shard=50,
)
"""Parameters to ingest them."""


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A smooth picture with some noise, different for each seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phases = random.uniform(0, 6, (3, 2))
    waves = [np.sin(x / 7 + across) * np.cos(y / 5 + down) for across, down in phases]
    values = 128 + 90 * np.stack(waves, axis=-1) + random.normal(0, 8, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def encode(image: NDArray[np.uint8] | Image.Image, kind: str, **settings: Any) -> bytes:
    """An image file in memory."""
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = BytesIO()
    opened.save(file, kind, **settings)
    return file.getvalue()


def jpeg(seed: int) -> bytes:
    """One of the small pictures as JPEG."""
    return encode(picture(seed), "JPEG", quality=90)


def write_celeba(
    directory: Path,
    images: Mapping[str, bytes],
    partition: str,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A folder as CelebA's: the archive and the list. Gives the archive's path."""
    directory.mkdir(parents=True, exist_ok=True)
    archive = directory / "img_align_celeba.zip"
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr("img_align_celeba/", b"")
        for name, encoded in images.items():
            file.writestr(f"img_align_celeba/{name}", encoded)
    (directory / "list_eval_partition.txt").write_bytes(partition.encode())
    return archive


def damage_entry(archive: Path, name: str) -> None:
    """Change a byte in the middle of an entry's data and leave the rest of the archive alone."""
    with zipfile.ZipFile(archive) as file:
        entry = file.getinfo(f"img_align_celeba/{name}")
    content = bytearray(archive.read_bytes())
    name_length = int.from_bytes(
        content[entry.header_offset + 26 : entry.header_offset + 28], "little"
    )
    extra = int.from_bytes(content[entry.header_offset + 28 : entry.header_offset + 30], "little")
    start = entry.header_offset + 30 + name_length + extra
    content[start + entry.compress_size // 2] ^= 0xFF
    archive.write_bytes(content)
