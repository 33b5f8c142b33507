"""A generator as an MLflow model: ``mlflow.pyfunc.load_model("models:/…").predict(image)``.

Each logged model holds the generator's safetensors file and a copy of this package, and names this
module as its loader: nothing is pickled, and a process without the project can load it.
"""

import base64
import binascii
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from numpy.typing import NDArray
from PIL import Image, ImageOps

from deepdepixelate.models.device import find_device
from deepdepixelate.models.folded import reach
from deepdepixelate.models.inference import enlarge
from deepdepixelate.models.weights import build_generator, load_weights
from deepdepixelate.photographs import TILE
from deepdepixelate.photographs.reading import UnreadableImageError, decoding
from deepdepixelate.photographs.tiles import tiles


class ImageEnlarger:
    """Enlarges what it is given, on the first GPU or else the CPU, in memory for a tile.

    Attributes:
        scale: how many times larger the output is.
    """

    def __init__(self, weights: Path) -> None:
        self._device = find_device("auto")
        self._generator = build_generator(load_weights(weights)).to(self._device)
        self.scale = self._generator.architecture.scale
        self._overlap = reach(self._generator.architecture)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Enlarge one image or several; what goes in as pixels or as a file comes out so.

        Args:
            model_input: pixels: a uint8 RGB array of shape (h, w, 3) or (N, h, w, 3), or the same
                as nested lists of integers (JSON); or an encoded image (PNG, JPEG, …): its bytes,
                or these in base64; or a list, an array, a Series or a DataFrame with one column
                of encoded images or of arrays (h, w, 3), of any sizes.
            params: there are none; MLflow passes None.

        Returns:
            For pixels an array as the input's, (scale x h, scale x w, 3) or with N before. For an
            encoded image the bytes of a PNG. For several of these a list, in their order.

        Raises:
            MlflowException: ``INVALID_PARAMETER_VALUE``; it is no RGB image, gray and alpha
                included, or damaged. The message says which image and what is wrong.
        """
        items = _items(model_input)
        if items is None:
            return self._one(model_input, "the image")
        return [self._one(item, f"image {index}") for index, item in enumerate(items)]

    def _one(self, image: Any, name: str) -> Any:
        if isinstance(image, bytes | bytearray | memoryview | str):
            return _encode(self._enlarge(_decode(image, name)))
        return self._enlarge(_check(np.asarray(image), name))

    def _enlarge(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if pixels.ndim == 4:
            return np.stack([self._enlarge(image) for image in pixels])
        height, width, _ = pixels.shape
        enlarged = np.empty((height * self.scale, width * self.scale, 3), np.uint8)
        for tile in tiles(height, width, size=TILE, overlap=self._overlap):
            made = enlarge(self._generator, tile.cut(pixels)[None], self._device)[0]
            top, left = tile.top * self.scale, tile.left * self.scale
            part = tile.trim(made, self.scale)
            enlarged[top : top + part.shape[0], left : left + part.shape[1]] = part
        return enlarged


def _load_pyfunc(path: str) -> ImageEnlarger:
    """What MLflow calls with the path of the weights in the model."""
    return ImageEnlarger(Path(path))


def _items(model_input: Any) -> Sequence[Any] | None:
    """The images of a collection; None if the input is itself one array or encoded image."""
    if isinstance(model_input, pd.DataFrame):
        if len(model_input.columns) != 1:
            raise _error(f"the table has {len(model_input.columns)} columns: one of images needed")
        model_input = model_input.iloc[:, 0]
    if isinstance(model_input, pd.Series):
        return list(model_input)
    if isinstance(model_input, np.ndarray) and model_input.dtype.kind in "OSU":
        return list(model_input.ravel().tolist())
    if isinstance(model_input, list | tuple):
        nested = model_input and isinstance(model_input[0], list | tuple)
        return None if nested else model_input
    return None


def _check(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    is_integer = pixels.dtype.kind in "iu"
    if not is_integer or (pixels.size and not 0 <= pixels.min() <= pixels.max() < 256):
        raise _error(f"{name} holds {pixels.dtype} values: uint8, 0 to 255, is needed")
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or 0 in pixels.shape:
        hint = {1: " (gray)", 2: " (gray with alpha)", 4: " (alpha)"}
        channels = 1 if pixels.ndim == 2 else pixels.shape[-1] if pixels.ndim in (3, 4) else 0
        raise _error(
            f"{name} is of shape {pixels.shape}{hint.get(channels, '')}: RGB of shape (h, w, 3) or "
            "(N, h, w, 3) is needed"
        )
    return pixels.astype(np.uint8)


def _decode(encoded: bytes | bytearray | memoryview | str, name: str) -> NDArray[np.uint8]:
    if isinstance(encoded, str):
        try:
            encoded = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            raise _error(f"{name} is text but not base64 of an image") from None
    try:
        with decoding(), Image.open(BytesIO(encoded)) as image:
            upright = ImageOps.exif_transpose(image)
            mode = upright.mode
            pixels = np.array(upright)
    except UnreadableImageError as error:
        raise _error(f"{name} is damaged or no image: {error}") from None
    if mode != "RGB":
        raise _error(f"{name} is of mode {mode}: RGB is needed, without gray, palette or alpha")
    return pixels


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    png = BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return png.getvalue()


def _error(message: str) -> MlflowException:
    return MlflowException(f"{message}.", error_code=INVALID_PARAMETER_VALUE)
