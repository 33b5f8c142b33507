from collections.abc import Sequence

import skimage
from PIL import Image

_REGION = (128, 43, 310, 266)
"""The astronaut's face with a margin: left, top, right, bottom."""


def group_photograph(widths: Sequence[int], columns: int = 4) -> Image.Image:
    """The astronaut of scikit-image several times on gray, side by side in rows.

    Args:
        widths: of each person's picture; the face has half of it.
        columns: people per row.
    """
    person = Image.fromarray(skimage.data.astronaut()).crop(_REGION)
    cell = max(widths) + 10, round(max(widths) * person.height / person.width) + 10
    rows = -(-len(widths) // columns)
    group = Image.new("RGB", (columns * cell[0], rows * cell[1]), "gray")
    for place, width in enumerate(widths):
        size = width, round(width * person.height / person.width)
        row, column = divmod(place, columns)
        group.paste(person.resize(size), (column * cell[0] + 5, row * cell[1] + 5))
    return group
