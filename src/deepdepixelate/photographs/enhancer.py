"""A generator that enlarges images of any size, in memory for a tile."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from torch import nn

from deepdepixelate.models.device import choose_compute
from deepdepixelate.models.folded import FoldedGenerator, reach
from deepdepixelate.models.inference import FlipEnsemble, enlarge
from deepdepixelate.models.weights import Weights, build_generator
from deepdepixelate.photographs import TILE
from deepdepixelate.photographs.photograph import Photograph
from deepdepixelate.photographs.tiles import Tile, tiles


class Enhancer:
    """Enlarges photographs with one generator.

    Attributes:
        scale: how many times larger the result is.
        compute: where and in which precision it works.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int = TILE,
        self_ensemble: bool = False,
    ) -> None:
        """Prepare a generator.

        Args:
            weights: a generator's.
            device: auto, cpu, cuda, cuda:1, mps.
            precision: bf16, fp32, or auto: bf16 where the hardware computes in it.
            tile: side of the tiles in LR pixels; the memory needed grows with its square.
            self_ensemble: take the mean over each photograph and its mirror image.

        Raises:
            UserError: not a generator's weights, or no such device.
        """
        generator = build_generator(weights)
        self.scale = generator.architecture.scale
        self.compute = choose_compute(device, precision)
        network: nn.Module = FoldedGenerator(generator, bf16=self.compute.bf16)
        network = FlipEnsemble(network) if self_ensemble else network
        self._network = network.to(self.compute.device)
        self._tile = tile
        self._overlap = reach(generator.architecture)

    def tiles(self, height: int, width: int) -> list[Tile]:
        """The tiles that an image is enlarged in."""
        return list(tiles(height, width, size=self._tile, overlap=self._overlap))

    def enlarge(
        self, photograph: Photograph, on_tile: Callable[[], object] = lambda: None
    ) -> Image.Image:
        """Enlarge a photograph, as gray and as opaque as it is.

        Args:
            photograph: the image.
            on_tile: called after each tile.

        Raises:
            UserError: the generator gives NaN or infinite values.
        """
        height, width, _ = photograph.pixels.shape
        canvas = Image.new("RGB", (width * self.scale, height * self.scale))
        for tile in self.tiles(height, width):
            part = tile.cut(photograph.pixels)[None]
            made = enlarge(self._network, part, self.compute.device)[0]
            enlarged = tile.trim(made, self.scale)
            place = (tile.left * self.scale, tile.top * self.scale)
            canvas.paste(Image.fromarray(np.ascontiguousarray(enlarged)), place)
            on_tile()
        return photograph.finish(canvas)
