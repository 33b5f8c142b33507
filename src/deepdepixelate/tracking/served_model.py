"""A generator as an MLflow model: ``mlflow.pyfunc.load_model("models:/…").predict(image)``.

Each logged model holds the generator's safetensors file and a copy of this package, and names this
module as its loader. Nothing is pickled, and a process without the project can load it.
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

from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.weights import load_weights
from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.reading import decoding


class ImageEnlarger:
    """Enlarges images of any size in float32, tile by tile, on the first GPU or else the CPU."""

    def __init__(self, weights: Path) -> None:
        self._enlarger = Enlarger(load_weights(weights), precision="fp32")

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Enlarge one image or several: pixels to pixels, encoded images to PNG.

        Args:
            model_input: one of

                - pixels: uint8 RGB, (h, w, 3) or (N, h, w, 3), or nested lists of them (JSON);
                - an encoded image (PNG, JPEG, …): its bytes, or these in base64;
                - several encoded images or arrays (h, w, 3), of any sizes: a list, an array, a
                  Series, or a DataFrame of one column.
            params: not used; MLflow passes None.

        Returns:
            For pixels, an array (scale x h, scale x w, 3) or (N, scale x h, scale x w, 3). For an
            encoded image, the bytes of a PNG. For several, a list in the same order.

        Raises:
            MlflowException: ``INVALID_PARAMETER_VALUE``: an image is damaged, or not RGB (gray,
                with a palette or with alpha). The message names the image and the problem.
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
        return self._enlarger(pixels)


def _load_pyfunc(path: str) -> ImageEnlarger:
    """Load the model from its weights; MLflow calls this."""
    return ImageEnlarger(Path(path))


def _items(model_input: Any) -> Sequence[Any] | None:
    """The images of a collection; None if the input is one array or one encoded image."""
    if isinstance(model_input, pd.DataFrame):
        if len(model_input.columns) != 1:
            raise _error(
                f"the table has {len(model_input.columns)} columns: one, of images, is needed"
            )
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
            raise _error(f"{name} is text, but not base64") from None
    try:
        with decoding(), Image.open(BytesIO(encoded)) as image:
            upright = ImageOps.exif_transpose(image)
            mode = upright.mode
            pixels = np.array(upright)
    except UnreadableImageError as error:
        raise _error(f"{name} is damaged or not an image: {error}") from None
    if mode != "RGB":
        raise _error(f"{name} is of mode {mode}: RGB is needed, without gray, palette or alpha")
    return pixels


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    png = BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return png.getvalue()


def _error(message: str) -> MlflowException:
    return MlflowException(f"{message}.", error_code=INVALID_PARAMETER_VALUE)
