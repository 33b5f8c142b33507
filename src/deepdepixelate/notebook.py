"""What the notebooks share: a word on what to run first, and pictures side by side."""

import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.core.getipython import get_ipython
from kedro.io import DataCatalog
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepdepixelate.errors import UserError

Picture = tuple[str, NDArray[np.uint8]]
"""A title and uint8 pixels of shape (H, W, 3)."""


def require(catalog: DataCatalog, names: Sequence[str], environment: str) -> None:
    """Stop the notebook with the command to run where one of the datasets is not there.

    From then on a UserError ends a cell, and with it the notebook, with its message alone.

    Raises:
        UserError: a dataset is not there.
    """
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((UserError,), _tell)
    missing = [name for name in names if not catalog.exists(name)]
    if missing:
        option = "" if environment in ("base", "local") else f" --env {environment}"
        raise UserError(
            f"Nothing to show yet: {missing[0]} is not there. Run first: kedro run{option}"
        )


def _tell(shell: object, kind: object, error: object, traceback: object, **_: object) -> None:
    print(error, file=sys.stderr)  # noqa: T201 (it is what the cell shows)


def show(rows: Sequence[Sequence[Picture]], height: float = 2.6) -> Figure:
    """Draw rows of equally many pictures, whatever their size, with their pixels as squares.

    Args:
        rows: the pictures.
        height: of a row, in inches.
    """
    tallest = max(pixels.shape[0] / pixels.shape[1] for row in rows for _, pixels in row)
    width = height / tallest
    figure, all_axes = plt.subplots(
        len(rows),
        len(rows[0]),
        figsize=(width * len(rows[0]), (height + 0.3) * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    pictures = [picture for row in rows for picture in row]
    for axes, (title, pixels) in zip(all_axes.flat, pictures, strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return figure
