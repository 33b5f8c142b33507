"""A generator as an MLflow model: ``mlflow.pyfunc.load_model("models:/…").predict(image)``.

Each logged model holds the generator's safetensors file and a copy of this package, and names this
module as its loader. Nothing is pickled, and a process without the project can load it.
"""

import base64
import binascii
import json
import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from numpy.typing import NDArray
from PIL import Image

from deepdepixelate.errors import UserError
from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.weights import load_weights
from deepdepixelate.photographs import UnreadableImageError
from deepdepixelate.photographs.reading import decode_rgb

ON_ERROR = ("raise", "report")
"""Values of the parameter ``on_error``, the default first."""

_LIMIT = "DEEPDEPIXELATE_MAX_MEGAPIXELS"
"""Environment variable: larger images are refused before they are decoded."""
_DEFAULT_LIMIT = "4"

_TIMEOUT = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
"""Environment variable that MLflow sets in its server: seconds after which it answers 504."""
_OF_TIMEOUT = 0.9
"""Work on a request stops after this part of the timeout, so that the answer has a reason. Without
it, the work would go on after the answer, for nobody."""


class RequestError(MlflowException):
    """A request that cannot be answered.

    MLflow's server puts the whole input before the message of an exception. The client has it, and
    it may have megabytes: the answer is the reason alone.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}.", error_code=INVALID_PARAMETER_VALUE)
        self.reason = f"{reason}."

    def serialize_as_json(self) -> str:
        """What the server answers."""
        return json.dumps({"error_code": self.error_code, "message": self.reason})


class InvalidImageError(RequestError):
    """An image that cannot be enlarged."""


class ImageEnlarger:
    """Enlarges images in float32, tile by tile, on the first GPU or else the CPU.

    Images of more than 4 megapixels are refused; the environment variable
    DEEPDEPIXELATE_MAX_MEGAPIXELS sets another limit. In MLflow's server, work on a request stops
    shortly before its timeout.
    """

    def __init__(self, weights: Path) -> None:
        self._enlarger = Enlarger(load_weights(weights), precision="fp32")
        self._max_pixels = _max_pixels()
        self._seconds = float(os.environ.get(_TIMEOUT, "inf")) * _OF_TIMEOUT

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Enlarge one image or several: pixels to pixels, encoded images to PNG.

        Args:
            model_input: one of

                - pixels: uint8 RGB, (h, w, 3) or (N, h, w, 3), or nested lists of them (JSON);
                - an encoded image (PNG, JPEG, …): its bytes, or these in base64. Gray becomes
                  RGB, and transparent areas are laid over white;
                - several encoded images or arrays (h, w, 3), of any sizes: a list, an array, a
                  Series, or a DataFrame of one column.
            params: ``on_error`` is ``raise``, or ``report`` to go on after an image that cannot be
                enlarged.

        Returns:
            For pixels, an array (scale x h, scale x w, 3) or (N, scale x h, scale x w, 3). For an
            encoded image, the bytes of a PNG. For several, a list in the same order.

            With ``on_error=report``, a DataFrame with a row for each image and the columns
            ``image``, a PNG in base64, and ``error``, what is wrong with the image. One of both is
            empty.

        Raises:
            MlflowException: ``INVALID_PARAMETER_VALUE``: an image is damaged or too large, or
                pixels are not RGB (gray or with alpha). The message names the image and the
                problem. Or, in a server: the images take longer than a request may.
        """
        items = _items(model_input)
        on_error = (params or {}).get("on_error", ON_ERROR[0])
        if on_error not in ON_ERROR:
            raise RequestError(f"on_error is {on_error!r}: {' or '.join(ON_ERROR)} is needed")
        check_time = self._clock()
        if on_error == "report":
            given = [model_input] if items is None else items
            rows = [self._report(item, check_time) for item in given]
            return pd.DataFrame(rows, columns=["image", "error"], dtype=object)
        if items is None:
            return self._one(model_input, "the image", check_time)
        return [self._one(item, f"image {index}", check_time) for index, item in enumerate(items)]

    def _clock(self) -> Callable[[], None]:
        """Start the time of a request; the function raises RequestError once it is over."""
        end = monotonic() + self._seconds

        def check() -> None:
            if monotonic() > end:
                raise RequestError(
                    f"the images take longer than {self._seconds:g} s: send fewer or smaller ones "
                    "in a request"
                )

        return check

    def _report(self, item: Any, check_time: Callable[[], None]) -> tuple[str, str]:
        """The enlarged image, and the error."""
        try:
            enlarged = self._one(item, "the image", check_time)
            png = enlarged if isinstance(enlarged, bytes) else _encode(enlarged)
        except InvalidImageError as error:
            return "", error.reason
        return base64.b64encode(png).decode(), ""

    def _one(self, image: Any, name: str, check_time: Callable[[], None]) -> Any:
        if isinstance(image, bytes | bytearray | memoryview | str):
            return _encode(self._enlarger(_decode(image, name, self._max_pixels), check_time))
        pixels = _check(image, name, self._max_pixels)
        if pixels.ndim == 4:
            return np.stack([self._enlarger(each, check_time) for each in pixels])
        return self._enlarger(pixels, check_time)


def _max_pixels() -> int:
    """The limit of an image; UserError if the environment has no positive number."""
    text = os.environ.get(_LIMIT, _DEFAULT_LIMIT)
    try:
        pixels = int(float(text) * 1e6)
    except (ValueError, OverflowError):
        pixels = 0
    if pixels <= 0:
        raise UserError(f"the environment variable {_LIMIT} is {text!r}: set a positive number.")
    return pixels


def _load_pyfunc(path: str) -> ImageEnlarger:
    """Load the model from its weights; MLflow calls this."""
    return ImageEnlarger(Path(path))


def _items(model_input: Any) -> Sequence[Any] | None:
    """The images of a collection; None if the input is one array or one encoded image."""
    if isinstance(model_input, pd.DataFrame):
        if len(model_input.columns) != 1:
            raise RequestError(
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


def _check(image: Any, name: str, max_pixels: int) -> NDArray[np.uint8]:
    if image is None or (isinstance(image, float) and np.isnan(image)):
        raise InvalidImageError(f"{name} is missing")
    try:
        pixels = np.asarray(image)
    except ValueError:
        raise InvalidImageError(f"{name} has rows of different lengths") from None
    is_integer = pixels.dtype.kind in "iu"
    if not is_integer or (pixels.size and not 0 <= pixels.min() <= pixels.max() < 256):
        raise InvalidImageError(f"{name} holds {pixels.dtype} values: uint8, 0 to 255, is needed")
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or 0 in pixels.shape:
        hint = {1: " (gray)", 2: " (gray with alpha)", 4: " (alpha)"}
        channels = 1 if pixels.ndim == 2 else pixels.shape[-1] if pixels.ndim in (3, 4) else 0
        raise InvalidImageError(
            f"{name} is of shape {pixels.shape}{hint.get(channels, '')}: RGB of shape (h, w, 3) or "
            "(N, h, w, 3) is needed"
        )
    height, width = pixels.shape[-3:-1]
    if height * width > max_pixels:
        raise InvalidImageError(
            f"{name} has {width}x{height} pixels: more than {max_pixels / 1e6:g} megapixels, which "
            "is the limit: shrink or crop it first"
        )
    return pixels.astype(np.uint8)


def _decode(
    encoded: bytes | bytearray | memoryview | str, name: str, max_pixels: int
) -> NDArray[np.uint8]:
    if isinstance(encoded, str):
        try:
            encoded = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidImageError(f"{name} is text, but not base64") from None
    try:
        return decode_rgb(BytesIO(encoded), max_pixels=max_pixels)
    except UnreadableImageError as error:
        raise InvalidImageError(f"{name} cannot be used: {error}") from None


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    png = BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return png.getvalue()
