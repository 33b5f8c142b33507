"""Decoding of one image."""

from io import BytesIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from deepdepixelate.data.sources.source import RejectedImageError

_JPEG_MAGIC = b"\xff\xd8\xff"


def decode(encoded: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Decode an image that must be RGB of exactly this size.

    JPEG is decoded by libjpeg-turbo in strict mode, which raises an error on damaged data (a bad
    Huffman code, surplus bytes) that Pillow would replace with gray or garbage.

    Returns:
        uint8 RGB of shape (height, width, 3).

    Raises:
        RejectedImageError: damaged, not an image, not RGB or of another size.
    """

    def check_header(mode: str, actual_width: int, actual_height: int) -> None:
        """Check before decoding: a header can claim a size that does not fit into memory."""
        if mode != "RGB":
            raise RejectedImageError(f"colour mode {mode}, expected RGB")
        if (actual_width, actual_height) != (width, height):
            raise RejectedImageError(
                f"{actual_width}x{actual_height} pixels, expected {width}x{height}"
            )

    if encoded.startswith(_JPEG_MAGIC):
        try:
            actual_height, actual_width, space, _ = simplejpeg.decode_jpeg_header(encoded)
            check_header("RGB" if space == "YCbCr" else space, actual_width, actual_height)
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(encoded, strict=True)
            return pixels
        except ValueError as error:
            raise RejectedImageError(f"damaged JPEG: {error}") from error
    try:
        with Image.open(BytesIO(encoded)) as image:
            check_header(image.mode, *image.size)
            return np.asarray(image)
    except UnidentifiedImageError:
        raise RejectedImageError("not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RejectedImageError(f"damaged image: {error}") from error
